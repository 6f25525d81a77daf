//! Compressed messages that arrive in fragments and in several reads.

use super::*;

#[test]
fn parts_inflate_like_the_whole_message() {
    let mut stream = Deflate::new(6, false, 15);
    let texts = ["Grüße, Grüße \u{1F600}", "", "Grüße, Grüße und noch einmal Grüße"];
    let mut wire = Vec::new();
    for text in texts {
        let payload = by(&mut stream, text.as_bytes());
        let (first, second) = payload.split_at(payload.len() / 2);
        wire.extend(frame(0x41, first));
        // A ping between two fragments, and empty fragments.
        wire.extend([frame(0x89, b"?"), frame(0x00, b""), frame(0x00, second)].concat());
        wire.extend(frame(0x80, b""));
        // A message that ends with a final block.
        let last = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        wire.extend([frame(0x41, &last), frame(0x80, b"")].concat());
        // The peer's stream has not compressed that message.
        stream.reset();
    }
    let expected: Vec<&[u8]> = texts.iter().flat_map(|t| [t.as_bytes(), b"Hello"]).collect();
    let mut by_byte = Receiver::new(None, LIMIT);
    let found: Vec<_> = wire.chunks(1).flat_map(|byte| by_byte.read(byte).unwrap()).collect();
    assert_eq!(found, expected);
    for cut in 0..=wire.len() {
        let mut receiver = Receiver::new(Some(Window::new(15)), LIMIT);
        let mut found = receiver.read(&wire[..cut]).unwrap();
        found.extend(receiver.read(&wire[cut..]).unwrap());
        assert_eq!(found, expected, "cut at {cut}");
        assert!(receiver.unfinished.is_none() && receiver.inflater.streams_lent() == 0);
    }
}

#[test]
fn invalid_text_fails_at_the_part_that_proves_it() {
    let bad = deflated(&[b"\xFF", &[b'x'; 1000][..]].concat());
    // In a fragment that is not the last, and in the middle of a frame.
    let fragment = frame(0x41, &bad);
    let mut receiver = Receiver::new(None, LIMIT);
    assert_eq!(receiver.read(&fragment), Err(ProtocolError::InvalidUtf8));
    let (at, error) = Receiver::new(None, LIMIT).fails_at(&frame(0xC1, &bad));
    assert_eq!(error, ProtocolError::InvalidUtf8);
    assert!(at < fragment.len() / 2, "after {at} of {} bytes", fragment.len());
    // A character may straddle two parts, but must be complete at the end.
    let half = frame(0x41, &flushed(b"\xE2\x82"));
    let mut receiver = Receiver::new(None, LIMIT);
    assert_eq!(receiver.read(&half), Ok(vec![]));
    assert_eq!(receiver.read(&frame(0x00, &deflated(b"x"))), Err(ProtocolError::InvalidUtf8));
    let mut receiver = Receiver::new(None, LIMIT);
    assert_eq!(receiver.read(&half), Ok(vec![]));
    assert_eq!(receiver.read(&frame(0x80, &[0x00])), Err(ProtocolError::InvalidUtf8));
}

#[test]
fn a_decompression_bomb_fails_at_the_part_that_exceeds_the_limit() {
    let bomb = deflated(&vec![0; 10_000_000]);
    let limit = 1_000_000;
    let (at, error) = Receiver::new(None, limit).fails_at(&frame(0x42, &bomb));
    assert_eq!(error, ProtocolError::MessageTooBig);
    assert!(at < bomb.len() / 8, "after {at} of {} bytes", bomb.len());
    // Fragments that each inflate to a little: exactly the one that exceeds the limit fails. The buffer of
    // the message holds no more than the limit.
    let block = flushed(&[0; 1000]);
    let mut receiver = Receiver::new(None, limit);
    assert_eq!(receiver.read(&frame(0x42, &block)), Ok(vec![]));
    for index in 1..1000 {
        assert_eq!(receiver.read(&frame(0x00, &block)), Ok(vec![]), "fragment {index}");
        let held = receiver.unfinished.as_ref().unwrap().held_bytes();
        assert!(held <= limit + 1 + 48 * 1024, "{held} bytes held");
    }
    assert_eq!(receiver.read(&frame(0x00, b"")), Ok(vec![]));
    assert_eq!(receiver.read(&frame(0x00, &block)), Err(ProtocolError::MessageTooBig));
}

/// Invalid text before data that is not DEFLATE, and before data that exceeds the limit, for every cut.
#[test]
fn the_first_error_of_a_message_counts() {
    let bad = flushed(b"\xFF");
    for (behind, limit) in [(&[0x07][..], LIMIT), (&flushed(&[b'x'; 200])[..], 100)] {
        let wire = frame(0xC1, &[&bad[..], behind].concat());
        for cut in 0..wire.len() {
            let mut receiver = Receiver::new(None, limit);
            let found = receiver.read(&wire[..cut]).and_then(|_| receiver.read(&wire[cut..]));
            assert_eq!(found, Err(ProtocolError::InvalidUtf8), "cut at {cut}");
        }
    }
}

