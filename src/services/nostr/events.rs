//! Events: from the message to the OK.
//!
//! The events of one turn go to the threads together. Stored ones come back from the writer in the
//! order of the commits; each is then [announced](super::announce) by itself, within the turn's budget.

use std::sync::Arc;
use std::time::Duration;

use super::client::Pause;
use super::event::Event;
use super::jobs::{Submitted, VerifyJob};
use super::metrics::{EventOutcome, Reply};
use super::parse::HexId;
use super::refusal::{Prefix, Refusal};
use super::relay::{Announcement, Load, Relay};
use super::reply::write_ok;
use super::running::unput;
use super::settings::Mute;
use super::settled::{Settled, refused};
use super::store::Outcome;
use super::ticket::Ticket;
use super::written::{Fate, Written};
use crate::reactor::{ConnId, Context, Task};

/// Events of all connections without an OK at which their senders pause, until half is left.
const PAUSE_ABOVE: Load = Load { events: 4_096, bytes: 32 * 1024 * 1024 };
/// Events of all connections without an OK at which further ones are refused.
const REFUSE_ABOVE: Load = Load { events: 16_384, bytes: 64 * 1024 * 1024 };
/// Events of one job: a thread verifies as many in 3 ms.
const JOB_EVENTS_MAX: usize = 64;

impl Relay {
    /// Takes an EVENT message.
    pub(super) fn take_event(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        let (verified, at) = (Duration::ZERO, cx.now());
        let ticket = Ticket { conn, bytes: text.len(), verified, at };
        let refusal = self.refusal_of_event(ticket);
        let intake = &mut self.events;
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        client.used = cx.now();
        intake.throttle.start(cx, conn, 1, ticket.bytes);
        intake.load.events += 1;
        intake.load.bytes += ticket.bytes;
        if intake.load.is_above(PAUSE_ABOVE) {
            client.pause(cx, conn, Pause::Busy);
            intake.paused.push(conn);
        }
        let (address, keys) = (client.address, client.keys.clone());
        intake.incoming.push(Submitted { ticket, text: text.into(), address, keys, refusal });
        cx.wake();
    }

    /// Why an event is refused before it is read (row 2 of the checks).
    fn refusal_of_event(&mut self, ticket: Ticket) -> Option<Refusal> {
        let client = self.clients.get_mut(ticket.conn)?;
        if self.events.load.is_above(REFUSE_ABOVE) {
            return Some(Prefix::RateLimited.text("the relay is busy"));
        }
        if self.settings.auth.protects_writes() && client.keys().is_empty() {
            return Some(Prefix::AuthRequired.text("events need authentication"));
        }
        client.charge_event(&mut self.rates, ticket.bytes, ticket.at).err()
    }

    /// Passes the events of this turn to the threads, in jobs that keep all of them busy.
    pub(super) fn submit_events(&mut self, cx: &mut Context<'_>) {
        if self.events.incoming.is_empty() {
            return;
        }
        let incoming = std::mem::take(&mut self.events.incoming);
        let share = incoming.len().div_ceil(self.settings.threads().verify);
        let mut incoming = incoming.into_iter();
        loop {
            let events: Vec<Submitted> =
                incoming.by_ref().take(share.min(JOB_EVENTS_MAX)).collect();
            if events.is_empty() {
                return;
            }
            let rest = self.put_events(events);
            for Submitted { ticket, text, .. } in rest {
                let refusal = Prefix::RateLimited.text("the relay is busy");
                self.settle(cx, ticket, refused(&text, refusal));
            }
        }
    }

    /// Puts a batch into the queue; returns its events if the queue is full.
    fn put_events(&mut self, events: Vec<Submitted>) -> Vec<Submitted> {
        let Some(running) = &self.running else {
            return events;
        };
        let batch = self.events.batch;
        let job = VerifyJob::Events { batch, events };
        match running.verifiers.try_put(Task::new((), job)) {
            Ok(()) => {
                self.events.batch += 1;
                Vec::new()
            }
            Err(error) => match unput(error) {
                VerifyJob::Events { events, .. } => events,
                _ => Vec::new(),
            },
        }
    }

