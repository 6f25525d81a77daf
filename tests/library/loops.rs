//! Loops: several services on one loop, a loop turned by hand, and two independent loops.

use std::time::{Duration, Instant};

use weir::protocol::Message;
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Reactor, RouteError, SendOutcome, Service};
use weir::services::Echo;

use crate::puppet::{Puppet, Report};
use crate::support::{Client, DEADLINE, Server, TEXT, upgrade};

#[test]
fn services_on_one_loop_get_only_their_own_events() {
    let (mut a, a_strings) = Puppet::new();
    let (mut b, b_strings) = Puppet::new();
    a.protocols = &["a"];
    b.protocols = &["b"];
    let server = Server::start(Settings::default(), move |reactor| {
        for (puppet, own) in [(a, "/a"), (b, "/b")] {
            let service = reactor.add_service(puppet).unwrap();
            for path in [own, "/shared"] {
                reactor.add_route(path, service, RouteSettings::default()).unwrap();
            }
        }
    });
    let mut client = Client::tcp(server.address);
    client.request(&upgrade("/shared", "Sec-WebSocket-Protocol: b\r\n"));
    let shared = b_strings.opened();
    let (_a_client, a_id) = a_strings.client(&server, "/a");
    let (_b_client, b_id) = b_strings.client(&server, "/b");
    assert_eq!(a_strings.run(|cx| cx.connections().collect::<Vec<_>>()), [a_id]);
    assert_eq!(b_strings.run(|cx| cx.connections().collect::<Vec<_>>()), [shared, b_id]);

    // Topics of the same name and timers of the same key are separate for each service.
    a_strings.run(move |cx| cx.subscribe(a_id, "t")).unwrap();
    assert_eq!(b_strings.run(|cx| cx.members("t")), 0);
    assert!(b_strings.run(|cx| cx.schedule(Duration::ZERO, 5)).is_some());
    assert_eq!(b_strings.next(), Report::Timer(5));
    client.text("for b");
    assert_eq!(b_strings.next(), Report::Text(shared, "for b".to_owned()));
    a_strings.expect_no_report();
}

/// Reports each call of `on_start`.
struct Starts(std::sync::mpsc::Sender<()>);

impl Service for Starts {
    fn on_start(&mut self, _: &mut Context<'_>) {
        self.0.send(()).unwrap();
    }
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

#[test]
fn a_loop_can_be_turned_by_hand() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let (sender, starts) = std::sync::mpsc::channel();
    reactor.add_service(Starts(sender)).unwrap();
    let echo = reactor.add_service(Echo).unwrap();
    reactor.add_route("/", echo, RouteSettings::default()).unwrap();
    let any = ListenSettings::new("127.0.0.1:0".parse().unwrap());
    let address = reactor.listen(&any).unwrap();
    reactor.start().unwrap();
    assert_eq!(starts.try_iter().count(), 1);

    let client = std::thread::spawn(move || {
        let mut client = Client::open(address, "/");
        client.text("by hand");
        client.expect(TEXT, b"by hand");
        client
    });
    let started = Instant::now();
    while !client.is_finished() {
        reactor.turn(Some(Duration::from_millis(5))).unwrap();
        assert!(started.elapsed() < DEADLINE, "the echo comes back");
    }
    let mut client = client.join().unwrap();
    assert!(!reactor.is_finished());
    assert_eq!((reactor.metrics().messages_in, reactor.metrics().connections_now), (1, 1));

    reactor.handle().shutdown();
    let client = std::thread::spawn(move || {
        assert_eq!(client.expect_close().0, 1001);
        client.close(1001, "");
        client.expect_end();
    });
    while !reactor.is_finished() {
        reactor.turn(Some(Duration::from_millis(5))).unwrap();
        assert!(started.elapsed() < DEADLINE, "the loop ends");
    }
    client.join().unwrap();
    assert_eq!((reactor.metrics().connections_now, starts.try_iter().count()), (0, 0));
}

#[test]
fn a_turn_waits_no_longer_than_its_timeout() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    reactor.start().unwrap();
    // Without a timeout, each of these turns would wait for ever.
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(reactor.metrics().turns, 3);
}

#[test]
fn a_shutdown_before_the_loop_runs_takes_effect() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    reactor.handle().shutdown();
    reactor.handle().shutdown();
    reactor.run().unwrap();
    assert!(reactor.is_finished());
}

#[test]
fn two_loops_in_one_process_share_nothing() {
    let (a, a_strings) = Puppet::new();
    let (b, b_strings) = Puppet::new();
    let (a_server, b_server) = (a.serve_plain(), b.serve_plain());
    let (mut a_client, a_id) = a_strings.client(&a_server, "/");
    let (mut b_client, b_id) = b_strings.client(&b_server, "/");
    a_server.shutdown();
    assert_eq!(a_client.expect_close().0, 1001);
    drop(a_client);
    assert_eq!(b_strings.run(move |cx| cx.send(b_id, "here")), SendOutcome::Queued);
    b_client.expect(TEXT, b"here");
    assert_eq!((a_id, b_id.serial()), (b_id, 1), "each loop has its own serial numbers");
}

#[test]
fn contradictory_settings_are_refused() {
    let broken = Settings::default().connections_max(0);
    assert_eq!(Reactor::new(broken).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let echo = reactor.add_service(Echo).unwrap();
    let broken = RouteSettings::default().outbox_soft_bytes(0);
    assert!(reactor.add_route("/", echo, broken.clone()).is_err());
    assert!(reactor.add_outbound(echo, broken).is_err());
    reactor.add_route("/", echo, RouteSettings::default()).unwrap();
    assert!(reactor.add_route("/", echo, RouteSettings::default()).is_err());
}

#[test]
fn a_service_has_an_id_before_it_is_added() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    reactor.add_service(Echo).unwrap();
    let id = reactor.next_service_id();
    let early = reactor.add_route("/", id, RouteSettings::default());
    assert_eq!(early, Err(RouteError::NoService));
    reactor.add_outbound(id, RouteSettings::default()).unwrap();
    // This mail is not read yet, since the service is not added.
    let (sender, receiver) = reactor.mailbox(id, 2);
    sender.send(1).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();

    let (mut puppet, strings) = Puppet::new();
    puppet.on_timer = Box::new(move |cx, _| {
        while let Ok(mail) = receiver.try_recv() {
            cx.schedule(Duration::ZERO, mail).unwrap();
        }
    });
    assert_eq!(reactor.add_service(puppet).unwrap(), id);
    assert_eq!(reactor.next_service_id().number(), id.number() + 1);
    reactor.context(id).schedule(Duration::ZERO, 0).unwrap();
    sender.send(2).unwrap();
    let mut reports = Vec::new();
    while reports.len() < 3 && reactor.metrics().turns < 50 {
        reactor.turn(Some(DEADLINE)).unwrap();
        reports.extend(strings.so_far());
    }
    // Timers of one slot fire in no order.
    for timer in 0..3 {
        assert!(reports.contains(&Report::Timer(timer)), "{reports:?}");
    }
}
