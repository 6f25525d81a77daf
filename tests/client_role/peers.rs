//! Outbound connections between two weir loops, or within one.

use std::net::SocketAddr;
use std::time::Duration;

use weir::protocol::handshake::ClientRequest;
use weir::protocol::{CloseCode, CloseFrame, Masked, Message, SharedFrame, mask};
use weir::reactor::settings::{Heartbeat, RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Connect, Decision, Payload, PublishOptions, RouteId, SendOutcome, Target,
};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{Client, Server, eventually};

fn request(path: &str) -> ClientRequest {
    ClientRequest::new("test", path).unwrap()
}

fn connect(strings: &Strings, route: RouteId, to: SocketAddr, request: ClientRequest) -> ConnId {
    strings.run(move |cx| cx.connect(Connect::to(to), route, &request)).unwrap()
}

/// A service that echoes.
fn echo() -> (Puppet, Strings) {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_message = Box::new(|cx, id, message| {
        assert!(cx.send(id, message).is_queued());
    });
    (puppet, strings)
}

/// A server, and another loop with an open connection to it; each with the connection's id on its side.
fn pair() -> ((Server, Strings, ConnId), (Server, Strings, ConnId)) {
    let (echo, far) = echo();
    let far_server = echo.serve_plain();
    let (puppet, near) = Puppet::new();
    let (near_server, route) = puppet.serve_and_connect(Settings::default());
    let id = connect(&near, route, far_server.address, request("/"));
    assert_eq!(near.opened(), id);
    let far_id = far.opened();
    ((far_server, far, far_id), (near_server, near, id))
}

/// The next report, except for drained queues.
fn message(strings: &Strings) -> Report {
    loop {
        match strings.next() {
            Report::Drained(_) => {}
            report => break report,
        }
    }
}

#[test]
fn a_premasked_message_is_unmasked_by_its_key() {
    let ((_far_server, far, far_id), (_near_server, near, id)) = pair();
    // Queued with others, written at once, and more bytes than the kernel takes at once.
    for len in [0, 5, 20, 16_384, 65_536, 250_000] {
        let key = near.run(move |cx| {
            let (key, payload) = (cx.masking_key(), &vec![0x5A; len][..]);
            assert_eq!(cx.send_masked(id, Masked { key, payload }), SendOutcome::Queued);
            key
        });
        let mut expected = vec![0x5A; len];
        mask::apply(key, 0, &mut expected);
        assert_eq!(message(&far), Report::Binary(far_id, expected.clone()), "{len}");
        assert_eq!(message(&near), Report::Binary(id, expected), "{len}");
    }
}

#[test]
fn a_server_refuses_to_send_masked_messages() {
    let ((_far_server, far, far_id), (_near_server, near, id)) = pair();
    far.run(move |cx| {
        let masked = Masked { key: cx.masking_key(), payload: b"masked" };
        assert_eq!(cx.send_masked(far_id, masked), SendOutcome::WrongRole);
        assert_eq!(cx.send(far_id, "plain"), SendOutcome::Queued);
    });
    assert_eq!(message(&near), Report::Text(id, "plain".to_owned()));
}

#[test]
fn another_loop_echoes_messages() {
    let ((_far_server, far, far_id), (_near_server, near, id)) = pair();
    let lengths = [0, 1, 125, 126, 511, 512, 65_535, 65_536, 400_000];
    for len in lengths {
        let sent = "é".repeat(len / 2);
        let text = sent.clone();
        near.run(move |cx| assert!(cx.send(id, &*text).is_queued()));
        assert_eq!(message(&far), Report::Text(far_id, sent.clone()));
        assert_eq!(message(&near), Report::Text(id, sent));
    }
    // A shared frame is masked separately for each server.
    let large = vec![0x5A; 5000];
    let sent = large.clone();
    near.run(move |cx| {
        let frame = SharedFrame::message(Message::Binary(&sent));
        assert_eq!(cx.send_shared(id, &frame), SendOutcome::Queued);
        let published = cx.publish(Target::All, &frame, PublishOptions::default());
        assert_eq!(published.sent, 1);
    });
    for _ in 0..2 {
        assert_eq!(message(&near), Report::Binary(id, large.clone()));
    }
}

