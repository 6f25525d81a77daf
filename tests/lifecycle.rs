//! Every reason for which a connection ends: what the peer reads, and the one call of `on_close`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use weir::protocol::handshake::{Accept, ClientError, Refusal, Response};
use weir::protocol::{CloseCode, Message, ProtocolError};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Decision, Excess, Metrics, ProxyFault, Service};

use crate::deferring::deferring;
use crate::support::{
    BINARY, CLOSE, COMPRESSED, CONTINUATION, Client, PING, Seen, Server, TEXT, Watched, frame,
    next_end, only_end, serving, upgrade,
};

/// One of each kind. [`every_reason_has_a_test_that_names_it`] fails for a new kind until it is added here.
const REASONS: [CloseReason; 33] = [
    CloseReason::PeerClosed(None),
    CloseReason::PeerGone,
    CloseReason::PeerReset,
    CloseReason::Service(CloseCode::NORMAL),
    CloseReason::Protocol(ProtocolError::Unmasked),
    CloseReason::HeartbeatTimeout,
    CloseReason::IdleTimeout,
    CloseReason::SlowConsumer,
    CloseReason::Rate(Excess::Messages),
    CloseReason::WriteTimeout,
    CloseReason::Overloaded,
    CloseReason::Shed,
    CloseReason::ServicePanicked,
    CloseReason::Shutdown,
    CloseReason::HandshakeTimeout,
    CloseReason::Refused(Refusal::Internal),
    CloseReason::HttpDone,
    CloseReason::Aborted,
    CloseReason::ConnectFailed(ErrorKind::ConnectionRefused),
    CloseReason::UpgradeFailed(ClientError::Malformed),
    CloseReason::Truncated,
    CloseReason::TlsFailed,
    CloseReason::ProxyHeader(ProxyFault::Untrusted),
    CloseReason::Cut,
    CloseReason::UpstreamClosed(None),
    CloseReason::UpstreamLost(CloseCode::SERVICE_RESTART),
    CloseReason::UpstreamSilent(CloseCode::SERVICE_RESTART),
    CloseReason::UpstreamStuck,
    CloseReason::UpstreamProtocol,
    CloseReason::ClosedMidFrame,
    CloseReason::TunnelEnded,
    CloseReason::Expired(CloseCode::UNAUTHORIZED),
    CloseReason::SignedOut(CloseCode::FORBIDDEN),
];

/// The file whose tests cause this end.
fn tested_in(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::PeerClosed(_) | CloseReason::Service(_) => "closing.rs",
        CloseReason::HeartbeatTimeout => "heartbeat.rs",
        CloseReason::Shutdown => "shutdown.rs",
        CloseReason::SlowConsumer | CloseReason::WriteTimeout => "pressure/ends.rs",
        CloseReason::Rate(_) => "rates/over.rs",
        CloseReason::Overloaded => "memory.rs",
        CloseReason::Shed => "levels/shedding.rs",
        CloseReason::Aborted => "driven.rs",
        CloseReason::ConnectFailed(_) | CloseReason::UpgradeFailed(_) => "client_role/refusals.rs",
        CloseReason::Truncated | CloseReason::TlsFailed => "tls/stream.rs",
        CloseReason::ProxyHeader(_) => "addresses/proxy_header.rs",
        CloseReason::Cut => "pipe/http/ends.rs",
        CloseReason::UpstreamSilent(_) => "pipe/heartbeat.rs",
        CloseReason::UpstreamClosed(_)
        | CloseReason::UpstreamLost(_)
        | CloseReason::UpstreamStuck
        | CloseReason::UpstreamProtocol
        | CloseReason::ClosedMidFrame
        | CloseReason::TunnelEnded => "pipe/ends.rs",
        CloseReason::PeerGone
        | CloseReason::PeerReset
        | CloseReason::Protocol(_)
        | CloseReason::IdleTimeout
        | CloseReason::ServicePanicked
        | CloseReason::HandshakeTimeout
        | CloseReason::Refused(_)
        | CloseReason::HttpDone => "lifecycle.rs",
        CloseReason::Expired(_) | CloseReason::SignedOut(_) => "gate/identities.rs",
        other => panic!("no test is listed for {other:?}"),
    }
}

#[test]
fn every_reason_has_a_test_that_names_it() {
    let violations = ProtocolError::ALL.map(CloseReason::Protocol);
    let names: BTreeSet<_> =
        REASONS.iter().chain(&violations).map(|reason| reason.name()).collect();
    assert!(names.iter().eq(&CloseReason::NAMES), "{names:?}");
    for reason in REASONS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(tested_in(reason));
        let kind = format!("{reason:?}");
        let kind = kind.split('(').next().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let found = text.matches(&format!("CloseReason::{kind}")).count();
        // In this file the two lists above name it, too.
        let listed = if file.ends_with("lifecycle.rs") { 2 } else { 0 };
        assert!(found > listed, "{kind} in {}", file.display());
    }
}

