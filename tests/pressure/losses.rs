//! What is dropped for slow consumers: messages with `SlowPolicy::Drop`, and all pongs but the last.

use weir::reactor::SendOutcome;
use weir::reactor::budget::{MESSAGES_PER_READ, WRITE_BYTES};
use weir::reactor::settings::{Settings, SlowPolicy};

use super::{Bench, KIB, MIB, Report, SHORT, limits};
use crate::support::{CLOSE, PING, PONG, eventually, frame};

#[test]
fn messages_are_dropped_until_the_queue_has_drained() {
    let route = limits(MIB, 2 * MIB, 8 * MIB).slow_policy(SlowPolicy::Drop);
    let mut bench = Bench::new(Settings::default(), route);
    let count = 400;
    let sent = bench.push(count, 100 * KIB);
    let queued = |(outcome, _): &&(SendOutcome, usize)| outcome.is_queued();
    let queued = sent.iter().filter(queued).count();
    assert!(sent.iter().all(|(_, bytes)| *bytes <= 8 * MIB));
    // The kernel has taken some messages, too.
    assert!(queued >= 8 * MIB / (100 * KIB + 10) && queued < count, "{queued}");
    assert!(sent[queued..].iter().all(|(outcome, _)| *outcome == SendOutcome::Full));
    // There is room again, but the queue is not below low water: messages are dropped, pongs are not.
    assert!(bench.blocked() > MIB);
    assert_eq!(bench.push(1, 100)[0].0, SendOutcome::Full);
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
    assert!(matches!(bench.next(), Report::Drained(left) if left <= MIB));
    assert_eq!(bench.push(1, 100)[0].0, SendOutcome::Queued);
    let after = count as u32 + 1;
    assert_eq!(bench.client.frame().payload[..4], after.to_be_bytes());
    let metrics = bench.stop();
    assert_eq!(metrics.messages_refused, (count - queued + 1) as u64);
    assert_eq!((metrics.messages_dropped, metrics.ended_slow), (0, 0));
}

#[test]
fn messages_are_dropped_after_the_grace_time() {
    let route = limits(KIB, MIB, 64 * MIB).slow_policy(SlowPolicy::Drop).outbox_grace(SHORT);
    let mut bench = Bench::new(Settings::default(), route);
    bench.push(16, MIB);
    eventually(|| bench.push(1, 4)[0].0 == SendOutcome::Full, "messages are dropped");
    let (mut number, mut drained) = (0, false);
    while !drained {
        assert_eq!(bench.client.frame().payload[..4], u32::to_be_bytes(number));
        number += 1;
        drained = bench.reports.try_iter().any(|reports| matches!(reports, Report::Drained(_)));
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
    // If the kernel takes a write in between, the pongs of that turn's reads pass.
    let turns = before.saturating_sub(after).div_ceil(WRITE_BYTES);
    assert!(pongs.len() <= 1 + turns * MESSAGES_PER_READ, "{} in {turns} turns", pongs.len());
    bench.stop();
}
