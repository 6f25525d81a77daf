//! The process: listeners, output, exit codes, limits and routes.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;

use rustix::process::Signal;

use super::{File, outcome};
use crate::support::{BINARY, Client, Process, TEXT, clean, eventually, frame, upgrade, weir};

#[test]
fn a_line_for_each_listener_and_nothing_else_on_stdout() {
    let addresses = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"];
    let addresses = &addresses[..if has_ipv6() { 3 } else { 2 }];
    let listens = addresses.iter().flat_map(|address| ["--listen", address]);
    let mut running = Process::spawn(&mut weir(["--log", "trace"].into_iter().chain(listens)));
    let mut ports = HashSet::new();
    for wanted in addresses {
        let address = running.address();
        assert_eq!(format!("{}:0", address.to_string().rsplit_once(':').unwrap().0), *wanted);
        assert!(ports.insert(address.port()));
        // By default, the server has an echo and rooms.
        let mut client = Client::open(address, "/");
        client.text("echo");
        client.expect(TEXT, b"echo");
        let mut client = Client::open(address, "/rooms/r?self=1");
        client.text("room");
        client.expect(TEXT, b"room");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.wait(), Some(0));
    assert_eq!(running.rest(), [""; 0]);
    let stderr = running.whole_log();
    assert!(stderr.contains("signal 15") && stderr.contains("stopped: accepted="), "{stderr}");
}

/// Whether this machine has an IPv6 loopback at all.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn the_command_may_be_named() {
    let mut running = Process::spawn(&mut weir(["serve", "--listen", "127.0.0.1:0"]));
    Client::open(running.address(), "/");
    running.signal(Signal::INT);
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn a_port_in_use_is_an_error_and_no_listener_is_printed() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // The first address is free, but it is not printed: the process ends.
    let (code, stdout, stderr) =
        outcome(weir(["--log", "off", "--listen", "127.0.0.1:0", "--listen", &address]));
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert!(stderr.starts_with(&format!("error: listen on {address}: ")), "{stderr}");
    assert!(stderr.contains("in use"), "{stderr}");
}

#[test]
fn exit_codes_do_not_depend_on_standard_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["check", "--config", "/nowhere"], 2),
        (&["--config", "/nowhere"], 2),
        (&["--listen", &taken, "--listen", "127.0.0.1:0"], 1),
        (&["node", "--data-dir", "/proc/nowhere"], 1),
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut process = Process::spawn_unread(weir(arguments).stderr(full));
        assert_eq!(process.wait(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_connection_above_the_limit_is_answered_503() {
    let (running, address) = Process::serve(&["--connections-max", "2"]);
    let (first, _second) = (Client::open(address, "/"), Client::open(address, "/"));
    let refused = || {
        let head = Client::tcp(address).request(&upgrade("/", ""));
        let is_503 = head.starts_with("HTTP/1.1 503 ");
        assert!(is_503 && head.contains("Retry-After: ") || head.starts_with("HTTP/1.1 101 "));
        is_503
    };
    assert!(refused());
    drop(first);
    eventually(|| !refused(), "there is room again");
    drop(running);
}

#[test]
fn message_max_limits_messages() {
    let (running, address) = Process::serve(&["--message-max", "1 KiB"]);
    let mut client = Client::open(address, "/");
    client.send(BINARY, &[1; 1024]);
    client.expect(BINARY, &[1; 1024]);
    client.raw(&frame(true, BINARY, &[1; 1025])[..8]);
    assert_eq!(client.expect_close().0, 1009);
    drop((client, running));
}

#[test]
fn processes_may_share_a_port() {
    let (one, address) = Process::serve(&["--reuse-port"]);
    let address_text = address.to_string();
    let other = Process::spawn(&mut weir(["--reuse-port", "--listen", &address_text]));
    assert_eq!(other.address(), address);
    // The process that is left serves the port.
    let mut client = Client::open(address, "/");
    client.text("one of two");
    client.expect(TEXT, b"one of two");
    drop(client);
    one.stop();
    let mut client = Client::open(address, "/");
    client.text("the other");
    client.expect(TEXT, b"the other");
    drop(client);
    other.stop();

    // Both processes must set reuse_port.
    let alone = Process::serve(&[]);
    let text = alone.1.to_string();
    let (code, _, stderr) = outcome(weir(["--reuse-port", "--listen", &text]));
    assert_eq!(code, Some(1), "{stderr}");
}

#[test]
fn limits_are_reduced_to_the_descriptor_limit() {
    const LIMIT: usize = 200;
    let script = format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_weir")]);
    let arguments = ["--listen", "127.0.0.1:0", "--connections-max", "5000"];
    let running = Process::spawn(&mut clean(command, arguments));
    let address = running.address();
    let mut clients = Vec::new();
    let refused = loop {
        let mut client = Client::tcp(address);
        let head = client.request(&upgrade("/", ""));
        if !head.starts_with("HTTP/1.1 101 ") {
            break head;
        }
        clients.push(client);
        assert!(clients.len() < LIMIT, "more clients than descriptors");
    };
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let admitted = clients.len();
    drop(clients);
    let stderr = running.stop();
    // Of 200, a quarter is kept in reserve, 16 are for operators, one is the listener's, and of the
    // other 133 a quarter is for outbound connections.
    assert_eq!(admitted, 100);
    for warning in
        ["connections_max reduced from 5000 to 100", "outbound_max reduced from 256 to 33"]
    {
        assert!(stderr.contains("WARN") && stderr.contains(warning), "{warning}: {stderr}");
        assert!(stderr.contains("the file descriptor limit is 200"), "{stderr}");
    }

    // Nothing is logged if the limit suffices.
    let (running, _) = Process::serve(&["--connections-max", "10"]);
    assert!(!running.stop().contains("descriptor"));
}

#[test]
fn a_route_may_have_a_page() {
    let file = File::new("[[route]]\npath = '/echo'\nservice = 'echo'\npage = true\n");
    let (running, address) = Process::serve(&["--config", file.path()]);
    let mut client = Client::tcp(address);
    let head = client.request("GET /echo HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/html"), "{head}");
    // A route in the file replaces the built-in routes.
    let head = Client::tcp(address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    drop(running);
}

#[test]
fn a_wildcard_origin_admits_subdomains_at_any_depth() {
    let (running, address) = Process::serve(&["--origins", "https://*.example.org"]);
    for (origin, status) in [
        ("https://a.example.org", "101"),
        ("https://b.a.example.org", "101"),
        ("https://example.org", "403"),
        ("http://a.example.org", "403"),
        ("https://a.example.org.evil.net", "403"),
    ] {
        let head = Client::tcp(address).request(&upgrade("/", &format!("Origin: {origin}\r\n")));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {head}");
    }
    drop(running);
}