#[test]
fn a_client_may_answer_from_within_its_handlers() {
    let (mut far, far_strings) = Puppet::new();
    far.on_open = Box::new(|cx, id| assert_eq!(cx.send(id, "hello?"), SendOutcome::Queued));
    let far_server = far.serve_plain();
    let (mut near, strings) = Puppet::new();
    near.on_open = Box::new(|cx, id| assert_eq!(cx.send(id, "hello"), SendOutcome::Queued));
    near.on_message = Box::new(|cx, id, _| {
        assert_eq!(cx.send(id, "me"), SendOutcome::Queued);
        cx.close(id, CloseCode::NORMAL, "that is all");
    });
    let (_near_server, route) = near.serve_and_connect(Settings::default());
    connect(&strings, route, far_server.address, request("/"));
    let far_id = far_strings.opened();
    for text in ["hello", "me"] {
        assert_eq!(far_strings.next(), Report::Text(far_id, text.to_owned()));
    }
    let why = CloseReason::PeerClosed(Some(CloseCode::NORMAL));
    assert_eq!(far_strings.next(), Report::Closed(far_id, why));
}

#[test]
fn the_record_has_path_and_subprotocol() {
    let (mut far, far_strings) = echo();
    far.protocols = &["b", "a"];
    far.on_request = Box::new(|_, _, request| {
        assert_eq!(request.http.query(), Some("q=1"));
        assert_eq!(request.http.header("Cookie"), Some("c=1"));
        Decision::Accept(request.accept())
    });
    let far_server = far.serve_plain();
    let (mut near, near_strings) = Puppet::new();
    near.protocols = &["b", "a", "z"];
    let (_near_server, route) = near.serve_and_connect(Settings::default());
    let request = request("/?q=1").protocol("z").and_then(|r| r.protocol("a"));
    let request = request.and_then(|r| r.protocol("b")?.header("Cookie", "c=1")).unwrap();
    let to = far_server.address;
    let id = connect(&near_strings, route, to, request);
    assert_eq!(near_strings.opened(), id);
    let far_id = far_strings.opened();
    far_strings.run(move |cx| {
        assert_eq!(cx.record(far_id).unwrap().protocol, Some("b"));
    });
    near_strings.run(move |cx| {
        let record = cx.record(id).unwrap();
        assert_eq!((record.protocol, record.path, record.peer), (Some("b"), "/", to));
        assert!(record.is_open && record.opened <= cx.now());
        assert_eq!((cx.metrics().connects, cx.metrics().accepted), (1, 0));
        assert_eq!(cx.metrics().connections_now, 1);
    });
}

#[test]
fn a_loop_can_connect_to_itself() {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(400))
        .pong_timeout(Duration::from_millis(300))
        .misses_max(250);
    let settings = Settings::default().heartbeat(heartbeat);
    let (mut puppet, strings) = Puppet::new();
    // The service has both ends; the accepted one answers.
    puppet.on_message = Box::new(|cx, id, message| {
        if message.as_bytes() == b"question" {
            assert_eq!(cx.send(id, "answer"), SendOutcome::Queued);
        }
    });
    let (server, route) = puppet.serve_and_connect(settings);
    let near = connect(&strings, route, server.address, request("/"));
    let opened = [strings.opened(), strings.opened()];
    let far = *opened.iter().find(|id| **id != near).expect("two connections");
    strings.run(move |cx| assert_eq!(cx.send(near, "question"), SendOutcome::Queued));
    assert_eq!(strings.next(), Report::Text(far, "question".to_owned()));
    assert_eq!(strings.next(), Report::Text(near, "answer".to_owned()));

    // Each end answers the other's pings.
    let measured = |id| strings.run(move |cx| cx.record(id).unwrap().round_trip.is_some());
    eventually(|| measured(near), "a pong for the client");
    eventually(|| measured(far), "a pong for the server");

    strings.run(move |cx| cx.close(far, CloseCode::POLICY, "enough"));
    let mut ends = [strings.closed(), strings.closed()];
    ends.sort_unstable_by_key(|(id, _)| *id != near);
    let [by_near, by_far] =
        [CloseReason::PeerClosed(Some(CloseCode::POLICY)), CloseReason::Service(CloseCode::POLICY)];
    assert_eq!(ends, [(near, by_near), (far, by_far)]);
    let metrics = server.stop();
    assert_eq!((metrics.connects, metrics.accepted, metrics.opened), (1, 1, 2));
    assert_eq!((metrics.connections_now, metrics.buffered_now, metrics.close_timeouts), (0, 0, 0));
    assert_eq!(strings.rest(), [], "each end ended once");
}

