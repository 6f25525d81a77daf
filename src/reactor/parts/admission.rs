//! Limits on the number of connections and on the rate of new ones.
//!
//! Three quotas are independent: clients, outbound connections, operators. The limits per address
//! and the rates apply to clients only. A client is checked when it is accepted, so that
//! connections in their handshake count, too. Its refusal (503 or 429) waits for its request. Each
//! admission is followed by exactly one [`Admission::release`].
//!
//! A trusted proxy's connection counts towards `connections_max` only, until the address of its
//! client is known and the connection belongs to that client alone.
//!
//! It owns counts and token buckets, never a connection. Next: `rates.rs` for the buckets,
//! `effects/accept.rs` for the accept, `effects/client_address.rs` for proxies.

mod by_address;

use std::collections::HashMap;
use std::net::IpAddr;

use super::bucket::Bucket;
use super::rates::AddressRates;
use crate::protocol::handshake::Refusal;
use crate::reactor::api::budget::OPERATORS_MAX;
use crate::reactor::api::settings::{Limit, Settings};
use crate::reactor::api::time::Time;

/// The quota that a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// `connections_max` and the limits per address: accepted from clients.
    Clients,
    /// `connections_max`: a client that a limit per address or a rate in a dry run would have refused.
    /// It counts for no address, so that the dry run counts what the limit would refuse.
    Surplus,
    /// `connections_max`: accepted from trusted proxies, and not assigned to a client's address.
    Proxies,
    /// `outbound_max`: opened by services.
    Outbound,
    /// [`OPERATORS_MAX`]: accepted at listeners for operators.
    Operators,
}

/// How a client was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Admitted {
    /// In the reserve, until its priority is known.
    pub(crate) is_provisional: bool,
    /// The limit in a dry run that would have refused it: then it counts as [`Quota::Surplus`].
    pub(crate) surplus: Option<Limit>,
}

/// The number of connections of each kind, and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// Admitted connections of clients.
    pub clients: usize,
    /// [`connections_max`](field@Settings::connections_max).
    pub clients_max: usize,
    /// Further clients are refused: the limit was reached, and the number has not dropped below
    /// 95 % of it since.
    pub is_full: bool,
    /// Connections opened by services.
    pub outbound: usize,
    /// [`outbound_max`](field@Settings::outbound_max).
    pub outbound_max: usize,
    /// Connections accepted at listeners for operators.
    pub operators: usize,
    /// [`OPERATORS_MAX`].
    pub operators_max: usize,
    /// The loop is shutting down: it admits no client and opens no outbound connection.
    pub is_draining: bool,
}

/// The counts that admission depends on.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    connections_max: usize,
    outbound: usize,
    outbound_max: usize,
    operators: usize,
    /// The last part of `connections_max`, for high priorities.
    reserve: usize,
    /// Connections in the reserve whose priority is not known yet.
    provisional: usize,
    /// The limit without the reserve was reached, and the number has not dropped below 95 % of it
    /// since.
    is_full: bool,
    /// The loop is shutting down: it admits no client and opens no outbound connection.
    is_closed: bool,
    /// The number rose above 80 % of the limit, and has not dropped below 70 % since.
    is_crowded: bool,
    /// Connections that wait for their request to be refused.
    refused: usize,
    /// `is_crowded` became true since the last `take_crowding`.
    is_crowding_new: bool,
    /// Invariant: the sum of the counts is the number of connections in [`Quota::Clients`].
    by_address: HashMap<IpAddr, usize>,
    rates: AddressRates,
    /// The bucket of `rate`: connections of all addresses.
    rate_of_all: Bucket,
}

impl Admission {
    pub(crate) fn new(settings: &Settings, rates_max: usize) -> Admission {
        Admission {
            connections: 0,
            connections_max: settings.connections_max,
            outbound: 0,
            outbound_max: settings.outbound_max,
            operators: 0,
            reserve: 0,
            provisional: 0,
            is_full: false,
            is_closed: false,
            is_crowded: false,
            refused: 0,
            is_crowding_new: false,
            by_address: HashMap::new(),
            rates: AddressRates::new(rates_max),
            rate_of_all: Bucket::default(),
        }
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        Occupancy {
            clients: self.connections,
            clients_max: self.connections_max,
            is_full: self.is_full,
            outbound: self.outbound,
            outbound_max: self.outbound_max,
            operators: self.operators,
            operators_max: OPERATORS_MAX,
            is_draining: self.is_closed,
        }
    }

    /// Admits no further client and no further outbound connection.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether the loop is shutting down.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Counts a connection that waits for its refusal; false if `refused_max` connections wait.
    pub(crate) fn admit_refused(&mut self, settings: &Settings) -> bool {
        let fits = self.refused < settings.refused_max;
        self.refused += usize::from(fits);
        fits
    }

    /// Uncounts a connection that waited for its refusal.
    pub(crate) fn release_refused(&mut self) {
        debug_assert!(self.refused > 0, "more refusals ended than began");
        self.refused = self.refused.saturating_sub(1);
    }

