//! Delivery of publications: kinds of payload, order, full queues, and publishing from each
//! handler.

use weir::protocol::{CloseCode, CloseFrame, Message, SharedFrame};
use weir::reactor::settings::{RouteSettings, Settings, SlowPolicy};
use weir::reactor::{CloseReason, Payload, PublishOptions, SendOutcome, Target};

use super::selection::report;
use crate::puppet::{Puppet, Report};
use crate::support::{BINARY, PING, TEXT};

fn tracked() -> PublishOptions<'static> {
    PublishOptions::default().track(true)
}

/// Room for two messages of 1,000 bytes, and for a third as the last.
fn narrow(slow_policy: SlowPolicy) -> RouteSettings {
    RouteSettings::default()
        .message_bytes_max(1000)
        .outbox_low_bytes(100)
        .outbox_soft_bytes(2100)
        .outbox_hard_bytes(3200)
        .slow_policy(slow_policy)
}

#[test]
fn every_kind_of_payload_arrives() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (clients, _): (Vec<_>, Vec<_>) = (0..3).map(|_| strings.client(&server, "/")).unzip();
    let large = vec![0xA5; 100_000];
    let sent = large.clone();
    strings.run(move |cx| {
        let frame = SharedFrame::message("encoded once".into());
        let close = CloseFrame::new(CloseCode::SERVICE_RESTART, "come back");
        let payloads: [Payload<'_>; 7] = [
            "text".into(),
            Message::Binary(b"binary").into(),
            Message::Binary(&sent).into(),
            (&frame).into(),
            (&frame).into(),
            Payload::Ping(&[b'p'; 130]),
            Payload::Close(close),
        ];
        for payload in payloads {
            assert_eq!(
                cx.publish(Target::All, payload, PublishOptions::default()),
                report(3, 0, 0)
            );
        }
        // Neither a ping nor a Close counts as a message.
        assert_eq!(cx.metrics().messages_out, 15);
        assert_eq!(cx.publish(Target::All, "late", PublishOptions::default()), report(0, 0, 3));
    });
    for mut client in clients {
        client.expect(TEXT, b"text");
        client.expect(BINARY, b"binary");
        client.expect(BINARY, &large);
        client.expect(TEXT, b"encoded once");
        client.expect(TEXT, b"encoded once");
        client.expect(PING, &[b'p'; 125]);
        assert_eq!(client.expect_close(), (1012, "come back".to_owned()));
        client.close(1012, "");
        client.expect_end();
        drop(client);
        assert_eq!(strings.closed().1, CloseReason::Service(CloseCode::SERVICE_RESTART));
    }
}

#[test]
fn connections_with_full_queues_are_counted_and_others_receive_the_message() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve(Settings::default(), narrow(SlowPolicy::Drop));
    let (mut clients, ids): (Vec<_>, Vec<_>) = (0..3).map(|_| strings.client(&server, "/")).unzip();
    // All of this within one turn, so that nothing is written in between.
    strings.run(move |cx| {
        let [a, b, c] = ids[..] else { unreachable!() };
        let kilo = "k".repeat(1000);
        assert_eq!(cx.send(b, &*kilo), SendOutcome::Queued);
        assert_eq!(cx.send(b, &*kilo), SendOutcome::Queued);
        let published = cx.publish(Target::List(&[a, b, c]), &*kilo, tracked());
        let outcomes =
            [(a, SendOutcome::Queued), (b, SendOutcome::Congested), (c, SendOutcome::Queued)];
        assert_eq!((published.sent, published.refused, published.skipped), (3, 0, 0));
        assert_eq!(published.outcomes, outcomes);

        let published = cx.publish(Target::List(&[a, b, c]), &*kilo, tracked());
        assert_eq!((published.sent, published.refused, published.skipped), (2, 1, 0));
        assert_eq!(published.outcomes[1], (b, SendOutcome::Full));
        // The connection is refused small messages, too, until its queue has drained.
        let untracked = cx.publish(Target::All, "s", PublishOptions::default());
        assert_eq!(untracked, report(2, 1, 0));

        let fail_fast = tracked().fail_fast(true);
        let published = cx.publish(Target::List(&[a, b, c]), "fast", fail_fast);
        assert_eq!((published.sent, published.refused, published.skipped), (1, 1, 0));
        assert_eq!(published.outcomes, [(a, SendOutcome::Queued), (b, SendOutcome::Full)]);
        assert_eq!(cx.metrics().messages_refused, 3);
    });
    let kilo = [b'k'; 1000];
    for (client, texts) in clients.iter_mut().zip([&[2, 1, 4][..], &[3], &[2, 1]]) {
        (0..texts[0]).for_each(|_| client.expect(TEXT, &kilo));
        if texts.len() > 1 {
            client.expect(TEXT, b"s");
        }
        if texts.len() > 2 {
            client.expect(TEXT, b"fast");
        }
    }
    while !matches!(strings.next(), Report::Drained(_)) {}
    let again = strings.run(|cx| cx.publish(Target::All, "again", PublishOptions::default()));
    assert_eq!(again, report(3, 0, 0));
    clients.iter_mut().for_each(|client| client.expect(TEXT, b"again"));
}