/// Waits for the end of the only connection and of the server, and checks the reason.
fn expect_end_of(
    server: Server,
    seen: &std::sync::mpsc::Receiver<Seen>,
    reason: CloseReason,
) -> Metrics {
    let (found, metrics) = only_end(server, seen);
    assert_eq!(found, reason);
    metrics
}

#[test]
fn a_stream_that_ends_without_a_close_is_peer_gone() {
    let (server, seen) = Server::watched(Settings::default(), RouteSettings::default());
    let client = Client::open(server.address, "/");
    drop(client);
    let metrics = expect_end_of(server, &seen, CloseReason::PeerGone);
    assert_eq!(metrics.ended_peer_lost, 1);
}

#[test]
fn a_reset_is_peer_reset() {
    let (server, seen) = Server::watched(Settings::default(), RouteSettings::default());
    let client = Client::open(server.address, "/");
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let metrics = expect_end_of(server, &seen, CloseReason::PeerReset);
    assert_eq!(metrics.ended_peer_lost, 1);
}

const MESSAGE_BYTES_MAX: usize = 1000;

/// Bytes that violate the protocol in this way; `None` if a client cannot.
fn violation(error: ProtocolError) -> Option<Vec<u8>> {
    let masked = |head: &[u8]| [head, &[0; 4]].concat();
    Some(match error {
        ProtocolError::ReservedBits => masked(&[0xC1, 0x80]),
        ProtocolError::ReservedOpcode => masked(&[0x8B, 0x80]),
        ProtocolError::Unmasked => vec![0x81, 0x00],
        ProtocolError::Masked => return None,
        ProtocolError::FragmentedControl => frame(false, PING, b""),
        ProtocolError::OversizedControl => frame(true, PING, &[0; 126]),
        ProtocolError::NonMinimalLength => masked(&[0x82, 0xFE, 0, 125]),
        ProtocolError::LengthOverflow => masked(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ProtocolError::UnexpectedContinuation => frame(true, CONTINUATION, b""),
        ProtocolError::ExpectedContinuation => {
            [frame(false, TEXT, b""), frame(true, TEXT, b"")].concat()
        }
        ProtocolError::InvalidClosePayload => frame(true, CLOSE, &[3]),
        ProtocolError::InvalidCloseCode => frame(true, CLOSE, &1005_u16.to_be_bytes()),
        ProtocolError::InvalidUtf8 => frame(false, TEXT, b"\xFF"),
        // The header alone: the server does not wait for the payload.
        ProtocolError::MessageTooBig => {
            frame(true, BINARY, &[0; MESSAGE_BYTES_MAX + 1])[..8].to_vec()
        }
        ProtocolError::FragmentTimeout => frame(false, TEXT, b"begin"),
        // A block of the reserved type.
        ProtocolError::InvalidDeflate => frame(true, COMPRESSED | TEXT, &[0xFF]),
        other => panic!("no bytes are listed for {other:?}"),
    })
}

#[test]
fn every_violation_is_answered_with_its_code_and_text() {
    let route = || {
        RouteSettings::default()
            .message_bytes_max(MESSAGE_BYTES_MAX)
            .fragment_timeout(Duration::from_millis(300))
    };
    for error in ProtocolError::ALL {
        let Some(bytes) = violation(error) else {
            continue;
        };
        let (server, seen) = Server::watched(Settings::default(), route());
        let offer = match error {
            ProtocolError::InvalidDeflate => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            _ => "",
        };
        let (mut client, _) = Client::open_with(server.address, "/", offer);
        client.text("before");
        client.raw(&bytes);
        client.expect(TEXT, b"before");
        let code = error.close_code();
        let text = match error {
            ProtocolError::MessageTooBig => format!("{error}: 1001 bytes, limit 1000"),
            _ => error.to_string(),
        };
        assert_eq!(client.expect_close(), (code.get(), text), "{error:?}");
        client.close(code.get(), "");
        client.expect_end();
        drop(client);
        let metrics = expect_end_of(server, &seen, CloseReason::Protocol(error));
        assert_eq!((metrics.ended_protocol, metrics.messages_in), (1, 1));
    }
}

#[test]
fn the_idle_timeout_ends_a_connection_without_data_messages() {
    let idle_timeout = Some(Duration::from_millis(600));
    let route = RouteSettings::default().idle_timeout(idle_timeout);
    let (server, seen) = Server::watched(Settings::default(), route);
    let mut client = Client::open(server.address, "/");
    client.send(PING, b"no data");
    client.expect(crate::support::PONG, b"no data");
    assert_eq!(client.expect_close(), (1001, "idle timeout".into()));
    client.close(1001, "");
    client.expect_end();
    drop(client);
    let metrics = expect_end_of(server, &seen, CloseReason::IdleTimeout);
    assert_eq!(metrics.ended_timeout, 1);
}

#[test]
fn a_panic_of_a_handler_ends_its_connection_alone() {
    let (service, seen) = Watched::new(|cx, conn, message| {
        assert_ne!(message.as_bytes(), b"panic", "on purpose");
        let _ = cx.send(conn, message);
    });
    let server = serving(Settings::default(), service);
    let mut other = Client::open(server.address, "/");
    let mut client = Client::open(server.address, "/");
    client.text("before");
    client.text("panic");
    client.text("behind");
    client.expect(TEXT, b"before");
    assert_eq!(client.expect_close(), (1011, "internal error".into()));
    client.close(1011, "");
    client.expect_end();
    drop(client);
    assert_eq!(next_end(&seen), CloseReason::ServicePanicked);
    other.text("unharmed");
    other.expect(TEXT, b"unharmed");
    drop(other);
    assert_eq!(next_end(&seen), CloseReason::PeerGone);
    let metrics = server.stop();
    assert_eq!((metrics.panics, metrics.ended_otherwise, metrics.messages_in), (1, 1, 3));
}

/// Panics in `on_open` and in `on_close`.
struct PanicsOnOpen(Watched);

impl Service for PanicsOnOpen {
    fn on_open(&mut self, _: &mut Context<'_>, _: ConnId) {
        panic!("on purpose");
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.0.on_message(cx, conn, message);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.0.on_close(cx, conn, why);
        panic!("on purpose");
    }
}

#[test]
fn panics_in_on_open_and_on_close_are_counted() {
    let (watched, seen) = Watched::echo();
    let server = serving(Settings::default(), PanicsOnOpen(watched));
    let mut client = Client::open(server.address, "/");
    assert_eq!(client.expect_close().0, 1011);
    client.close(1011, "");
    client.expect_end();
    drop(client);
    let metrics = expect_end_of(server, &seen, CloseReason::ServicePanicked);
    assert_eq!(metrics.panics, 2);
}

#[test]
fn a_deferred_request_ends_by_the_handshake_timeout() {
    let handshake_timeout = Duration::from_millis(300);
    let (server, seen) = deferring(Settings::default().handshake_timeout(handshake_timeout), None);
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    client.expect_end();
    let metrics = expect_end_of(server, &seen, CloseReason::HandshakeTimeout);
    assert_eq!((metrics.ended_timeout, metrics.opened), (1, 0));
}

#[test]
fn a_deferred_request_may_be_answered_with_a_response() {
    let answer =
        Response::text(401, "credentials needed").header("WWW-Authenticate", "Bearer").unwrap();
    let (server, seen) = deferring(Settings::default(), Some(Decision::Respond(answer)));
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 401 ") && head.contains("\r\nWWW-Authenticate: Bearer\r\n"));
    assert_eq!(body, b"credentials needed");
    client.expect_end();
    drop(client);
    let metrics = expect_end_of(server, &seen, CloseReason::HttpDone);
    assert_eq!((metrics.http_answered, metrics.ended_otherwise), (1, 1));
}

/// Accepts with a subprotocol whose name is invalid in a head.
struct Misnamed(Watched);

impl Service for Misnamed {
    fn protocols(&self) -> &[&str] {
        &["two words"]
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        _: &weir::reactor::UpgradeRequest<'_>,
    ) -> Decision {
        Decision::Accept(Accept::new().protocol("two words"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.0.on_close(cx, conn, why);
    }
}

#[test]
fn an_invalid_subprotocol_is_answered_500() {
    let (watched, seen) = Watched::echo();
    let server = serving(Settings::default(), Misnamed(watched));
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 500 "));
    client.expect_end();
    drop(client);
    let metrics = expect_end_of(server, &seen, CloseReason::Refused(Refusal::Internal));
    assert_eq!((metrics.refused, metrics.opened), (1, 0));
}

/// Closes a connection in `on_request`.
struct ClosesOnRequest {
    panics: bool,
}

impl Service for ClosesOnRequest {
    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &weir::reactor::UpgradeRequest<'_>,
    ) -> Decision {
        cx.close(conn, CloseCode::POLICY, "no");
        assert!(!self.panics, "on purpose");
        Decision::Accept(request.accept())
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

#[test]
fn a_connection_closed_in_on_request_is_not_accepted() {
    for panics in [false, true] {
        let server = serving(Settings::default(), ClosesOnRequest { panics });
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        client.expect_end();
        let metrics = server.stop();
        assert_eq!((metrics.ended_service, metrics.opened, metrics.refused), (1, 0, 0));
    }
}
