//! A relay that is reached by WebSocket, as its client.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::received::Received;
use super::side::{BATCH_EVENTS, Fetched, ITEMS_MAX, Side, SyncError};
use super::socket::Socket;
use crate::services::nostr::event::EventId;
use crate::services::nostr::message::SubscriptionId;
use crate::services::nostr::parse::parse;
use crate::upstream::UpstreamUrl;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts to send an event that the relay refuses for its rate, with pauses that double.
const TRIES_MAX: u32 = 8;
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A relay that answers a request with more events ignores its limit.
const ANSWER_EVENTS_MAX: usize = 5000;
/// Events of one page of a local relay's events.
const PAGE_EVENTS: usize = 1000;

/// A client of a relay.
pub(super) struct Peer {
    socket: Socket,
    /// Requests so far, for their ids.
    requests: u64,
}

/// The answer to a negentropy message.
enum Negotiated {
    Message(Vec<u8>),
    Refused(String),
}

impl Peer {
    pub(super) fn connect(url: &UpstreamUrl) -> Result<Peer, SyncError> {
        Ok(Peer { socket: Socket::open(url)?, requests: 0 })
    }

    /// The relay's URL, for errors.
    pub(super) fn name(&self) -> &str {
        self.socket.name()
    }

    /// NEG-OPEN; returns the first answer.
    pub(super) fn open_negentropy(
        &mut self,
        sub: &SubscriptionId,
        filter: &str,
        message: &[u8],
    ) -> Result<Vec<u8>, SyncError> {
        let text = format!(r#"["NEG-OPEN",{},{filter},"{}"]"#, sub.json(), hex::encode(message));
        self.negotiate(sub, text)
    }

    /// NEG-MSG; returns the answer.
    pub(super) fn continue_negentropy(
        &mut self,
        sub: &SubscriptionId,
        message: &[u8],
    ) -> Result<Vec<u8>, SyncError> {
        self.negotiate(sub, format!(r#"["NEG-MSG",{},"{}"]"#, sub.json(), hex::encode(message)))
    }

    /// NEG-CLOSE.
    pub(super) fn close_negentropy(&mut self, sub: &SubscriptionId) -> Result<(), SyncError> {
        self.socket.send(format!(r#"["NEG-CLOSE",{}]"#, sub.json()))
    }

    fn negotiate(&mut self, sub: &SubscriptionId, text: String) -> Result<Vec<u8>, SyncError> {
        self.socket.send(text)?;
        let answer = self.answer(|received| match received {
            Received::NegMsg { sub: of, message } if of == sub.json() => {
                Some(Negotiated::Message(message))
            }
            Received::NegErr { sub: of, text } | Received::Closed { sub: of, text }
                if of == sub.json() =>
            {
                Some(Negotiated::Refused(text))
            }
            // A relay without NIP-77 knows the verb no better than this.
            Received::Notice(text) if is_about_negentropy(&text) => Some(Negotiated::Refused(text)),
            _ => None,
        })?;
        match answer {
            Negotiated::Message(message) => Ok(message),
            Negotiated::Refused(text) => {
                Err(self.failed(&format!("refuses negentropy (NIP-77): {text}")))
            }
        }
    }

    /// Waits for the message for which `take` returns a value. Others are ignored.
    fn answer<T>(
        &mut self,
        mut take: impl FnMut(Received<'_>) -> Option<T>,
    ) -> Result<T, SyncError> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let text = self.socket.receive(until)?;
            if let Some(taken) = Received::parse(&text).and_then(&mut take) {
                return Ok(taken);
            }
        }
    }

    /// Sends a REQ, and passes each event to `take` until EOSE. One that comes too fast for the relay
    /// is sent again.
    fn request(&mut self, filter: &str, mut take: impl FnMut(&str)) -> Result<(), SyncError> {
        for attempt in 0..TRIES_MAX {
            match self.request_once(filter, &mut take)? {
                None => return Ok(()),
                Some(text) if is_too_fast(&text) => pause(attempt),
                Some(text) => return Err(self.failed(&format!("refuses a request: {text}"))),
            }
        }
        Err(self.failed("refuses requests for their rate"))
    }

    /// The text of CLOSED, if the relay refuses the request.
    fn request_once(
        &mut self,
        filter: &str,
        take: &mut impl FnMut(&str),
    ) -> Result<Option<String>, SyncError> {
        self.requests += 1;
        let sub = SubscriptionId::of(&format!("sync-{}", self.requests));
        self.socket.send(format!(r#"["REQ",{},{filter}]"#, sub.json()))?;
        // Each event restarts the time.
        for _ in 0..=ANSWER_EVENTS_MAX {
            let end = self.answer(|received| match received {
                Received::Event { sub: of, json } if of == sub.json() => {
                    take(json);
                    Some(None)
                }
                Received::Eose { sub: of } if of == sub.json() => Some(Some(None)),
                Received::Closed { sub: of, text } if of == sub.json() => Some(Some(Some(text))),
                _ => None,
            })?;
            match end {
                None => {}
                Some(Some(text)) => return Ok(Some(text)),
                Some(None) => {
                    self.socket.send(format!(r#"["CLOSE",{}]"#, sub.json()))?;
                    return Ok(None);
                }
            }
        }
        Err(self.failed("sends more events than were requested"))
    }

    fn failed(&self, text: &str) -> SyncError {
        SyncError::new(format!("{} {text}", self.name()))
    }

    /// Sends events and waits for the answer to each. Returns the number of accepted events, and those
    /// that came too fast for the relay.
    fn send(&mut self, events: Vec<Fetched>) -> Result<(usize, Vec<Fetched>), SyncError> {
        let mut pending: HashMap<EventId, String> = HashMap::with_capacity(events.len());
        for (id, json) in events {
            self.socket.send(format!(r#"["EVENT",{json}]"#))?;
            pending.insert(id, json);
        }
        let (mut stored, mut too_fast) = (0, Vec::new());
        while !pending.is_empty() {
            let (id, json, accepted, text) = self.answer(|received| match received {
                Received::Ok { id, accepted, text } => {
                    pending.remove(&id).map(|json| (id, json, accepted, text))
                }
                _ => None,
            })?;
            if accepted {
                stored += 1;
            } else if is_too_fast(&text) {
                too_fast.push((id, json));
            } else {
                log::info!("{} refuses {}: {text}", self.name(), hex::encode(id));
            }
        }
        Ok((stored, too_fast))
    }
}

/// Whether a NOTICE is the answer of a relay that does not know negentropy.
fn is_about_negentropy(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let words = ["negentropy", "neg-", "unknown", "unsupported", "invalid", "bad msg", "command"];
    words.iter().any(|word| text.contains(word))
}

fn is_too_fast(text: &str) -> bool {
    text.starts_with("rate-limited:")
}

fn pause(attempt: u32) {
    thread::sleep(PAUSE_MIN * 2_u32.pow(attempt));
}

/// The filter of a page that ends with events of `until`.
fn page_filter(filter: &str, until: Option<u64>) -> Result<String, SyncError> {
    let parsed = serde_json::from_str::<Map<String, Value>>(filter);
    let mut members = parsed.map_err(|error| SyncError::new(error.to_string()))?;
    members.insert("limit".to_owned(), PAGE_EVENTS.into());
    let own = members.get("until").and_then(Value::as_u64);
    if let Some(until) = until.into_iter().chain(own).min() {
        members.insert("until".to_owned(), until.into());
    }
    Ok(Value::Object(members).to_string())
}

impl Side for Peer {
    /// Pages through the events, newest first: a relay has no cheaper list of times. Of a second with
    /// more events than a page, the oldest may be missed; they are then copied without need.
    fn items(&mut self, filter: &str) -> Result<Vec<(u64, EventId)>, SyncError> {
        let mut items = HashSet::new();
        let mut until = None;
        loop {
            let (before, mut oldest) = (items.len(), None);
            self.request(&page_filter(filter, until)?, |json| {
                if let Ok((event, _)) = parse(json) {
                    items.insert((event.created_at(), *event.id()));
                    let oldest = oldest.get_or_insert(event.created_at());
                    *oldest = event.created_at().min(*oldest);
                }
            })?;
            if items.len() > ITEMS_MAX {
                return Err(self.failed(&format!("has more than {ITEMS_MAX} of these events")));
            }
            // The next page starts with the second in which this one ends, unless it was known.
            until = match oldest {
                Some(oldest) if items.len() > before => Some(oldest),
                Some(oldest) if oldest > 0 => Some(oldest - 1),
                _ => return Ok(items.into_iter().collect()),
            };
        }
    }

    fn fetch(&mut self, ids: &[EventId]) -> Result<Vec<Fetched>, SyncError> {
        let mut wanted: HashSet<EventId> = ids.iter().copied().collect();
        let mut filter = String::from(r#"{"ids":["#);
        for (index, id) in ids.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            // Writing to a String does not fail.
            let _ = write!(filter, "{separator}\"{}\"", hex::encode(id));
        }
        let _ = write!(filter, r#"],"limit":{}}}"#, ids.len());
        let mut events = Vec::with_capacity(ids.len());
        self.request(&filter, |json| {
            if let Ok((event, _)) = parse(json)
                && wanted.remove(event.id())
            {
                events.push((*event.id(), json.to_owned()));
            }
        })?;
        Ok(events)
    }

    fn put(&mut self, events: Vec<Fetched>) -> Result<usize, SyncError> {
        debug_assert!(events.len() <= BATCH_EVENTS);
        let (mut accepted, mut rest) = (0, events);
        for attempt in 0..TRIES_MAX {
            let (stored, too_fast) = self.send(rest)?;
            accepted += stored;
            rest = too_fast;
            if rest.is_empty() {
                return Ok(accepted);
            }
            pause(attempt);
        }
        log::warn!("{} refuses {} events for their rate", self.name(), rest.len());
        Ok(accepted)
    }
}
