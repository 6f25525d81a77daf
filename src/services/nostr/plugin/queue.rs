//! The events of a plugin: those that wait, and those that its process has. No I/O, no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::services::nostr::event::EventId;
use crate::services::nostr::write_policy::Reply;

/// Events that wait: as many as a relay accepts at all before it refuses further ones.
const WAITING_MAX: usize = 16_384;
/// Bytes of their lines.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes that are written at once: more than one event, but the plugin starts on the first soon.
const BATCH_BYTES: usize = 64 * 1024;

/// The events that have no judgement.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// Invariant: the sum of the lines' bytes.
    waiting_bytes: usize,
    /// Oldest first. At most `in_flight_max`.
    in_flight: VecDeque<InFlight>,
    in_flight_max: usize,
    /// When the process last answered, or was started.
    progress: Instant,
    timeout: Duration,
}

#[derive(Debug)]
struct Waiting {
    id: EventId,
    line: Vec<u8>,
    since: Instant,
    reply: Reply,
}

#[derive(Debug)]
struct InFlight {
    id: EventId,
    since: Instant,
    /// Whether an event that was sent later has been answered. A plugin that answers in order has not
    /// come to this event otherwise.
    is_overtaken: bool,
    reply: Reply,
}

impl Queue {
    pub(super) fn new(in_flight_max: usize, timeout: Duration, now: Instant) -> Queue {
        Queue {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: VecDeque::new(),
            in_flight_max,
            progress: now,
            timeout,
        }
    }

