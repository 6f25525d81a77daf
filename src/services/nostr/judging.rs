//! The write policy (row 18 of the checks): events on their way to the policy and back.
//!
//! A policy judges in any order, at any time. The judgements of a connection are released in the order of
//! its events; a missing one holds its own connection only.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::event::{Class, Event, KIND_VANISH, PublicKey};
use super::parse::HexId;
use super::policy::Policy;
use super::settled::Settled;
use super::ticket::{Ticket, unix_seconds};
use super::write_policy::{Judgement, Reply, Source, Submission, WritePolicy};
use super::written::{Accepted, WriterJob};
use crate::reactor::ConnId;

/// Events that are not stored, for the loop.
pub(super) type SettledMail = Vec<(Ticket, Settled)>;
/// Sends them; may wait for the loop.
pub(super) type SendMail = Box<dyn Fn(SettledMail) + Send>;

/// An event that has passed all other checks.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) ticket: Ticket,
    pub(super) event: Event,
    /// The lists that did not refuse it.
    pub(super) lists: Arc<Policy>,
    pub(super) address: IpAddr,
    pub(super) authed: Option<PublicKey>,
}

/// The policy, and the events that it has.
pub(super) struct Judging {
    policy: Box<dyn WritePolicy>,
    judged: Arc<Judged>,
}

struct Judged {
    state: Mutex<State>,
    writer: Sender<WriterJob>,
    /// Sends mail to the loop. Locked while settled events are taken and sent, so that they arrive in
    /// their order.
    mail: Mutex<SendMail>,
}

#[derive(Default)]
struct State {
    /// The number of the next event.
    next: u64,
    /// The events of each connection, in their order. Invariant: no queue is empty.
    queues: HashMap<ConnId, VecDeque<Slot>>,
    /// Released events that are not stored, to be sent to the loop.
    settled: SettledMail,
    /// Batches that are passed to the policy. What it answers at once is sent after them, together.
    batches: usize,
}

struct Slot {
    number: u64,
    ticket: Ticket,
    event: Arc<Event>,
    lists: Arc<Policy>,
    judgement: Option<Judgement>,
}

impl Judging {
    pub(super) fn new(
        policy: Box<dyn WritePolicy>,
        writer: Sender<WriterJob>,
        mail: SendMail,
    ) -> Judging {
        let judged = Judged { state: Mutex::default(), writer, mail: Mutex::new(mail) };
        Judging { policy, judged: Arc::new(judged) }
    }

    /// Passes events to the policy. [`send`](Judging::send) has to follow.
    pub(super) fn judge(&self, candidates: Vec<Candidate>) {
        self.judged.lock().batches += 1;
        for candidate in candidates {
            self.judge_one(candidate);
        }
        self.judged.lock().batches -= 1;
    }

    /// Sends what was judged at once to the loop. May wait for it, so no lock of other threads may be
    /// held.
    pub(super) fn send(&self) {
        self.judged.send();
    }

    /// A request to vanish needs no judgement (NIP-62).
    fn judge_one(&self, candidate: Candidate) {
        let Candidate { ticket, event, lists, address, authed } = candidate;
        let event = Arc::new(event);
        let number = self.judged.put(ticket, Arc::clone(&event), lists);
        if event.kind() == KIND_VANISH {
            return self.judged.decide(ticket.conn, number, Judgement::Accept);
        }
        let judged = Arc::clone(&self.judged);
        let reply = Reply::new(move |judgement| judged.decide(ticket.conn, number, judgement));
        let submission = Submission {
            event: &event,
            received_at: unix_seconds(),
            source: Source::Client(address),
            authed: authed.as_ref(),
        };
        // Unwind-safe: the reply is dropped, which rejects the event.
        let judge = AssertUnwindSafe(|| self.policy.judge(submission, reply));
        if catch_unwind(judge).is_err() {
            log::error!("the write policy has panicked");
        }
    }
}

