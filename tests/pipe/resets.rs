//! Sides of a tunnel that are reset: what they sent before still passes.
//!
//! Linux keeps the bytes that arrived before a reset, and drops only what the sender's kernel has not
//! sent. A write reports the reset, and then a read finds those bytes and the end of the stream.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, Context};

use super::upstream::{Events, Joined, join, joining, listener};
use crate::support::{BINARY, Client, DEADLINE, TEXT, eventually};

const RESTARTED: CloseReason = CloseReason::UpstreamClosed(Some(CloseCode::SERVICE_RESTART));

/// A condition on the loop, evaluated there.
pub fn holds(
    events: &Events,
    condition: impl FnOnce(&mut Context<'_>) -> bool + Send + 'static,
) -> bool {
    let (sender, receiver) = channel();
    events.run(move |cx| sender.send(condition(cx)).unwrap());
    receiver.recv_timeout(DEADLINE).unwrap()
}

/// Stops the loop until the sender is dropped.
fn stop(events: &Events) -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    let (stopped, has_stopped) = channel();
    events.run(move |_| {
        stopped.send(()).unwrap();
        let _ = receiver.recv_timeout(DEADLINE);
    });
    has_stopped.recv_timeout(DEADLINE).unwrap();
    sender
}

#[test]
fn what_a_paused_upstream_has_sent_before_a_reset_passes() {
    for client_writes in [false, true] {
        let route = RouteSettings::default().write_timeout(Duration::from_secs(60));
        let listener = listener();
        let (server, events) = joining(&listener, Settings::default(), route, |_| {});
        let (mut client, mut upstream) = join(Client::narrow_tcp(server.address), &listener);
        let mut sent = 0;
        // Until weir does not read the upstream any more.
        while !holds(&events, |cx| cx.metrics().congested > 0) {
            upstream.send(BINARY, &[7; 4_000]);
            sent += 1;
        }
        upstream.send(BINARY, &[8; 5_000]);
        upstream.close(1012, "restart");
        // A reset drops what the upstream's kernel has not sent.
        std::thread::sleep(Duration::from_millis(200));
        upstream.reset();
        std::thread::sleep(Duration::from_millis(200));
        if client_writes {
            client.text("to nobody");
            client.text("to nobody");
            let has_passed = || holds(&events, |cx| cx.metrics().messages_in >= 2);
            eventually(has_passed, "weir writes to the upstream");
        }
        (0..sent).for_each(|_| client.expect(BINARY, &[7; 4_000]));
        client.expect(BINARY, &[8; 5_000]);
        assert_eq!(client.expect_close(), (1012, "restart".into()));
        client.close(1012, "");
        client.expect_end();
        drop(client);
        assert_eq!(events.ends().1, RESTARTED);
        server.stop_clean();
    }
}

/// The loop reads from the client first, whose message it cannot write.
#[test]
fn what_an_upstream_has_sent_before_a_reset_passes_after_a_failed_write() {
    for closes in [false, true] {
        let mut tunnel = Joined::new();
        let stopped = stop(&tunnel.events);
        tunnel.client.text("to nobody");
        tunnel.upstream.send(TEXT, b"last");
        if closes {
            tunnel.upstream.close(1012, "restart");
        }
        let Joined { server, mut client, upstream, events } = tunnel;
        upstream.reset();
        drop(stopped);
        client.expect(TEXT, b"last");
        let text = if closes { "restart" } else { "upstream lost" };
        assert_eq!(client.expect_close(), (1012, text.into()));
        client.close(1012, "");
        client.expect_end();
        drop(client);
        let (_, client, upstream) = events.ends();
        let lost = CloseReason::UpstreamLost(CloseCode::SERVICE_RESTART);
        let closed = CloseReason::PeerClosed(Some(CloseCode::SERVICE_RESTART));
        let expected = if closes { (RESTARTED, closed) } else { (lost, CloseReason::PeerReset) };
        assert_eq!((client, upstream), expected);
        server.stop_clean();
    }
}

/// The loop reads from the upstream first, whose message it cannot write.
#[test]
fn what_a_client_has_sent_before_a_reset_passes_after_a_failed_write() {
    for closes in [false, true] {
        let mut tunnel = Joined::new();
        let stopped = stop(&tunnel.events);
        tunnel.upstream.send(TEXT, b"to nobody");
        tunnel.client.text("last");
        if closes {
            tunnel.client.close(1000, "bye");
        }
        socket2::SockRef::from(&tunnel.client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        let Joined { server, client, mut upstream, events } = tunnel;
        drop(client);
        drop(stopped);
        upstream.expect(TEXT, b"last");
        if closes {
            assert_eq!(upstream.expect_close(), (1000, "bye".into()));
            upstream.close(1000, "");
        }
        upstream.expect_end();
        drop(upstream);
        let (_, client, _) = events.ends();
        let closed = CloseReason::PeerClosed(Some(CloseCode::NORMAL));
        assert_eq!(client, if closes { closed } else { CloseReason::PeerReset });
        server.stop_clean();
    }
}