#[test]
fn either_side_may_start_the_close() {
    for near_closes in [true, false] {
        let ((far_server, far, far_id), (near_server, near, id)) = pair();
        let code = CloseCode::new(4321).unwrap();
        let (closer, closer_id) = if near_closes { (&near, id) } else { (&far, far_id) };
        closer.run(move |cx| {
            assert_eq!(cx.send(closer_id, "last words"), SendOutcome::Queued);
            cx.close(closer_id, code, "done");
            cx.close(closer_id, CloseCode::NORMAL, "a later call changes nothing");
            assert_eq!(cx.send(closer_id, "too late"), SendOutcome::Gone);
        });
        let [by_us, by_peer] = [CloseReason::Service(code), CloseReason::PeerClosed(Some(code))];
        let (near_why, far_why) = if near_closes { (by_us, by_peer) } else { (by_peer, by_us) };
        let (other, other_id) = if near_closes { (&far, far_id) } else { (&near, id) };
        assert_eq!(other.next(), Report::Text(other_id, "last words".to_owned()));
        assert_eq!(near.closed(), (id, near_why));
        assert_eq!(far.closed(), (far_id, far_why));
        near_server.stop();
        far_server.stop();
        assert_eq!((near.rest(), far.rest()), (vec![], vec![]), "once each");
    }
}

#[test]
fn a_publication_reaches_connections_of_both_roles() {
    let (puppet, strings) = Puppet::new();
    let (server, route) = puppet.serve_and_connect(Settings::default());
    let (mut client, accepted) = strings.client(&server, "/");
    let (far, far_strings) = Puppet::new();
    let far_server = far.serve(Settings::default(), RouteSettings::default());
    let made = connect(&strings, route, far_server.address, request("/"));
    assert_eq!(strings.opened(), made);
    let far_id = far_strings.opened();
    strings.run(move |cx| {
        for id in [accepted, made] {
            cx.subscribe(id, "t").unwrap();
        }
        for payload in ["s".to_owned(), "l".repeat(2000)] {
            let published = cx.publish(Target::Topic("t"), &*payload, PublishOptions::default());
            assert_eq!((published.sent, published.skipped), (2, 0));
        }
        let ping = cx.publish(Target::All, Payload::Ping(b"p"), PublishOptions::default());
        assert_eq!(ping.sent, 2);
        let close = Payload::Close(CloseFrame::new(CloseCode::NORMAL, "all of you"));
        assert_eq!(cx.publish(Target::All, close, PublishOptions::default()).sent, 2);
    });
    client.expect(crate::support::TEXT, b"s");
    client.expect(crate::support::TEXT, &[b'l'; 2000]);
    client.expect(crate::support::PING, b"p");
    assert_eq!(client.expect_close(), (1000, "all of you".to_owned()));
    assert_eq!(far_strings.next(), Report::Text(far_id, "s".to_owned()));
    assert_eq!(far_strings.next(), Report::Text(far_id, "l".repeat(2000)));
    let why = CloseReason::PeerClosed(Some(CloseCode::NORMAL));
    assert_eq!(far_strings.next(), Report::Closed(far_id, why));
}

#[test]
fn a_service_that_reconnects_does_not_prevent_a_shutdown() {
    let (mut puppet, strings) = Puppet::new();
    let (sender, route) = std::sync::mpsc::channel::<(RouteId, SocketAddr)>();
    let mut target = None;
    puppet.on_close = Box::new(move |cx, _| {
        let (route, to) = *target.get_or_insert_with(|| route.try_recv().unwrap());
        let _ = cx.connect(Connect::to(to), route, &request("/"));
    });
    let settings = Settings::default().drain_timeout(Duration::from_secs(1));
    let (server, route) = puppet.serve_and_connect(settings);
    sender.send((route, server.address)).unwrap();
    // The service reconnects before the shutdown.
    let client = Client::open(server.address, "/");
    let first = strings.opened();
    drop(client);
    assert_eq!(strings.closed().0, first);
    let ends = [strings.opened(), strings.opened()];
    assert!(!ends.contains(&first));
    server.stop();
}