#[test]
fn a_connection_closed_for_its_full_queue_is_refused_once_and_then_skipped() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve(Settings::default(), narrow(SlowPolicy::Close));
    let (mut clients, ids): (Vec<_>, Vec<_>) = (0..2).map(|_| strings.client(&server, "/")).unzip();
    strings.run(move |cx| {
        let kilo = "k".repeat(1000);
        for _ in 0..3 {
            assert!(cx.send(ids[0], &*kilo).is_queued());
        }
        let first = cx.publish(Target::All, &*kilo, PublishOptions::default());
        assert_eq!(first, report(1, 1, 0));
        let then = cx.publish(Target::All, "then", PublishOptions::default());
        assert_eq!(then, report(1, 0, 1));
    });
    assert_eq!(clients[0].expect_close(), (1013, "slow consumer".to_owned()));
    clients[1].expect(TEXT, &[b'k'; 1000]);
    clients[1].expect(TEXT, b"then");
}

#[test]
fn sends_and_publishes_keep_their_order() {
    const ROUNDS: usize = 200;
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (clients, ids): (Vec<_>, Vec<_>) = (0..2).map(|_| strings.client(&server, "/")).unzip();
    let texts = |round: usize| {
        // Below and above the size from which on frames are shared instead of copied.
        let large = format!("{round}").repeat(300);
        [format!("sent {round}"), format!("small {round}"), large, format!("frame {round}")]
    };
    strings.run(move |cx| {
        for round in 0..ROUNDS {
            let [sent, small, large, frame] = texts(round);
            for &id in &ids {
                assert_eq!(cx.send(id, &*sent), SendOutcome::Queued);
            }
            for text in [small, large] {
                let published = cx.publish(Target::All, &*text, PublishOptions::default());
                assert_eq!(published.sent, 2);
            }
            let frame = SharedFrame::message((&*frame).into());
            for &id in &ids {
                assert_eq!(cx.send_shared(id, &frame), SendOutcome::Queued);
            }
        }
    });
    for mut client in clients {
        for round in 0..ROUNDS {
            for text in texts(round) {
                client.expect(TEXT, text.as_bytes());
            }
        }
    }
}

#[test]
fn every_handler_may_publish() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_open = Box::new(|cx, id| {
        let text = format!("open {}", id.serial());
        let _ = cx.publish(Target::All, &*text, PublishOptions::default());
        if id.serial() == 1 {
            cx.subscribe(id, "t").unwrap();
        }
    });
    puppet.on_message = Box::new(|cx, id, message| {
        let except = [id];
        let except = PublishOptions::default().except(&except);
        let _ = cx.publish(Target::All, message, except);
    });
    puppet.on_close = Box::new(|cx, id| {
        let text = format!("close {}", id.serial());
        // The connection has ended: a list that names it skips it.
        let published = cx.publish(Target::List(&[id]), "nothing", PublishOptions::default());
        assert_eq!(published, report(0, 0, 1));
        let _ = cx.publish(Target::All, &*text, PublishOptions::default());
    });
    puppet.on_timer = Box::new(|cx, key| {
        let text = format!("timer {key}");
        let _ = cx.publish(Target::Topic("t"), &*text, PublishOptions::default());
    });
    puppet.on_empty = Box::new(|cx, topic| {
        let text = format!("empty {topic}");
        let _ = cx.publish(Target::All, &*text, PublishOptions::default());
    });
    let server = puppet.serve_plain();
    let (mut first, _) = strings.client(&server, "/");
    let (mut second, second_id) = strings.client(&server, "/");
    second.text("said");
    while strings.next() != Report::Text(second_id, "said".to_owned()) {}
    assert!(strings.run(|cx| cx.schedule(std::time::Duration::ZERO, 9)).is_some());
    while strings.next() != Report::Timer(9) {}
    strings.run(move |cx| cx.subscribe(second_id, "gone")).unwrap();
    drop(second);
    for text in ["open 1", "open 2", "said", "timer 9", "close 2", "empty gone"] {
        first.expect(TEXT, text.as_bytes());
    }
    assert_eq!(strings.run(|cx| cx.metrics().panics), 0);
}
