//! Records and metadata of connections, and ids of connections that have ended.

use std::time::Duration;

use weir::protocol::handshake::Accept;
use weir::protocol::{CloseCode, SharedFrame};
use weir::reactor::budget::{METADATA_BYTES_MAX, METADATA_ENTRIES_MAX};
use weir::reactor::settings::{Heartbeat, RouteSettings, Settings};
use weir::reactor::{Decision, MetadataError, Priority, SendOutcome, Traffic};

use crate::puppet::{Puppet, Report};
use crate::support::{BINARY, Client, PING, PONG, Server, TEXT, upgrade};

#[test]
fn a_record_has_peer_path_and_subprotocol() {
    let (mut puppet, strings) = Puppet::new();
    puppet.protocols = &["b", "a"];
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(puppet).unwrap();
        for path in ["/", "/x/{name}"] {
            reactor.add_route(path, service, RouteSettings::default()).unwrap();
        }
    });
    let requests =
        [("/", "", None), ("/x/caf%C3%A9?q=1", "Sec-WebSocket-Protocol: a, b\r\n", Some("b"))];
    let mut clients = Vec::new();
    for (target, lines, protocol) in requests {
        let mut client = Client::tcp(server.address);
        let head = client.request(&upgrade(target, lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let id = strings.opened();
        let peer = client.stream.local_addr().unwrap();
        let path = target.split('?').next().unwrap();
        strings.run(move |cx| {
            let record = cx.record(id).unwrap();
            assert_eq!((record.id, record.peer, record.path), (id, peer, path));
            assert_eq!((record.protocol, record.is_open), (protocol, true));
            assert!(record.opened <= record.last_heard && record.last_heard <= cx.now());
            assert_eq!((record.traffic, record.queued_bytes), (Traffic::default(), 0));
            assert_eq!((record.round_trip, record.metadata.iter().count()), (None, 0));
            assert_eq!(cx.peer(id), Some(peer));
        });
        clients.push(client);
    }
    let ids = strings.run(|cx| cx.connections().map(|id| id.serial()).collect::<Vec<_>>());
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_record_has_the_priority_of_its_route() {
    let (puppet, strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(puppet).unwrap();
        for priority in Priority::ALL {
            let route = RouteSettings::default().priority(priority);
            reactor.add_route(&format!("/{priority}"), service, route).unwrap();
        }
    });
    for priority in Priority::ALL {
        let (_client, id) = strings.client(&server, &format!("/{priority}"));
        assert_eq!(strings.run(move |cx| cx.record(id).unwrap().priority), priority);
    }
}

#[test]
fn a_record_counts_messages_and_bytes_in_both_directions() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_message = Box::new(|cx, id, message| {
        assert_eq!(cx.send(id, message), SendOutcome::Queued);
    });
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    let last_heard = strings.run(move |cx| cx.record(id).unwrap().last_heard);
    client.send(BINARY, &[7; 1000]);
    client.text("23");
    client.send(PING, b"counts for nothing");
    client.expect(BINARY, &[7; 1000]);
    client.expect(TEXT, b"23");
    client.expect(PONG, b"counts for nothing");
    strings.run(move |cx| {
        let record = cx.record(id).unwrap();
        let both = Traffic { messages_in: 2, messages_out: 2, bytes_in: 1002, bytes_out: 1002 };
        assert_eq!(record.traffic, both);
        assert!(record.last_heard > last_heard);
    });
}

#[test]
fn a_record_has_the_queued_bytes_and_is_not_open_while_closing() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    strings.run(move |cx| {
        let frame = SharedFrame::message("x".repeat(70_000).as_str().into());
        assert_eq!(cx.send_shared(id, &frame), SendOutcome::Queued);
        assert_eq!(cx.send(id, "1"), SendOutcome::Queued);
        assert_eq!(cx.ping(id, &[b'p'; 200]), SendOutcome::Queued);
        // Each frame counts with its header; the ping is cut at 125 bytes.
        let queued = 10 + 70_000 + 2 + 1 + 2 + 125;
        let record = cx.record(id).unwrap();
        assert_eq!((record.queued_bytes, cx.queued_bytes(id)), (queued, queued));
        assert_eq!((record.traffic.messages_out, record.traffic.bytes_out), (2, 70_001));
        cx.close(id, CloseCode::NORMAL, &"r".repeat(200));
        assert!(!cx.record(id).unwrap().is_open);
        assert_eq!(cx.connections().count(), 0);
    });
    assert_eq!(client.frame().payload.len(), 70_000);
    client.expect(TEXT, b"1");
    client.expect(PING, &[b'p'; 125]);
    assert_eq!(client.expect_close(), (1000, "r".repeat(123)));
}

#[test]
fn round_trips_are_measured_by_the_heartbeat() {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(300))
        .pong_timeout(Duration::from_millis(200))
        .misses_max(250);
    let settings = Settings::default().heartbeat(heartbeat);
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve(settings, RouteSettings::default());
    let (mut client, id) = strings.client(&server, "/");
    // A pong that arrives after the next ping does not count, so that one ping may not be enough.
    loop {
        let ping = client.frame();
        assert_eq!((ping.opcode, ping.payload.len()), (PING, 12));
        client.send(PONG, b"unsolicited");
        client.send(PONG, &ping.payload);
        client.text("behind it");
        while strings.next() != Report::Text(id, "behind it".to_owned()) {}
        if strings.run(move |cx| cx.record(id).unwrap().round_trip).is_some() {
            break;
        }
    }
    assert!(strings.run(|cx| cx.metrics().pongs_matched) >= 1);
}

#[test]
fn metadata_is_kept_from_the_request_on_and_bounded() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_request = Box::new(|cx, id, request| {
        cx.set_metadata(id, "user", request.http.query_value("user").as_deref().unwrap()).unwrap();
        Decision::Accept(Accept::new())
    });
    let server = puppet.serve_plain();
    let (_client, id) = strings.client(&server, "/?user=ann");
    strings.run(move |cx| {
        assert_eq!(cx.record(id).unwrap().metadata.get("user"), Some("ann"));
        for key in 1..METADATA_ENTRIES_MAX {
            cx.set_metadata(id, &format!("k{key}"), "v").unwrap();
        }
        assert_eq!(cx.set_metadata(id, "more", ""), Err(MetadataError::Full));
        cx.set_metadata(id, "user", "bob").unwrap();
        cx.remove_metadata(id, "k1");
        cx.remove_metadata(id, "never set");
        cx.set_metadata(id, "more", "").unwrap();

        let others: usize =
            cx.record(id).unwrap().metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
        let room = METADATA_BYTES_MAX - others;
        assert_eq!(cx.set_metadata(id, "more", &"m".repeat(room + 1)), Err(MetadataError::Full));
        assert_eq!(cx.record(id).unwrap().metadata.get("more"), Some(""));
        cx.set_metadata(id, "more", &"m".repeat(room)).unwrap();

        let keys: Vec<String> =
            cx.record(id).unwrap().metadata.iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!((keys.len(), &*keys[0], &*keys[1]), (METADATA_ENTRIES_MAX, "user", "k2"));
        assert_eq!(cx.record(id).unwrap().metadata.get("user"), Some("bob"));
        for key in keys {
            cx.remove_metadata(id, &key);
        }
        assert_eq!(cx.record(id).unwrap().metadata.iter().count(), 0);
    });
}
