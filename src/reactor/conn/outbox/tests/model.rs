//! The outbox compared with a simple model under random operations.

use super::*;

/// A simple model of an outbox: whole frames in order, the first one perhaps partly written.
#[derive(Default)]
struct Model {
    frames: VecDeque<(Kind, Vec<u8>)>,
    written: usize,
    blocked: bool,
    /// All bytes that were ever accepted.
    sent: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Head,
    Message,
    Control,
    WaitingPong,
}

impl Model {
    fn bytes(&self) -> usize {
        self.frames.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() - self.written
    }

    fn started(&self) -> usize {
        let heads = self.frames.iter().take_while(|(kind, _)| *kind == Kind::Head).count();
        heads.max(usize::from(self.written > 0))
    }

    fn pong(&mut self, bytes: Vec<u8>) {
        if !self.blocked || self.frames.is_empty() {
            return self.frames.push_back((Kind::Control, bytes));
        }
        let started = self.started();
        match self.frames.get_mut(started) {
            Some((Kind::WaitingPong, waiting)) => *waiting = bytes,
            _ => self.frames.insert(started, (Kind::WaitingPong, bytes)),
        }
    }

    fn take(&mut self, mut taken: usize) {
        while taken > 0 {
            let (_, frame) = &self.frames[0];
            let piece = taken.min(frame.len() - self.written);
            self.sent.extend_from_slice(&frame[self.written..self.written + piece]);
            self.written += piece;
            taken -= piece;
            if self.written == frame.len() {
                self.frames.pop_front();
                self.written = 0;
            }
        }
    }

    fn drop_unsent(&mut self) -> u64 {
        let dropped = self.frames.split_off(self.started());
        dropped.iter().filter(|(kind, _)| *kind == Kind::Message).count() as u64
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    let mut seed: u32 = 0x9E37_79B9;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize % below
    };
    for _ in 0..300 {
        let mut rig = Rig::default();
        let mut model = Model::default();
        if random(2) == 0 {
            let head = vec![b'h'; 1 + random(200)];
            rig.outbox.push_head(&mut rig.spares, head.clone());
            model.frames.push_back((Kind::Head, head));
        }
        for _ in 0..200 {
            let len = [random(8), random(200), random(2000), random(CHUNK_BYTES)][random(4)];
            let payload = vec![random(256) as u8; len];
            match random(16) {
                0..3 => {
                    rig.message(&payload);
                    model.frames.push_back((Kind::Message, frame(&payload)));
                }
                3..5 => {
                    rig.shared(&payload);
                    model.frames.push_back((Kind::Message, frame(&payload)));
                }
                5 => {
                    let payload = &payload[..len.min(125)];
                    rig.ping(payload);
                    let ping = SharedFrame::ping(payload).as_bytes().to_vec();
                    model.frames.push_back((Kind::Control, ping));
                }
                6..8 => {
                    let payload = &payload[..len.min(125)];
                    rig.pong(payload);
                    model.pong(pong(payload));
                }
                13 => {
                    let frame = rig.pieces(&payload);
                    model.frames.push_back((Kind::Message, frame));
                }
                14 => {
                    let frame = rig.joined(&payload);
                    model.frames.push_back((Kind::Message, frame));
                }
                15 => {
                    let frames = vec![frame(&payload[..len.min(1000)]); 1 + random(16)];
                    rig.outbox.push_batch(&mut rig.spares, frames.concat());
                    model.frames.extend(frames.into_iter().map(|frame| (Kind::Message, frame)));
                }
                12 => {
                    let frames = vec![frame(&payload[..len.min(1000)]); 1 + random(16)];
                    rig.outbox.push_frames(&mut rig.spares, &frames.concat());
                    model.frames.extend(frames.into_iter().map(|frame| (Kind::Message, frame)));
                }
                8 if random(10) == 0 => {
                    assert_eq!(rig.outbox.drop_unsent(&mut rig.spares), model.drop_unsent());
                    model.blocked &= !model.frames.is_empty();
                }
                _ => {
                    let room = [0, 1, random(50), random(5000), usize::MAX][random(5)];
                    let (taken, flushed) = rig.flush(room);
                    model.take(taken);
                    let expected = match model.bytes() {
                        0 => Flushed::Empty,
                        _ if taken == room || taken == 0 => Flushed::Blocked,
                        _ => Flushed::Budget,
                    };
                    // A socket that accepts exactly the offered bytes may look like either.
                    assert!(flushed == expected || taken == room && flushed == Flushed::Budget);
                    model.blocked = flushed == Flushed::Blocked;
                }
            }
            assert_eq!(rig.outbox.bytes(), model.bytes());
            assert!(rig.outbox.is_measured(), "{:?}", rig.outbox);
            assert!(rig.outbox.held_bytes() + rig.outbox.shared_bytes() >= model.bytes());
            assert!(rig.sum.held() <= rig.outbox.shared_bytes());
            assert_eq!(rig.outbox.is_empty(), model.frames.is_empty());
            assert_eq!(rig.outbox.blocked_since().is_some(), model.blocked);
        }
        let left = model.bytes();
        model.take(left);
        assert!(rig.drain() == model.sent);
    }
}