    /// Queues an event.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) fn push(
        &mut self,
        id: EventId,
        line: Vec<u8>,
        reply: Reply,
        now: Instant,
    ) -> Result<(), Reply> {
        let bytes = self.waiting_bytes + line.len();
        if self.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            return Err(reply);
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(Waiting { id, line, since: now, reply });
        Ok(())
    }

    /// Whether an event can be moved to the process.
    pub(super) fn can_send(&self) -> bool {
        self.in_flight.len() < self.in_flight_max && !self.waiting.is_empty()
    }

    /// Moves events to the process; appends their lines to `out`. False: none can be moved.
    pub(super) fn send(&mut self, out: &mut Vec<u8>, now: Instant) -> bool {
        let before = out.len();
        while self.in_flight.len() < self.in_flight_max && out.len() - before < BATCH_BYTES {
            let Some(Waiting { id, line, reply, .. }) = self.waiting.pop_front() else {
                break;
            };
            self.waiting_bytes -= line.len();
            out.extend_from_slice(&line);
            self.in_flight.push_back(InFlight { id, since: now, is_overtaken: false, reply });
        }
        out.len() > before
    }

    /// Takes the event that an answer is for: the oldest, if the same event was sent twice.
    pub(super) fn answer(&mut self, id: &EventId, now: Instant) -> Option<Reply> {
        let index = self.in_flight.iter().position(|event| event.id == *id)?;
        self.progress = now;
        self.in_flight.range_mut(..index).for_each(|event| event.is_overtaken = true);
        self.in_flight.remove(index).map(|event| event.reply)
    }

    /// When the process counts as hung: it has not answered any event for `timeout`.
    pub(super) fn hangs_at(&self) -> Option<Instant> {
        let oldest = self.in_flight.front()?;
        Some(oldest.since.max(self.progress) + self.timeout)
    }

    /// When the process counts as having lost an event: it has answered later ones.
    pub(super) fn loses_at(&self) -> Option<Instant> {
        let oldest = self.in_flight.iter().find(|event| event.is_overtaken)?;
        Some(oldest.since + self.timeout)
    }

    /// Takes an event that the process has lost.
    pub(super) fn take_lost(&mut self, now: Instant) -> Option<Reply> {
        if self.loses_at()? > now {
            return None;
        }
        let index = self.in_flight.iter().position(|event| event.is_overtaken)?;
        self.in_flight.remove(index).map(|event| event.reply)
    }

    /// A new process has no event.
    pub(super) fn restart(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Takes the events that an ended process had.
    pub(super) fn take_in_flight(&mut self) -> Vec<Reply> {
        self.in_flight.drain(..).map(|event| event.reply).collect()
    }

    /// While no process runs: takes the events that have waited for too long.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Reply> {
        let timeout = self.timeout;
        let is_overdue = |event: &Waiting| now.duration_since(event.since) >= timeout;
        let count = self.waiting.iter().take_while(|event| is_overdue(event)).count();
        let overdue = self.waiting.drain(..count);
        let taken = overdue.map(|event| {
            self.waiting_bytes -= event.line.len();
            event.reply
        });
        taken.collect()
    }

    /// When the first event that waits is overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.waiting.front().map(|event| event.since + self.timeout)
    }

    /// Takes all events that wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Reply> {
        self.waiting_bytes = 0;
        self.waiting.drain(..).map(|event| event.reply).collect()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::services::nostr::testing::key;
    use crate::services::nostr::write_policy::Judgement;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn push(queue: &mut Queue, number: usize, bytes: usize, now: Instant) -> Receiver<Judgement> {
        let (sender, receiver) = channel();
        let reply = Reply::new(move |judgement| drop(sender.send(judgement)));
        // A refused reply is dropped, which rejects.
        let _ = queue.push(key(number), vec![b'x'; bytes], reply, now);
        receiver
    }

    #[test]
    fn only_so_many_events_are_in_flight() {
        let now = Instant::now();
        let mut queue = Queue::new(2, TIMEOUT, now);
        let _replies = [1, 2, 3].map(|number| push(&mut queue, number, 10, now));
        let mut out = Vec::new();
        assert!(queue.send(&mut out, now));
        assert_eq!((out.len(), queue.in_flight(), queue.waiting()), (20, 2, 1));
        assert!(!queue.send(&mut out, now));
        assert!(queue.answer(&key(3), now).is_none());
        queue.answer(&key(2), now).unwrap().send(Judgement::Accept);
        assert!(queue.answer(&key(2), now).is_none());
        assert!(queue.send(&mut out, now));
        assert_eq!((out.len(), queue.in_flight(), queue.waiting()), (30, 2, 0));
    }

    #[test]
    fn large_events_are_written_one_by_one() {
        let now = Instant::now();
        let mut queue = Queue::new(64, TIMEOUT, now);
        let _replies = [1, 2, 3].map(|number| push(&mut queue, number, 100_000, now));
        for sent in 1..=3 {
            let mut out = Vec::new();
            assert!(queue.send(&mut out, now));
            assert_eq!((out.len(), queue.in_flight()), (100_000, sent));
        }
    }

    #[test]
    fn an_event_that_was_sent_twice_takes_two_answers() {
        let now = Instant::now();
        let mut queue = Queue::new(64, TIMEOUT, now);
        let [first, second] = [1, 1].map(|number| push(&mut queue, number, 10, now));
        queue.send(&mut Vec::new(), now);
        queue.answer(&key(1), now).unwrap().send(Judgement::Accept);
        queue.answer(&key(1), now).unwrap().send(Judgement::ShadowReject);
        assert_eq!(first.recv(), Ok(Judgement::Accept));
        assert_eq!(second.recv(), Ok(Judgement::ShadowReject));
    }

    #[test]
    fn a_process_hangs_when_it_has_not_answered_anything_for_the_timeout() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = Queue::new(64, TIMEOUT, start);
        let _replies = [1, 2, 3].map(|number| push(&mut queue, number, 10, start));
        assert_eq!(queue.hangs_at(), None);
        queue.send(&mut Vec::new(), at(3));
        assert_eq!(queue.hangs_at(), Some(at(13)));
        // One after the other: each answer is progress.
        assert!(queue.answer(&key(1), at(12)).is_some());
        assert_eq!(queue.hangs_at(), Some(at(22)));
        assert_eq!((queue.loses_at(), queue.take_lost(at(21)).is_some()), (None, false));
        assert_eq!(queue.take_in_flight().len(), 2);
        queue.restart(at(30));
        assert_eq!(queue.hangs_at(), None);
    }

    #[test]
    fn an_event_is_lost_when_later_ones_were_answered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = Queue::new(64, TIMEOUT, start);
        let _replies = [1, 2, 3].map(|number| push(&mut queue, number, 10, start));
        queue.send(&mut Vec::new(), start);
        assert!(queue.answer(&key(2), at(9)).is_some());
        assert_eq!((queue.loses_at(), queue.hangs_at()), (Some(at(10)), Some(at(19))));
        assert!(queue.take_lost(at(9)).is_none());
        assert!(queue.take_lost(at(10)).is_some());
        assert!(queue.take_lost(at(10)).is_none());
        assert!(queue.answer(&key(1), at(11)).is_none());
        assert_eq!(queue.in_flight(), 1);
    }

    #[test]
    fn waiting_events_become_overdue_in_order() {
        let start = Instant::now();
        let mut queue = Queue::new(64, TIMEOUT, start);
        let _replies = [(1, start), (2, start + TIMEOUT)]
            .map(|(number, since)| push(&mut queue, number, 10, since));
        assert_eq!(queue.take_overdue(start + TIMEOUT / 2).len(), 0);
        assert_eq!(queue.take_overdue(start + TIMEOUT).len(), 1);
        assert_eq!((queue.waiting(), queue.waiting_bytes), (1, 10));
    }

    #[test]
    fn the_number_and_the_bytes_of_waiting_events_are_limited() {
        let now = Instant::now();
        let mut queue = Queue::new(64, TIMEOUT, now);
        let replies: Vec<_> =
            (0..=WAITING_MAX).map(|number| push(&mut queue, number, 10, now)).collect();
        assert_eq!(queue.waiting(), WAITING_MAX);
        assert!(matches!(replies[WAITING_MAX].try_recv(), Ok(Judgement::Reject(_))));
        assert!(replies[0].try_recv().is_err());
        assert_eq!(queue.take_waiting().len(), WAITING_MAX);
        let _replies = [1, 2, 3].map(|number| push(&mut queue, number, WAITING_BYTES_MAX / 2, now));
        assert_eq!(queue.waiting(), 2);
    }
}
