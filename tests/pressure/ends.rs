//! How connections of slow consumers end, and what such a peer reads afterwards.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::CloseCode;
use weir::reactor::CloseReason;
use weir::reactor::settings::{RouteSettings, Settings};

use super::{Bench, KIB, LONG, MIB, SHORT, expect_numbered_then_1013, limits, read_numbered};
use crate::support::{BINARY, CLOSE, Client, Server, eventually, frame};

/// Sends messages of `len` bytes to a peer that reads only after the server has ended the connection.
fn read_after_the_end(route: RouteSettings, len: usize, close_timeout: Duration) {
    let settings = Settings::default().close_timeout(close_timeout);
    let mut bench = Bench::new(settings, route);
    let count = 16 * MIB / len;
    bench.push(count, len);
    let why = bench.closed();
    assert!(matches!(why, CloseReason::SlowConsumer | CloseReason::WriteTimeout), "{why}");
    // The server has freed the connection; its last bytes are in the kernel.
    let read = expect_numbered_then_1013(&mut bench.client, len, why.text());
    bench.client.expect_end();
    assert!(read > 0 && (read as usize) < count, "{read} of {count} messages");
    let metrics = bench.stop();
    assert_eq!(metrics.messages_dropped, count as u64 - u64::from(read));
    assert_eq!((metrics.ended_slow, metrics.close_timeouts), (1, 1));
}

#[test]
fn an_outbox_above_the_soft_limit_ends_after_the_grace_time() {
    let route = limits(KIB, MIB, 64 * MIB).outbox_grace(SHORT);
    for len in [100, 5000, 70_000, MIB] {
        read_after_the_end(route.clone(), len, SHORT);
    }
}

#[test]
fn a_write_without_progress_times_out() {
    let route = limits(KIB, 32 * MIB, 64 * MIB).write_timeout(SHORT);
    for len in [100, 300_000] {
        read_after_the_end(route.clone(), len, SHORT);
    }
}

/// The kernel accepts each write in full except for the last one, and nothing is sent after that.
#[test]
fn the_first_partial_write_starts_the_write_timeout() {
    let route = limits(KIB, 32 * MIB, 64 * MIB).write_timeout(SHORT);
    // No other timer of the connection fires in this test.
    let settings = Settings::default().handshake_timeout(LONG).heartbeat(None).close_timeout(SHORT);
    let mut bench = Bench::new(settings, route);
    loop {
        bench.push(1, 15 * KIB);
        let (_, queued) = bench.push(0, 4)[0];
        if queued > 0 {
            break;
        }
    }
    assert_eq!(bench.closed(), CloseReason::WriteTimeout);
    assert_eq!(bench.stop().ended_slow, 1);
}

#[test]
fn a_peer_that_reads_before_the_close_timeout_ends_cleanly() {
    let settings = Settings::default().close_timeout(LONG);
    let route = limits(KIB, MIB, 64 * MIB).outbox_grace(SHORT);
    let mut bench = Bench::new(settings, route);
    bench.push(16, MIB);
    // The service no longer answers requests once the Close is queued.
    let mut orders = bench.client.writer();
    let order = frame(true, 0x1, b"0x4");
    eventually(
        || {
            orders.write_all(&order).unwrap();
            bench.reports.recv_timeout(Duration::from_millis(50)).is_err()
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
fn a_peer_that_keeps_sending_receives_the_close() {
    let settings = Settings::default().close_timeout(LONG);
    // The echo is paused, so that much input waits at the server, too.
    let route = RouteSettings::default().write_timeout(SHORT).outbox_grace(LONG);
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
    // The echo is blocked and paused, and TCP blocks the writer, until the write times out. Then the
    // server reads and discards all input: the writer sends more than all buffers together hold.
    let enough = 64 * MIB;
    eventually(|| written.load(Ordering::Relaxed) > enough, "input is discarded");
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
fn the_close_timeout_starts_again_while_the_peer_reads_queued_output() {
    let close_timeout = Duration::from_secs(4);
    let settings = Settings::default().close_timeout(close_timeout);
    let mut bench = Bench::new(settings, limits(KIB, 32 * MIB, 64 * MIB));
    // Much more than the kernel's buffers hold: bytes that the kernel has taken count as sent.
    let count = 32;
    bench.push(count, MIB);
    bench.client.text("close");
    let started = Instant::now();
    for number in 0..count as u32 {
        // Slow: all messages together take longer than the close timeout, each one less.
        thread::sleep(close_timeout / 24);
        assert_eq!(bench.client.frame().payload[..4], number.to_be_bytes());
    }
    assert!(started.elapsed() > close_timeout);
    assert_eq!(bench.client.expect_close(), (1000, "that was all".into()));
    bench.client.close(1000, "");
    bench.client.expect_end();
    assert_eq!(bench.closed(), CloseReason::Service(CloseCode::NORMAL));
    let metrics = bench.stop();
    assert_eq!(metrics.messages_dropped, 0);
}

#[test]
fn a_close_for_a_peer_that_does_not_read_is_found_later() {
    let settings = Settings::default().close_timeout(SHORT);
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
