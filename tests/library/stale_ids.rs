//! Ids of connections that have ended, and of connections of another service: the table in the docs of
//! `Context`.

use std::sync::mpsc::channel;

use weir::protocol::handshake::{Accept, Refusal, Response};
use weir::protocol::{
    BatchDeflater, CloseCode, FrameBatch, Masked, Piece, SharedFrame, SharedTail,
};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    ConnId, ConnMap, Context, Decision, JoinError, Joined, Left, MetadataError, PresentError,
    PublishOptions, SendOutcome, Target, Throttle,
};

use crate::puppet::{Puppet, Report};
use crate::support::{Client, DEADLINE, Server, TEXT, upgrade};

/// Calls each function with an id that names no connection of the service, and expects the documented
/// answer.
fn expect_documented_answers(cx: &mut Context<'_>, id: ConnId) {
    let frame = SharedFrame::message("x".into());
    let masked = Masked { key: cx.masking_key(), payload: b"x" };
    let gone = SendOutcome::Gone;
    assert_eq!(cx.send(id, "x"), gone);
    assert_eq!(cx.send(id, &[b'x'; 100_000]), gone);
    assert_eq!(cx.send_masked(id, masked), gone);
    assert_eq!(cx.send_shared(id, &frame), gone);
    assert_eq!(cx.send_pieces(id, &[Piece::from(b"x".to_vec())]), gone);
    let mut batch = FrameBatch::new(cx.deflate_terms(id));
    assert_eq!(cx.send_batch(id, FrameBatch::new(None)), gone);
    batch.push(b"x", &mut BatchDeflater::default());
    assert_eq!(cx.send_batch(id, batch), gone);
    assert_eq!(cx.send_joined(id, b"x", &SharedTail::new(*b"y")), gone);
    assert!(cx.deflate_terms(id).is_none());
    assert_eq!(cx.ping(id, b"x"), gone);
    cx.pause(id);
    cx.close(id, CloseCode::NORMAL, "");
    cx.abort(id);
    cx.accept(id, Accept::new());
    cx.respond(id, Response::text(200, "x"));
    cx.refuse(id, Refusal::RouteFull);
    assert!(!cx.has_memory(id, 0));
    assert_eq!(cx.queued_bytes(id), 0);
    assert!(cx.record(id).is_none() && cx.peer(id).is_none());
    assert_eq!(cx.present(id, "x"), Err(PresentError::Gone));
    assert_eq!(cx.set_metadata(id, "k", "v"), Err(MetadataError::Gone));
    cx.remove_metadata(id, "k");
    assert_eq!(cx.subscribe(id, "t"), Err(JoinError::NotOpen));
    assert_eq!(cx.unsubscribe(id, "t"), Left::NotMember);
    let published = cx.publish(Target::List(&[id]), "x", PublishOptions::default());
    assert_eq!((published.sent, published.refused, published.skipped), (0, 0, 1));
    let mut map = ConnMap::new();
    assert!(!map.insert(cx, id, ()));
    assert!(map.get_or_insert_with(cx, id, || ()).is_none());
    let mut throttle = Throttle::new(1, 1);
    assert!(!throttle.start(cx, id, 1, 1));
    assert_eq!(throttle.outstanding(id).jobs, 0);
    assert!(cx.connections().all(|conn| conn != id));
}

#[test]
fn a_stale_id_gets_the_documented_answers() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (ended, stale) = strings.client(&server, "/");
    drop(ended);
    strings.closed();
    // The new connection has the slot of the ended one, but another id.
    let (mut client, fresh) = strings.client(&server, "/");
    assert_eq!((stale.slot(), stale == fresh), (fresh.slot(), false));
    strings.run(move |cx| {
        expect_documented_answers(cx, stale);
        // The connection in the same slot is as before.
        let record = cx.record(fresh).unwrap();
        assert!(record.is_open && record.metadata.get("k").is_none());
        assert_eq!((record.queued_bytes, cx.members("t")), (0, 0));
    });
    client.text("not paused");
    assert_eq!(strings.next(), Report::Text(fresh, "not paused".to_owned()));
    strings.run(move |cx| {
        cx.pause(fresh);
        cx.resume(stale);
        assert_eq!(cx.send(fresh, "still here"), SendOutcome::Queued);
    });
    client.expect(TEXT, b"still here");
    client.text("paused");
    crate::library::flow::round(&server, &strings);
    strings.expect_no_report();
}

