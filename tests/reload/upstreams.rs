//! Pools change while tunnels stay.

use super::running::{Running, expect_echo, pool, route};
use crate::proxy::front::{echo, refusing};
use crate::support::Client;

fn tunnels(running: &Running, upstream: &str) -> f64 {
    let upstream = upstream.strip_prefix("http://").unwrap();
    let label = format!("upstream=\"{upstream}\"");
    running.admin.metric("weir_upstream_connections", &["use=\"tunnel\"", &label])
}

#[test]
fn a_new_pool_gets_new_tunnels_and_the_old_ones_stay() {
    let (first, one) = echo(&[]);
    let (_second, other) = echo(&[]);
    let all = route("/*", "nodes", "");
    let mut running = Running::new(&(pool("nodes", &[&one], "") + &all));
    let mut old = running.tunnel("/");
    expect_echo(&mut old, "before");
    running.reload_proxy(&(pool("nodes", &[&other], "") + &all));
    let mut new = running.tunnel("/");
    for text in ["one", "two"] {
        expect_echo(&mut old, text);
        expect_echo(&mut new, text);
    }
    assert_eq!((tunnels(&running, &one), tunnels(&running, &other)), (1.0, 1.0));
    // And it is known that the old upstream is gone, when it is.
    drop(first);
    assert_eq!(old.expect_close(), (1012, "upstream lost".to_owned()));
    expect_echo(&mut new, "three");
    let outcome = |outcome| running.admin.metric("weir_config_reloads_total", &[outcome]);
    assert_eq!((outcome("\"success\""), outcome("\"failure\"")), (1.0, 0.0));
}

#[test]
fn an_upstream_of_the_same_name_keeps_its_breaker_and_counts() {
    let (_echo, up) = echo(&[]);
    let down = refusing();
    let all = route("/*", "nodes", "");
    let mut running = Running::new(&(pool("nodes", &[&down, &up], "") + &all));
    let refused = format!("upstream=\"{}\"", down.strip_prefix("http://").unwrap());
    let open = |running: &Running| running.admin.metric("weir_upstream_breaker", &[&refused]);
    let mut clients: Vec<Client> = (0..3).map(|_| running.tunnel("/")).collect();
    assert_eq!(open(&running), 2.0, "three failed connections open it");
    running.reload_proxy(&(pool("nodes", &[&down, &up], "tries = 2") + &all));
    assert_eq!(open(&running), 2.0);
    let tries = running.admin.metric("weir_upstream_tries_total", &[&refused, "\"connect\""]);
    assert_eq!(tries, 3.0);
    assert_eq!(tunnels(&running, &up), 3.0);
    clients.iter_mut().for_each(|client| expect_echo(client, "still here"));
}

#[test]
fn tunnels_of_a_removed_upstream_are_closed_at_the_drain_rate() {
    let (_first, one) = echo(&[]);
    let (_second, other) = echo(&[]);
    let all = route("/*", "nodes", "");
    let drained = "drain_after = '10ms'\ndrain_rate = '2/s burst 1'";
    let mut running = Running::new(&(pool("nodes", &[&one], drained) + &all));
    let mut old: Vec<Client> = (0..4).map(|_| running.tunnel("/")).collect();
    running.reload_proxy(&(pool("nodes", &[&other], drained) + &all));
    let mut new = running.tunnel("/");
    let reason = ["reason=\"drained\""];
    let ended = || running.admin.metric("weir_proxy_closed_total", &reason);
    let mut seen = Vec::new();
    for client in &mut old {
        assert_eq!(client.expect_close(), (1012, "moved".to_owned()));
        client.close(1012, "");
        client.expect_end();
        seen.push(ended());
    }
    assert!(seen[0] < 4.0, "all at once: {seen:?}");
    running.admin.await_metric("weir_proxy_closed_total", &reason, 4.0);
    expect_echo(&mut new, "not drained");
}

#[test]
fn a_new_name_is_resolved_before_it_is_used() {
    let (_echo, up) = echo(&[]);
    let port = up.rsplit_once(':').unwrap().1;
    let all = route("/*", "nodes", "");
    let mut running = Running::new(&(pool("nodes", &[&refusing()], "") + &all));
    let named = format!("http://localhost:{port}");
    // The lookup of the second name fails, which delays the reload by 5 s at most.
    let unknown = "http://weir.invalid:1";
    running.reload_proxy(&(pool("nodes", &[&named, unknown], "") + &all));
    expect_echo(&mut running.tunnel("/"), "by its name");
}
