//! The work of a turn over all connections is bounded by its weight, and the rest comes first in the next
//! turn. Counted by the loop's metrics, never by time.

use std::collections::HashMap;
use std::io::{ErrorKind, Write as _};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::budget::{
    INFLATED_FROM_BYTES, INFLATED_TO_BYTES, MAIL_WORK, MESSAGES_PER_READ, READ_SHARE_MAX,
    READ_SHARE_MIN, READ_WORK, WEIGHED_AT_ONCE, WORK_BYTES,
};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    ConnId, Context, MailReceiver, MailSender, Metrics, More, Service, ServiceId, Target,
};
use weir::services::Echo;
use zlib_rs::{Deflate, DeflateFlush};

use crate::support::{
    BINARY, ByHand, COMPRESSED, CONTINUATION, Client, Seen, TEXT, Watched, frame, upgrade,
};

/// Bytes that each client of a flood has waiting, by default.
const WAITING_BYTES: usize = 240_000;

/// A server with this service at `/`.
fn serving(service: impl Service + 'static) -> (ByHand, ServiceId) {
    let mut id = None;
    let server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        id = Some(service);
    });
    (server, id.unwrap())
}

/// Writes as many bytes of the rest as the kernel takes.
fn fill(client: &mut Client, rest: &mut &[u8]) {
    client.stream.set_nonblocking(true).unwrap();
    while !rest.is_empty() {
        match client.stream.write(rest) {
            Ok(len) => *rest = &rest[len..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.stream.set_nonblocking(false).unwrap();
}

/// Turns until the condition holds, while the clients write the rest of `bytes`. The condition gets the
/// metrics before and after each turn.
fn flood(
    server: &mut ByHand,
    clients: &mut [Client],
    bytes: &[u8],
    mut check: impl FnMut(&Metrics, &Metrics),
    done: impl Fn(&Metrics) -> bool,
) {
    let mut rests = vec![bytes; clients.len()];
    for (client, rest) in clients.iter_mut().zip(&mut rests) {
        fill(client, rest);
    }
    let mut before = server.reactor.metrics().clone();
    let mut turns_without_progress = 0;
    while !done(&before) {
        server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let after = server.reactor.metrics().clone();
        check(&before, &after);
        let is_idle = (before.bytes_read, before.fragments_in, before.bytes_inflated_from)
            == (after.bytes_read, after.fragments_in, after.bytes_inflated_from);
        turns_without_progress = if is_idle { turns_without_progress + 1 } else { 0 };
        assert!(turns_without_progress < 1000, "{after}");
        before = after;
        for (client, rest) in clients.iter_mut().zip(&mut rests) {
            fill(client, rest);
        }
    }
}

/// Fifty clients have empty fragments, or fragments of one byte, waiting, and never complete a message.
#[test]
fn fragments_that_complete_nothing_are_bounded_per_turn() {
    const CLIENTS: usize = 50;
    for payload in [&b""[..], b"x"] {
        let (mut server, _) = serving(Echo);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
        let fragment = frame(false, CONTINUATION, payload);
        let mut bytes = frame(false, BINARY, b"");
        bytes.extend(fragment.repeat(WAITING_BYTES / fragment.len()));
        let all = (CLIENTS * (1 + WAITING_BYTES / fragment.len())) as u64;
        let mut most = 0;
        let check = |before: &Metrics, after: &Metrics| {
            most = most.max(after.fragments_in - before.fragments_in);
        };
        flood(&mut server, &mut clients, &bytes, check, |m| m.fragments_in >= all);
        assert!(most <= (CLIENTS * MESSAGES_PER_READ) as u64, "{most} fragments in a turn");
        drop(clients);
        server.stop_clean();
    }
}

/// Five hundred clients have whole messages waiting. A turn reads no more than its budget, except for
/// the last few connections that it reads from.
#[test]
fn bytes_read_are_bounded_per_turn() {
    const CLIENTS: usize = 500;
    const MESSAGES: usize = 2;
    let (service, seen) = Watched::new(|_, _, _| {});
    let (mut server, _) = serving(service);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let message = frame(true, BINARY, &[7; 60_000]);
    let bytes = message.repeat(MESSAGES);
    let most = (READ_WORK + WEIGHED_AT_ONCE * 2 * READ_SHARE_MIN) * WORK_BYTES;
    let check = |before: &Metrics, after: &Metrics| {
        let read = after.bytes_read - before.bytes_read;
        assert!(read <= most as u64, "{read} bytes in a turn");
    };
    let all = (CLIENTS * MESSAGES) as u64;
    flood(&mut server, &mut clients, &bytes, check, |m| m.messages_in == all);
    drop((clients, seen));
    server.stop_clean();
}

/// Clients each have a large compressed text waiting; there are fewer or more clients than streams. A turn
/// inflates a bounded part of each, and in the end all messages are correct.
#[test]
fn inflating_is_bounded_per_turn() {
    let text: Vec<u8> = (0..).flat_map(|i: u64| line(i).into_bytes()).take(1 << 20).collect();
    let bytes = frame(true, COMPRESSED | BINARY, &compressed(&text));
    assert!(bytes.len() > 200_000, "{} bytes", bytes.len());
    for clients in [20, 100] {
        let expected = text.clone();
        let (service, seen) = Watched::new(move |_, _, message| {
            assert!(message.as_bytes() == expected, "the inflated message differs");
        });
        let (mut server, _) = serving(service);
        let mut peers: Vec<Client> = (0..clients).map(|_| open_deflating(&mut server)).collect();
        // The phase's budget, and the share of the last connection, which may exceed it.
        let units = READ_WORK + READ_SHARE_MAX;
        let check = |before: &Metrics, after: &Metrics| {
            let from = after.bytes_inflated_from - before.bytes_inflated_from;
            let to = after.bytes_inflated_to - before.bytes_inflated_to;
            assert!(from <= (units * INFLATED_FROM_BYTES) as u64, "from {from} bytes in a turn");
            assert!(to <= (units * INFLATED_TO_BYTES) as u64, "to {to} bytes in a turn");
        };
        flood(&mut server, &mut peers, &bytes, check, |m| m.messages_in == clients);
        let metrics = server.reactor.metrics();
        assert_eq!((metrics.panics, metrics.messages_inflated), (0, clients), "{metrics}");
        assert_eq!(metrics.messages_gathered > 0, clients > 64);
        drop((peers, seen));
        server.stop_clean();
    }
}

/// An open WebSocket whose messages may be compressed.
fn open_deflating(server: &mut ByHand) -> Client {
    let opened = server.reactor.metrics().opened;
    let mut client = Client::tcp(server.address);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    client.raw(upgrade("/", offer).as_bytes());
    server.turn_until("it opens", |metrics| metrics.opened > opened);
    assert!(client.head().contains("permessage-deflate"));
    client
}

/// Clients send large compressed messages, whose echoes are compressed again. The last bytes of all
/// messages arrive at once. A turn compresses one echo, and serves a client with a small message.
#[test]
fn a_turn_compresses_one_large_message_and_serves_other_connections() {
    const CLIENTS: u64 = 20;
    let text: Vec<u8> = (0..).flat_map(|i: u64| line(i).into_bytes()).take(200_000).collect();
    let bytes = frame(true, COMPRESSED | BINARY, &compressed(&text));
    let (mut server, _) = serving(Echo);
    let mut peers: Vec<Client> = (0..CLIENTS).map(|_| open_deflating(&mut server)).collect();
    let mut light = server.open("/");
    let (most, last) = bytes.split_at(bytes.len() - 1);
    flood(
        &mut server,
        &mut peers,
        most,
        |_, _| {},
        |m| m.bytes_read >= CLIENTS * most.len() as u64,
    );
    let all = CLIENTS * (most.len() as u64 - 14);
    server.turn_until("all but the last byte is inflated", |m| m.bytes_inflated_from >= all);
    for peer in &mut peers {
        peer.raw(last);
    }
    let mut before = server.reactor.metrics().clone();
    let mut answered_after = None;
    light.text("light");
    light.stream.set_nonblocking(true).unwrap();
    while before.messages_deflated < CLIENTS {
        server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let after = server.reactor.metrics().clone();
        let deflated = after.messages_deflated - before.messages_deflated;
        assert!(deflated <= 1, "{deflated} large messages in a turn");
        if answered_after.is_none() && light.stream.peek(&mut [0]).is_ok() {
            answered_after = Some(after.messages_deflated);
        }
        before = after;
    }
    assert!(answered_after.unwrap() <= 2, "{answered_after:?}");
    drop((peers, light));
    server.stop_clean();
}

/// Hundreds of requests are completed between two turns, and their deadline passes. That is more than one
/// poll reports. The late timers wait once until all requests are read, and fire then.
#[test]
fn late_timers_wait_for_input_once() {
    const CLIENTS: usize = 600;
    let timeout = Duration::from_secs(2);
    let settings = Settings::default().handshake_timeout(timeout);
    let mut server = ByHand::new(settings, |reactor| {
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
    });
    let request = upgrade("/", "");
    let (first, second) = request.split_at(request.len() / 2);
    let begin = |_| {
        let mut client = Client::tcp(server.address);
        client.raw(first.as_bytes());
        client
    };
    let mut clients: Vec<Client> = (0..=CLIENTS).map(begin).collect();
    let started = |m: &Metrics| m.bytes_read as usize == (CLIENTS + 1) * first.len();
    server.turn_until("the first part of each message is read", started);
    // The last client sends nothing more.
    for client in &mut clients[..CLIENTS] {
        client.raw(second.as_bytes());
    }
    thread::sleep(timeout + Duration::from_millis(500));
    server.turn_until("all are open", |metrics| metrics.opened as usize == CLIENTS);
    assert_eq!(server.reactor.metrics().timers_held, 1);
    server.turn_until("the last connection times out", |metrics| metrics.ended_timeout == 1);
    drop(clients);
    server.stop_clean();
}

fn line(index: u64) -> String {
    let random = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{{\"id\":{index},\"hash\":\"{random:016x}\",\"from\":\"{:x}\"}}\n", random >> 7)
}

fn compressed(message: &[u8]) -> Vec<u8> {
    let mut stream = Deflate::new(6, false, 15);
    let mut out = vec![0; 2 * message.len() + 1024];
    stream.compress(message, &mut out, DeflateFlush::SyncFlush).unwrap();
    out.truncate(stream.total_out() as usize - 4);
    out
}

/// Three hundred connections have more input than one turn reads. None is read again before all were, and
/// one that becomes ready later comes after those that wait.
#[test]
fn connections_left_over_by_a_turn_come_first_in_the_next() {
    const CLIENTS: usize = 300;
    const MESSAGES: usize = 2_000;
    let (service, seen) = Watched::new(|_, _, _| {});
    let (mut server, _) = serving(service);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let mut late = server.open("/");
    let bytes = frame(true, BINARY, b"seven..").repeat(MESSAGES);
    for client in &mut clients {
        client.raw(&bytes);
    }
    seen.try_iter().for_each(drop);
    server.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(server.reactor.metrics().phases_cut > 0, "{}", server.reactor.metrics());
    late.text("late");
    server.turn_until("all is read", |m| m.messages_in as usize == CLIENTS * MESSAGES + 1);

    let messages = seen.try_iter().filter_map(|seen| match seen {
        Seen::Message(conn, payload) => Some((conn, payload == b"late")),
        _ => None,
    });
    let mut times = HashMap::<ConnId, usize>::new();
    let mut last = None;
    for (conn, is_late) in messages {
        if is_late {
            assert_eq!(times.len(), CLIENTS, "all waiting connections were served before");
        } else if last != Some(conn) {
            let time = times.entry(conn).or_default();
            *time += 1;
            let time = *time;
            // The last shares are smaller, and fall into different turns.
            let least = if times.len() < CLIENTS { 0 } else { *times.values().min().unwrap() };
            assert!(time <= least + 1, "{conn} is served {time} times, others {least} times");
        }
        last = Some(conn);
    }
    drop((clients, late));
    server.stop_clean();
}

/// Sends each message to all connections, large enough not to be batched.
struct Megaphone;

impl Service for Megaphone {
    fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        let _ = cx.publish(Target::All, &[b'.'; 600][..], Default::default());
    }
}

#[test]
fn deliveries_to_many_are_bounded_per_turn() {
    const CLIENTS: usize = 500;
    let (mut server, _) = serving(Megaphone);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let messages = frame(true, TEXT, b"x").repeat(200);
    clients[0].raw(&messages);
    let check = |before: &Metrics, after: &Metrics| {
        let sent = after.messages_out - before.messages_out;
        assert!(sent <= (READ_SHARE_MAX + CLIENTS) as u64, "{sent} deliveries in a turn");
    };
    flood(&mut server, &mut clients[..1], b"", check, |m| m.messages_in == 200);
    drop(clients);
    server.stop_clean();
}

/// Publishes a message for each mail.
struct Ticker {
    lend: Sender<MailSender<()>>,
    mail: Option<MailReceiver<()>>,
}

impl Service for Ticker {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(2_000);
        self.mail = Some(receiver);
        self.lend.send(sender).unwrap();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.mail.as_ref().and_then(|mail| mail.try_recv().ok()) {
            None => More::No,
            Some(()) => {
                let _ = cx.publish(Target::All, &[b'.'; 600][..], Default::default());
                More::Yes
            }
        }
    }
}

/// Two services have much mail, and each mail causes many deliveries. A turn makes a bounded number of
/// them, and each service gets its share.
#[test]
fn mail_is_weighed_by_the_deliveries_that_it_causes() {
    const CLIENTS: usize = 200;
    let (lend, lent) = channel();
    let mut server = ByHand::new(Settings::default(), |reactor| {
        for path in ["/a", "/b"] {
            let ticker = Ticker { lend: lend.clone(), mail: None };
            let service = reactor.add_service(ticker).unwrap();
            reactor.add_route(path, service, RouteSettings::default()).unwrap();
        }
    });
    let senders = [lent.recv().unwrap(), lent.recv().unwrap()];
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/a")).collect();
    clients.push(server.open("/b"));
    for sender in &senders {
        (0..1_000).for_each(|_| sender.try_send(()).unwrap());
    }
    let mut quiet = clients.pop().unwrap();
    let before = server.reactor.metrics().messages_out;
    server.reactor.turn(Some(Duration::ZERO)).unwrap();
    let sent = server.reactor.metrics().messages_out - before;
    assert!(sent <= (MAIL_WORK + CLIENTS) as u64, "{sent} deliveries in a turn");
    assert!(sent > 1_000, "{sent}");
    // The second service has one connection: its thousand messages are light.
    quiet.expect(BINARY, &[b'.'; 600]);
    assert!(server.reactor.wait() == Duration::ZERO, "the rest follows at once");
    drop((clients, quiet));
    server.stop_clean();
}
