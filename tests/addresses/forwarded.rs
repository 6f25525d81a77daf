//! Addresses in `X-Forwarded-For`, `Forwarded` and headers with one address.

use weir::protocol::handshake::Refusal;
use weir::reactor::settings::ClientAddressFrom;

use super::{ask, get, reporting, trusting};
use crate::handshake::expect_refusal;
use crate::support::{Client, Process, header, upgrade};

const PROXIES: [&str; 3] = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"];

#[test]
fn headers_of_untrusted_peers_are_hidden_and_change_nothing() {
    let lines = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: a\r\nx_forwarded_for: 203.0.113.7\r\n\
                 Forwarded: for=203.0.113.7;proto=https\r\nX-Real-IP: 203.0.113.7\r\n\
                 CF-Connecting-IP: 203.0.113.7\r\nTrue-Client-IP: 203.0.113.7\r\n";
    for trusted in [&[][..], &["127.0.0.2/32", "203.0.113.0/24"]] {
        for from in [ClientAddressFrom::XForwardedFor, ClientAddressFrom::Forwarded] {
            let server = reporting(trusting(trusted).client_address_from(from));
            let mut client = Client::tcp(server.address);
            let own = client.stream.local_addr().unwrap().to_string();
            let expected = format!("{own} via - plain");
            assert_eq!(ask(&mut client, lines), expected);
            // A malformed Forwarded is not read either.
            assert_eq!(ask(&mut client, "Forwarded: for=\"\r\n"), expected);
            let head = client.request(&upgrade("/", lines));
            assert_eq!(header(&head, "X-Report"), Some(&*expected), "{head}");
            client.text("");
            assert_eq!(client.frame().payload, own.as_bytes());
            drop(client);
            assert_eq!(server.stop().forwarded_bad, 0);
        }
    }
}

/// Sends each header to a server, as one of a request, and compares the client's address.
fn compare(from: ClientAddressFrom, cases: &[(&str, &str)], bad: u64) {
    let server = reporting(trusting(&PROXIES).client_address_from(from));
    let mut client = Client::tcp(server.address);
    for (lines, expected) in cases {
        let reported = ask(&mut client, lines);
        let address = reported.split_once(' ').unwrap().0;
        assert_eq!(address, format!("{expected}:0"), "{lines}");
        let head = Client::tcp(server.address).request(&upgrade("/", lines));
        let upgraded = header(&head, "X-Report").unwrap_or_else(|| panic!("{lines}: {head}"));
        assert!(upgraded.starts_with(&format!("{expected}:0 via 127.0.0.1 ")), "{upgraded}");
    }
    drop(client);
    assert_eq!(server.stop().forwarded_bad, 2 * bad);
}

