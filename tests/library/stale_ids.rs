//! Ids of connections that have ended, and of connections of another service: the table in the docs of
//! `Context`.

use weir::protocol::handshake::{Accept, Refusal, Response};
use weir::protocol::{CloseCode, Masked, Piece, SharedFrame};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    ConnMap, JoinError, Joined, Left, MetadataError, PublishOptions, SendOutcome, Target, Throttle,
};

use crate::puppet::{Puppet, Report};
use crate::support::{Client, Server, TEXT};

#[test]
fn each_function_gives_the_documented_answer_for_a_stale_id() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (ended, stale) = strings.client(&server, "/");
    drop(ended);
    strings.closed();
    // The new connection has the slot of the ended one, but another id.
    let (mut client, fresh) = strings.client(&server, "/");
    assert_eq!((stale.slot(), stale == fresh), (fresh.slot(), false));
    strings.run(move |cx| {
        let frame = SharedFrame::message("x".into());
        let masked = Masked { key: cx.masking_key(), payload: b"x" };
        let gone = SendOutcome::Gone;
        assert_eq!(cx.send(stale, "x"), gone);
        assert_eq!(cx.send(stale, &[b'x'; 100_000]), gone);
        assert_eq!(cx.send_masked(stale, masked), gone);
        assert_eq!(cx.send_shared(stale, &frame), gone);
        assert_eq!(cx.send_pieces(stale, &[Piece::from(b"x".to_vec())]), gone);
        assert_eq!(cx.ping(stale, b"x"), gone);
        cx.pause(stale);
        cx.close(stale, CloseCode::NORMAL, "");
        cx.abort(stale);
        cx.accept(stale, Accept::new());
        cx.respond(stale, Response::text(200, "x"));
        cx.refuse(stale, Refusal::RouteFull);
        assert!(!cx.has_memory(stale, 0));
        assert_eq!(cx.queued_bytes(stale), 0);
        assert!(cx.record(stale).is_none() && cx.peer(stale).is_none());
        assert_eq!(cx.set_metadata(stale, "k", "v"), Err(MetadataError::Gone));
        cx.remove_metadata(stale, "k");
        assert_eq!(cx.subscribe(stale, "t"), Err(JoinError::NotOpen));
        assert_eq!(cx.unsubscribe(stale, "t"), Left::NotMember);
        let published = cx.publish(Target::List(&[stale]), "x", PublishOptions::default());
        assert_eq!((published.sent, published.refused, published.skipped), (0, 0, 1));
        let mut map = ConnMap::new();
        assert!(!map.insert(cx, stale, ()));
        assert!(map.get_or_insert_with(cx, stale, || ()).is_none());
        let mut throttle = Throttle::new(1, 1);
        assert!(!throttle.start(cx, stale, 1, 1));
        assert_eq!(throttle.outstanding(stale).jobs, 0);
        assert_eq!(cx.connections().collect::<Vec<_>>(), [fresh]);

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

#[test]
fn each_function_gives_the_documented_answer_for_a_foreign_id() {
    let (puppet, strings) = Puppet::new();
    let (other, others) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        puppet.place(reactor, "/", RouteSettings::default());
        other.place(reactor, "/other", RouteSettings::default());
    });
    let mut client = Client::open(server.address, "/other");
    let foreign = others.opened();
    assert_eq!(others.run(move |cx| cx.subscribe(foreign, "t")), Ok(Joined::First));
    strings.run(move |cx| {
        assert_eq!(cx.send(foreign, "from another service"), SendOutcome::Queued);
        assert!(cx.has_memory(foreign, 1) && cx.queued_bytes(foreign) > 0);
        assert!(cx.record(foreign).is_some() && cx.peer(foreign).is_some());
        assert_eq!(cx.set_metadata(foreign, "k", "v"), Ok(()));
        assert_eq!(cx.record(foreign).unwrap().metadata.get("k"), Some("v"));
        cx.remove_metadata(foreign, "k");
        assert_eq!(cx.record(foreign).unwrap().metadata.get("k"), None);

        assert_eq!(cx.subscribe(foreign, "t"), Err(JoinError::NotOpen));
        assert_eq!((cx.unsubscribe(foreign, "t"), cx.members("t")), (Left::NotMember, 0));
        let published = cx.publish(Target::List(&[foreign]), "x", PublishOptions::default());
        assert_eq!((published.sent, published.refused, published.skipped), (0, 0, 1));
        assert!(!ConnMap::new().insert(cx, foreign, ()));
        assert!(!Throttle::new(1, 1).start(cx, foreign, 1, 1));
        assert_eq!(cx.connections().count(), 0);
    });
    assert_eq!(others.run(|cx| cx.members("t")), 1);
    client.expect(TEXT, b"from another service");
    client.text("not paused");
    assert_eq!(others.next(), Report::Text(foreign, "not paused".to_owned()));
    strings.run(move |cx| cx.close(foreign, CloseCode::GOING_AWAY, "by another service"));
    assert_eq!(client.expect_close(), (1001, "by another service".to_owned()));
}
