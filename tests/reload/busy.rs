//! Reloads while messages pass through tunnels.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::running::{Running, expect_echo, pool, route};
use crate::proxy::front::echo;
use crate::support::{Client, TEXT};

const RELOADS: usize = 100;
const THREADS: usize = 4;

/// How many tunnels a run has.
fn tunnels() -> usize {
    let given = std::env::var("RELOAD_TUNNELS").ok();
    given.map_or(100, |count| count.parse().unwrap())
}

/// Sends numbers through all tunnels until `is_over`, and expects each of them once and in order.
/// Returns how many.
fn exchange(clients: &mut [Client], is_over: &AtomicBool) -> usize {
    let mut round = 0;
    while round == 0 || !is_over.load(Relaxed) {
        for (index, client) in clients.iter_mut().enumerate() {
            client.text(&format!("{index}/{round}/a"));
            client.text(&format!("{index}/{round}/b"));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            client.expect(TEXT, format!("{index}/{round}/a").as_bytes());
            client.expect(TEXT, format!("{index}/{round}/b").as_bytes());
        }
        round += 1;
    }
    round * clients.len() * 2
}

#[test]
fn no_message_is_lost_or_repeated_in_100_reloads() {
    let count = tunnels();
    let _crowd = (count > 200).then(crate::support::crowd);
    let limits = ["--connections-per-address", "0"];
    let (_first, one) = echo(&limits);
    let (_second, other) = echo(&limits);
    let text = |at: usize| {
        let upstreams: &[&str] = match at % 4 {
            0 => &[&one, &other],
            1 => &[&other],
            2 => &[&other, &one],
            _ => &[&one],
        };
        let limits = format!("message_max = {}", 1000 + at);
        let more = if at.is_multiple_of(2) {
            route("/more", "nodes", "strip_prefix = 1")
        } else {
            String::new()
        };
        pool("nodes", upstreams, "choose = 'least'") + &route("/*", "nodes", &limits) + &more
    };
    let mut running = Running::new(&text(0));
    let mut clients: Vec<Vec<Client>> =
        (0..THREADS).map(|_| (0..count / THREADS).map(|_| running.tunnel("/")).collect()).collect();
    let is_over = AtomicBool::new(false);
    let exchanged: usize = thread::scope(|scope| {
        let threads: Vec<_> =
            clients.iter_mut().map(|clients| scope.spawn(|| exchange(clients, &is_over))).collect();
        for at in 1..=RELOADS {
            running.reload_proxy(&text(at));
        }
        is_over.store(true, Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{exchanged} messages through {count} tunnels in {RELOADS} reloads");
    let now = running.admin.metric("weir_upstream_connections", &["use=\"tunnel\""]);
    assert_eq!(now as usize, count / THREADS * THREADS);
    let ended = running.admin.metric("weir_proxy_closed_total", &[]);
    assert_eq!(ended, 0.0);
    let reloads = running.admin.metric("weir_config_reloads_total", &["\"success\""]);
    assert_eq!(reloads as usize, RELOADS);
    expect_echo(&mut running.tunnel("/more"), "after them");
}