/// A server with one service at `/` and another at `/other`.
fn serve_two(one: Puppet, other: Puppet) -> Server {
    Server::start(Settings::default(), move |reactor| {
        one.place(reactor, "/", RouteSettings::default());
        other.place(reactor, "/other", RouteSettings::default());
    })
}

#[test]
fn an_id_of_another_service_gets_the_answers_of_a_stale_one() {
    let ((one, ones), (other, others)) = (Puppet::new(), Puppet::new());
    let server = serve_two(one, other);
    let (mut client, foreign) = others.client(&server, "/other");
    let joined = others.run(move |cx| {
        cx.set_metadata(foreign, "k", "of its service").unwrap();
        cx.subscribe(foreign, "t")
    });
    assert_eq!(joined, Ok(Joined::First));
    ones.run(move |cx| expect_documented_answers(cx, foreign));

    // The connection is as before.
    others.run(move |cx| {
        let record = cx.record(foreign).unwrap();
        assert!(record.is_open && record.metadata.get("k") == Some("of its service"));
        assert_eq!((record.queued_bytes, cx.members("t")), (0, 1));
    });
    client.text("not paused");
    assert_eq!(others.next(), Report::Text(foreign, "not paused".to_owned()));
    others.run(move |cx| cx.pause(foreign));
    ones.run(move |cx| cx.resume(foreign));
    others.run(move |cx| assert_eq!(cx.send(foreign, "still here"), SendOutcome::Queued));
    client.expect(TEXT, b"still here");
    client.text("paused");
    crate::library::flow::round(&server, &ones);
    others.expect_no_report();
}

#[test]
fn only_its_own_service_decides_on_a_deferred_request() {
    let ((one, ones), (mut other, others)) = (Puppet::new(), Puppet::new());
    let (sender, requests) = channel();
    other.on_request = Box::new(move |_, conn, _| {
        sender.send(conn).unwrap();
        Decision::Defer
    });
    let server = serve_two(one, other);
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/other", "").as_bytes());
    let deferred = requests.recv_timeout(DEADLINE).unwrap();
    ones.run(move |cx| cx.refuse(deferred, Refusal::RouteFull));
    ones.run(move |cx| cx.abort(deferred));
    others.run(move |cx| cx.respond(deferred, Response::text(418, "")));
    assert!(client.head().starts_with("HTTP/1.1 418"));
}

/// A handle belongs to the reactor, and reaches the connections of all services.
#[test]
fn a_handle_reaches_connections_of_each_service() {
    let ((one, ones), (other, others)) = (Puppet::new(), Puppet::new());
    let (sender, handles) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        one.place(reactor, "/", RouteSettings::default());
        other.place(reactor, "/other", RouteSettings::default());
        sender.send(reactor.handle()).unwrap();
    });
    let handle = handles.recv_timeout(DEADLINE).unwrap();
    let clients = [(&ones, "/"), (&others, "/other")];
    let mut clients = clients.map(|(strings, path)| strings.client(&server, path));
    for (_, conn) in &clients {
        handle.try_send(*conn, "from a thread").unwrap();
    }
    for (client, _) in &mut clients {
        client.expect(TEXT, b"from a thread");
    }
    let [_, (mut client, conn)] = clients;
    handle.try_close(conn, CloseCode::GOING_AWAY, "by a thread").unwrap();
    assert_eq!(client.expect_close(), (1001, "by a thread".to_owned()));
}
