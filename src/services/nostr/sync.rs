//! `weir relay sync`: makes a local relay and a remote one hold the same events, by negentropy
//! (NIP-77) as a client.
//!
//! First the ids that differ are found, then events are fetched and sent in batches. All steps block:
//! they run on the command's own thread. The local side is a store, or a running relay. The remote side
//! is always reached by WebSocket.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use negentropy::{Id, Negentropy, NegentropyStorageVector};

use super::event::EventId;
use super::filter::{Filter, FilterLimits};
use super::message::SubscriptionId;
use crate::upstream::UpstreamUrl;
use crate::upstream::url::Scheme;

mod local;
mod peer;
mod received;
mod side;
mod socket;

use local::LocalStore;
use peer::Peer;
use side::Side;

pub use side::{BATCH_EVENTS, ITEMS_MAX, SyncError};

/// Differences after which no further ones are searched for, 32 bytes each. A second run finds the rest.
pub const DIFFERENCES_MAX: usize = 5_000_000;
/// Messages of a negentropy session after which the peer counts as broken.
const ROUNDS_MAX: usize = 10_000;
/// Messages that are sent as fast as answers come. Then a pause keeps to 20 a second, weir's own limit for
/// requests.
const ROUNDS_AT_ONCE: usize = 100;
const ROUND_PAUSE: Duration = Duration::from_millis(60);
/// Bytes of a negentropy message; twice as many in hex. strfry accepts messages of 128 KiB.
const FRAME_BYTES_MAX: u64 = 60_000;

/// What is synchronised, and with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncSettings {
    /// The remote relay.
    pub remote: UpstreamUrl,
    /// The local side.
    pub local: Local,
    /// A filter in JSON (NIP-01).
    pub filter: String,
    /// Which events are copied.
    pub direction: Direction,
}

/// The local side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A store that no other process uses.
    Store(PathBuf),
    /// A running relay.
    Relay(UpstreamUrl),
}

/// Which events are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// To the remote relay.
    Up,
    /// From the remote relay.
    Down,
}

/// A step that is finished, to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The local directory had no store: an empty one was created.
    Created,
    /// This many local events match the filter.
    Collected(usize),
    /// Events that only one side has.
    Found {
        /// On the local side.
        local: usize,
        /// On the remote side.
        remote: usize,
    },
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// From the remote relay.
    pub down: Copied,
    /// To the remote relay.
    pub up: Copied,
    /// Whether more events differ, beyond [`DIFFERENCES_MAX`].
    pub is_partial: bool,
}

/// Events copied in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Accepted by the receiver.
    pub accepted: usize,
    /// Refused by it, such as deleted or older events.
    pub refused: usize,
    /// Not sent any more by the side that has listed them.
    pub missing: usize,
}

/// Events that only one side has.
#[derive(Debug, Default)]
struct Differences {
    local: Vec<EventId>,
    remote: Vec<EventId>,
    is_partial: bool,
}

/// Parses the URL of a relay.
///
/// # Errors
/// One line.
pub fn relay_url(text: &str) -> Result<UpstreamUrl, String> {
    let url: UpstreamUrl = text.parse().map_err(str::to_owned)?;
    match url.scheme() {
        Scheme::WebSocket => Ok(url),
        Scheme::Http => Err("expected a URL such as wss://relay.example.org".to_owned()),
    }
}

/// Checks the filter of [`SyncSettings`].
///
/// # Errors
/// One line.
pub fn check_filter(filter: &str) -> Result<(), String> {
    match Filter::parse(filter, &FilterLimits::default()) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.text.into_owned()),
    }
}

/// Synchronises, and reports finished steps to `progress`.
///
/// A store is created only to store events in it, and once the remote relay was reached.
///
/// # Errors
/// A side cannot be opened or reached, ends the connection, or refuses to answer.
pub fn sync(
    settings: &SyncSettings,
    progress: &mut dyn FnMut(Progress),
) -> Result<SyncReport, SyncError> {
    let SyncSettings { remote, local, filter, direction } = settings;
    let mut reached = None;
    let mut local: Box<dyn Side> = match local {
        Local::Store(directory) if *direction == Direction::Up || LocalStore::exists(directory) => {
            Box::new(LocalStore::open(directory)?)
        }
        Local::Store(directory) => {
            reached = Some(Peer::connect(remote)?);
            let store = LocalStore::create(directory)?;
            progress(Progress::Created);
            Box::new(store)
        }
        Local::Relay(url) => Box::new(Peer::connect(url)?),
    };
    let items = local.items(filter)?;
    progress(Progress::Collected(items.len()));
    let mut remote = match reached {
        Some(remote) => remote,
        None => Peer::connect(remote)?,
    };
    let found = find_differences(&mut remote, filter, items)?;
    progress(Progress::Found { local: found.local.len(), remote: found.remote.len() });
    let mut report = SyncReport { is_partial: found.is_partial, ..SyncReport::default() };
    if *direction != Direction::Up {
        copy(&mut remote, &mut *local, &found.remote, &mut report.down)?;
    }
    if *direction != Direction::Down {
        copy(&mut *local, &mut remote, &found.local, &mut report.up)?;
    }
    Ok(report)
}

/// Copies events in batches.
fn copy(
    from: &mut dyn Side,
    to: &mut dyn Side,
    ids: &[EventId],
    copied: &mut Copied,
) -> Result<(), SyncError> {
    for batch in ids.chunks(BATCH_EVENTS) {
        let events = from.fetch(batch)?;
        let count = events.len();
        copied.missing += batch.len() - count;
        let accepted = to.put(events)?;
        copied.accepted += accepted;
        copied.refused += count - accepted;
    }
    Ok(())
}

/// Finds the ids that differ.
fn find_differences(
    remote: &mut Peer,
    filter: &str,
    items: Vec<(u64, EventId)>,
) -> Result<Differences, SyncError> {
    let broken = |error| SyncError::new(format!("negentropy with {}: {error}", remote.name()));
    let mut list = NegentropyStorageVector::with_capacity(items.len());
    for (time, id) in items {
        list.insert(time, Id::from_byte_array(id)).map_err(broken)?;
    }
    list.seal().map_err(broken)?;
    let mut state = Negentropy::borrowed(&list, FRAME_BYTES_MAX).map_err(broken)?;
    let first = state.initiate().map_err(broken)?;
    let sub = SubscriptionId::of("sync");
    let (mut have, mut need, mut is_partial) = (Vec::new(), Vec::new(), false);
    let mut answer = remote.open_negentropy(&sub, filter, &first)?;
    for round in 0.. {
        let broken = |error| SyncError::new(format!("negentropy with {}: {error}", remote.name()));
        let next = state.reconcile_with_ids(&answer, &mut have, &mut need).map_err(broken)?;
        is_partial = next.is_some() && have.len() + need.len() > DIFFERENCES_MAX;
        let Some(next) = next.filter(|_| !is_partial) else {
            break;
        };
        if round == ROUNDS_MAX {
            let text = format!("negentropy with {} does not end", remote.name());
            return Err(SyncError::new(text));
        }
        if round >= ROUNDS_AT_ONCE {
            thread::sleep(ROUND_PAUSE);
        }
        answer = remote.continue_negentropy(&sub, &next)?;
    }
    remote.close_negentropy(&sub)?;
    Ok(Differences { local: sorted(have), remote: sorted(need), is_partial })
}

fn sorted(ids: Vec<Id>) -> Vec<EventId> {
    let mut ids: Vec<EventId> = ids.into_iter().map(Id::to_bytes).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
