//! Which connections a publication selects: targets, exceptions, filters, and one service only.

use weir::protocol::CloseCode;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{Filter, PublishOptions, Published, SendOutcome, Target};

use crate::puppet::{Puppet, Strings};
use crate::support::{Client, Server, TEXT, eventually, upgrade};

/// What `publish` returns for these counts, without tracked outcomes.
pub(super) fn report(sent: usize, refused: usize, skipped: usize) -> Published {
    let mut report = Published::default();
    (report.sent, report.refused, report.skipped) = (sent, refused, skipped);
    report
}

fn except<'a>(except: &'a [weir::reactor::ConnId]) -> PublishOptions<'a> {
    PublishOptions::default().except(except)
}

fn only(filter: Filter<'_>) -> PublishOptions<'_> {
    PublishOptions::default().filter(filter)
}

/// Expects that each client has received exactly these messages.
pub(super) fn expect_received(strings: &Strings, clients: &mut [Client], expected: &[&[&str]]) {
    // A surplus message would arrive before this one.
    strings.run(|cx| {
        let _ = cx.publish(Target::All, "the end", PublishOptions::default());
    });
    for (client, texts) in clients.iter_mut().zip(expected) {
        for text in texts.iter().chain(&["the end"]) {
            client.expect(TEXT, text.as_bytes());
        }
    }
}

#[test]
fn targets_reach_all_connections_a_topic_or_a_list() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (mut clients, ids): (Vec<_>, Vec<_>) = (0..3).map(|_| strings.client(&server, "/")).unzip();
    strings.run(move |cx| {
        let [a, b, c] = ids[..] else { unreachable!() };
        cx.subscribe(a, "t").unwrap();
        cx.subscribe(b, "t").unwrap();
        cx.subscribe(b, "u").unwrap();
        let default = PublishOptions::default();
        assert_eq!(cx.publish(Target::All, "all", default), report(3, 0, 0));
        assert_eq!(cx.publish(Target::Topic("t"), "t", default), report(2, 0, 0));
        assert_eq!(cx.publish(Target::Topic("empty"), "none", default), report(0, 0, 0));
        assert_eq!(cx.publish(Target::List(&[c, a]), "list", default), report(2, 0, 0));
        assert_eq!(cx.publish(Target::List(&[]), "none", default), report(0, 0, 0));
        assert_eq!(cx.publish(Target::All, "not a", except(&[a])), report(2, 0, 1));
        assert_eq!(cx.publish(Target::Topic("t"), "t, not b", except(&[b, c])), report(1, 0, 1));
        assert_eq!(cx.publish(Target::List(&[c]), "none", except(&[c])), report(0, 0, 1));
    });
    let expected: [&[&str]; 3] =
        [&["all", "t", "list", "t, not b"], &["all", "t", "not a"], &["all", "list", "not a"]];
    expect_received(&strings, &mut clients, &expected);
}

