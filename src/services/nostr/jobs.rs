//! The threads that verify: events in batches, AUTH events, and long requests that are only parsed.
//!
//! Accepted events go from here to the writer, in the order of their batches, so that the OKs of a
//! connection come in the order of its events. Everything else goes back to the loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::auth::{self, AuthRefused, AuthTerms};
use super::client::Keys;
use super::event::{Class, Event, PublicKey};
use super::filter::Filter;
use super::judging::{Candidate, Judging, SettledMail};
use super::known::Stored;
use super::manage::{Answer, ManageJob, Management};
use super::message::{BadMessage, ClientMessage, MessageLimits, SubscriptionId};
use super::parse::HexId;
use super::policy::{Policy, SharedPolicy, check_protected, check_repost};
use super::rates::AuthorRates;
use super::refusal::{Prefix, Refusal};
use super::settled::{Settled, refused};
use super::signature::KeyCache;
use super::store::{Snapshot, Store};
use super::ticket::{Ticket, unix_seconds};
use super::verify::{Verdict, Verifier, VerifySettings};
use super::written::{Accepted, WriterJob};
use crate::reactor::{ConnId, Step, Workers};

/// Jobs that wait, run, or whose results the loop has not taken. Events are limited before.
pub(super) const VERIFY_JOBS_MAX: usize = 65_536;

/// The threads that verify.
pub(super) type Verifiers = Workers<VerifyJob, VerifyDone, ()>;

thread_local! {
    /// The keys that this thread has parsed.
    static KEYS: RefCell<KeyCache> = RefCell::default();
}

/// An EVENT message.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) ticket: Ticket,
    pub(super) text: Box<str>,
    pub(super) address: IpAddr,
    pub(super) keys: Option<Keys>,
    /// Set if the loop has refused it already: only its id is read.
    pub(super) refusal: Option<Refusal>,
}

#[derive(Debug)]
pub(super) enum VerifyJob {
    Events {
        /// Counts up by one.
        batch: u64,
        events: Vec<Submitted>,
    },
    Auth {
        conn: ConnId,
        text: Box<str>,
        challenge: String,
    },
    /// A management call (NIP-86).
    Manage(Box<ManageJob>),
    /// A long request.
    Parse {
        conn: ConnId,
        text: Box<str>,
    },
}

/// A request of a client, apart from its message.
#[derive(Debug)]
pub(super) enum Request {
    Req { sub: SubscriptionId, filters: Vec<Filter> },
    Count { sub: SubscriptionId, filters: Vec<Filter> },
    Close { sub: SubscriptionId },
    NegOpen { sub: SubscriptionId, filter: Filter, message: Vec<u8> },
    NegMsg { sub: SubscriptionId, message: Vec<u8> },
    NegClose { sub: SubscriptionId },
}

#[derive(Debug)]
pub(super) enum VerifyDone {
    Events(Vec<(Ticket, Settled)>),
    Auth { conn: ConnId, id: Option<HexId>, result: Result<PublicKey, Refusal> },
    Managed { conn: ConnId, answer: Answer },
    Parsed { conn: ConnId, request: Result<Request, BadMessage> },
}

/// What the threads share.
pub(super) struct Checking {
    pub(super) settings: VerifySettings,
    pub(super) limits: MessageLimits,
    pub(super) store: Store,
    /// Row 11.
    pub(super) lists: SharedPolicy,
    /// Row 15.
    pub(super) authors: AuthorRates,
    /// Whether a client can authenticate as the author of a protected event (row 16).
    pub(super) offers_auth: bool,
    pub(super) management: Management,
    pub(super) release: Release,
}

impl Request {
    /// The request in a message; `None` for EVENT and AUTH.
    pub(super) fn of(message: ClientMessage<'_>) -> Option<Request> {
        match message {
            ClientMessage::Req { sub, filters } => Some(Request::Req { sub, filters }),
            ClientMessage::Count { sub, filters } => Some(Request::Count { sub, filters }),
            ClientMessage::NegOpen { sub, filter, message } => {
                Some(Request::NegOpen { sub, filter, message })
            }
            ClientMessage::Close { sub } => Some(Request::Close { sub }),
            ClientMessage::NegMsg { sub, message } => Some(Request::NegMsg { sub, message }),
            ClientMessage::NegClose { sub } => Some(Request::NegClose { sub }),
            ClientMessage::Event(_) | ClientMessage::Auth(_) => None,
        }
    }
}

