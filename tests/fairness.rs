//! Fairness: a busy connection does not delay others. Counted in turns and messages, never in time.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::budget::{MESSAGES_PER_READ, READ_BYTES, WRITE_BYTES};
use weir::reactor::settings::{RouteSettings, Settings, SlowPolicy};
use weir::reactor::{ConnId, Context, Service, Target};
use weir::services::Echo;

use crate::support::{BINARY, ByHand, Client, TEXT, frame};

/// Turns within which all answers must arrive: one that reads the requests, and many for a busy
/// kernel that delivers late. A client that waited for the end of the flood would wait for ever.
const TURNS_MAX: u64 = 64;

/// Writes as many bytes as the kernel takes.
fn fill(client: &mut Client, bytes: &[u8], at: &mut usize) {
    client.stream.set_nonblocking(true).unwrap();
    loop {
        match client.stream.write(&bytes[*at..]) {
            Ok(len) => *at = (*at + len) % bytes.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.stream.set_nonblocking(false).unwrap();
}

/// Reads and discards all bytes that have arrived.
fn empty(client: &mut Client) {
    client.stream.set_nonblocking(true).unwrap();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match client.stream.read(&mut chunk) {
            Ok(0) => panic!("the stream has ended"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.stream.set_nonblocking(false).unwrap();
}

/// One flooder sends `flood` again and again; nine other clients send a message and wait for its echo.
/// Returns the bytes that the server has read.
fn nine_beside_a_flooder(flood: &[u8]) -> u64 {
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
    });
    let mut flooder = server.open("/");
    let mut others: Vec<Client> = (0..9).map(|_| server.open("/")).collect();
    let mut at = 0;
    for round in 0..50 {
        fill(&mut flooder, flood, &mut at);
        let before = server.reactor.metrics().clone();
        for client in &mut others {
            client.text("question");
        }
        let mut turns = 0;
        for client in &mut others {
            turns += wait_for_answer(&mut server, client, &mut flooder, flood, &mut at);
        }
        assert!(turns <= TURNS_MAX, "round {round} took {turns} turns");
        let after = server.reactor.metrics();
        let messages = after.messages_in - before.messages_in;
        let most = turns * MESSAGES_PER_READ as u64 + others.len() as u64;
        assert!(messages <= most, "{messages} messages in {turns} turns");
        let bytes = after.bytes_read - before.bytes_read;
        // One read, and before it one into the assembly buffer of a large frame.
        let most = turns * 2 * READ_BYTES as u64 + others.len() as u64 * 64;
        assert!(bytes <= most, "{bytes} bytes in {turns} turns");
    }
    drop((flooder, others));
    server.stop_clean().bytes_read
}

/// Turns until the answer has arrived, while the flooder sends on. Returns the number of turns.
fn wait_for_answer(
    server: &mut ByHand,
    client: &mut Client,
    flooder: &mut Client,
    flood: &[u8],
    at: &mut usize,
) -> u64 {
    let mut turns = 0;
    client.stream.set_nonblocking(true).unwrap();
    while client.stream.peek(&mut [0]).is_err() {
        server.reactor.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        assert!(turns <= TURNS_MAX, "no answer after {turns} turns");
        empty(flooder);
        fill(flooder, flood, at);
    }
    client.stream.set_nonblocking(false).unwrap();
    client.expect(TEXT, b"question");
    turns
}

#[test]
fn a_flood_of_small_messages_does_not_delay_others() {
    let read = nine_beside_a_flooder(&frame(true, TEXT, b"x").repeat(20_000));
    assert!(read > 40_000, "the flooder is served: {read} bytes");
}

#[test]
fn a_flood_of_large_messages_does_not_delay_others() {
    let read = nine_beside_a_flooder(&frame(true, BINARY, &vec![7; 500_000]));
    assert!(read > 2 << 20, "the flooder is served: {read} bytes");
}

/// Sends 64 KiB to all connections for each message.
struct Megaphone;

impl Service for Megaphone {
    fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        let _ = cx.publish(Target::All, &[b'.'; 64 * 1024][..], Default::default());
    }
}

#[test]
fn a_turn_writes_a_bounded_share_to_each_peer() {
    let route = RouteSettings::default().outbox_hard_bytes(64 << 20).outbox_soft_bytes(32 << 20);
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Megaphone).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    let mut talker = server.open("/");
    let listener = server.open("/");
    talker.raw(&frame(true, TEXT, b"x").repeat(64));
    let mut before = server.reactor.metrics().clone();
    let mut busiest = 0;
    while server.reactor.metrics().messages_in < 64 || busiest < 2 * WRITE_BYTES as u64 {
        server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let after = server.reactor.metrics().clone();
        let written = after.bytes_written - before.bytes_written;
        assert!(written <= 2 * WRITE_BYTES as u64, "{written} bytes in a turn");
        busiest = busiest.max(written);
        before = after;
    }
    drop((talker, listener));
    server.stop_clean();
}

/// Echoes each message, and sends a copy to a peer that does not read.
struct Gossip {
    most: Arc<AtomicUsize>,
}

impl Service for Gossip {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        assert!(cx.send(conn, message).is_queued(), "a peer that reads always has room");
        let _ = cx.publish(Target::Topic("all"), &[b'.'; 32 * 1024][..], Default::default());
        let most = cx.connections().map(|conn| cx.queued_bytes(conn)).max().unwrap_or(0);
        self.most.fetch_max(most, Ordering::Relaxed);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if cx.record(conn).is_some_and(|record| record.path == "/all") {
            cx.subscribe(conn, "all").unwrap();
        }
    }
}

/// The number of turns that a hundred clients need, and the maximum of bytes queued for one connection.
fn turns_of_a_hundred(with_non_reader: bool) -> (u64, usize) {
    const ROUNDS: u64 = 20;
    let most = Arc::new(AtomicUsize::new(0));
    let route = RouteSettings::default().outbox_hard_bytes(4 << 20).slow_policy(SlowPolicy::Drop);
    let gossip = Gossip { most: Arc::clone(&most) };
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(gossip).unwrap();
        reactor.add_route("/*", service, route).unwrap();
    });
    let mut readers: Vec<Client> = (0..100).map(|_| server.open("/")).collect();
    let non_reader = with_non_reader.then(|| server.open("/all"));
    let before = server.reactor.metrics().turns;
    for round in 1..=ROUNDS {
        for client in &mut readers {
            client.text("question");
        }
        let asked = round * 100;
        server.turn_until("all messages are read", |metrics| metrics.messages_in == asked);
        for client in &mut readers {
            client.expect(TEXT, b"question");
        }
    }
    let turns = server.reactor.metrics().turns - before;
    assert_eq!(server.reactor.metrics().messages_refused > 0, with_non_reader);
    drop((readers, non_reader));
    server.stop_clean();
    (turns, most.load(Ordering::Relaxed))
}

#[test]
fn a_peer_that_does_not_read_does_not_slow_others() {
    let (alone, _) = turns_of_a_hundred(false);
    let (beside, most) = turns_of_a_hundred(true);
    assert!(most > 1 << 20, "only {most} bytes were ever queued");
    assert!(most <= 4 << 20, "{most} bytes were queued");
    assert!(beside <= 4 * alone, "{beside} turns instead of {alone}");
}
