//! Peers that read slowly or not at all: what they are sent, what they lose, and what they find when
//! they read again.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::{CloseCode, Message};
use weir::reactor::budget::{MESSAGES_PER_READ, WRITE_BYTES};
use weir::reactor::settings::{RouteSettings, Settings, SlowPolicy};
use weir::reactor::{CloseReason, ConnId, Context, Metrics, SendOutcome, Service};

use crate::support::{
    BINARY, CLOSE, Client, DEADLINE, Frame, PING, PONG, Server, eventually, frame,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Time enough for anything that is not to run out in a test.
const LONG: Duration = Duration::from_secs(60);
/// For what is to run out.
const SHORT: Duration = Duration::from_millis(300);

/// Sends what it is told to, numbered: `"7x100"` asks for seven messages of 100 bytes, `"close"` for
/// a Close behind them. Tells what became of each.
struct Pusher {
    next: u32,
    tell: Sender<Told>,
}

#[derive(Debug)]
enum Told {
    /// The outcome of each send, and what was queued after it.
    Sent(Vec<(SendOutcome, usize)>),
    /// What was queued when `on_drain` was called.
    Drained(usize),
    Closed(CloseReason),
}

impl Service for Pusher {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Message::Text(order) = message else {
            return;
        };
        if order == "close" {
            return cx.close(conn, CloseCode::NORMAL, "that was all");
        }
        let (count, len) = order.split_once('x').unwrap();
        let mut payload = vec![b'.'; len.parse().unwrap()];
        let mut sent = Vec::new();
        for _ in 0..count.parse().unwrap() {
            payload[..4].copy_from_slice(&self.next.to_be_bytes());
            self.next += 1;
            let outcome = cx.send(conn, &payload[..]);
            sent.push((outcome, cx.queued_bytes(conn)));
        }
        if sent.is_empty() {
            sent.push((SendOutcome::Queued, cx.queued_bytes(conn)));
        }
        let _ = self.tell.send(Told::Sent(sent));
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = self.tell.send(Told::Drained(cx.queued_bytes(conn)));
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        let _ = self.tell.send(Told::Closed(why));
    }
}

/// A server that pushes, and a client that does not read unless told to.
struct Bench {
    server: Server,
    client: Client,
    told: Receiver<Told>,
}

impl Bench {
    fn new(settings: Settings, route: RouteSettings) -> Bench {
        let (tell, told) = channel();
        let server = Server::start(settings, move |reactor| {
            let service = reactor.add_service(Pusher { next: 0, tell }).unwrap();
            reactor.add_route("/", service, route).unwrap();
        });
        let client = Client::narrow(server.address, "/");
        Bench { server, client, told }
    }

    fn told(&self) -> Told {
        self.told.recv_timeout(DEADLINE).expect("the service has something to tell")
    }

    /// Has the service push; returns each outcome with what was queued then.
    fn push(&mut self, count: usize, len: usize) -> Vec<(SendOutcome, usize)> {
        self.client.text(&format!("{count}x{len}"));
        match self.told() {
            Told::Sent(sent) => sent,
            other => panic!("{other:?}"),
        }
    }

    /// What is queued once the kernel takes no more.
    fn blocked(&mut self) -> usize {
        let mut before = usize::MAX;
        loop {
            // Each order is a turn, and in each the kernel takes what it can.
            let (_, queued) = self.push(0, 4)[0];
            if queued == before {
                return queued;
            }
            before = queued;
        }
    }

    fn closed(&self) -> CloseReason {
        loop {
            if let Told::Closed(why) = self.told() {
                return why;
            }
        }
    }

    /// Ends the connection from the client's side, and the server.
    fn stop(self) -> Metrics {
        drop(self.client);
        self.server.stop_clean()
    }
}

/// Reads messages numbered from `first` on, each of `len` bytes, until a frame of another kind comes.
fn read_numbered(client: &mut Client, first: u32, len: usize) -> (u32, Frame) {
    let mut number = first;
    loop {
        let frame = client.frame();
        if frame.opcode != BINARY {
            return (number, frame);
        }
        assert!(frame.fin);
        assert_eq!(frame.payload.len(), len);
        assert_eq!(frame.payload[..4], number.to_be_bytes());
        number += 1;
    }
}