impl Checking {
    /// Runs a job. A panic of one event, AUTH or request is its refusal.
    pub(super) fn run(&self, job: VerifyJob) -> Step<VerifyJob, VerifyDone> {
        match job {
            VerifyJob::Events { batch, events } => self.check_events(batch, events),
            VerifyJob::Auth { conn, text, challenge } => {
                let check = || self.check_auth(&text, &challenge);
                let (id, result) = caught(check).unwrap_or((None, Err(internal())));
                Step::Done(VerifyDone::Auth { conn, id, result })
            }
            VerifyJob::Manage(job) => {
                let answer =
                    caught(|| self.manage(&job)).unwrap_or_else(|| Some(Answer::internal()));
                match answer {
                    Some(answer) => Step::Done(VerifyDone::Managed { conn: job.conn, answer }),
                    None => Step::Forwarded,
                }
            }
            VerifyJob::Parse { conn, text } => {
                let request = caught(|| self.parse(&text));
                let request = request.unwrap_or(Err(BadMessage::Notice(internal())));
                Step::Done(VerifyDone::Parsed { conn, request })
            }
        }
    }

    /// Checks a batch, and releases what it has accepted.
    fn check_events(&self, batch: u64, events: Vec<Submitted>) -> Step<VerifyJob, VerifyDone> {
        let tickets: Vec<Ticket> = events.iter().map(|submitted| submitted.ticket).collect();
        let lost = || {
            let answer = |ticket| (ticket, Settled::Notice(internal()));
            (Vec::new(), tickets.into_iter().map(answer).collect())
        };
        let (candidates, mut settled) = caught(|| self.check_all(events)).unwrap_or_else(lost);
        self.release.release(batch, candidates, &mut settled);
        match settled.is_empty() {
            true => Step::Forwarded,
            false => Step::Done(VerifyDone::Events(settled)),
        }
    }

    fn check_all(&self, events: Vec<Submitted>) -> (Vec<Candidate>, SettledMail) {
        let (mut candidates, mut settled) = (Vec::with_capacity(events.len()), Vec::new());
        let (snapshot, lists) = (self.store.snapshot(), self.lists.load());
        for submitted in events {
            let mut ticket = submitted.ticket;
            let start = Instant::now();
            let checked = match &snapshot {
                Ok(snapshot) => caught(|| self.check_event(&submitted, snapshot, &lists))
                    // Nothing of the text is parsed again after a panic.
                    .unwrap_or_else(|| Err(Settled::Notice(internal()))),
                Err(_) => {
                    let refusal = Prefix::Error.text("the store cannot be read");
                    Err(refused(&submitted.text, refusal))
                }
            };
            ticket.verified = start.elapsed();
            match checked {
                Ok(event) => {
                    let authed = submitted.keys.and_then(|keys| keys.first().copied());
                    candidates.push(Candidate {
                        ticket,
                        event,
                        lists: Arc::clone(&lists),
                        address: submitted.address,
                        authed,
                    });
                }
                Err(answer) => settled.push((ticket, answer)),
            }
        }
        (candidates, settled)
    }

    /// Rows 3 to 17 of the checks.
    fn check_event(
        &self,
        submitted: &Submitted,
        snapshot: &Snapshot<'_>,
        lists: &Policy,
    ) -> Result<Event, Settled> {
        let text = &*submitted.text;
        if let Some(refusal) = &submitted.refusal {
            return Err(refused(text, refusal.clone()));
        }
        let rest = match ClientMessage::parse(text, &self.limits) {
            Ok(ClientMessage::Event(rest)) => rest,
            Ok(_) => return Err(Settled::Notice(internal())),
            Err(bad) => return Err(Settled::Notice(bad.refusal().clone())),
        };
        let (known, now) = (Stored(snapshot), unix_seconds());
        let verdict = KEYS.with_borrow_mut(|keys| {
            let settings = &self.settings;
            Verifier { settings, known: &known, lists, keys, now }.check_message(rest)
        });
        let refuse = |id, refusal| Settled::Ok { id, accepted: false, refusal: Some(refusal) };
        match verdict {
            Verdict::Accept(event) | Verdict::Ephemeral(event) => {
                match self.check_author(&event, submitted) {
                    Ok(()) => Ok(event),
                    Err(refusal) => Err(refuse(HexId::from(event.id()), refusal)),
                }
            }
            Verdict::Duplicate(id) => {
                let refusal = Some(Prefix::Duplicate.text("already have this event"));
                Err(Settled::Ok { id: HexId::from(&id), accepted: true, refusal })
            }
            Verdict::Refuse { id: Some(id), refusal } => Err(refuse(id, refusal)),
            Verdict::Refuse { id: None, refusal } => Err(Settled::Notice(refusal)),
        }
    }

