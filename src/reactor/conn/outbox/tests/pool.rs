//! Spare queues.

use super::*;
use crate::reactor::conn::outbox::pressure::Pressure;
use crate::reactor::conn::outbox::spares::SpareQueues;

#[test]
fn spares_are_bounded_in_number_and_bytes() {
    let sum = SharedSum::default();
    let mut spares = SpareQueues::default();
    let mut outboxes: Vec<Outbox> = (0..SPARE_OUTBOXES + 10).map(|_| Outbox::default()).collect();
    for (index, outbox) in outboxes.iter_mut().enumerate() {
        // Some grow in their tail, some in their number of chunks.
        let payload = vec![0; [4 * SPARE_CHUNK_BYTES, SHARE_BYTES_MIN, CHUNK_BYTES][index % 3]];
        let frame = SharedFrame::message(Message::Binary(&payload));
        for _ in 0..10 * SPARE_CHUNKS {
            outbox.push_shared(&mut spares, sum.hold(Bytes::Frame(Rc::clone(frame.bytes()))));
        }
        outbox.push_message(&mut spares, Message::Binary(&payload), None);
    }
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    for outbox in &mut outboxes {
        while !outbox.is_empty() {
            outbox.flush(&mut wire, &mut spares, Time::ZERO).unwrap();
            wire.got.clear();
        }
    }
    assert_eq!(spares.kept.len(), SPARE_OUTBOXES);
    check_bounds(&spares);
}

fn check_bounds(spares: &SpareQueues) {
    let allocated = spares.kept.iter().map(|queue| queue.allocated).sum::<usize>();
    assert_eq!(spares.charged(), allocated + spares.kept.len() * size_of::<Queue>());
    assert!(allocated <= SPARE_BYTES && spares.kept.len() <= SPARE_OUTBOXES);
    for queue in &spares.kept {
        assert!(queue.tail.capacity().max(queue.spare.capacity()) <= SPARE_CHUNK_BYTES);
        assert!(queue.chunks.capacity() <= 2 * SPARE_CHUNKS, "{}", queue.chunks.capacity());
        assert!(queue.is_measured());
    }
}

#[test]
fn spares_that_return_as_they_were_charged_are_bounded_too() {
    let large = SPARE_BYTES / CHUNK_BYTES;
    for (count, payload_len) in
        [(1, 4 * SPARE_CHUNK_BYTES), (2 * large, CHUNK_BYTES - 100), (SPARE_OUTBOXES + 10, 100)]
    {
        let mut spares = SpareQueues::default();
        let mut outboxes: Vec<Outbox> = (0..count).map(|_| Outbox::default()).collect();
        for outbox in &mut outboxes {
            outbox.push_message(&mut spares, Message::Binary(&vec![0; payload_len]), None);
            outbox.charge();
        }
        let mut wire = Wire { room: usize::MAX, ..Wire::default() };
        for outbox in &mut outboxes {
            while !outbox.is_empty() {
                outbox.flush(&mut wire, &mut spares, Time::ZERO).unwrap();
                wire.got.clear();
            }
            check_bounds(&spares);
        }
        assert_eq!(spares.kept.len(), count.min(SPARE_OUTBOXES));
    }
}

#[test]
fn spares_not_used_since_the_last_trim_are_freed() {
    let mut spares = SpareQueues::default();
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    let mut use_at_once = |spares: &mut SpareQueues, count: usize| {
        let mut outboxes: Vec<Outbox> = (0..count).map(|_| Outbox::default()).collect();
        for outbox in &mut outboxes {
            outbox.push_message(spares, Message::Binary(&[7; 100]), None);
        }
        for outbox in &mut outboxes {
            outbox.flush(&mut wire, spares, Time::ZERO).unwrap();
        }
    };
    use_at_once(&mut spares, 10);
    assert_eq!((spares.trim(), spares.kept.len()), (0, 10));
    use_at_once(&mut spares, 4);
    use_at_once(&mut spares, 3);
    assert_eq!((spares.trim(), spares.kept.len()), (6, 4));
    let held = spares.kept.iter().map(|queue| queue.held_bytes()).sum::<usize>();
    assert_eq!(spares.charged(), held);
    assert_eq!((spares.trim(), spares.charged()), (4, 0));
    assert!(spares.is_empty());
    use_at_once(&mut spares, 2);
    assert_eq!(spares.kept.len(), 2);
}

#[test]
fn a_reused_queue_has_no_state_of_its_last_use() {
    let mut rig = Rig { now: Time::ZERO + Duration::from_secs(9), ..Rig::default() };
    rig.message(&[1; 1000]);
    rig.outbox.mark_above_soft(rig.now, Pressure::Shedding);
    rig.flush(10);
    rig.drain();
    assert_eq!(rig.spares.kept.len(), 1);
    rig.message(b"next");
    assert_eq!(rig.spares.kept.len(), 0);
    assert_eq!(rig.outbox.pressure(), Pressure::Normal);
    assert_eq!(rig.outbox.above_soft_since(), None);
    assert_eq!(rig.outbox.blocked_since(), None);
}