#[test]
fn data_that_is_not_deflate_fails_at_its_part() {
    let mut receiver = Receiver::new(None, LIMIT);
    assert_eq!(receiver.read(&frame(0x42, &flushed(b"sound"))), Ok(vec![]));
    assert_eq!(receiver.read(&frame(0x00, &[0x07])), Err(ProtocolError::InvalidDeflate));
    // Final blocks are counted over all parts.
    let mut receiver = Receiver::new(None, LIMIT);
    assert_eq!(receiver.read(&frame(0x42, &[0x03, 0x00].repeat(1000))), Ok(vec![]));
    let more = frame(0x00, &[0x03, 0x00].repeat(26));
    assert_eq!(receiver.read(&more), Err(ProtocolError::InvalidDeflate));
}

/// At the limit on streams, a message is gathered in compressed form, and inflated when it is complete.
#[test]
fn streams_of_unfinished_messages_are_limited() {
    let message = b"the same as ever, ".repeat(50);
    let payload = deflated(&message);
    let (first, second) = payload.split_at(payload.len() / 2);
    let mut inflater = Inflater::default();
    let mut decoders = Vec::new();
    for index in 0..Inflater::STREAMS_MAX + 10 {
        let mut decoder = Decoder::new(Role::Client).with_deflate();
        let mut unfinished = None;
        let mut wire = frame(0x42, first);
        let step = decoder.decode(&mut wire, LIMIT, &mut Spares::default()).unwrap();
        let Some(Event::Compressed(piece)) = step.event else { panic!("{:?}", step.event) };
        assert_eq!(inflater.inflate(piece, &mut unfinished, None, LIMIT), Ok(None));
        let state = unfinished.as_ref().unwrap();
        assert_eq!(state.is_gathered(), index >= Inflater::STREAMS_MAX);
        assert!(state.held_bytes() >= if state.is_gathered() { first.len() } else { 16 * 1024 });
        decoders.push((decoder, unfinished));
    }
    assert_eq!(inflater.streams_lent(), Inflater::STREAMS_MAX);
    for (mut decoder, mut unfinished) in decoders.drain(20..) {
        let mut wire = frame(0x80, second);
        let step = decoder.decode(&mut wire, LIMIT, &mut Spares::default()).unwrap();
        let Some(Event::Compressed(piece)) = step.event else { panic!("{:?}", step.event) };
        let inflated = inflater.inflate(piece, &mut unfinished, None, LIMIT).unwrap();
        assert_eq!(inflated, Some(Message::Binary(&message)));
        assert!(unfinished.is_none());
    }
    // A dropped message returns its stream, too.
    assert_eq!(inflater.streams_lent(), 20);
    drop(decoders);
    assert_eq!(inflater.streams_lent(), 0);
    let most = Inflater::SPARES_MAX + 1;
    assert!(inflater.held_bytes() <= most * (48 + 16) * 1024, "{}", inflater.held_bytes());
}

/// A complete gathered message is inflated in steps by one of a few additional streams. A message that
/// finds no stream free waits, and its result is the same.
#[test]
fn gathered_messages_are_inflated_in_steps() {
    const STREAMS: usize = Inflater::GATHERED_STREAMS_MAX;
    let message: Vec<u8> = (0..40_000_u32).flat_map(|i| (i * i).to_be_bytes()).collect();
    let payload = deflated(&message);
    let mut inflater = Inflater::default();
    let held = frame(0x42, &payload[..10]);
    let mut holders = Vec::new();
    for _ in 0..Inflater::STREAMS_MAX {
        let mut unfinished = None;
        let mut decoder = Decoder::new(Role::Client).with_deflate();
        let mut wire = held.clone();
        let step = decoder.decode(&mut wire, LIMIT, &mut Spares::default()).unwrap();
        let Some(Event::Compressed(piece)) = step.event else { panic!("{:?}", step.event) };
        assert_eq!(inflater.inflate(piece, &mut unfinished, None, LIMIT), Ok(None));
        holders.push(unfinished);
    }
    let mut waiting: Vec<Option<Unfinished>> = Vec::new();
    for index in 0..STREAMS + 2 {
        let mut receiver = Receiver::new(None, LIMIT);
        std::mem::swap(&mut receiver.inflater, &mut inflater);
        assert_eq!(receiver.read(&frame(0xC2, &payload)), Ok(vec![]));
        std::mem::swap(&mut receiver.inflater, &mut inflater);
        let unfinished = receiver.unfinished;
        assert!(unfinished.as_ref().unwrap().is_whole());
        assert_eq!(unfinished.as_ref().unwrap().awaits_stream(), index >= STREAMS);
        waiting.push(unfinished);
    }
    assert_eq!(inflater.streams_lent(), Inflater::STREAMS_MAX + STREAMS);
    for mut unfinished in waiting {
        let mut steps = 1;
        loop {
            let before = inflater.effort().from;
            let found =
                inflater.resume(&mut unfinished, None, LIMIT).unwrap().is_some_and(|found| {
                    assert!(found.as_bytes() == message);
                    true
                });
            assert!(inflater.effort().from - before <= PIECE_BYTES_MAX as u64);
            if found {
                break;
            }
            steps += 1;
        }
        assert!(steps >= payload.len() / PIECE_BYTES_MAX, "{steps} steps");
        assert!(unfinished.is_none());
    }
    drop(holders);
    assert_eq!(inflater.streams_lent(), 0);
}