    /// Rows 15 to 17: the rate of the author, protected events, and reposts of them.
    fn check_author(&self, event: &Event, submitted: &Submitted) -> Result<(), Refusal> {
        let Ticket { bytes, at, .. } = submitted.ticket;
        self.authors.event(event.pubkey(), bytes, at)?;
        check_protected(event, submitted.keys.as_deref().unwrap_or_default(), self.offers_auth)?;
        check_repost(event)
    }

    fn check_auth(
        &self,
        text: &str,
        challenge: &str,
    ) -> (Option<HexId>, Result<PublicKey, Refusal>) {
        let rest = match ClientMessage::parse(text, &self.limits) {
            Ok(ClientMessage::Auth(rest)) => rest,
            Ok(_) => return (None, Err(internal())),
            Err(bad) => return (None, Err(bad.refusal().clone())),
        };
        let VerifySettings { names, limits, .. } = &self.settings;
        let terms = AuthTerms { challenge, names, limits, now: unix_seconds() };
        match KEYS.with_borrow_mut(|keys| auth::check_message(rest, &terms, keys)) {
            Ok(event) => (Some(HexId::from(event.id())), Ok(*event.pubkey())),
            Err(AuthRefused { id, refusal }) => (id, Err(refusal)),
        }
    }

    /// `None`: the thread that writes will answer.
    fn manage(&self, job: &ManageJob) -> Option<Answer> {
        let names = &self.settings.names;
        KEYS.with_borrow_mut(|keys| self.management.answer(job, names, keys, unix_seconds()))
    }

    fn parse(&self, text: &str) -> Result<Request, BadMessage> {
        let message = ClientMessage::parse(text, &self.limits)?;
        Request::of(message).ok_or_else(|| {
            let text = "a long message must not have escapes in its type";
            BadMessage::Notice(Prefix::Unsupported.text(text))
        })
    }
}

/// The result of a check; `None` if it panicked.
fn caught<T>(check: impl FnOnce() -> T) -> Option<T> {
    // Unwind-safe: a check changes nothing but the cache of keys, which is checked on use.
    catch_unwind(AssertUnwindSafe(check)).ok()
}

fn internal() -> Refusal {
    Prefix::Error.text("internal error")
}

/// Passes accepted events on, in the order of their batches: to the write policy if there is one, to the
/// writer or back otherwise.
pub(super) struct Release {
    in_order: Mutex<InOrder>,
    writer: Sender<WriterJob>,
    judging: Option<Judging>,
}

struct InOrder {
    /// The batch that is released next.
    next: u64,
    /// Batches that wait for an earlier one: at most as many as there are threads.
    waiting: BTreeMap<u64, Vec<Candidate>>,
}

impl Release {
    pub(super) fn new(writer: Sender<WriterJob>, judging: Option<Judging>) -> Release {
        let in_order = Mutex::new(InOrder { next: 0, waiting: BTreeMap::new() });
        Release { in_order, writer, judging }
    }

    /// Each batch must be released, an empty one as well. Ephemeral events that no policy judges are
    /// settled.
    fn release(
        &self,
        batch: u64,
        mut candidates: Vec<Candidate>,
        settled: &mut Vec<(Ticket, Settled)>,
    ) {
        if self.judging.is_none() {
            let is_ephemeral =
                |candidate: &mut Candidate| candidate.event.class() == Class::Ephemeral;
            let ephemeral = candidates.extract_if(.., is_ephemeral);
            settled.extend(ephemeral.map(|Candidate { ticket, event, .. }| {
                (ticket, Settled::Ephemeral(Arc::new(event)))
            }));
        }
        let mut in_order = self.in_order.lock().unwrap_or_else(PoisonError::into_inner);
        let InOrder { next, waiting } = &mut *in_order;
        waiting.insert(batch, candidates);
        while let Some(candidates) = waiting.remove(next) {
            *next += 1;
            self.pass_on(candidates);
        }
        drop(in_order);
        // Not with the lock: this may wait for the loop.
        if let Some(judging) = &self.judging {
            judging.send();
        }
    }

    fn pass_on(&self, candidates: Vec<Candidate>) {
        if candidates.is_empty() {
            return;
        }
        if let Some(judging) = &self.judging {
            return judging.judge(candidates);
        }
        let accepted = candidates.into_iter().map(|candidate| {
            let Candidate { ticket, event, lists, .. } = candidate;
            Accepted { ticket, event, lists }
        });
        // Without a writer the process is ending.
        let _ = self.writer.send(WriterJob::Events(accepted.collect()));
    }
}