    /// Connections that wait for their refusal.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Clients, as a part of their limit.
    pub(crate) fn occupied_part(&self) -> f64 {
        self.connections as f64 / self.connections_max as f64
    }

    /// Whether the accept budget is reduced.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// The number of clients and its limit, once after each rise above 80 %.
    pub(crate) fn take_crowding(&mut self) -> Option<(usize, usize)> {
        let is_new = std::mem::take(&mut self.is_crowding_new);
        is_new.then_some((self.connections, self.connections_max))
    }

    /// Reserves the last part of `connections_max` for high priorities.
    pub(crate) fn set_reserve(&mut self, reserve: usize) {
        self.reserve = reserve;
        self.update_flags();
    }

    /// Whether the connections that are not reserved are all in use: new ones are in the reserve.
    pub(crate) fn is_share_full(&self) -> bool {
        self.is_full
    }

    /// Whether at least half of the reserve is in use by connections whose priority is not known.
    pub(crate) fn is_reserve_in_handshake(&self) -> bool {
        self.reserve > 0 && 2 * self.provisional >= self.reserve
    }

    /// The number of connections that the reserve has room for.
    pub(crate) fn reserve(&self) -> usize {
        self.reserve
    }

    /// The priority of a provisional connection is known, or it has ended.
    pub(crate) fn end_provisional(&mut self) {
        self.provisional = decremented(self.provisional);
    }

    /// Admits one client and counts it.
    ///
    /// # Errors
    /// The refusal to answer with. Then nothing was counted.
    pub(crate) fn admit(
        &mut self,
        settings: &Settings,
        peer: IpAddr,
        now: Time,
    ) -> Result<Admitted, Refusal> {
        let is_provisional = self.check_room()?;
        let surplus = self.assign_to_address(settings, peer, now)?;
        self.count_client(is_provisional);
        Ok(Admitted { is_provisional, surplus })
    }

    /// Admits a connection of a trusted proxy, and counts it without an address.
    ///
    /// # Errors
    /// The refusal to answer with. Then nothing was counted.
    pub(crate) fn admit_proxy(&mut self) -> Result<Admitted, Refusal> {
        let is_provisional = self.check_room()?;
        self.count_client(is_provisional);
        Ok(Admitted { is_provisional, surplus: None })
    }

    /// Whether a new connection would be in the reserve.
    fn check_room(&self) -> Result<bool, Refusal> {
        if self.is_closed {
            return Err(Refusal::ShuttingDown);
        }
        let has_reserve = self.reserve > 0 && self.connections < self.connections_max;
        match self.is_full && !has_reserve {
            true => Err(Refusal::Full),
            false => Ok(self.is_full),
        }
    }

    fn count_client(&mut self, is_provisional: bool) {
        self.connections += 1;
        self.provisional += usize::from(is_provisional);
        self.update_flags();
    }

    /// Whether a service may open a connection: the limit is not reached, and no shutdown has
    /// started.
    pub(crate) fn has_outbound_room(&self) -> bool {
        !self.is_closed && self.outbound < self.outbound_max
    }

    /// Counts a connection that a service opens.
    pub(crate) fn admit_outbound(&mut self) {
        self.outbound += 1;
    }

    /// Admits one operator and counts it. Neither the limits of clients nor a shutdown prevent
    /// this.
    ///
    /// # Errors
    /// [`OPERATORS_MAX`] operators are connected. Then nothing was counted.
    pub(crate) fn admit_operator(&mut self) -> Result<(), Refusal> {
        if self.operators >= OPERATORS_MAX {
            return Err(Refusal::OperatorsFull);
        }
        self.operators += 1;
        Ok(())
    }

    /// Uncounts a connection that was admitted.
    pub(crate) fn release(&mut self, quota: Quota, peer: IpAddr) {
        match quota {
            Quota::Clients => {
                self.release_address(peer);
                self.release_client();
            }
            Quota::Surplus | Quota::Proxies => self.release_client(),
            Quota::Outbound => self.outbound = decremented(self.outbound),
            Quota::Operators => self.operators = decremented(self.operators),
        }
    }

    fn release_client(&mut self) {
        self.connections = decremented(self.connections);
        self.update_flags();
    }

    /// Updates the flags. Each threshold has a lower one for the way back, so that no flag
    /// oscillates.
    fn update_flags(&mut self) {
        // Multiplied, not divided: with two connections at most, one is below 95 %.
        let used = self.connections.saturating_mul(100);
        let percent = |share: usize| self.connections_max.saturating_mul(share);
        let was_crowded = self.is_crowded;
        let share = self.connections_max - self.reserve;
        self.is_full = used >= share.saturating_mul(if self.is_full { 95 } else { 100 });
        self.is_crowded = if self.is_crowded { used >= percent(70) } else { used > percent(80) };
        self.is_crowding_new |= self.is_crowded && !was_crowded;
    }
}

/// One less, saturating: an erroneous second release must not wrap around and refuse all clients.
fn decremented(count: usize) -> usize {
    debug_assert!(count > 0, "a connection was released twice");
    count.saturating_sub(1)
}

#[cfg(test)]
mod tests;
