//! `ConnMap`: a value per connection, for connections of the service that have not ended.

use std::sync::{Arc, Mutex};

use weir::protocol::handshake::{Accept, Response};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnMap, Decision};

use crate::puppet::Puppet;
use crate::support::{Client, Server, upgrade};

type Map = Arc<Mutex<ConnMap<&'static str>>>;

#[test]
fn a_connection_that_has_ended_is_given_no_value() {
    let map = Map::default();
    let (mut puppet, strings) = Puppet::new();
    let late = Arc::clone(&map);
    puppet.on_close = Box::new(move |cx, conn| {
        let mut map = late.lock().unwrap();
        assert_eq!(map.remove(conn), Some("first"));
        assert!(!map.insert(cx, conn, "late"));
        assert_eq!(map.get_or_insert_with(cx, conn, || "late"), None);
    });
    let server = puppet.serve_plain();
    let (client, first) = strings.client(&server, "/");
    let own = Arc::clone(&map);
    assert!(strings.run(move |cx| own.lock().unwrap().insert(cx, first, "first")));
    drop(client);
    assert_eq!(strings.closed().0, first);

    // The next connection gets the same slot, and has no value of its own yet.
    let (_client, second) = strings.client(&server, "/");
    assert_eq!(second.slot(), first.slot());
    strings.run(move |cx| {
        assert_eq!(cx.metrics().panics, 0);
        let mut map = map.lock().unwrap();
        assert!(!map.insert(cx, first, "stale") && !map.contains(second));
        assert_eq!(map.get_or_insert_with(cx, second, || "second"), Some(&mut "second"));
        assert_eq!(map.get_or_insert_with(cx, second, || "again"), Some(&mut "second"));
        assert_eq!((map.get(first), map.len()), (None, 1));
    });
}

#[test]
fn a_connection_of_another_service_is_given_no_value() {
    let map = Map::default();
    let ((one, ones), (other, others)) = (Puppet::new(), Puppet::new());
    let server = Server::start(Settings::default(), move |reactor| {
        one.place(reactor, "/one", RouteSettings::default());
        other.place(reactor, "/other", RouteSettings::default());
    });
    let (_client, conn) = ones.client(&server, "/one");
    let foreign = Arc::clone(&map);
    assert!(!others.run(move |cx| foreign.lock().unwrap().insert(cx, conn, "foreign")));
    assert!(ones.run(move |cx| map.lock().unwrap().insert(cx, conn, "own")));
}

#[test]
fn a_value_may_be_stored_with_the_request() {
    let map = Map::default();
    let (mut puppet, strings) = Puppet::new();
    let early = Arc::clone(&map);
    puppet.on_request = Box::new(move |cx, conn, request| {
        let mut map = early.lock().unwrap();
        assert!(map.insert(cx, conn, "requested"));
        if request.http.query().is_some() {
            map.remove(conn);
            return Decision::Respond(Response::text(403, ""));
        }
        Decision::Accept(Accept::new())
    });
    let server = puppet.serve_plain();
    let mut refused = Client::tcp(server.address);
    refused.raw(upgrade("/?no", "").as_bytes());
    assert!(refused.head().starts_with("HTTP/1.1 403"));
    let (_client, conn) = strings.client(&server, "/");
    let map = map.lock().unwrap();
    assert_eq!((map.get(conn), map.len()), (Some(&"requested"), 1));
}

#[test]
fn values_that_a_service_forgets_are_dropped_with_later_ones() {
    const FORGOTTEN: usize = 40;
    let map = Map::default();
    let (mut puppet, strings) = Puppet::new();
    let own = Arc::clone(&map);
    puppet.on_open = Box::new(move |cx, conn| {
        assert!(own.lock().unwrap().insert(cx, conn, "forgotten"));
    });
    let read = Arc::clone(&map);
    puppet.on_close = Box::new(move |_, conn| {
        assert_eq!(read.lock().unwrap().get(conn), Some(&"forgotten"));
    });
    let server = puppet.serve_plain();
    let clients: Vec<_> = (0..FORGOTTEN).map(|_| strings.client(&server, "/")).collect();
    drop(clients);
    for _ in 0..FORGOTTEN {
        strings.closed();
    }
    assert_eq!(map.lock().unwrap().len(), FORGOTTEN);
    // The page has 64 slots, and each new value examines four.
    for _ in 0..64 / 4 {
        drop(strings.client(&server, "/").0);
        strings.closed();
    }
    let (_client, conn) = strings.client(&server, "/");
    strings.run(move |cx| {
        assert_eq!(cx.metrics().panics, 0);
        let map = map.lock().unwrap();
        assert_eq!(map.iter().map(|(conn, _)| conn).collect::<Vec<_>>(), [conn]);
    });
}

#[test]
fn a_value_is_kept_until_on_close_has_returned() {
    let map = Map::default();
    let (mut puppet, strings) = Puppet::new();
    let read = Arc::clone(&map);
    puppet.on_close = Box::new(move |_, conn| {
        assert_eq!(read.lock().unwrap().remove(conn), Some("own"));
    });
    let server = puppet.serve_plain();
    let ((_a, aborted), (_b, open)) = (strings.client(&server, "/"), strings.client(&server, "/"));
    strings.run(move |cx| {
        let mut map = map.lock().unwrap();
        assert!(map.insert(cx, aborted, "own"));
        cx.abort(aborted);
        // Each value examines four of the 64 slots.
        (0..64 / 4).for_each(|_| assert!(map.insert(cx, open, "other")));
    });
    assert_eq!(strings.closed().0, aborted);
    assert_eq!(strings.run(|cx| cx.metrics().panics), 0);
}
