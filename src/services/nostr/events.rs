//! Events: from the message to the OK, and to the subscribers.
//!
//! The events of one turn go to the threads together. Stored ones come back from the writer in the
//! order of the commits; each is then announced by itself, within the turn's budget.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::Pause;
use super::event::Event;
use super::guard::Guard;
use super::jobs::{Checking, Release, Submitted, VERIFY_JOBS_MAX, VerifyDone, VerifyJob};
use super::judging::Judging;
use super::manage::Management;
use super::message::SubscriptionId;
use super::metrics::{EventOutcome, Reply, add};
use super::parse::HexId;
use super::rates::AuthorRates;
use super::refusal::{Prefix, Refusal};
use super::relay::{Announcement, Load, Relay};
use super::reply::{write_event_head, write_notice, write_ok};
use super::running::{Mail, Running, unput};
use super::scans::ScanJob;
use super::settings::{AuthPolicy, Mute, SlowReaders, Sync};
use super::settled::{Settled, refused};
use super::store::{Outcome, Totals};
use super::ticket::Ticket;
use super::writer::{WriterJob, WriterMail, WriterThread, Written};
use crate::protocol::SharedTail;
use crate::reactor::{ConnId, Context, More, SendOutcome, Task, WorkerSettings};

/// Events of all connections without an OK at which their senders pause, until half is left.
const PAUSE_ABOVE: Load = Load { events: 4_096, bytes: 32 * 1024 * 1024 };
/// Events of all connections without an OK at which further ones are refused.
const REFUSE_ABOVE: Load = Load { events: 16_384, bytes: 64 * 1024 * 1024 };
/// Events of one job: a thread verifies as many in 3 ms.
const JOB_EVENTS_MAX: usize = 64;
/// Batches of the writer that the loop has not taken; then the writer waits.
const WRITER_MAIL_MAX: usize = 16;

