//! The counts of a relay, shared with the source of metrics on the same thread.

use std::cell::{Cell, RefCell};

use super::refusal::Prefix;
use super::store::Table;
use super::verb::Verb;
use crate::reactor::{Amounts, Durations};

pub use super::plugin::{PluginCounts, PluginWatch};

/// A count.
pub type Count = Cell<u64>;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// It is stored.
    Stored,
    /// It was stored already, or an ephemeral one was seen before.
    Duplicate,
    /// It was sent to subscribers only.
    Ephemeral,
    /// It was accepted, and replaced or deleted within its own batch, or a request to vanish.
    Absorbed,
    /// It was refused.
    Refused,
    /// The store failed.
    Failed,
}

impl EventOutcome {
    /// All outcomes.
    pub const ALL: [EventOutcome; 6] = [
        EventOutcome::Stored,
        EventOutcome::Duplicate,
        EventOutcome::Ephemeral,
        EventOutcome::Absorbed,
        EventOutcome::Refused,
        EventOutcome::Failed,
    ];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            EventOutcome::Stored => "stored",
            EventOutcome::Duplicate => "duplicate",
            EventOutcome::Ephemeral => "ephemeral",
            EventOutcome::Absorbed => "absorbed",
            EventOutcome::Refused => "refused",
            EventOutcome::Failed => "failed",
        }
    }
}

/// A message to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// `EVENT`
    Event,
    /// `OK`
    Ok,
    /// `EOSE`
    Eose,
    /// `CLOSED`
    Closed,
    /// `NOTICE`
    Notice,
    /// `AUTH`
    Auth,
    /// `COUNT`
    Count,
    /// `NEG-MSG`
    NegMsg,
    /// `NEG-ERR`
    NegErr,
}

impl Reply {
    /// All of them.
    pub const ALL: [Reply; 9] = [
        Reply::Event,
        Reply::Ok,
        Reply::Eose,
        Reply::Closed,
        Reply::Notice,
        Reply::Auth,
        Reply::Count,
        Reply::NegMsg,
        Reply::NegErr,
    ];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Reply::Event => "EVENT",
            Reply::Ok => "OK",
            Reply::Eose => "EOSE",
            Reply::Closed => "CLOSED",
            Reply::Notice => "NOTICE",
            Reply::Auth => "AUTH",
            Reply::Count => "COUNT",
            Reply::NegMsg => "NEG-MSG",
            Reply::NegErr => "NEG-ERR",
        }
    }
}

/// The counts of one relay.
#[derive(Debug, Default)]
pub struct RelayCounts {
    /// The name of the relay.
    pub relay: String,
    /// Messages received by verb; the last is for all others.
    pub received: [Count; Verb::ALL.len() + 1],
    /// Messages queued for clients.
    pub sent: [Count; Reply::ALL.len()],
    /// Events by outcome.
    pub events: [Count; EventOutcome::ALL.len()],
    /// Events, requests and AUTHs that were refused, by prefix.
    pub refused: [Count; Prefix::ALL.len()],
    /// CLOSED messages, by prefix.
    pub closed: [Count; Prefix::ALL.len()],
    /// Live events queued for a subscription.
    pub deliveries_live: Count,
    /// Stored events queued for a subscription.
    pub deliveries_stored: Count,
    /// Live events that were encoded: once for all their subscriptions.
    pub encodings: Count,
    /// Events that a subscription did not get because its connection read too slowly.
    pub dropped: Count,
    /// Ephemeral events that a subscription did not get because its scan took too long.
    pub lost: Count,
    /// What the plugin does; `None` without one.
    pub plugin: Option<PluginWatch>,
    /// Open subscriptions, now.
    pub subscriptions_now: Count,
    /// Subscriptions of closed connections that are still in the live index, now.
    pub subscriptions_ended_now: Count,
    /// Filters in the live index, now.
    pub filters_now: Count,
    /// Values of these filters, now.
    pub live_values_now: Count,
    /// Negentropy sessions, now.
    pub negentropy_sessions_now: Count,
    /// Scans on a thread or in its queue, now.
    pub scans_running_now: Count,
    /// Scans that wait for their connection, now.
    pub scans_waiting_now: Count,
    /// Connections with a key, now.
    pub authenticated_now: Count,
    /// Stored events, now.
    pub store_events_now: Count,
    /// Bytes of the stored events and their index entries before compression, now.
    pub live_bytes_now: Count,
    /// Bytes on disk by table, without journals, now.
    pub table_bytes_now: [Count; Table::ALL.len()],
    /// Events without an OK, now.
    pub events_in_flight_now: Count,
    /// Subscriptions that a live event matched.
    pub recipients: Amounts,
    /// Events of a commit.
    pub batch_events: Amounts,
    /// Index steps of a REQ or COUNT that was not given up.
    pub scan_steps: Amounts,
    /// Time from an event's message to its OK.
    pub acks: Durations,
    /// Time of an event's checks on a thread.
    pub verifications: Durations,
    /// Time of commits.
    pub commits: Durations,
    /// Time from a request to its first page.
    pub first_events: Durations,
    /// Time from a request to EOSE.
    pub eoses: Durations,
    /// Time from a commit until its events were written to their subscribers, in samples.
    pub live: Durations,
    /// Why the store cannot be written; `None` while it can.
    pub failure: RefCell<Option<String>>,
}

impl RelayCounts {
    pub(super) fn sent(&self, reply: Reply) {
        add(&self.sent[reply as usize], 1);
    }

    pub(super) fn event(&self, outcome: EventOutcome) {
        add(&self.events[outcome as usize], 1);
    }

    pub(super) fn refuse(&self, prefix: Prefix) {
        add(&self.refused[prefix as usize], 1);
    }
}

/// Adds to a count.
pub(super) fn add(count: &Count, more: u64) {
    count.set(count.get() + more);
}