/// Whole messages in order, then Close 1013 and the end of the stream; returns how many there were.
fn expect_numbered_then_1013(client: &mut Client, len: usize, reason: &str) -> u32 {
    let (count, close) = read_numbered(client, 0, len);
    assert_eq!(close.opcode, CLOSE);
    assert_eq!(close.payload[..2], 1013u16.to_be_bytes());
    assert_eq!(close.payload[2..], *reason.as_bytes());
    count
}

fn limits(low: usize, soft: usize, hard: usize) -> RouteSettings {
    RouteSettings {
        message_bytes_max: 4 * KIB,
        outbox_low: low,
        outbox_soft: soft,
        outbox_hard: hard,
        outbox_grace: LONG,
        write_timeout: LONG,
        ..RouteSettings::default()
    }
}

#[test]
fn above_the_soft_limit_send_says_so_and_below_low_water_drain_does() {
    let (low, soft) = (10_000, 50_000);
    let mut bench = Bench::new(Settings::default(), limits(low, soft, MIB));
    let sent = bench.push(60, 996);
    for (index, &(outcome, queued)) in sent.iter().enumerate() {
        assert_eq!(queued, (index + 1) * 1000);
        let expected = if queued <= soft { SendOutcome::Queued } else { SendOutcome::Congested };
        assert_eq!(outcome, expected, "{queued} bytes queued");
    }
    match bench.told() {
        Told::Drained(queued) => assert!(queued <= low, "{queued}"),
        other => panic!("{other:?}"),
    }
    // It is told once, and again only after it was congested again.
    bench.push(10, 996);
    bench.push(60, 996);
    assert!(matches!(bench.told(), Told::Drained(_)));
    bench.client.close(1000, "");
    let (count, _) = read_numbered(&mut bench.client, 0, 996);
    assert_eq!(count, 130);
    assert_eq!(bench.closed(), CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert_eq!(bench.stop().congested, 2);
}

#[test]
fn drain_waits_for_low_water() {
    let (low, soft) = (MIB, 2 * MIB);
    let mut bench = Bench::new(Settings::default(), limits(low, soft, 64 * MIB));
    bench.push(160, 100 * KIB);
    let queued = bench.blocked();
    assert!(queued > soft, "the kernel has taken all but {queued} bytes");
    let (mut number, mut drained) = (0, None);
    while drained.is_none() {
        let frame = bench.client.frame();
        assert_eq!(frame.payload[..4], u32::to_be_bytes(number));
        number += 1;
        drained = bench.told.try_recv().ok();
    }
    match drained {
        Some(Told::Drained(queued)) => assert!(queued <= low, "{queued}"),
        other => panic!("{other:?}"),
    }
    assert!(number > 60, "it was told after {number} messages, with much still queued");
    for number in number..160 {
        assert_eq!(bench.client.frame().payload[..4], number.to_be_bytes());
    }
    bench.stop();
}

#[test]
fn an_echo_loses_nothing_although_nobody_reads_at_first() {
    const LEN: usize = 64 * KIB;
    const COUNT: u32 = 1024;
    let congested = Arc::new(AtomicBool::new(false));
    let most = Arc::new(Mutex::new(0));
    let route = RouteSettings { outbox_grace: LONG, write_timeout: LONG, ..Default::default() };
    let hard = route.outbox_hard;
    struct Echo(Arc<AtomicBool>, Arc<Mutex<usize>>);
    impl Service for Echo {
        fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
            if cx.send(conn, message) == SendOutcome::Congested {
                self.0.store(true, Ordering::Relaxed);
                cx.pause(conn);
            }
            let queued = cx.record(conn).unwrap().queued_bytes;
            let mut most = self.1.lock().unwrap();
            *most = queued.max(*most);
        }
        fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
            cx.resume(conn);
        }
    }
    let echo = Echo(Arc::clone(&congested), Arc::clone(&most));
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(echo).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = Client::narrow(server.address, "/");
    let mut writer = client.writer();
    let writes = thread::spawn(move || {
        // Masked by a key of zeros, so that only the number changes.
        let mut bytes = vec![0x82, 0x80 | 127];
        bytes.extend_from_slice(&(LEN as u64).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.resize(bytes.len() + LEN, b'.');
        for number in 0..COUNT {
            bytes[14..18].copy_from_slice(&number.to_be_bytes());
            writer.write_all(&bytes).unwrap();
        }
    });
    eventually(|| congested.load(Ordering::Relaxed), "the echo is congested");
    for number in 0..COUNT {
        let frame = client.frame();
        assert_eq!((frame.opcode, frame.payload.len()), (BINARY, LEN));
        assert_eq!(frame.payload[..4], number.to_be_bytes());
    }
    writes.join().unwrap();
    let most = *most.lock().unwrap();
    assert!(most <= hard, "{most} bytes were queued, {hard} may be");
    drop(client);
    let metrics = server.stop_clean();
    assert_eq!((metrics.messages_in, metrics.messages_out), (COUNT.into(), COUNT.into()));
    assert_eq!((metrics.messages_refused, metrics.messages_dropped), (0, 0));
}