impl Judged {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, ticket: Ticket, event: Arc<Event>, lists: Arc<Policy>) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let slot = Slot { number, ticket, event, lists, judgement: None };
        state.queues.entry(ticket.conn).or_default().push_back(slot);
        number
    }

    /// Notes a judgement, and releases what no longer waits for an earlier one. The lock is held
    /// meanwhile, so that two threads do not release in another order.
    fn decide(&self, conn: ConnId, number: u64, judgement: Judgement) {
        let mut state = self.lock();
        let State { queues, settled, batches, .. } = &mut *state;
        let Some(queue) = queues.get_mut(&conn) else {
            return;
        };
        if let Some(slot) = queue.iter_mut().find(|slot| slot.number == number) {
            slot.judgement = Some(judgement);
        }
        while queue.front().is_some_and(|slot| slot.judgement.is_some())
            && let Some(slot) = queue.pop_front()
        {
            settled.extend(self.release(slot));
        }
        if queue.is_empty() {
            queues.remove(&conn);
        }
        let is_alone = *batches == 0;
        drop(state);
        if is_alone {
            self.send();
        }
    }

    /// Passes an event to the writer; one that is not stored is returned.
    fn release(&self, slot: Slot) -> Option<(Ticket, Settled)> {
        let Slot { ticket, event, lists, judgement, .. } = slot;
        let id = HexId::from(event.id());
        let settled = match judgement {
            Some(Judgement::Accept) if event.class() == Class::Ephemeral => {
                Settled::Ephemeral(event)
            }
            Some(Judgement::Accept) => {
                let accepted = Accepted { ticket, event: Arc::unwrap_or_clone(event), lists };
                // Without a writer the process is ending.
                let _ = self.writer.send(WriterJob::Events(vec![accepted]));
                return None;
            }
            Some(Judgement::Reject(refusal)) => {
                Settled::Ok { id, accepted: false, refusal: Some(refusal) }
            }
            Some(Judgement::ShadowReject) | None => {
                Settled::Ok { id, accepted: true, refusal: None }
            }
        };
        Some((ticket, settled))
    }

    fn send(&self) {
        let mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = std::mem::take(&mut self.lock().settled);
        if !settled.is_empty() {
            mail(settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::reactor::Time;
    use crate::services::nostr::refusal::Prefix;
    use crate::services::nostr::testing::event;

    /// Judges by kind: rejects 1, accepts 2, panics at 3, answers others later.
    #[derive(Default)]
    struct ByKind(Arc<Mutex<Vec<Reply>>>);

    impl WritePolicy for ByKind {
        fn judge(&self, submission: Submission<'_>, reply: Reply) {
            match submission.event.kind() {
                1 => reply.send(Judgement::Reject(Prefix::Blocked.text("spam"))),
                2 => reply.send(Judgement::Accept),
                3 => panic!("a policy with a fault"),
                _ => self.0.lock().unwrap().push(reply),
            }
        }
    }

    struct Bench {
        judging: Judging,
        writer: Receiver<WriterJob>,
        mail: Receiver<SettledMail>,
        later: Arc<Mutex<Vec<Reply>>>,
    }

    fn bench() -> Bench {
        let (policy, (accepted, writer), (sender, mail)) =
            (ByKind::default(), channel(), channel());
        let later = Arc::clone(&policy.0);
        let send = Box::new(move |settled| sender.send(settled).unwrap());
        let judging = Judging::new(Box::new(policy), accepted, send);
        Bench { judging, writer, mail, later }
    }

    fn candidate(conn: usize, id: usize, kind: u16) -> Candidate {
        let conn = ConnId::numbered(conn);
        Candidate {
            ticket: Ticket { conn, bytes: 1, verified: Duration::ZERO, at: Time::ZERO },
            event: event(id, 1, kind, 1, "[]"),
            lists: Arc::default(),
            address: IpAddr::from([127, 0, 0, 1]),
            authed: None,
        }
    }

    #[test]
    fn judgements_given_at_once_are_one_mail_after_the_batch() {
        let Bench { judging, writer, mail, .. } = bench();
        judging.judge(vec![candidate(1, 1, 1), candidate(2, 2, 3), candidate(1, 3, 2)]);
        assert!(mail.try_recv().is_err(), "the lock on batches is still held");
        judging.send();
        let settled = mail.try_recv().unwrap();
        let texts = settled.iter().map(|(_, settled)| match settled {
            Settled::Ok { accepted: false, refusal: Some(refusal), .. } => refusal.to_string(),
            other => panic!("{other:?}"),
        });
        let texts: Vec<String> = texts.collect();
        assert_eq!(texts, ["blocked: spam", "error: the write policy failed"]);
        assert!(mail.try_recv().is_err());
        assert!(matches!(writer.try_recv(), Ok(WriterJob::Events(events)) if events.len() == 1));
    }

    #[test]
    fn a_late_judgement_holds_its_own_connection_and_is_sent_when_it_comes() {
        let Bench { judging, writer, mail, later } = bench();
        judging.judge(vec![candidate(1, 1, 9), candidate(1, 2, 1), candidate(2, 3, 1)]);
        judging.send();
        assert_eq!(mail.try_recv().unwrap()[0].0.conn, ConnId::numbered(2));
        let reply = later.lock().unwrap().pop().unwrap();
        reply.send(Judgement::Accept);
        assert!(matches!(writer.try_recv(), Ok(WriterJob::Events(_))));
        assert_eq!(mail.try_recv().unwrap()[0].0.conn, ConnId::numbered(1));
    }
}
