//! The write policy (row 18 of the checks): events on their way to the policy and back.
//!
//! A policy judges in any order, at any time. The judgements of a connection are released in the order of
//! its events; a missing one holds its own connection only.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use super::event::{Class, Event, KIND_VANISH, PublicKey};
use super::parse::HexId;
use super::settled::Settled;
use super::ticket::{Ticket, unix_seconds};
use super::write_policy::{Judgement, Reply, Source, Submission, WritePolicy};
use super::writer::{Accepted, WriterJob};
use crate::reactor::{ConnId, MailSender};

/// Events that are not stored, for the loop.
pub(super) type SettledMail = Vec<(Ticket, Settled)>;

/// An event that has passed all other checks.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) ticket: Ticket,
    pub(super) event: Event,
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
    mail: MailSender<SettledMail>,
}

#[derive(Default)]
struct State {
    /// The number of the next event.
    next: u64,
    /// The events of each connection, in their order. Invariant: no queue is empty.
    queues: HashMap<ConnId, VecDeque<Slot>>,
}

struct Slot {
    number: u64,
    ticket: Ticket,
    event: Arc<Event>,
    judgement: Option<Judgement>,
}

impl Judging {
    pub(super) fn new(
        policy: Box<dyn WritePolicy>,
        writer: Sender<WriterJob>,
        mail: MailSender<SettledMail>,
    ) -> Judging {
        Judging { policy, judged: Arc::new(Judged { state: Mutex::default(), writer, mail }) }
    }

    /// Passes an event to the policy. A request to vanish needs no judgement (NIP-62).
    pub(super) fn judge(&self, candidate: Candidate) {
        let Candidate { ticket, event, address, authed } = candidate;
        let event = Arc::new(event);
        let number = self.judged.put(ticket, Arc::clone(&event));
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
    fn put(&self, ticket: Ticket, event: Arc<Event>) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        let slot = Slot { number, ticket, event, judgement: None };
        state.queues.entry(ticket.conn).or_default().push_back(slot);
        number
    }

    /// Notes a judgement, and releases what no longer waits for an earlier one. The lock is held
    /// meanwhile, so that two threads do not release in another order.
    fn decide(&self, conn: ConnId, number: u64, judgement: Judgement) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = state.queues.get_mut(&conn) else {
            return;
        };
        if let Some(slot) = queue.iter_mut().find(|slot| slot.number == number) {
            slot.judgement = Some(judgement);
        }
        while queue.front().is_some_and(|slot| slot.judgement.is_some())
            && let Some(slot) = queue.pop_front()
        {
            self.release(slot);
        }
        if queue.is_empty() {
            state.queues.remove(&conn);
        }
    }

    fn release(&self, Slot { ticket, event, judgement, .. }: Slot) {
        let id = HexId::from(event.id());
        let settled = match judgement {
            Some(Judgement::Accept) if event.class() == Class::Ephemeral => {
                Settled::Ephemeral(event)
            }
            Some(Judgement::Accept) => {
                let event = Arc::unwrap_or_clone(event);
                // Without a writer the process is ending.
                let _ = self.writer.send(WriterJob::Events(vec![Accepted { ticket, event }]));
                return;
            }
            Some(Judgement::Reject(refusal)) => {
                Settled::Ok { id, accepted: false, refusal: Some(refusal) }
            }
            Some(Judgement::ShadowReject) | None => {
                Settled::Ok { id, accepted: true, refusal: None }
            }
        };
        // Without a loop the process is ending.
        let _ = self.mail.send(vec![(ticket, settled)]);
    }
}
