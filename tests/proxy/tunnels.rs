//! WebSockets through the proxy.

use super::front::{Front, echo, message};
use super::scripted::{Scripted, switching};
use crate::support::{BINARY, COMPRESSED, Client, TEXT, header, upgrade};

#[test]
fn messages_of_all_sizes_come_back_unchanged() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let mut client = front.tunnel();
    for len in [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 65_537, 100_000, 200 * 1024] {
        let payload: Vec<u8> = (0..len).map(|at: usize| (at * 7 % 251) as u8).collect();
        client.send(BINARY, &payload);
        assert!(message(&mut client) == (BINARY, payload), "{len} bytes came back differently");
    }
    client.text("still text");
    assert_eq!(message(&mut client), (TEXT, b"still text".to_vec()));
}

#[test]
fn close_codes_pass_and_tunnels_are_counted() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let pool = "pool=\"nodes\"";
    let mut client = front.tunnel();
    front.admin.await_metric("weir_upstream_connections", &["use=\"tunnel\""], 1.0);
    client.text("counted");
    client.expect(TEXT, b"counted");
    client.close(4321, "enough");
    assert_eq!(client.expect_close(), (4321, "enough".to_owned()));
    client.expect_end();
    front.admin.await_metric("weir_proxy_closed_total", &[pool, "reason=\"peer_closed\""], 1.0);
    front.admin.await_metric("weir_upstream_connections", &["use=\"tunnel\""], 0.0);
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
    let metric = |name, labels: &[&str]| front.admin.metric(name, labels);
    assert_eq!(metric("weir_proxy_tunnels_total", &[pool]), 1.0);
    assert_eq!(metric("weir_upstream_tries_total", &[pool, "outcome=\"answered\""]), 1.0);
    assert_eq!(metric("weir_upstream_tries_total", &[pool]), 1.0);
    assert_eq!(metric("weir_upstream_connect_seconds_count", &[pool]), 1.0);
    assert_eq!(metric("weir_upstream_answer_seconds_count", &[pool]), 1.0);
    assert_eq!(metric("weir_upstream_up", &[pool]), 1.0);
    for direction in ["sent", "received"] {
        let label = format!("direction=\"{direction}\"");
        assert!(metric("weir_upstream_bytes_total", &[&label]) > 10.0, "{direction}");
    }
}

/// The tunnel of the client is listed, and weir's connection to the upstream is not.
#[test]
fn operators_find_tunnels_in_the_list_of_connections() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let mut client = front.tunnel();
    client.text("counted");
    client.expect(TEXT, b"counted");
    let listed = front.admin.pages("").concat();
    let [tunnel] = &listed[..] else { panic!("{listed:?}") };
    let peer = client.stream.local_addr().unwrap().to_string();
    assert_eq!((&tunnel["route"], &tunnel["peer"]), (&"/*".into(), &peer.into()));
    assert_eq!((&tunnel["path"], &tunnel["messages_in"]), (&"/".into(), &1.into()));
}

#[test]
fn subprotocol_and_deflate_are_agreed_end_to_end() {
    let (_echo, upstream) = echo(&["--deflate", "shared"]);
    let front = Front::new(&[upstream], "", "");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (mut client, head) = Client::open_with(front.address, "/", offer);
    assert!(header(&head, "Sec-WebSocket-Extensions").unwrap().starts_with("permessage-deflate"));
    let text = "a text that is long enough to be compressed, ".repeat(20);
    client.text(&text);
    let frame = client.frame();
    assert!(frame.compressed && frame.payload.len() < text.len() / 2);
    // "Hello", compressed (RFC 7692, 7.2.3.1).
    client.send(TEXT | COMPRESSED, &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]);
    let frame = client.frame();
    assert!(frame.payload == b"Hello" || frame.compressed, "{frame:?}");

    let chat = Scripted::accepting("Sec-WebSocket-Protocol: chat.v2\r\n");
    let front = Front::new(&[chat.url()], "", "");
    let offer = "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n";
    let (_, head) = Client::open_with(front.address, "/", offer);
    assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("chat.v2"));
    assert_eq!(header(&head, "Sec-WebSocket-Extensions"), None);
    assert!(chat.head().contains("\r\nSec-WebSocket-Protocol: chat.v1, chat.v2\r\n"));
}

#[test]
fn frames_behind_the_request_and_the_response_are_the_first_of_the_tunnel() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::new(&[upstream], "", "");
    let mut client = Client::tcp(front.address);
    let early = crate::support::frame(true, TEXT, b"early");
    client.raw(&[upgrade("/", "").as_bytes(), &early].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"early");

    let hasty = Scripted::new(|client, _| {
        client.raw(&[switching("").as_bytes(), b"\x81\x05hasty"].concat());
        client.expect_gone();
    });
    let front = Front::new(&[hasty.url()], "", "");
    front.tunnel().expect(TEXT, b"hasty");
}

#[test]
fn upstreams_get_the_proxy_header_first() {
    let upstream = Scripted::accepting("");
    let front = Front::new(&[upstream.url()], "send_proxy = 'v1'", "");
    let client = front.tunnel();
    let port = client.stream.local_addr().unwrap().port();
    let head = upstream.head();
    let (first, request) = head.split_once("\r\n").unwrap();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}", upstream.address.port());
    assert_eq!(first, expected);
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
}