#[test]
fn the_hard_limit_is_never_passed_and_closes_at_once() {
    let hard = 100_000;
    let mut bench = Bench::new(Settings::default(), limits(1000, 50_000, hard));
    let sent = bench.push(200, 996);
    let fits = hard / 1000;
    for (index, &(outcome, queued)) in sent.iter().enumerate() {
        assert!(queued <= hard);
        let expected = match index {
            0..50 => SendOutcome::Queued,
            _ if index < fits => SendOutcome::Congested,
            _ if index == fits => SendOutcome::Refused,
            _ => SendOutcome::Gone,
        };
        assert_eq!(outcome, expected, "message {index}");
    }
    // Nothing of it was begun when the limit was reached.
    assert_eq!(expect_numbered_then_1013(&mut bench.client, 996, "slow consumer"), 0);
    bench.client.close(1013, "");
    bench.client.expect_end();
    assert_eq!(bench.closed(), CloseReason::SlowConsumer);
    let metrics = bench.stop();
    assert_eq!((metrics.messages_out, metrics.messages_refused), (100, 1));
    assert_eq!((metrics.messages_dropped, metrics.ended_slow), (100, 1));
}

/// Blocks a peer with messages of `len`, waits for its end, and lets it read only then.
fn read_after_the_end(route: RouteSettings, len: usize, close_timeout: Duration) {
    let settings = Settings { close_timeout, ..Settings::default() };
    let mut bench = Bench::new(settings, route);
    let count = 16 * MIB / len;
    bench.push(count, len);
    let why = bench.closed();
    assert!(matches!(why, CloseReason::SlowConsumer | CloseReason::WriteTimeout), "{why}");
    // The server has forgotten the connection; what it has left is the kernel's.
    let read = expect_numbered_then_1013(&mut bench.client, len, why.text());
    bench.client.expect_end();
    assert!(read > 0 && (read as usize) < count, "{read} of {count} messages");
    let metrics = bench.stop();
    assert_eq!(metrics.messages_dropped, count as u64 - u64::from(read));
    assert_eq!((metrics.ended_slow, metrics.close_timeouts), (1, 1));
}

#[test]
fn above_the_soft_limit_the_grace_time_runs() {
    let route = RouteSettings { outbox_grace: SHORT, ..limits(KIB, MIB, 64 * MIB) };
    for len in [100, 5000, 70_000, MIB] {
        read_after_the_end(route.clone(), len, SHORT);
    }
}

#[test]
fn a_write_without_progress_times_out() {
    let route = RouteSettings { write_timeout: SHORT, ..limits(KIB, 32 * MIB, 64 * MIB) };
    for len in [100, 300_000] {
        read_after_the_end(route.clone(), len, SHORT);
    }
}

#[test]
fn who_reads_again_in_time_ends_in_good_order() {
    let settings = Settings { close_timeout: LONG, ..Settings::default() };
    let route = RouteSettings { outbox_grace: SHORT, ..limits(KIB, MIB, 64 * MIB) };
    let mut bench = Bench::new(settings, route);
    bench.push(16, MIB);
    // The Close is on its way when orders are not obeyed any more.
    let mut orders = bench.client.writer();
    let order = frame(true, 0x1, b"0x4");
    eventually(
        || {
            orders.write_all(&order).unwrap();
            bench.told.recv_timeout(Duration::from_millis(50)).is_err()
        },
        "the connection closes",
    );
    expect_numbered_then_1013(&mut bench.client, MIB, "slow consumer");
    bench.client.close(1013, "");
    bench.client.expect_end();
    assert_eq!(bench.closed(), CloseReason::SlowConsumer);
    assert_eq!(bench.stop().close_timeouts, 0);
}

