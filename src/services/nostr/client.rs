//! What the relay knows about one connection.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::event::PublicKey;
use super::message::SubscriptionId;
use super::rates::{self, ConnRates, Rates};
use super::refusal::Refusal;
use super::scans::ScanJob;
use crate::reactor::{ConnId, Context, Time};

/// Keys by which a connection has authenticated. A connection has at most [`KEYS_MAX`].
pub(super) type Keys = Arc<[PublicKey]>;

/// Keys of one connection.
pub(super) const KEYS_MAX: usize = 16;
/// Scans of one connection that run at the same time: each has at most one page on the way.
const SCANS_RUNNING_MAX: usize = 4;

/// A connection of the relay.
#[derive(Debug)]
pub(super) struct Client {
    /// The client's address, which a trusted proxy may have stated.
    pub(super) address: IpAddr,
    /// What an AUTH must name.
    pub(super) challenge: [u8; 16],
    pub(super) keys: Option<Keys>,
    rates: ConnRates,
    pub(super) auth_failures: u8,
    /// Messages in a row that did not parse.
    pub(super) bad_messages: u32,
    pauses: u8,
    /// When it last sent an event, or had a subscription.
    pub(super) used: Time,
    /// Dropped with the connection; `None` without a COUNT.
    open: Option<Arc<()>>,
    /// Subscriptions that got a NOTICE of dropped events, while the connection reads too slowly and
    /// events are dropped; `None` otherwise.
    slow: Option<Vec<SubscriptionId>>,
    /// Whether the queue of the threads had no room for its scans.
    pub(super) is_stalled: bool,
    /// `None` without a scan.
    scans: Option<Box<ClientScans>>,
}

/// The scans of a connection.
#[derive(Debug, Default)]
struct ClientScans {
    /// On a thread, or in its queue.
    running: usize,
    /// Not started, or continued when there is room.
    waiting: VecDeque<Box<ScanJob>>,
    /// No page is sent until the connection has drained.
    is_congested: bool,
}

/// A sum of scans that wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    pub(super) scans: usize,
    pub(super) bytes: usize,
}

impl Waiting {
    fn and(self, scan: &ScanJob) -> Waiting {
        Waiting { scans: self.scans + 1, bytes: self.bytes + scan.held_bytes }
    }
}

/// Why the relay does not read from a connection. It reads when no reason is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// An AUTH is checked: messages behind it are judged with it.
    Auth = 1,
    /// A long request is parsed on a thread.
    Parse = 2,
    /// Too many events of all connections wait.
    Busy = 4,
    /// Too many scans of this connection.
    Scans = 8,
}

impl Client {
    pub(super) fn new(address: IpAddr, challenge: [u8; 16], now: Time) -> Client {
        Client {
            address,
            challenge,
            keys: None,
            rates: ConnRates::default(),
            auth_failures: 0,
            bad_messages: 0,
            pauses: 0,
            used: now,
            open: None,
            slow: None,
            is_stalled: false,
            scans: None,
        }
    }

    /// The challenge as the client sees it.
    pub(super) fn challenge_text(&self) -> String {
        hex::encode(self.challenge)
    }

