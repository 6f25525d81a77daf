//! Which frames a cut drops.

use super::*;

#[test]
fn a_cut_completes_the_frame_in_flight_and_drops_the_rest() {
    let total = mixed(&mut Rig::default()).concat().len();
    for at in 0..total {
        let mut rig = Rig::default();
        let frames = mixed(&mut rig);
        if at > 0 {
            rig.flush(at);
        }
        let (started, kept) = started(&frames, at);
        let dropped = rig.outbox.drop_unsent(&mut rig.spares);
        let messages = (frames.len() - started) as u64;
        assert_eq!(dropped, messages, "cut at {at}");
        assert_eq!(rig.outbox.bytes(), kept - at);
        assert_eq!(rig.outbox.is_empty(), kept == at);
        rig.close();
        let wire = rig.drain();
        assert!(wire[..kept] == frames[..started].concat(), "cut at {at}");
        assert_eq!(&wire[kept..], CLOSE, "cut at {at}");
    }
}

#[test]
fn the_tail_alone_and_an_empty_outbox_can_be_cut() {
    let mut rig = Rig::default();
    assert_eq!(rig.outbox.drop_unsent(&mut rig.spares), 0);
    rig.message(b"one");
    rig.message(b"two");
    rig.flush(2);
    let dropped = rig.outbox.drop_unsent(&mut rig.spares);
    assert_eq!(dropped, 1);
    assert_eq!(rig.drain(), frame(b"one"));
}

#[test]
fn only_messages_count_as_dropped() {
    let mut rig = Rig::default();
    rig.ping(b"are you there");
    rig.message(b"one");
    rig.pong(b"yes");
    rig.flush(0);
    rig.pong(b"I am");
    rig.shared(&[2; SHARE_BYTES_MIN]);
    rig.close();
    assert_eq!(rig.outbox.drop_unsent(&mut rig.spares), 2);
    assert_eq!(rig.outbox.bytes(), CLOSE.len());
    assert_eq!(rig.drain(), CLOSE);
}

#[test]
fn a_cut_keeps_the_close_at_any_position() {
    let total = mixed(&mut Rig::default()).concat().len() + CLOSE.len();
    for at in 0..total {
        let mut rig = Rig::default();
        mixed(&mut rig);
        rig.close();
        if at > 0 {
            rig.flush(at);
        }
        rig.outbox.drop_unsent(&mut rig.spares);
        let again = rig.outbox.drop_unsent(&mut rig.spares);
        assert_eq!(again, 0, "cut at {at}");
        let wire = rig.drain();
        assert!(wire.ends_with(CLOSE), "cut at {at}");
        let closes = wire.windows(CLOSE.len()).filter(|window| *window == CLOSE).count();
        assert_eq!(closes, 1, "cut at {at}");
    }
}

#[test]
fn clear_drops_and_counts_frames_that_a_cut_would_keep() {
    let mut rig = Rig::default();
    mixed(&mut rig);
    rig.flush(20);
    assert_eq!(rig.outbox.clear(&mut rig.spares), 6);
    assert!(rig.outbox.is_empty());
    // The returned queue is reset.
    rig.message(b"next");
    assert_eq!(rig.outbox.bytes(), 6);
    assert!(rig.drain().ends_with(&frame(b"next")));
    assert_eq!(rig.outbox.clear(&mut rig.spares), 0);
}

#[test]
fn a_cut_keeps_a_head_and_its_body() {
    let mut rig = Rig::default();
    rig.outbox.push_head(&mut rig.spares, b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    let body = rig.sum.hold(Bytes::Piece([0x88; 1000].into()));
    rig.outbox.push_body(&mut rig.spares, body);
    assert_eq!(rig.outbox.drop_unsent(&mut rig.spares), 0);
    rig.flush(500);
    assert_eq!(rig.outbox.drop_unsent(&mut rig.spares), 0);
    assert_eq!(rig.drain().len(), 19 + 1000);
}

/// Bytes of a pipe: gathered in chunks, kept whole by every cut, with frames of ours behind them.
#[cfg(feature = "proxy")]
#[test]
fn raw_bytes_are_gathered_and_never_cut() {
    let mut rig = Rig::default();
    let mut sent = Vec::new();
    for i in 0..10_000_u32 {
        let bytes = [i as u8; 20];
        rig.outbox.push_raw(&mut rig.spares, &bytes);
        sent.extend_from_slice(&bytes);
    }
    rig.outbox.push_raw(&mut rig.spares, &[]);
    assert_eq!(rig.outbox.bytes(), sent.len());
    assert!(rig.outbox.held_bytes() < 2 * sent.len(), "{} bytes held", rig.outbox.held_bytes());
    assert!(rig.outbox.is_measured());
    rig.ping(b"between");
    rig.outbox.push_raw(&mut rig.spares, b"after the ping");
    rig.flush(30);
    let dropped = rig.outbox.drop_unsent(&mut rig.spares);
    rig.close();
    assert_eq!(dropped, 0);
    assert!(rig.outbox.is_measured());
    while !rig.outbox.is_empty() {
        rig.flush(usize::MAX);
    }
    // The ping is a frame of ours that was not started; the bytes around it are not.
    sent.extend_from_slice(b"after the ping");
    let (raw, close) = rig.wire.got.split_at(sent.len());
    assert!(raw == sent, "bytes were lost");
    assert_eq!(close, b"\x88\x06\x03\xF5slow");
}