#[test]
fn lists_are_read_from_the_right_up_to_the_first_untrusted_address() {
    compare(
        ClientAddressFrom::XForwardedFor,
        &[
            ("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
            ("X-Forwarded-For: 9.9.9.9, 203.0.113.7, 10.0.0.3, 10.0.0.2\r\n", "203.0.113.7"),
            (
                "X-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nx-forwarded-for: 10.0.0.2\r\n",
                "203.0.113.7",
            ),
            ("X-Forwarded-For: unknown, 203.0.113.7\r\n", "203.0.113.7"),
            ("X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7"),
            ("X-Forwarded-For: 2001:db8::7, 2001:db8:ffff::1\r\n", "[2001:db8::7]"),
            ("X-Forwarded-For: [2001:db8::7]:4711\r\n", "[2001:db8::7]"),
            ("X-Forwarded-For: ::ffff:203.0.113.7\r\n", "203.0.113.7"),
            // All are trusted: the leftmost.
            ("X-Forwarded-For: 10.0.0.4,10.0.0.3 , 10.0.0.2\r\n", "10.0.0.4"),
        ],
        0,
    );
    compare(
        ClientAddressFrom::Forwarded,
        &[
            ("Forwarded: for=203.0.113.7\r\n", "203.0.113.7"),
            ("Forwarded: For=\"203.0.113.7:4711\";proto=https;by=10.0.0.1\r\n", "203.0.113.7"),
            ("Forwarded: for=\"[2001:db8::7]:4711\", for=10.0.0.2\r\n", "[2001:db8::7]"),
            ("Forwarded: for=9.9.9.9;host=\"a,b\", for=203.0.113.7\r\n", "203.0.113.7"),
            ("Forwarded: for=203.0.113.7\r\nForwarded: for=10.0.0.2\r\n", "203.0.113.7"),
        ],
        0,
    );
    for (from, name) in [
        (ClientAddressFrom::CfConnectingIp, "CF-Connecting-IP"),
        (ClientAddressFrom::TrueClientIp, "True-Client-IP"),
        (ClientAddressFrom::XRealIp, "x-real-ip"),
    ] {
        let one = format!("{name}: 203.0.113.7\r\nX-Forwarded-For: 9.9.9.9\r\n");
        let six = format!("{name}: 2001:db8::7\r\n");
        compare(from, &[(&one, "203.0.113.7"), (&six, "[2001:db8::7]")], 0);
    }
}

#[test]
fn an_invalid_entry_or_the_32nd_ends_the_list() {
    let trusted = |count: u32| {
        let entries = (0..count).map(|n| format!(", 10.0.0.{}", count - n));
        format!("X-Forwarded-For: 203.0.113.7{}\r\n", entries.collect::<String>())
    };
    compare(
        ClientAddressFrom::XForwardedFor,
        &[
            ("X-Forwarded-For: 203.0.113.7, unknown, 10.0.0.2\r\n", "10.0.0.2"),
            ("X-Forwarded-For: 203.0.113.7, 10.0.0.2.5, 10.0.0.3\r\n", "10.0.0.3"),
            (&trusted(32), "10.0.0.32"),
        ],
        3,
    );
    // 32 entries, the client's included, are read.
    compare(ClientAddressFrom::XForwardedFor, &[(&trusted(31), "203.0.113.7")], 0);
    compare(
        ClientAddressFrom::Forwarded,
        &[("Forwarded: for=203.0.113.7, for=_hidden, for=10.0.0.2\r\n", "10.0.0.2")],
        1,
    );
}

#[test]
fn without_an_entry_the_trusted_peer_is_the_client() {
    let server = reporting(trusting(&PROXIES));
    let mut client = Client::tcp(server.address);
    let own = client.stream.local_addr().unwrap();
    assert_eq!(ask(&mut client, ""), format!("{own} via 127.0.0.1 plain"));
    let unused = "Forwarded: for=203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n";
    assert_eq!(
        ask(&mut client, unused),
        format!("{own} via 127.0.0.1 plain Forwarded X-Real-IP"),
        "headers of a trusted proxy are visible, but only one is read"
    );
    assert_eq!(ask(&mut client, "X-Forwarded-For:\r\n").split(' ').next(), Some(&*own.to_string()));
    // An invalid entry does not give way to the peer's exemption, but to its address.
    assert!(ask(&mut client, "X-Forwarded-For: me\r\n").starts_with(&own.to_string()));
    drop(client);
    assert_eq!(server.stop().forwarded_bad, 1);
}

#[test]
fn a_malformed_forwarded_of_a_trusted_peer_is_refused() {
    let server = reporting(trusting(&PROXIES).client_address_from(ClientAddressFrom::Forwarded));
    for lines in [
        "Forwarded: for=\"203.0.113.7\r\n",
        "Forwarded: for=203.0.113.7;for=203.0.113.8\r\n",
        "Forwarded: 203.0.113.7\r\n",
    ] {
        for request in [get(lines), upgrade("/", lines)] {
            let mut client = Client::tcp(server.address);
            client.raw(request.as_bytes());
            expect_refusal(&mut client, Refusal::Forwarded);
        }
    }
    assert_eq!(server.stop().forwarded_bad, 6);
}

#[test]
fn trusted_proxies_state_whether_the_client_is_encrypted() {
    let server = reporting(trusting(&PROXIES));
    let mut client = Client::tcp(server.address);
    for (value, expected) in [
        ("https", "secure"),
        ("HTTPS", "secure"),
        ("wss", "secure"),
        ("http, https", "secure"),
        ("https, http", "plain"),
        ("http", "plain"),
        ("", "plain"),
    ] {
        let reported = ask(&mut client, &format!("X-Forwarded-Proto: {value}\r\n"));
        assert_eq!(reported.split(' ').nth(3), Some(expected), "{value}");
    }
}

#[test]
fn requests_of_one_proxy_connection_have_clients_of_their_own() {
    let server = reporting(trusting(&PROXIES));
    let mut proxy = Client::tcp(server.address);
    for n in 1..9 {
        let reported = ask(&mut proxy, &format!("X-Forwarded-For: 203.0.113.{n}\r\n"));
        assert!(reported.starts_with(&format!("203.0.113.{n}:0 via 127.0.0.1")), "{reported}");
    }
    // A body in parts is handled with the client of its head.
    let lines = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nContent-Length: 3\r\n";
    proxy.raw(get(lines).replace("GET", "POST").as_bytes());
    for byte in b"abc" {
        proxy.raw(&[*byte]);
    }
    let body = String::from_utf8(proxy.answer().1).unwrap();
    assert!(body.starts_with("203.0.113.9:0 via 127.0.0.1 secure X-Forwarded-For"), "{body}");
    let head = proxy.request(&upgrade("/", "X-Forwarded-For: 2001:db8::1\r\n"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    proxy.text("");
    assert_eq!(proxy.frame().payload, b"[2001:db8::1]:0");
}

#[test]
fn log_lines_name_the_client_behind_a_proxy() {
    let (mut running, address) =
        Process::serve(&["--trusted-proxies", "127.0.0.1", "--log", "debug"]);
    let mut client = Client::tcp(address);
    client.raw(upgrade("/", "X-Forwarded-For: 9.9.9.9, 203.0.113.7\r\n").as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    // The client of an earlier request is not named for one that cannot be parsed.
    let mut other = Client::tcp(address);
    ask_page(&mut other, "X-Forwarded-For: 203.0.113.8\r\n");
    other.raw(b"GET / HTTP/1.1\r\nbad header\r\n\r\n");
    other.head();
    drop((client, other));
    let opened = running.logged("opened");
    assert!(opened.contains("peer=203.0.113.7 "), "{opened}");
    let refused = running.logged("refused: 400");
    assert!(refused.contains("peer=127.0.0.1:"), "{refused}");
}

fn ask_page(client: &mut Client, lines: &str) {
    client.raw(get(lines).as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
}
