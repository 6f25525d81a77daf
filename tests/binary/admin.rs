//! The admin address: metrics, their formats, and its paths.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::File;
use crate::support::{Client, Process, TEXT, eventually, frame, upgrade, weir};

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::tcp(address);
    client.raw(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    let (head, body) = client.answer();
    (head, String::from_utf8(body).unwrap())
}

/// A server with a network whose upstream is unreachable, its address and its admin address.
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
fn metrics_show_the_loop_each_network_and_the_process() {
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
    let mut broken = Client::open(public, "/main/evm/1");
    broken.raw(&frame(true, TEXT, b"\xff"));
    assert_eq!(broken.expect_close().0, 1007);
    broken.expect_end();
    drop(broken);
    // The end of a connection is counted some turns after its client has seen it.
    let settled = [
        r#"weir_closed_total{reason="peer_closed"} 1"#,
        r#"weir_closed_total{reason="invalid_utf8"} 1"#,
        r#"weir_connections{kind="client"} 0.0"#,
        r#"weir_connections{kind="operator"} 1.0"#,
    ];
    let (mut head, mut text) = (String::new(), String::new());
    let mut is_settled = || {
        (head, text) = get(admin, "/metrics");
        settled.iter().all(|line| text.contains(line))
    };
    eventually(&mut is_settled, "all connections but this one have ended");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    for line in [
        "weir_opened_connections_total 2",
        "# HELP weir_connections Connections, by kind",
        r#"weir_connections_limit{kind="client"} 10000.0"#,
        r#"weir_connections_limit{kind="outbound"} 256.0"#,
        r#"weir_refused_total{reason="not_found"} 1"#,
        r#"weir_refused_total{reason="route_full"} 0"#,
        r#"weir_closed_total{reason="protocol"} 0"#,
        r#"weir_rpc_connections_limit{project="main",chain="1"} 10000.0"#,
        "# TYPE weir_refused_total counter",
        "# TYPE weir_buffered_bytes gauge",
        "weir_buffered_limit_bytes 1073741824.0",
        "# TYPE weir_connections gauge",
        r#"weir_rpc_requests_total{project="main",chain="1",class="info"} 1"#,
        r#"weir_rpc_errors_total{project="main",chain="1",class="other",code="-32700"} 1"#,
        r#"weir_rpc_connections{project="main",chain="1"} 0.0"#,
        r#"weir_gateway_poll_lag_seconds{project="main",chain="1"} 0.0"#,
        r#"weir_upstream_ready{project="main",chain="1",upstream="http://127.0.0.1:9/.."} 1.0"#,
        r#"weir_upstream_breaker_state{project="main",chain="1",upstream="http://127.0.0.1:9/.."} 0.0"#,
        "# TYPE weir_upstream_latency_seconds histogram",
        "weir_handshake_seconds_count 2",
        "weir_round_trip_seconds_count 0",
        "weir_decode_seconds_count 1",
        "# TYPE weir_message_bytes histogram",
        "weir_message_bytes_sum 48.0",
        r#"weir_message_bytes_bucket{le="16"} 0"#,
        r#"weir_message_bytes_bucket{le="64"} 1"#,
        r#"weir_message_bytes_bucket{le="+Inf"} 1"#,
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("secret"), "a URL's key is shown");
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    };
    // A turn is counted at its end, and the response was made within one.
    assert_eq!(value("weir_turns_total") - 1.0, value("weir_turn_seconds_count"));
    assert!(value("process_resident_memory_bytes") > 1e6, "{text}");
    let (open, most) = (value("process_open_fds"), value("process_max_fds"));
    assert!(open > 5.0 && open < most, "{open} of {most} descriptors");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - value("process_start_time_seconds");
    // The time of the boot has a resolution of seconds.
    assert!(age > -2.0 && age < 600.0, "started {age} s ago");
    let build = concat!("weir_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",commit=\"");
    assert!(text.lines().any(|line| line.starts_with(build) && line.ends_with("\"} 1.0")));
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names: Vec<&str> = families.map(|line| line.split(' ').next().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name has two types");
}

#[test]
fn openmetrics_is_sent_to_clients_that_ask_for_it() {
    let file = network();
    let (_running, _, admin) = serve(&file);
    let mut client = Client::tcp(admin);
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    client.raw(format!("GET /metrics HTTP/1.1\r\nHost: test\r\n{accept}\r\n\r\n").as_bytes());
    let (head, body) = client.answer();
    let text = String::from_utf8(body).unwrap();
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.contains("# TYPE weir_refused counter\n") && text.ends_with("# EOF\n"), "{text}");
    let (head, text) = get(admin, "/metrics");
    assert!(head.contains("text/plain; version=0.0.4") && !text.contains("# EOF"), "{head}");
}

#[test]
fn the_admin_address_and_the_clients_address_have_different_paths() {
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
