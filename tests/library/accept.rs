//! Accepting an upgrade: the subprotocol and the headers of the 101.

use std::env;
use std::process::Command;

use weir::protocol::handshake::{Accept, ClientRequest, FieldError};
use weir::reactor::settings::Settings;
use weir::reactor::{Connect, Decision, SendOutcome, UpgradeRequest};

use crate::puppet::{Puppet, Strings};
use crate::support::{Client, Process, Server, TEXT, clean, header, upgrade};

/// Two subprotocols, over two lines of the head.
const OFFER: &str = "Sec-WebSocket-Protocol: v1.chat\r\nsec-websocket-protocol: , v2.chat\r\n";

/// A service that lists `listed` as its subprotocols and accepts each request with the result of
/// `accept`.
fn accepting(
    listed: &'static [&'static str],
    accept: impl Fn(&UpgradeRequest<'_>) -> Accept + Send + 'static,
) -> (Server, Strings) {
    let (mut puppet, strings) = Puppet::new();
    puppet.protocols = listed;
    puppet.on_request = Box::new(move |_, _, request| Decision::Accept(accept(request)));
    puppet.on_message =
        Box::new(|cx, id, message| assert_eq!(cx.send(id, message), SendOutcome::Queued));
    (puppet.serve_plain(), strings)
}

/// The head of the response to a request with [`OFFER`].
fn offered(server: &Server) -> (Client, String) {
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/", OFFER));
    (client, head)
}

#[test]
fn a_service_may_accept_any_offered_subprotocol() {
    for listed in [&[][..], &["v1.chat"], &["v1.chat", "v2.chat"]] {
        let (server, strings) = accepting(listed, |request| {
            let last = request.http.protocols().last().unwrap();
            request.accept().protocol(last)
        });
        let (mut client, head) = offered(&server);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("v2.chat"));
        let id = strings.opened();
        strings.run(move |cx| {
            assert_eq!(cx.record(id).unwrap().protocol, Some("v2.chat"));
            // The name outlives the metadata.
            cx.set_metadata(id, "key", "value").unwrap();
            cx.remove_metadata(id, "key");
            assert_eq!(cx.record(id).unwrap().protocol, Some("v2.chat"));
        });
        client.text("open");
        client.expect(TEXT, b"open");
    }
}

#[test]
fn the_common_subprotocol_is_the_default() {
    let (server, _strings) = accepting(&["v2.chat", "v1.chat"], |request| {
        assert_eq!(request.protocol, Some("v2.chat"));
        request.accept()
    });
    assert_eq!(header(&offered(&server).1, "Sec-WebSocket-Protocol"), Some("v2.chat"));
    let (server, _strings) = accepting(&["v2.chat"], |_| Accept::new());
    assert_eq!(header(&offered(&server).1, "Sec-WebSocket-Protocol"), None);
}

#[test]
fn a_deferred_request_remembers_the_offered_subprotocols() {
    for (name, status) in [("v2.chat", 101), ("v3.chat", 500)] {
        let (mut puppet, strings) = Puppet::new();
        puppet.on_request = Box::new(move |cx, id, _| {
            cx.accept(id, Accept::new().protocol(name));
            Decision::Defer
        });
        let server = puppet.serve_plain();
        let (_client, head) = offered(&server);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        if status == 101 {
            assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some(name));
            let id = strings.opened();
            assert!(strings.run(move |cx| cx.record(id).unwrap().protocol == Some(name)));
        }
    }
}

#[test]
fn a_subprotocol_that_was_not_offered_is_not_sent() {
    let long = "a".repeat(300);
    let too_long = format!("Sec-WebSocket-Protocol: {long}\r\n");
    let cases =
        [("v3.chat", OFFER), ("V1.chat", OFFER), ("", OFFER), ("a", ""), (&*long, &too_long)];
    for (name, lines) in cases {
        let name = name.to_owned();
        let (server, _strings) = accepting(&["v3.chat"], move |_| Accept::new().protocol(&name));
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", lines).as_bytes());
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), None);
        assert_eq!(body, b"internal error");
        client.expect_end();
        drop(client);
        let metrics = server.stop();
        assert_eq!((metrics.refused, metrics.opened), (1, 0));
    }
}

#[test]
fn a_service_adds_headers_to_the_101() {
    let (server, _strings) = accepting(&[], |_| {
        let invalid = Accept::new().header("Set-Cookie", "a=1\r\nSec-WebSocket-Protocol: x");
        assert_eq!(invalid, Err(FieldError::Value));
        let accept = Accept::new().header("Set-Cookie", "a=1; HttpOnly").unwrap();
        accept.header("Set-Cookie", "b=2").and_then(|accept| accept.header("X-Node", "7")).unwrap()
    });
    let (mut client, head) = offered(&server);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let added = "\r\nSet-Cookie: a=1; HttpOnly\r\nSet-Cookie: b=2\r\nX-Node: 7\r\n\r\n";
    assert!(head.ends_with(added), "{head}");
    client.text("frames follow");
    client.expect(TEXT, b"frames follow");
}

#[test]
fn an_outbound_connection_records_a_subprotocol_that_its_service_does_not_list() {
    let (server, _far) = accepting(&[], |_| Accept::new().protocol("v2.chat"));
    let (near, strings) = Puppet::new();
    let (_near_server, route) = near.serve_and_connect(Settings::default());
    let request = ClientRequest::new("localhost", "/").and_then(|r| r.protocol("v1.chat"));
    let request = request.and_then(|r| r.protocol("v2.chat")).unwrap();
    let address = server.address;
    let id = strings.run(move |cx| cx.connect(Connect::to(address), route, &request).unwrap());
    assert_eq!(strings.opened(), id);
    assert!(strings.run(move |cx| cx.record(id).unwrap().protocol == Some("v2.chat")));
}

/// The variable by which [`a_rejected_subprotocol_is_logged`] runs itself with a log.
const LOGS: &str = "WEIR_TEST_LOGS";

/// In a process of its own: the logger and its level belong to the process, and other tests count
/// suppressed lines.
#[test]
fn a_rejected_subprotocol_is_logged() {
    if env::var_os(LOGS).is_some() {
        env_logger::builder().filter_level(log::LevelFilter::Warn).init();
        let (server, _strings) = accepting(&[], |_| Accept::new().protocol("v3.chat"));
        let (_client, head) = offered(&server);
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        return;
    }
    let name = "library::accept::a_rejected_subprotocol_is_logged";
    let itself = Command::new(env::current_exe().unwrap());
    let mut command = clean(itself, [name, "--exact", "--nocapture"]);
    let mut process = Process::spawn(command.env(LOGS, "1"));
    let line = process.logged("the service's 101 cannot be sent");
    assert!(line.contains("subprotocol was not offered by the client"), "{line}");
    assert!(line.contains("path=/ ") && line.contains("Puppet"), "{line}");
    assert_eq!(process.wait(), Some(0));
}
