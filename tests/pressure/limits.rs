//! Limits of a connection's outbox, and the outcomes that a service gets.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, SendOutcome, Service};

use super::{Bench, KIB, LONG, MIB, Report, expect_numbered_then_1013, limits, read_numbered};
use crate::support::{BINARY, Client, Server, eventually};

#[test]
fn send_returns_congested_above_the_soft_limit_and_on_drain_follows_below_low_water() {
    let (low, soft) = (10_000, 50_000);
    let mut bench = Bench::new(Settings::default(), limits(low, soft, MIB));
    let sent = bench.push(60, 996);
    for (index, &(outcome, queued)) in sent.iter().enumerate() {
        assert_eq!(queued, (index + 1) * 1000);
        let expected = if queued <= soft { SendOutcome::Queued } else { SendOutcome::Congested };
        assert_eq!(outcome, expected, "{queued} bytes queued");
    }
    match bench.next() {
        Report::Drained(queued) => assert!(queued <= low, "{queued}"),
        other => panic!("{other:?}"),
    }
    // `on_drain` is called once, and again only after the connection was congested again.
    bench.push(10, 996);
    bench.push(60, 996);
    assert!(matches!(bench.next(), Report::Drained(_)));
    bench.client.close(1000, "");
    let (count, _) = read_numbered(&mut bench.client, 0, 996);
    assert_eq!(count, 130);
    assert_eq!(bench.closed(), CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    assert_eq!(bench.stop().congested, 2);
}

#[test]
fn on_drain_is_called_only_below_low_water() {
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
        drained = bench.reports.try_recv().ok();
    }
    match drained {
        Some(Report::Drained(queued)) => assert!(queued <= low, "{queued}"),
        other => panic!("{other:?}"),
    }
    assert!(number > 60, "the drain was reported after {number} messages, with much still queued");
    for number in number..160 {
        assert_eq!(bench.client.frame().payload[..4], number.to_be_bytes());
    }
    bench.stop();
}

#[test]
fn an_echo_loses_nothing_if_its_peer_reads_late() {
    const LEN: usize = 64 * KIB;
    const COUNT: u32 = 1024;
    let congested = Arc::new(AtomicBool::new(false));
    let most = Arc::new(Mutex::new(0));
    let route = RouteSettings::default().outbox_grace(LONG).write_timeout(LONG);
    let hard = route.outbox_hard_bytes;
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
        // Masked with a key of zeros, so that only the number changes.
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
fn the_hard_limit_is_never_exceeded_and_closes_at_once() {
    let hard = 100_000;
    let mut bench = Bench::new(Settings::default(), limits(1000, 50_000, hard));
    let sent = bench.push(200, 996);
    let fits = hard / 1000;
    for (index, &(outcome, queued)) in sent.iter().enumerate() {
        assert!(queued <= hard);
        let expected = match index {
            0..50 => SendOutcome::Queued,
            _ if index < fits => SendOutcome::Congested,
            _ if index == fits => SendOutcome::Full,
            _ => SendOutcome::Gone,
        };
        assert_eq!(outcome, expected, "message {index}");
    }
    // No message was partly written when the limit was reached.
    assert_eq!(expect_numbered_then_1013(&mut bench.client, 996, "slow consumer"), 0);
    bench.client.close(1013, "");
    bench.client.expect_end();
    assert_eq!(bench.closed(), CloseReason::SlowConsumer);
    let metrics = bench.stop();
    assert_eq!((metrics.messages_out, metrics.messages_refused), (100, 1));
    assert_eq!((metrics.messages_dropped, metrics.ended_slow), (100, 1));
}

#[test]
fn a_message_above_the_hard_limit_is_refused_and_closes_nothing() {
    let route = RouteSettings::default().message_bytes_max(125).outbox_hard_bytes(512 * KIB);
    let mut bench = Bench::new(Settings::default(), route);
    assert_eq!(bench.push(1, 512 * KIB), [(SendOutcome::TooLarge, 0)]);
    assert!(matches!(bench.push(1, 100)[..], [(SendOutcome::Queued, _)]));
    assert_eq!(bench.client.frame().payload[..4], 1_u32.to_be_bytes());
    drop(bench.client);
    let metrics = bench.server.stop_clean();
    assert_eq!((metrics.messages_refused, metrics.ended_slow), (1, 0));
}