#[test]
fn who_goes_on_sending_finds_the_close_too() {
    let settings = Settings { close_timeout: LONG, ..Settings::default() };
    // An echo that is paused, so that much waits on our side of the connection, too.
    let route = RouteSettings { write_timeout: SHORT, outbox_grace: LONG, ..Default::default() };
    let (service, _) = crate::support::Watched::echo();
    let server = Server::start(settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = Client::narrow(server.address, "/");
    let mut writer = client.writer();
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
    let writes = thread::spawn(move || {
        let bytes = frame(true, BINARY, &[b'.'; 5000]);
        while !stopped.load(Ordering::Relaxed) {
            writer.write_all(&bytes).expect("no reset while it writes");
            count.fetch_add(bytes.len(), Ordering::Relaxed);
        }
    });
    // The echo is blocked and paused, and TCP holds the writer, until the write times out. From then
    // on all is read and thrown away: the writer gets on, further than all buffers together reach.
    let enough = 64 * MIB;
    eventually(|| written.load(Ordering::Relaxed) > enough, "what comes is thrown away");
    let (code, reason) = client.expect_close();
    assert_eq!((code, &reason[..]), (1013, "write timeout"));
    stop.store(true, Ordering::Relaxed);
    writes.join().unwrap();
    client.close(1013, "");
    client.expect_end();
    drop(client);
    assert_eq!(server.stop_clean().ended_slow, 1);
}

#[test]
fn dropping_goes_on_until_the_queue_has_drained() {
    let route = RouteSettings { slow_policy: SlowPolicy::Drop, ..limits(MIB, 2 * MIB, 8 * MIB) };
    let mut bench = Bench::new(Settings::default(), route);
    let count = 400;
    let sent = bench.push(count, 100 * KIB);
    let queued = |(outcome, _): &&(SendOutcome, usize)| *outcome != SendOutcome::Refused;
    let queued = sent.iter().filter(queued).count();
    assert!(sent.iter().all(|(_, bytes)| *bytes <= 8 * MIB));
    // The kernel has taken some, too.
    assert!(queued >= 8 * MIB / (100 * KIB + 10) && queued < count, "{queued}");
    assert!(sent[queued..].iter().all(|(outcome, _)| *outcome == SendOutcome::Refused));
    // There is room again, but not below low water: all is dropped until then, but for pongs.
    assert!(bench.blocked() > MIB);
    assert_eq!(bench.push(1, 100)[0].0, SendOutcome::Refused);
    bench.client.send(PING, b"still there?");
    let mut pongs = 0;
    for number in 0..queued as u32 {
        let mut frame = bench.client.frame();
        if frame.opcode == PONG {
            assert_eq!(frame.payload, b"still there?");
            pongs += 1;
            frame = bench.client.frame();
        }
        assert_eq!(frame.payload[..4], number.to_be_bytes());
    }
    assert_eq!(pongs, 1);
    assert!(matches!(bench.told(), Told::Drained(left) if left <= MIB));
    assert_eq!(bench.push(1, 100)[0].0, SendOutcome::Queued);
    let after = count as u32 + 1;
    assert_eq!(bench.client.frame().payload[..4], after.to_be_bytes());
    let metrics = bench.stop();
    assert_eq!(metrics.messages_refused, (count - queued + 1) as u64);
    assert_eq!((metrics.messages_dropped, metrics.ended_slow), (0, 0));
}

#[test]
fn dropping_begins_after_the_grace_time() {
    let route = RouteSettings {
        slow_policy: SlowPolicy::Drop,
        outbox_grace: SHORT,
        ..limits(KIB, MIB, 64 * MIB)
    };
    let mut bench = Bench::new(Settings::default(), route);
    bench.push(16, MIB);
    eventually(|| bench.push(1, 4)[0].0 == SendOutcome::Refused, "messages are dropped");
    let (mut number, mut drained) = (0, false);
    while !drained {
        assert_eq!(bench.client.frame().payload[..4], u32::to_be_bytes(number));
        number += 1;
        drained = bench.told.try_iter().any(|told| matches!(told, Told::Drained(_)));
    }
    assert!(bench.stop().messages_refused > 0);
}

#[test]
fn pings_of_a_peer_that_does_not_read_keep_one_pong() {
    let mut bench = Bench::new(Settings::default(), limits(KIB, 32 * MIB, 64 * MIB));
    bench.push(16, MIB);
    let before = bench.blocked();
    let last: u32 = 20_000;
    let pings: Vec<u8> = (1..=last).flat_map(|n| frame(true, PING, &n.to_be_bytes())).collect();
    bench.client.raw(&pings);
    let (_, after) = bench.push(0, 4)[0];
    let pong = 2 + 4;
    assert!(after <= before + pong, "{before} bytes were queued, then {after}");
    bench.client.close(1000, "");
    let (mut numbers, mut pongs) = (0, Vec::new());
    loop {
        let frame = bench.client.frame();
        match frame.opcode {
            PONG => pongs.push(frame.payload),
            CLOSE => break,
            _ => {
                assert_eq!(frame.payload[..4], u32::to_be_bytes(numbers));
                numbers += 1;
            }
        }
    }
    assert_eq!(numbers, 16);
    assert!(pongs.contains(&last.to_be_bytes().to_vec()));
    // A kernel that changes its mind and takes a turn's write lets through what that turn reads.
    let turns = before.saturating_sub(after).div_ceil(WRITE_BYTES);
    assert!(pongs.len() <= 1 + turns * MESSAGES_PER_READ, "{} in {turns} turns", pongs.len());
    bench.stop();
}

#[test]
fn a_close_waits_for_what_is_queued_as_long_as_the_peer_takes_it() {
    let close_timeout = Duration::from_secs(4);
    let settings = Settings { close_timeout, ..Settings::default() };
    let mut bench = Bench::new(settings, limits(KIB, 32 * MIB, 64 * MIB));
    // Much more than the kernel holds: what it has taken counts as sent.
    let count = 32;
    bench.push(count, MIB);
    bench.client.text("close");
    let begun = Instant::now();
    for number in 0..count as u32 {
        // Slow, but alive: longer than the close timeout as a whole, shorter for each message.
        thread::sleep(close_timeout / 24);
        assert_eq!(bench.client.frame().payload[..4], number.to_be_bytes());
    }
    assert!(begun.elapsed() > close_timeout);
    assert_eq!(bench.client.expect_close(), (1000, "that was all".into()));
    bench.client.close(1000, "");
    bench.client.expect_end();
    assert_eq!(bench.closed(), CloseReason::Service(CloseCode::NORMAL));
    let metrics = bench.stop();
    assert_eq!(metrics.messages_dropped, 0);
}

#[test]
fn a_close_for_a_peer_that_does_not_read_is_found_later() {
    let settings = Settings { close_timeout: SHORT, ..Settings::default() };
    let mut bench = Bench::new(settings, limits(KIB, 32 * MIB, 64 * MIB));
    bench.push(16, MIB);
    bench.client.text("close");
    assert_eq!(bench.closed(), CloseReason::Service(CloseCode::NORMAL));
    let (count, close) = read_numbered(&mut bench.client, 0, MIB);
    assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &1000u16.to_be_bytes()[..]));
    bench.client.expect_end();
    let metrics = bench.stop();
    assert_eq!((metrics.messages_dropped, metrics.close_timeouts), (16 - u64::from(count), 1));
}

#[test]
fn a_message_larger_than_any_queue_may_be_costs_nobody_his_connection() {
    let route =
        RouteSettings { message_bytes_max: 125, outbox_hard: 512 * KIB, ..Default::default() };
    let mut bench = Bench::new(Settings::default(), route);
    assert_eq!(bench.push(1, 512 * KIB), [(SendOutcome::Refused, 0)]);
    assert!(matches!(bench.push(1, 100)[..], [(SendOutcome::Queued, _)]));
    assert_eq!(bench.client.frame().payload[..4], 1_u32.to_be_bytes());
    drop(bench.client);
    let metrics = bench.server.stop_clean();
    assert_eq!((metrics.messages_refused, metrics.ended_slow), (1, 0));
}