    /// Whether the connection has authenticated as this key.
    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.keys().contains(key)
    }

    pub(super) fn keys(&self) -> &[PublicKey] {
        self.keys.as_deref().unwrap_or_default()
    }

    /// Charges an event or an AUTH of so many bytes.
    pub(super) fn charge_event(
        &mut self,
        rates: &mut Rates,
        bytes: usize,
        now: Time,
    ) -> Result<(), Refusal> {
        let keys = self.keys.as_deref().unwrap_or_default();
        let client = rates::Client { address: self.address, keys };
        rates.event(&mut self.rates, client, bytes, now)
    }

    /// Charges a request.
    pub(super) fn charge_request(&mut self, rates: &mut Rates, now: Time) -> Result<(), Refusal> {
        let keys = self.keys.as_deref().unwrap_or_default();
        let client = rates::Client { address: self.address, keys };
        rates.request(&mut self.rates, client, now)
    }

    pub(super) fn pause(&mut self, cx: &mut Context<'_>, conn: ConnId, why: Pause) {
        if self.pauses == 0 {
            cx.pause(conn);
        }
        self.pauses |= why as u8;
    }

    pub(super) fn resume(&mut self, cx: &mut Context<'_>, conn: ConnId, why: Pause) {
        let was = self.pauses;
        self.pauses &= !(why as u8);
        if was != 0 && self.pauses == 0 {
            cx.resume(conn);
        }
    }

    /// Live events are dropped from now on, until the connection has drained.
    pub(super) fn begin_slowness(&mut self) {
        self.slow.get_or_insert_default();
    }

    pub(super) fn end_slowness(&mut self) {
        self.slow = None;
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// Whether this is the first event of the subscription that is dropped.
    pub(super) fn drops_first(&mut self, sub: &SubscriptionId) -> bool {
        match &mut self.slow {
            Some(noticed) if !noticed.contains(sub) => {
                noticed.push(sub.clone());
                true
            }
            _ => false,
        }
    }

    /// Lives as long as the connection.
    pub(super) fn open(&mut self) -> Arc<()> {
        Arc::clone(self.open.get_or_insert_default())
    }

    /// Adds a scan that waits.
    pub(super) fn add_scan(&mut self, scan: Box<ScanJob>) {
        self.scans.get_or_insert_default().waiting.push_back(scan);
    }

    /// A scan that may run now. It is counted as running.
    pub(super) fn next_scan(&mut self) -> Option<Box<ScanJob>> {
        let scans = self.scans.as_mut()?;
        if scans.is_congested || scans.running >= SCANS_RUNNING_MAX {
            return None;
        }
        let scan = scans.waiting.pop_front()?;
        scans.running += 1;
        Some(scan)
    }

    /// A scan has left its thread.
    pub(super) fn scan_returned(&mut self) {
        if let Some(scans) = &mut self.scans {
            scans.running -= 1;
        }
    }

    /// No page may be sent until the connection has drained.
    pub(super) fn set_congested(&mut self, is_congested: bool) {
        if is_congested {
            self.scans.get_or_insert_default().is_congested = true;
        } else if let Some(scans) = &mut self.scans {
            scans.is_congested = false;
        }
    }

    pub(super) fn is_congested(&self) -> bool {
        self.scans.as_ref().is_some_and(|scans| scans.is_congested)
    }

    /// Puts back a scan for which the queue of the threads had no room.
    pub(super) fn put_back(&mut self, scan: Box<ScanJob>) {
        if let Some(scans) = &mut self.scans {
            scans.running -= 1;
            scans.waiting.push_front(scan);
        }
    }

    /// Scans that run or wait.
    pub(super) fn scans(&self) -> usize {
        self.scans.as_ref().map_or(0, |scans| scans.running + scans.waiting.len())
    }

    /// Scans that wait.
    pub(super) fn waiting(&self) -> Waiting {
        let scans = self.scans.iter().flat_map(|scans| &scans.waiting);
        scans.fold(Waiting::default(), |waiting, scan| waiting.and(scan))
    }

    /// Drops waiting scans that nothing waits for, and returns them.
    pub(super) fn drop_scans(&mut self) -> Waiting {
        let Some(scans) = &mut self.scans else {
            return Waiting::default();
        };
        let unwanted = scans.waiting.iter().filter(|scan| !scan.is_wanted());
        let dropped = unwanted.fold(Waiting::default(), |dropped, scan| dropped.and(scan));
        scans.waiting.retain(|scan| scan.is_wanted());
        if scans.running == 0 && scans.waiting.is_empty() && !scans.is_congested {
            self.scans = None;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_scans_can_be_congested() {
        let mut client = Client::new([127, 0, 0, 1].into(), [0; 16], Time::ZERO);
        client.set_congested(false);
        assert!(client.scans.is_none() && !client.is_congested());
        client.set_congested(true);
        client.drop_scans();
        assert!(client.is_congested(), "a scan that is added now has to wait");
        client.set_congested(false);
        client.drop_scans();
        assert!(client.scans.is_none());
    }
}
