//! The admin address: what it shows, and that nothing else is there.

use std::net::SocketAddr;

use super::File;
use crate::support::{Client, Process, eventually, upgrade, weir};

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::tcp(address);
    client.raw(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    let (head, body) = client.answer();
    (head, String::from_utf8(body).unwrap())
}

/// A server with a network that has nobody behind it, its address and its admin address.
fn serve(file: &File) -> (Process, SocketAddr, SocketAddr) {
    let arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", file.path()];
    let running = Process::spawn(&mut weir(arguments));
    let address = |prefix: &str| {
        let line = running.line();
        let rest = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}"));
        rest.trim_end_matches('/').parse().unwrap()
    };
    let (public, admin) = (address("listening ws://"), address("admin http://"));
    (running, public, admin)
}

fn network() -> File {
    File::new(
        "[[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://127.0.0.1:9/secret']\n",
    )
}

#[test]
fn metrics_tell_of_the_loop_and_of_each_network() {
    let file = network();
    let (_running, public, admin) = serve(&file);
    let mut client = Client::open(public, "/main/evm/1");
    client.text(r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}"#);
    client.frame();
    client.text("broken");
    client.frame();
    client.close(1000, "");
    client.expect_close();
    client.expect_end();
    drop(client);
    Client::tcp(public).request(&upgrade("/elsewhere", ""));
    let ended = r#"weir_ends_total{reason="peer_closed"} 1"#;
    eventually(|| get(admin, "/metrics").1.contains(ended), "the connection ends");
    let (head, text) = get(admin, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    for line in [
        "weir_opened_total 1",
        "# HELP weir_connections Connections of any kind, now",
        "weir_refused_total 1",
        r#"weir_refusals_total{reason="not_found"} 1"#,
        "# TYPE weir_connections gauge",
        r#"weir_rpc_requests_total{project="main",chain="1",class="info"} 1"#,
        r#"weir_rpc_errors_total{project="main",chain="1",class="other",code="-32700"} 1"#,
        r#"weir_rpc_connections{project="main",chain="1"} 0.0"#,
        r#"weir_gateway_poll_lag_seconds{project="main",chain="1"} 0.0"#,
        r#"weir_upstream_ready{project="main",chain="1",upstream="http://127.0.0.1:9/.."} 1.0"#,
        r#"weir_upstream_breaker{project="main",chain="1",upstream="http://127.0.0.1:9/.."} 0.0"#,
        "# TYPE weir_upstream_latency_seconds histogram",
        "weir_handshake_seconds_count 1",
        "weir_round_trip_seconds_count 0",
        "weir_decode_seconds_count 1",
        "# TYPE weir_message_bytes histogram",
        "weir_message_bytes_sum 48.0",
        r#"weir_message_bytes_bucket{le="16.0"} 0"#,
        r#"weir_message_bytes_bucket{le="64.0"} 1"#,
        r#"weir_message_bytes_bucket{le="+Inf"} 1"#,
        "# TYPE weir_process_cpu_seconds counter",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("secret"), "a URL's key is shown");
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    };
    // A turn is counted at its end, and this was told in the midst of one.
    assert_eq!(value("weir_turns_total") - 1.0, value("weir_turn_seconds_count"));
    assert!(value("weir_process_resident_bytes") > 1e6, "{text}");
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names: Vec<&str> = families.map(|line| line.split(' ').next().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "one name is of two kinds");
}

#[test]
fn operators_and_clients_do_not_see_each_others_paths() {
    let file = network();
    let (_running, public, admin) = serve(&file);
    let (head, body) = get(admin, "/healthz");
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok\n", "{head}{body}");
    for (address, path) in
        [(admin, "/"), (admin, "/main/evm/1"), (public, "/metrics"), (public, "/healthz")]
    {
        let (head, _) = get(address, path);
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
        let head = Client::tcp(address).request(&upgrade(path, ""));
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
    let head = Client::tcp(admin).request(&upgrade("/metrics", ""));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}