    /// Puts another job into the queue of the verifying threads; false if it is full.
    pub(super) fn put_job(&mut self, job: VerifyJob) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.verifiers.try_put(Task::new((), job)).is_ok())
    }

    /// Answers an event that is not stored.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, ticket: Ticket, settled: Settled) {
        match settled {
            Settled::Ok { id, accepted, refusal } => {
                let outcome = match (accepted, &refusal) {
                    (true, Some(_)) => EventOutcome::Duplicate,
                    // By a policy that does not show its refusal.
                    (true, None) => EventOutcome::Absorbed,
                    (false, _) => EventOutcome::Refused,
                };
                self.count_good(ticket.conn);
                self.answer(cx, ticket, id, outcome, refusal.as_ref());
            }
            Settled::Notice(refusal) => {
                self.counts.event(EventOutcome::Refused);
                self.notice(cx, ticket.conn, &refusal);
                self.count_bad(cx, ticket.conn);
                self.finish(cx, ticket);
            }
            Settled::Ephemeral(event) => {
                self.count_good(ticket.conn);
                self.settle_ephemeral(cx, ticket, event);
            }
        }
    }

    fn settle_ephemeral(&mut self, cx: &mut Context<'_>, ticket: Ticket, event: Arc<Event>) {
        let id = HexId::from(event.id());
        if !self.events.recent.insert(*event.id(), cx.now()) {
            let refusal = Prefix::Duplicate.text("this event was seen before");
            return self.answer(cx, ticket, id, EventOutcome::Duplicate, Some(&refusal));
        }
        let heard = self.announce(cx, event, None);
        let mute = (heard == 0 && self.settings.mute != Mute::Off)
            .then(|| Prefix::Mute.text("no subscriber"));
        self.answer(cx, ticket, id, EventOutcome::Ephemeral, mute.as_ref());
    }

    /// Answers an event that the writer got, and queues a stored one for its subscribers.
    pub(super) fn acknowledge(
        &mut self,
        cx: &mut Context<'_>,
        Written { ticket, id, fate }: Written,
    ) {
        self.count_good(ticket.conn);
        let id = HexId::from(&id);
        let (counted, refusal) = match fate {
            Fate::Committed(outcome) => self.outcome(outcome),
            Fate::Refused(refusal) => (EventOutcome::Refused, Some(refusal)),
            Fate::Failed => {
                (EventOutcome::Failed, Some(Prefix::Error.text("the store cannot be written")))
            }
        };
        self.answer(cx, ticket, id, counted, refusal.as_ref());
    }

    /// What a commit did with an event, and the reason in its OK.
    fn outcome(&mut self, outcome: Outcome) -> (EventOutcome, Option<Refusal>) {
        match outcome {
            Outcome::Stored { serial, event } => {
                self.events.announcing.push_back(Announcement { event, serial });
                (EventOutcome::Stored, None)
            }
            Outcome::Superseded => (EventOutcome::Absorbed, None),
            Outcome::Vanishing { author, until } => {
                self.events.vanished.insert(author, until);
                (EventOutcome::Absorbed, None)
            }
            Outcome::Duplicate => {
                let refusal = Prefix::Duplicate.text("already have this event");
                (EventOutcome::Duplicate, Some(refusal))
            }
            Outcome::Newer => {
                let refusal = Prefix::Duplicate.text("a newer version is stored");
                (EventOutcome::Refused, Some(refusal))
            }
            Outcome::Deleted => {
                (EventOutcome::Refused, Some(Prefix::Blocked.text("this event was deleted")))
            }
            Outcome::Vanished => {
                let refusal = Prefix::Blocked.text("the author has asked to vanish");
                (EventOutcome::Refused, Some(refusal))
            }
            Outcome::Invalid(text) => (EventOutcome::Refused, Some(Prefix::Invalid.text(text))),
            Outcome::DiskFull => {
                (EventOutcome::Failed, Some(Prefix::Error.text("the disk is full")))
            }
        }
    }

    /// Sends the OK of an event.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        id: HexId,
        outcome: EventOutcome,
        refusal: Option<&Refusal>,
    ) {
        let is_muted = refusal.is_some_and(|refusal| refusal.prefix == Prefix::Mute);
        let accepted = match outcome {
            EventOutcome::Refused | EventOutcome::Failed => false,
            _ if is_muted => self.settings.mute == Mute::True,
            _ => true,
        };
        self.counts.event(outcome);
        self.counts.verifications.count(ticket.verified);
        self.counts.acks.count(cx.now().since(ticket.at));
        if let Some(refusal) = refusal {
            self.counts.refuse(refusal.prefix);
        }
        let _ = self.send(cx, ticket.conn, Reply::Ok, |out| match refusal {
            Some(refusal) => write_ok(out, id, accepted, refusal),
            None => write_ok(out, id, accepted, ""),
        });
        self.finish(cx, ticket);
    }

    /// An event has got its answer.
    fn finish(&mut self, cx: &mut Context<'_>, ticket: Ticket) {
        let intake = &mut self.events;
        intake.throttle.finish(cx, ticket.conn, 1, ticket.bytes);
        intake.load.events -= 1;
        intake.load.bytes -= ticket.bytes;
        self.counts.events_in_flight_now.set(intake.load.events as u64);
        if !intake.paused.is_empty() && !intake.load.is_above(PAUSE_ABOVE.half()) {
            for conn in std::mem::take(&mut intake.paused) {
                if let Some(client) = self.clients.get_mut(conn) {
                    client.resume(cx, conn, Pause::Busy);
                }
            }
        }
    }
}
