//! Which upstream gets a client.

use std::net::Ipv4Addr;

use super::front::Front;
use super::scripted::Scripted;
use crate::support::{Client, header, upgrade};

/// Three upstreams that accept every upgrade.
fn three() -> [Scripted; 3] {
    std::array::from_fn(|_| Scripted::accepting(""))
}

fn front(upstreams: &[Scripted], pool: &str) -> Front {
    let urls: Vec<String> = upstreams.iter().map(Scripted::url).collect();
    Front::new(&urls, pool, "")
}

/// The position of the upstream that gets this request.
fn chosen(upstreams: &[Scripted], front: &Front, path: &str, lines: &str) -> usize {
    let (_client, _) = Client::open_with(front.address, path, lines);
    whose(upstreams)
}

/// The position of the upstream that got a request.
fn whose(upstreams: &[Scripted]) -> usize {
    let mut found = None;
    crate::support::eventually(
        || {
            found = upstreams.iter().position(Scripted::has_request);
            found.is_some()
        },
        "an upstream gets the request",
    );
    found.unwrap()
}

#[test]
fn hash_keys_lead_to_the_same_upstream() {
    let upstreams = three();
    for (hash_by, path, lines) in [
        ("path", "/room/7", ""),
        ("header:X-Tenant", "/", "X-Tenant: seven\r\n"),
        ("address", "/", ""),
    ] {
        let pool = format!("choose = 'hash'\nhash_by = '{hash_by}'");
        let front = front(&upstreams, &pool);
        let first = chosen(&upstreams, &front, path, lines);
        for _ in 0..5 {
            assert_eq!(chosen(&upstreams, &front, path, lines), first, "{hash_by}");
        }
    }
}

#[test]
fn hash_keys_spread_over_the_upstreams() {
    let upstreams = three();
    let front = front(&upstreams, "choose = 'hash'\nhash_by = 'path'");
    let mut counts = [0; 3];
    for room in 0..30 {
        counts[chosen(&upstreams, &front, &format!("/room/{room}"), "")] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let front =
        Front::new(&upstreams.iter().map(Scripted::url).collect::<Vec<_>>(), "choose = 'hash'", "");
    let mut counts = [0; 3];
    for host in 1..30 {
        let mut client = Client::from(Ipv4Addr::new(127, 0, 1, host), front.address);
        assert!(client.request(&upgrade("/", "")).starts_with("HTTP/1.1 101 "));
        counts[whose(&upstreams)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn the_sticky_cookie_leads_back_to_its_upstream() {
    let upstreams = three();
    let front = front(&upstreams, "choose = 'least'\nsticky_cookie = 'node'");
    let (_held, head) = Client::open_with(front.address, "/", "");
    let cookie = header(&head, "Set-Cookie").expect(&head).to_owned();
    let first = whose(&upstreams);
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
    let value = pair.strip_prefix("node=").unwrap();
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    for _ in 0..4 {
        let lines = format!("Cookie: a=b; {pair}\r\n");
        let (_client, head) = Client::open_with(front.address, "/", &lines);
        assert_eq!(header(&head, "Set-Cookie"), None, "it has the cookie");
        assert_eq!(whose(&upstreams), first);
    }
    let (_client, head) = Client::open_with(front.address, "/", "Cookie: node=0\r\n");
    assert!(header(&head, "Set-Cookie").is_some(), "the cookie names no upstream");
}

#[test]
fn the_sticky_cookie_is_secure_behind_a_secure_front() {
    let upstreams = three();
    let urls: Vec<String> = upstreams.iter().map(Scripted::url).collect();
    let flags = ["--trusted-proxies", "127.0.0.1"];
    let front = Front::with(&urls, "sticky_cookie = 'node'", "", &flags);
    let (_client, head) = Client::open_with(front.address, "/", "X-Forwarded-Proto: https\r\n");
    let cookie = header(&head, "Set-Cookie").expect(&head);
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
}

#[test]
fn the_fewest_tunnels_are_preferred() {
    let upstreams = three();
    let front = front(&upstreams, "choose = 'least'");
    let mut clients = Vec::new();
    let mut counts = [0; 3];
    for _ in 0..6 {
        clients.push(front.tunnel());
        counts[whose(&upstreams)] += 1;
    }
    assert_eq!(counts, [2, 2, 2]);
}
