//! What a send returns when its message has no room, and what follows.

use weir::protocol::SharedFrame;
use weir::reactor::settings::{RouteSettings, Settings, SlowPolicy};
use weir::reactor::{CloseReason, ConnId, Context, SendOutcome};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{BINARY, Client, Server, TEXT};

const KIB: usize = 1024;

/// Room for 16 KiB on a connection, and for `memory` bytes on all together, half of it for each taker.
fn serve(slow_policy: SlowPolicy, memory: usize) -> (Server, Strings, Client, ConnId) {
    let settings =
        Settings::default().connections_max(1).outbound_max(1).buffered_bytes_max(memory);
    let route = RouteSettings::default()
        .message_bytes_max(4 * KIB)
        .outbox_low_bytes(4 * KIB)
        .outbox_soft_bytes(8 * KIB)
        .outbox_hard_bytes(16 * KIB)
        .slow_policy(slow_policy);
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve(settings, route);
    let (client, conn) = strings.client(&server, "/");
    (server, strings, client, conn)
}

/// Sends messages of 1 KiB within one turn until one is not queued; returns how many were, and the
/// other's outcome.
fn fill(cx: &mut Context<'_>, conn: ConnId) -> (usize, SendOutcome) {
    for sent in 0..64 {
        let outcome = cx.send(conn, &[b'.'; KIB][..]);
        if !outcome.is_queued() {
            return (sent, outcome);
        }
    }
    panic!("all 64 messages were queued");
}

#[test]
fn a_full_queue_that_drops_messages_drains() {
    let (_server, strings, mut client, conn) = serve(SlowPolicy::Drop, 1 << 30);
    let outcomes = strings.run(move |cx| {
        let filled = fill(cx, conn);
        (filled, cx.send(conn, "."), cx.ping(conn, b""))
    });
    assert_eq!(outcomes, ((15, SendOutcome::Full), SendOutcome::Full, SendOutcome::Congested));
    (0..15).for_each(|_| client.expect(BINARY, &[b'.'; KIB]));
    assert_eq!(strings.next(), Report::Drained(conn));
    assert_eq!(strings.run(move |cx| cx.send(conn, "room again")), SendOutcome::Queued);
}

#[test]
fn a_full_queue_that_closes_is_followed_by_on_close() {
    let (_server, strings, mut client, conn) = serve(SlowPolicy::Close, 1 << 30);
    let outcomes = strings.run(move |cx| (fill(cx, conn), cx.send(conn, ".")));
    assert_eq!(outcomes, ((15, SendOutcome::Full), SendOutcome::Gone));
    assert_eq!(client.expect_close(), (1013, "slow consumer".to_owned()));
    client.close(1013, "");
    assert_eq!(strings.next(), Report::Closed(conn, CloseReason::SlowConsumer));
}

#[test]
fn an_overloaded_loop_sheds_the_messages_of_a_queue_until_it_drains() {
    let (_server, strings, mut client, conn) = serve(SlowPolicy::Drop, 16 * KIB);
    let ((sent, refused), next) = strings.run(move |cx| (fill(cx, conn), cx.send(conn, ".")));
    assert!(sent > 0 && sent < 15, "{sent} messages in half of 16 KiB");
    assert_eq!((refused, next), (SendOutcome::Overloaded, SendOutcome::Full));
    (0..sent).for_each(|_| client.expect(BINARY, &[b'.'; KIB]));
    assert_eq!(strings.next(), Report::Drained(conn));
    assert_eq!(strings.run(move |cx| cx.send(conn, "room again")), SendOutcome::Queued);
}

#[test]
fn an_overloaded_loop_leaves_a_connection_without_output_as_it_is() {
    let (_server, strings, mut client, conn) = serve(SlowPolicy::Drop, 16 * KIB);
    let outcomes = strings.run(move |cx| {
        let frame = SharedFrame::message((&[b'.'; 12 * KIB][..]).into());
        (cx.send_shared(conn, &frame), cx.send(conn, "small"))
    });
    assert_eq!(outcomes, (SendOutcome::Overloaded, SendOutcome::Queued));
    client.expect(TEXT, b"small");
    strings.expect_no_report();
}

#[test]
fn an_overloaded_loop_that_closes_says_so() {
    let (_server, strings, mut client, conn) = serve(SlowPolicy::Close, 16 * KIB);
    let (_, refused) = strings.run(move |cx| fill(cx, conn));
    assert_eq!(refused, SendOutcome::Overloaded);
    assert_eq!(client.expect_close(), (1013, "server overloaded".to_owned()));
    client.close(1013, "");
    assert_eq!(strings.closed(), (conn, CloseReason::Overloaded));
}

#[test]
fn a_message_larger_than_the_queue_affects_nothing_else() {
    for policy in [SlowPolicy::Drop, SlowPolicy::Close] {
        let (server, strings, mut client, conn) = serve(policy, 1 << 30);
        let outcomes = strings.run(move |cx| {
            let large = vec![b'.'; 16 * KIB];
            let frame = SharedFrame::message((&large[..]).into());
            let first = cx.send(conn, "first");
            (first, cx.send(conn, &large[..]), cx.send_shared(conn, &frame), cx.send(conn, "last"))
        });
        let (queued, too_large) = (SendOutcome::Queued, SendOutcome::TooLarge);
        assert_eq!(outcomes, (queued, too_large, too_large, queued));
        client.expect(TEXT, b"first");
        client.expect(TEXT, b"last");
        strings.expect_no_report();
        drop(client);
        assert_eq!(server.stop_clean().messages_refused, 2);
    }
}

#[test]
fn a_full_queue_answers_too_large_for_what_it_could_never_hold() {
    let (_server, strings, mut client, conn) = serve(SlowPolicy::Drop, 1 << 30);
    let (full, large) = strings.run(move |cx| {
        let (_, full) = fill(cx, conn);
        (full, cx.send(conn, &[b'.'; 16 * KIB][..]))
    });
    assert_eq!((full, large), (SendOutcome::Full, SendOutcome::TooLarge));
    client.expect(BINARY, &[b'.'; KIB]);
}
