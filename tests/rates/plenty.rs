//! Reads while a connection has plenty of tokens: each token is counted, and the rate holds once it is
//! reached.

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context, RouteId, Service, ServiceId};

use super::{add_echo, echo, numbered, only, pauses, rate};
use crate::support::{BINARY, ByHand, Client, PING, PONG, TEXT, frame};

/// Sends messages one at a time, so that each is read alone.
fn send_apart(server: &mut ByHand, client: &mut Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        client.raw(&numbered(number..number + 1));
        server.turn_until_readable(&client.stream);
        client.expect(TEXT, number.to_string().as_bytes());
    }
}

#[test]
fn messages_and_pings_of_many_reads_take_their_tokens() {
    let mut server = echo(RouteSettings::default().messages_rate(only(600)));
    let mut client = server.open("/");
    send_apart(&mut server, &mut client, 0..250);
    for _ in 0..50 {
        client.raw(&frame(true, PING, b"1"));
        server.turn_until_readable(&client.stream);
        client.expect(PONG, b"1");
    }
    client.raw(&numbered(0..1000));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.messages_in, metrics.controls_in), (550, 50));
}

#[test]
fn a_rate_of_bytes_counts_those_of_many_reads() {
    let route = RouteSettings::default().bytes_rate(rate(1.0, 400_000)).messages_rate(only(2000));
    let mut server = echo(route);
    let mut client = server.open("/");
    let message = frame(true, BINARY, &[1; 992]);
    for _ in 0..300 {
        client.raw(&message);
        server.turn_until_readable(&client.stream);
        client.expect(BINARY, &[1; 992]);
    }
    client.raw(&message.repeat(120));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "bytes") == 1);
    // Frames of 1,000 bytes, and what one small read takes beyond the last tokens.
    let read = server.reactor.metrics().messages_in;
    assert!((400..=405).contains(&read), "{read} messages");
}

/// Answers nothing.
struct Silent;

impl Service for Silent {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

#[test]
fn full_reads_take_the_tokens_of_their_bytes_once() {
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Silent).unwrap();
        let route = RouteSettings::default().bytes_rate(rate(1.0, 900_000));
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = server.open("/");
    let messages = frame(true, BINARY, &[1; 992]).repeat(50);
    for sent in 1..=17 {
        client.raw(&messages);
        server.turn_until("they are read", |metrics| metrics.messages_in == 50 * sent);
    }
    client.raw(&messages.repeat(2));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "bytes") == 1);
    let read = server.reactor.metrics().messages_in;
    assert!((900..=905).contains(&read), "{read} messages");
}

/// Charges tokens for each message and echoes it.
struct Costly(usize);

impl Service for Costly {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        cx.charge(conn, self.0);
        let _ = cx.send(conn, message);
    }
}

#[test]
fn charges_of_many_reads_are_counted() {
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Costly(2)).unwrap();
        let route = RouteSettings::default().messages_rate(only(900));
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = server.open("/");
    send_apart(&mut server, &mut client, 0..100);
    client.raw(&numbered(0..1000));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    assert_eq!(server.reactor.metrics().messages_in, 300);
}

/// Sets metadata at each tenth message, which a connection with rates holds beside them.
struct Labelling(usize);

impl Service for Labelling {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.0 += 1;
        match self.0 % 20 {
            10 => cx.set_metadata(conn, "key", "value").unwrap(),
            0 => cx.remove_metadata(conn, "key"),
            _ => {}
        }
        let _ = cx.send(conn, message);
    }
}

#[test]
fn tokens_are_counted_while_other_state_comes_and_goes() {
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Labelling(0)).unwrap();
        let route = RouteSettings::default().messages_rate(only(500));
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = server.open("/");
    send_apart(&mut server, &mut client, 0..230);
    client.raw(&numbered(0..1000));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    assert_eq!(server.reactor.metrics().messages_in, 500);
}

/// Changes the rate of a route.
fn set_rate(server: &mut ByHand, (service, route): (ServiceId, RouteId), burst: u32) {
    let settings = RouteSettings::default().messages_rate(only(burst));
    server.reactor.context(service).set_route(route, settings).unwrap();
}

#[test]
fn a_changed_rate_holds_for_open_connections_from_the_next_read_on() {
    let mut added = None;
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(weir::services::Echo).unwrap();
        let route = RouteSettings::default().messages_rate(only(1000));
        added = Some((service, reactor.add_route("/", service, route).unwrap()));
    });
    let mut client = server.open("/");
    send_apart(&mut server, &mut client, 0..10);
    // The tokens used so far are time until the bucket is full: at the same rate, ten are missing.
    set_rate(&mut server, added.unwrap(), 300);
    send_apart(&mut server, &mut client, 10..20);
    client.raw(&numbered(20..1000));
    server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") == 1);
    assert_eq!(server.reactor.metrics().messages_in, 300);
}

#[test]
fn connections_with_plenty_of_tokens_are_read_like_others() {
    let mut server = ByHand::new(Settings::default(), |reactor| {
        add_echo(reactor, "/", RouteSettings::default().messages_rate(only(100_000)));
    });
    let mut client = server.open("/");
    client.raw(&numbered(0..10_000));
    server.turn_until("all are handled", |metrics| metrics.messages_in == 10_000);
    server.turn_until_readable(&client.stream);
    for number in 0..10_000 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    assert_eq!(pauses(server.reactor.metrics(), "messages"), 0);
}