#[test]
fn filters_get_the_whole_record() {
    let (mut puppet, strings) = Puppet::new();
    puppet.protocols = &["x"];
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(puppet).unwrap();
        for path in ["/a", "/b"] {
            reactor.add_route(path, service, RouteSettings::default()).unwrap();
        }
    });
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for (path, lines) in [("/a", ""), ("/b", "Sec-WebSocket-Protocol: x\r\n"), ("/b", "")] {
        let mut client = Client::tcp(server.address);
        client.request(&upgrade(path, lines));
        ids.push(strings.opened());
        clients.push(client);
    }
    clients[2].text("once");
    while strings.next() != crate::puppet::Report::Text(ids[2], "once".to_owned()) {}
    let port = clients[0].stream.local_addr().unwrap().port();
    strings.run(move |cx| {
        let [a, b, c] = ids[..] else { unreachable!() };
        cx.set_metadata(a, "role", "admin").unwrap();
        cx.set_metadata(b, "role", "guest").unwrap();
        cx.subscribe(b, "t").unwrap();
        cx.subscribe(c, "t").unwrap();
        let admin = only(&|record| record.metadata.get("role") == Some("admin"));
        assert_eq!(cx.publish(Target::All, "admin", admin), report(1, 0, 2));
        assert_eq!(cx.publish(Target::Topic("t"), "none", admin), report(0, 0, 2));
        let path = only(&|record| record.path == "/b");
        assert_eq!(cx.publish(Target::All, "path", path), report(2, 0, 1));
        let protocol = only(&|record| record.protocol == Some("x"));
        assert_eq!(cx.publish(Target::List(&[a, b, c]), "protocol", protocol), report(1, 0, 2));
        let peer: Filter<'_> = &|record| record.peer.port() == port;
        assert_eq!(cx.publish(Target::All, "peer", only(peer)), report(1, 0, 2));
        let talker = only(&|record| record.traffic.messages_in > 0);
        assert_eq!(cx.publish(Target::All, "talker", talker), report(1, 0, 2));
        // With both, the filter is not called for an excepted connection.
        let filter: Filter<'_> = &|record| {
            assert_ne!(record.id, b);
            record.path == "/b"
        };
        let except = [b];
        let both = PublishOptions::default().except(&except).filter(filter);
        assert_eq!(cx.publish(Target::All, "both", both), report(1, 0, 2));
    });
    let expected: [&[&str]; 3] =
        [&["admin", "peer"], &["path", "protocol"], &["path", "talker", "both"]];
    expect_received(&strings, &mut clients, &expected);
}

#[test]
fn connections_of_other_services_are_neither_reached_nor_counted() {
    let (a, a_strings) = Puppet::new();
    let (b, b_strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        a.place(reactor, "/a", RouteSettings::default());
        b.place(reactor, "/b", RouteSettings::default());
    });
    let (a_client, a_id) = a_strings.client(&server, "/a");
    let (b_client, b_id) = b_strings.client(&server, "/b");
    // A connection whose request is not complete.
    let mut undecided = Client::tcp(server.address);
    undecided.raw(b"GET /a HTTP/1.1\r\n");
    eventually(|| a_strings.run(|cx| cx.metrics().connections_now) == 3, "all three are connected");
    a_strings.run(move |cx| {
        cx.subscribe(a_id, "t").unwrap();
        let tracked = PublishOptions::default().track(true);
        let published = cx.publish(Target::All, "all", tracked);
        assert_eq!(published.outcomes, [(a_id, SendOutcome::Queued)]);
        assert_eq!((published.sent, published.refused, published.skipped), (1, 0, 0));
        let published = cx.publish(Target::List(&[b_id, a_id]), "list", tracked);
        assert_eq!(published.outcomes, [(b_id, SendOutcome::Gone), (a_id, SendOutcome::Queued)]);
        assert_eq!((published.sent, published.refused, published.skipped), (1, 0, 1));
        let end = weir::protocol::CloseFrame::new(CloseCode::NORMAL, "");
        let published = cx.publish(
            Target::List(&[b_id]),
            weir::reactor::Payload::Close(end),
            PublishOptions::default(),
        );
        assert_eq!(published, report(0, 0, 1));
    });
    b_strings.run(move |cx| {
        cx.subscribe(b_id, "t").unwrap();
        assert_eq!(cx.members("t"), 1);
        assert_eq!(cx.publish(Target::Topic("t"), "t", PublishOptions::default()), report(1, 0, 0));
    });
    expect_received(&a_strings, &mut [a_client], &[&["all", "list"]]);
    expect_received(&b_strings, &mut [b_client], &[&["t"]]);
}

#[test]
fn closing_connections_are_skipped() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (mut a_client, a) = strings.client(&server, "/");
    let (mut b_client, b) = strings.client(&server, "/");
    strings.run(move |cx| {
        for id in [a, b] {
            cx.subscribe(id, "t").unwrap();
        }
        cx.close(a, CloseCode::NORMAL, "bye");
        for target in [Target::All, Target::Topic("t"), Target::List(&[a, b])] {
            assert_eq!(cx.publish(target, "late", PublishOptions::default()), report(1, 0, 1));
        }
    });
    let close = a_client.frame();
    assert_eq!((close.opcode, &close.payload[2..]), (crate::support::CLOSE, &b"bye"[..]));
    for _ in 0..3 {
        b_client.expect(TEXT, b"late");
    }
}