impl Relay {
    /// Starts the threads.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let (sender, mail) = cx.mailbox(WRITER_MAIL_MAX);
        let syncs = self.settings.sync == Sync::Interval;
        self.show_totals(writer.totals());
        let lists = self.lists.clone();
        let writer = WriterThread::start(writer, syncs, lists, self.room.take(), sender);
        let Some(accepted) = writer.sender() else {
            return;
        };
        let (judging, judged) = match self.policy.take() {
            Some(policy) => {
                let (mail, judged) = cx.mailbox(WRITER_MAIL_MAX);
                (Some(Judging::new(policy, accepted.clone(), mail)), Some(judged))
            }
            None => (None, None),
        };
        let checking = Checking {
            settings: self.settings.verify(self.names.borrow().clone()),
            limits: self.limits.clone(),
            store: self.store.clone(),
            management: Management {
                administrators: Arc::clone(&self.administrators),
                lists: self.lists.clone(),
                used: Mutex::default(),
                submit: {
                    let writer = accepted.clone();
                    Box::new(move |change| writer.send(WriterJob::Change(change)).is_ok())
                },
            },
            lists: self.lists.clone(),
            authors: AuthorRates::new(&self.settings.rates()),
            offers_auth: self.settings.auth != AuthPolicy::Off,
            release: Release::new(accepted, judging),
        };
        let threads = self.settings.threads();
        let workers = WorkerSettings::new("relay verify", threads.verify, VERIFY_JOBS_MAX);
        let verifiers = cx.workers(workers, move |job| checking.run(job));
        let (store, jobs) = (self.store.clone(), self.settings.scans_waiting_max);
        let workers = WorkerSettings::new("relay scan", threads.scan, jobs);
        let scanners = cx.workers(workers, move |job: Box<ScanJob>| job.run(&store));
        self.running = Some(Running { verifiers, scanners, writer, mail, judged, taken: 0 });
    }

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

    /// Handles one announcement or one mail.
    pub(super) fn handle_mail(&mut self, cx: &mut Context<'_>) -> More {
        if let Some(Announcement { event, serial }) = self.events.announcing.pop_front() {
            self.announce(cx, event, Some(serial));
            return More::Yes;
        }
        let Some(mail) = self.running.as_mut().and_then(Running::next) else {
            return More::No;
        };
        match mail {
            Mail::Judged(settled) | Mail::Verified(VerifyDone::Events(settled)) => {
                for (ticket, settled) in settled {
                    self.settle(cx, ticket, settled);
                }
            }
            Mail::Verified(VerifyDone::Auth { conn, id, result }) => {
                self.finish_auth(cx, conn, id, result);
            }
            Mail::Verified(VerifyDone::Managed { conn, answer }) => {
                self.finish_call(cx, conn, answer);
            }
            Mail::Verified(VerifyDone::Parsed { conn, request }) => {
                if let Some(client) = self.clients.get_mut(conn) {
                    client.resume(cx, conn, Pause::Parse);
                    match request {
                        Ok(request) => {
                            self.count_good(conn);
                            self.handle_request(cx, conn, request);
                        }
                        Err(bad) => self.answer_bad(cx, conn, &bad),
                    }
                }
            }
            Mail::Written(WriterMail::Batch { written, took, totals }) => {
                self.show_totals(totals);
                self.counts.commits.count(took);
                add(&self.counts.batches, 1);
                add(&self.counts.batch_events, written.len() as u64);
                for written in written {
                    self.acknowledge(cx, written);
                }
            }
            Mail::Written(WriterMail::Found(found)) => {
                let found = found.into_iter();
                let found = found.map(|(serial, event)| Announcement { event, serial });
                self.events.announcing.extend(found);
            }
            Mail::Written(WriterMail::Changed(change, answer)) => {
                self.finish_change(cx, &change, answer);
            }
            Mail::Written(WriterMail::State(state)) => {
                self.counts.failure.replace(state.err());
            }
            Mail::Scanned(done) => self.scanned(cx, *done),
            Mail::Lost => log::error!("a job of the relay was lost"),
        }
        More::Yes
    }

    fn show_totals(&self, totals: Totals) {
        self.counts.store_events_now.set(totals.events);
        self.counts.store_bytes_now.set(totals.live_bytes);
    }

    /// Answers an event that is not stored.
    fn settle(&mut self, cx: &mut Context<'_>, ticket: Ticket, settled: Settled) {
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
    fn acknowledge(&mut self, cx: &mut Context<'_>, Written { ticket, id, outcome }: Written) {
        self.count_good(ticket.conn);
        let id = HexId::from(&id);
        let (counted, refusal) = match outcome {
            Some(Outcome::Stored { serial, event }) => {
                self.events.announcing.push_back(Announcement { event, serial });
                (EventOutcome::Stored, None)
            }
            Some(Outcome::Superseded | Outcome::Vanishing) => (EventOutcome::Absorbed, None),
            Some(Outcome::Duplicate) => {
                let refusal = Prefix::Duplicate.text("already have this event");
                (EventOutcome::Duplicate, Some(refusal))
            }
            Some(Outcome::Newer) => {
                let refusal = Prefix::Duplicate.text("a newer version is stored");
                (EventOutcome::Refused, Some(refusal))
            }
            Some(Outcome::Deleted) => {
                (EventOutcome::Refused, Some(Prefix::Blocked.text("this event was deleted")))
            }
            Some(Outcome::Vanished) => {
                let refusal = Prefix::Blocked.text("the author has asked to vanish");
                (EventOutcome::Refused, Some(refusal))
            }
            Some(Outcome::Invalid(text)) => {
                (EventOutcome::Refused, Some(Prefix::Invalid.text(text)))
            }
            Some(Outcome::DiskFull) => {
                (EventOutcome::Failed, Some(Prefix::Error.text("the disk is full")))
            }
            None => (EventOutcome::Failed, Some(Prefix::Error.text("the store cannot be written"))),
        };
        self.answer(cx, ticket, id, counted, refusal.as_ref());
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

    /// Sends an event to its subscribers. Returns how many there are, those included that will get it
    /// after their scan.
    fn announce(&mut self, cx: &mut Context<'_>, event: Arc<Event>, serial: Option<u64>) -> usize {
        let Relay { subscriptions, clients, settings, counts, out, .. } = self;
        let guard = Guard::of(settings, &event);
        let recipients = subscriptions.announce(Arc::clone(&event), serial, cx.now());
        // Of a restricted event it is not known which of the waiting ones will get it.
        let mut heard = if guard.is_open() { recipients.waiting() } else { 0 };
        if recipients.is_empty() {
            return heard;
        }
        out.clear();
        event.write_json(out);
        out.push(b']');
        let tail = SharedTail::new(out.as_slice());
        add(&counts.encodings, 1);
        for (sub, conns) in recipients.groups() {
            out.clear();
            write_event_head(out, sub);
            for conn in conns {
                let Some(client) = clients.get_mut(conn) else {
                    continue;
                };
                if !guard.admits(client.keys()) {
                    continue;
                }
                heard += 1;
                if client.is_slow() {
                    add(&counts.dropped, 1);
                    if client.drops_first(sub) {
                        tell_dropped(cx, conn, sub);
                        counts.sent(Reply::Notice);
                    }
                    continue;
                }
                let outcome = cx.send_joined(conn, out, &tail);
                if outcome == SendOutcome::Congested && settings.slow == SlowReaders::Drop {
                    client.begin_slowness();
                }
                match outcome.is_queued() {
                    true => {
                        add(&counts.deliveries_live, 1);
                        counts.sent(Reply::Event);
                    }
                    false => add(&counts.dropped, 1),
                }
            }
        }
        add(&counts.recipients, heard as u64);
        heard
    }
}

/// Tells a client that live events of a subscription are dropped until it has read what is queued.
fn tell_dropped(cx: &mut Context<'_>, conn: ConnId, sub: &SubscriptionId) {
    let text = format!("events of the subscription {} are dropped: read faster", sub.json());
    let mut message = Vec::new();
    write_notice(&mut message, Prefix::RateLimited.text(text));
    if let Ok(text) = std::str::from_utf8(&message) {
        let _ = cx.send(conn, text);
    }
}
