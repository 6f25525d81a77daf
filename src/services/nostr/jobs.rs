//! The threads that verify: events in batches, AUTH events, and long requests that are only parsed.
//!
//! Accepted events go from here to the writer, in the order of their batches, so that the OKs of a
//! connection come in the order of its events. Everything else goes back to the loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use super::auth::{self, AuthRefused, AuthTerms};
use super::client::Keys;
use super::event::{Event, EventId, PublicKey, Signature};
use super::filter::Filter;
use super::message::{BadMessage, ClientMessage, MessageLimits, SubscriptionId, event_id_of};
use super::parse::HexId;
use super::refusal::{Prefix, Refusal};
use super::signature::KeyCache;
use super::store::Snapshot;
use super::store::Store;
use super::ticket::{Ticket, unix_seconds};
use super::verify::{Known, Lists, Verdict, Verifier, VerifySettings};
use super::writer::Accepted;
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
    /// A long request.
    Parse {
        conn: ConnId,
        text: Box<str>,
    },
}

/// What becomes of an event that is not stored.
#[derive(Debug)]
pub(super) enum Settled {
    /// `OK`
    Ok { id: HexId, accepted: bool, refusal: Refusal },
    /// The message has no id that could be named.
    Notice(Refusal),
    /// To be sent to subscribers.
    Ephemeral(Arc<Event>),
}

/// A request of a client, apart from its message.
#[derive(Debug)]
pub(super) enum Request {
    Req { sub: SubscriptionId, filters: Vec<Filter> },
    Count { sub: SubscriptionId, filters: Vec<Filter> },
    NegOpen { sub: SubscriptionId, filter: Filter, message: Vec<u8> },
}

#[derive(Debug)]
pub(super) enum VerifyDone {
    Events(Vec<(Ticket, Settled)>),
    Auth { conn: ConnId, id: Option<HexId>, result: Result<PublicKey, Refusal> },
    Parsed { conn: ConnId, request: Result<Request, BadMessage> },
}

/// What the threads share.
pub(super) struct Checking {
    pub(super) settings: VerifySettings,
    pub(super) limits: MessageLimits,
    pub(super) store: Store,
    pub(super) release: Release,
}

impl Request {
    /// The request in a message; `None` for other messages.
    pub(super) fn of(message: ClientMessage<'_>) -> Option<Request> {
        match message {
            ClientMessage::Req { sub, filters } => Some(Request::Req { sub, filters }),
            ClientMessage::Count { sub, filters } => Some(Request::Count { sub, filters }),
            ClientMessage::NegOpen { sub, filter, message } => {
                Some(Request::NegOpen { sub, filter, message })
            }
            _ => None,
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
            VerifyJob::Parse { conn, text } => {
                let request = caught(|| self.parse(&text));
                let request = request.unwrap_or(Err(BadMessage::Notice(internal())));
                Step::Done(VerifyDone::Parsed { conn, request })
            }
        }
    }

    fn check_events(&self, batch: u64, events: Vec<Submitted>) -> Step<VerifyJob, VerifyDone> {
        let (mut accepted, mut settled) = (Vec::with_capacity(events.len()), Vec::new());
        let snapshot = self.store.snapshot();
        for Submitted { ticket, text, keys: _, refusal } in events {
            let known = match &snapshot {
                Ok(snapshot) => snapshot,
                Err(_) => {
                    let refusal = Prefix::Error.text("the store cannot be read");
                    settled.push((ticket, refused(&text, refusal)));
                    continue;
                }
            };
            if let Some(refusal) = refusal {
                settled.push((ticket, refused(&text, refusal)));
                continue;
            }
            let verdict = caught(|| self.check_event(&text, known));
            match verdict {
                Some(Ok(event)) => accepted.push(Accepted { ticket, event }),
                Some(Err(other)) => settled.push((ticket, other)),
                None => settled.push((ticket, refused(&text, internal()))),
            }
        }
        self.release.release(batch, accepted);
        match settled.is_empty() {
            true => Step::Forwarded,
            false => Step::Done(VerifyDone::Events(settled)),
        }
    }

    fn check_event(&self, text: &str, snapshot: &Snapshot<'_>) -> Result<Event, Settled> {
        let rest = match ClientMessage::parse(text, &self.limits) {
            Ok(ClientMessage::Event(rest)) => rest,
            Ok(_) => return Err(Settled::Notice(internal())),
            Err(bad) => return Err(Settled::Notice(bad.refusal().clone())),
        };
        let known = Stored(snapshot);
        let now = unix_seconds();
        let verdict = KEYS.with_borrow_mut(|keys| {
            let settings = &self.settings;
            Verifier { settings, known: &known, lists: &NoLists, keys, now }.check_message(rest)
        });
        match verdict {
            Verdict::Accept(event) => Ok(event),
            Verdict::Ephemeral(event) => Err(Settled::Ephemeral(Arc::new(event))),
            Verdict::Duplicate(id) => Err(Settled::Ok {
                id: HexId::from(&id),
                accepted: true,
                refusal: Prefix::Duplicate.text("already have this event"),
            }),
            Verdict::Refuse { id: Some(id), refusal } => {
                Err(Settled::Ok { id, accepted: false, refusal })
            }
            Verdict::Refuse { id: None, refusal } => Err(Settled::Notice(refusal)),
        }
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

    fn parse(&self, text: &str) -> Result<Request, BadMessage> {
        let message = ClientMessage::parse(text, &self.limits)?;
        Request::of(message).ok_or_else(|| BadMessage::Notice(internal()))
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

/// The refusal of an event of which only the id is read.
pub(super) fn refused(text: &str, refusal: Refusal) -> Settled {
    match event_id_of(text) {
        Some(id) => Settled::Ok { id, accepted: false, refusal },
        None => Settled::Notice(refusal),
    }
}

/// Row 12 of the checks, from a snapshot. If it cannot be read, the event counts as new: the writer
/// checks again.
struct Stored<'a>(&'a Snapshot<'a>);

impl Known for Stored<'_> {
    fn signature(&self, id: &EventId) -> Option<Signature> {
        self.0.known(id).ok().flatten()
    }

    fn is_vanished(&self, author: &PublicKey, created_at: u64) -> bool {
        self.0.is_vanished(author, created_at).unwrap_or(false)
    }
}

/// No lists of authors, kinds and ids.
struct NoLists;

impl Lists for NoLists {
    fn refusal(&self, _: &Event) -> Option<Refusal> {
        None
    }
}

/// Passes accepted events to the writer, in the order of their batches.
pub(super) struct Release(Mutex<InOrder>);

struct InOrder {
    /// The batch that is released next.
    next: u64,
    /// Batches that wait for an earlier one: at most as many as there are threads.
    waiting: BTreeMap<u64, Vec<Accepted>>,
    writer: Sender<Vec<Accepted>>,
}

impl Release {
    pub(super) fn new(writer: Sender<Vec<Accepted>>) -> Release {
        Release(Mutex::new(InOrder { next: 0, waiting: BTreeMap::new(), writer }))
    }

    /// Each batch must be released, an empty one as well.
    fn release(&self, batch: u64, accepted: Vec<Accepted>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let InOrder { next, waiting, writer } = &mut *state;
        waiting.insert(batch, accepted);
        while let Some(accepted) = waiting.remove(next) {
            *next += 1;
            if !accepted.is_empty() {
                // Without a writer the process is ending.
                let _ = writer.send(accepted);
            }
        }
    }
}
