//! The guide's file for a site: few connections per address, rates by route, TLS.

use std::sync::Arc;
use std::time::Instant;

use weir_authority::Authority;

use super::running::pool;
use crate::binary::File;
use crate::proxy::front::echo;
use crate::support::{Admin, DEADLINE, Process, TEXT, header, upgrade, weir};
use crate::tls::{connect, trusting};

const GUIDE: &str = include_str!("../../src/guide/proxy.md");

/// The file in the guide, with ports and files of this test.
fn site(upstream: &str, chain: &str, key: &str) -> String {
    let start = GUIDE.find("# site.toml").expect("the guide has a file for a site");
    let text = &GUIDE[start..];
    let text = &text[..text.find("```").unwrap()];
    let own = pool("nodes", &[upstream], "");
    let pool_start = text.find("[[pool]]").unwrap();
    let keys = text[pool_start..].lines().take_while(|line| !line.is_empty());
    let pool_text: String = keys.map(|line| format!("{line}\n")).collect();
    assert!(pool_text.contains("keepalive_max = 4\n"), "{pool_text}");
    let changed = text
        .replace(&pool_text, &(own.trim_end().to_owned() + "\nkeepalive_max = 4\n"))
        .replace("wss://0.0.0.0:443", "wss://127.0.0.1:0")
        .replace("127.0.0.1:9100", "127.0.0.1:0")
        .replace("\"chain.pem\"", &format!("{chain:?}"))
        .replace("\"key.pem\"", &format!("{key:?}"));
    assert!(changed.contains(upstream) && changed.contains(chain) && changed.contains(key));
    changed
}

#[test]
fn the_site_in_the_guide_limits_connections_and_requests_per_address() {
    let (_echo, upstream) = echo(&[]);
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let [chain, key] = [&files.chain, &files.key].map(|path| path.to_str().unwrap());
    let file = File::new(&site(&upstream, chain, key));
    let process = Process::spawn(&mut weir(["--config", file.path()]));
    let (scheme, address) = process.listener();
    assert_eq!(scheme, "wss");
    let admin = Admin::of(&process);
    let config = Arc::new(trusting(&authority));
    let open = || connect(address, &config, "localhost");

    // Five connections per address; the upgrade of each is within the burst.
    let mut five: Vec<_> = (0..5)
        .map(|_| {
            let mut client = open();
            let head = client.request(&upgrade("/wss", ""));
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            client
        })
        .collect();
    for client in &mut five {
        client.text("through TLS");
        client.expect(TEXT, b"through TLS");
    }
    let head = open().request(&upgrade("/wss", ""));
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert_eq!(admin.metric("weir_refused_total", &["reason=\"address_full\""]), 1.0);
    drop(five);
    admin.await_metric("weir_upstream_connections", &["use=\"tunnel\""], 0.0);

    // The rates of the routes.
    for path in ["/wss", "/api/users", "/page"] {
        let before = admin.metric("weir_refused_total", &["reason=\"requests\""]);
        let started = Instant::now();
        let refused = loop {
            assert!(started.elapsed() < DEADLINE, "{path}: no request is refused");
            let request = upgrade(path, "");
            let head = open().request(&request);
            if admin.metric("weir_refused_total", &["reason=\"requests\""]) > before {
                break head;
            }
        };
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        assert!(header(&refused, "Retry-After").is_some(), "{refused}");
    }
}
