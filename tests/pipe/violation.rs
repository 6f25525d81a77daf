//! Clients that violate the protocol: what their upstream still sends passes before their Close.

use std::io::Write;
use std::thread;
use std::time::Duration;

use weir::protocol::ProtocolError;
use weir::reactor::CloseReason;
use weir::reactor::settings::{RouteSettings, Settings};

use super::upstream::{Joined, join, joining, listener, unmasked};
use crate::support::{BINARY, Client, PING, PONG, TEXT, frame};

const VIOLATION: CloseReason = CloseReason::Protocol(ProtocolError::FragmentedControl);

/// A frame that violates the protocol.
fn invalid() -> Vec<u8> {
    frame(false, PING, b"")
}

fn settings() -> Settings {
    Settings::default().close_timeout(Duration::from_millis(600))
}

/// A tunnel whose close timeout no test waits for.
fn patient() -> Joined {
    Joined::new()
}

fn impatient() -> Joined {
    Joined::with(settings(), RouteSettings::default(), |_| {})
}

/// The client violates the protocol right behind a message. The upstream has got both.
fn violate(tunnel: &mut Joined) {
    tunnel.client.raw(&[frame(true, TEXT, b"valid"), invalid()].concat());
    tunnel.upstream.expect(TEXT, b"valid");
    assert_eq!(tunnel.upstream.expect_close(), (1001, String::new()));
}

fn expect_violation(client: &mut Client) {
    let text = ProtocolError::FragmentedControl.as_str();
    assert_eq!(client.expect_close(), (1002, text.into()));
}

#[test]
fn responses_to_messages_before_a_violation_pass_before_the_close() {
    let mut tunnel = patient();
    violate(&mut tunnel);
    // Nothing more is read from the client.
    tunnel.client.text("ignored");
    tunnel.upstream.send(TEXT, b"valid");
    tunnel.client.expect(TEXT, b"valid");
    tunnel.upstream.send(PING, b"still");
    tunnel.client.expect(PING, b"still");
    tunnel.client.send(PONG, b"still");
    tunnel.upstream.raw(&unmasked(true, BINARY, &[7; 1000])[..500]);
    tunnel.upstream.raw(&unmasked(true, BINARY, &[7; 1000])[500..]);
    tunnel.client.expect(BINARY, &[7; 1000]);
    tunnel.upstream.close(4000, "mine");
    expect_violation(&mut tunnel.client);
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (end, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (VIOLATION, CloseReason::TunnelEnded));
    assert_eq!((end.from_client.messages, end.from_upstream.messages), (1, 2));
}

#[test]
fn the_end_of_the_upstream_ends_the_wait_for_its_close() {
    for resets in [false, true] {
        let mut tunnel = patient();
        violate(&mut tunnel);
        tunnel.upstream.send(TEXT, b"last");
        tunnel.client.expect(TEXT, b"last");
        // A part of a frame is dropped.
        tunnel.upstream.raw(&unmasked(true, TEXT, b"cut")[..3]);
        let Joined { server, mut client, upstream, events } = tunnel;
        match resets {
            true => upstream.reset(),
            false => drop(upstream),
        }
        expect_violation(&mut client);
        client.expect_end();
        drop(client);
        let (_, client, upstream) = events.ends();
        assert_eq!((client, upstream), (VIOLATION, CloseReason::TunnelEnded));
        server.stop_clean();
    }
}

#[test]
fn an_upstream_that_does_not_close_delays_the_close_by_the_close_timeout_only() {
    for sends in [false, true] {
        let mut tunnel = impatient();
        violate(&mut tunnel);
        let mut writer = tunnel.upstream.stream.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let message = unmasked(true, TEXT, b"more");
            while sends && writer.write_all(&message).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let close = loop {
            let next = tunnel.client.frame();
            if next.opcode != TEXT {
                break next;
            }
        };
        assert_eq!(close.payload[..2], 1002_u16.to_be_bytes());
        tunnel.client.expect_end();
        tunnel.client.finish();
        let (_, client, upstream) = tunnel.ends();
        assert_eq!((client, upstream), (VIOLATION, CloseReason::TunnelEnded));
        thread.join().unwrap();
    }
}

/// A client that reads nothing more does not keep its tunnel, nor the upstream's bytes.
#[test]
fn a_violator_that_does_not_read_is_dropped_after_the_close_timeout() {
    let listener = listener();
    let route = RouteSettings::default().write_timeout(Duration::from_secs(60));
    let (server, events) = joining(&listener, settings(), route, |_| {});
    let (mut client, mut upstream) = join(Client::narrow_tcp(server.address), &listener);
    client.raw(&invalid());
    assert_eq!(upstream.expect_close().0, 1001);
    let bytes = unmasked(true, BINARY, &[0; 50_000]);
    while upstream.stream.write_all(&bytes).is_ok() {}
    let (_, reason, other) = events.ends();
    assert_eq!((reason, other), (VIOLATION, CloseReason::TunnelEnded));
    drop(client);
    server.stop_clean();
}

#[test]
fn a_violator_that_resets_frees_its_tunnel() {
    let mut tunnel = patient();
    violate(&mut tunnel);
    socket2::SockRef::from(&tunnel.client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    let Joined { server, client, mut upstream, events } = tunnel;
    drop(client);
    // Its upstream is still answered.
    upstream.send(TEXT, b"to nobody");
    upstream.close(1001, "");
    upstream.expect_end();
    drop(upstream);
    let (_, client, upstream) = events.ends();
    assert_eq!((client, upstream), (VIOLATION, CloseReason::TunnelEnded));
    server.stop_clean();
}

#[test]
fn an_upstream_that_violates_the_protocol_after_its_client_ends_the_wait() {
    let mut tunnel = patient();
    violate(&mut tunnel);
    // Masked, as only a client's frames are.
    tunnel.upstream.raw(&frame(true, TEXT, b"bad"));
    expect_violation(&mut tunnel.client);
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (VIOLATION, CloseReason::TunnelEnded));
}

#[test]
fn a_shutdown_does_not_wait_for_the_upstream_of_a_violator() {
    let mut tunnel = patient();
    violate(&mut tunnel);
    tunnel.server.shutdown();
    expect_violation(&mut tunnel.client);
    tunnel.client.expect_end();
    tunnel.client.finish();
    tunnel.upstream.close(1001, "");
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (VIOLATION, CloseReason::TunnelEnded));
}

#[test]
fn a_violator_whose_upstream_has_closed_is_not_kept() {
    let mut tunnel = patient();
    tunnel.upstream.close(4000, "mine");
    assert_eq!(tunnel.client.expect_close(), (4000, "mine".into()));
    tunnel.client.raw(&invalid());
    assert_eq!(tunnel.upstream.expect_close(), (4000, String::new()));
    tunnel.client.expect_end();
    tunnel.client.finish();
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    assert_eq!(tunnel.ends().1, VIOLATION);
}
