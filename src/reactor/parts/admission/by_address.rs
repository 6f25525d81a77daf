//! The limits per address, and the rates of new connections and of requests.

use std::net::IpAddr;
use std::time::Duration;

use super::{Admission, decremented};
use crate::protocol::handshake::Refusal;
use crate::reactor::api::id::RouteId;
use crate::reactor::api::settings::{Limit, PER_ADDRESS_DEFAULT, Rate, Settings};
use crate::reactor::api::time::Time;
use crate::reactor::parts::addresses::{counted_address, is_in};
use crate::reactor::parts::rates::Limited;

impl Admission {
    /// Counts an admitted connection of a trusted proxy for its client, too: it moves from
    /// [`Quota::Proxies`] to [`Quota::Clients`], or to [`Quota::Surplus`] if it returns the limit that a
    /// dry run does not enforce.
    ///
    /// # Errors
    /// The refusal to answer with. Then nothing has changed.
    pub(crate) fn assign_to_address(
        &mut self,
        settings: &Settings,
        client: IpAddr,
        now: Time,
    ) -> Result<Option<Limit>, Refusal> {
        let address = counted_address(client);
        let is_exempt = is_exempt(settings, client);
        let per_address = match settings.connections_per_address {
            None if client.is_loopback() => 0,
            None => PER_ADDRESS_DEFAULT,
            Some(limit) => limit,
        };
        let is_dry = |limit| settings.limits_dry_run.contains(&limit);
        let mut surplus = None;
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if !is_exempt && per_address > 0 && here >= per_address {
            if !is_dry(Limit::AddressFull) {
                return Err(Refusal::AddressFull);
            }
            surplus = Some(Limit::AddressFull);
        }
        // A client that is refused takes no token.
        if surplus.is_none() || !is_dry(Limit::RateLimited) {
            let taken = self.take_connection(settings, address, is_exempt, now);
            if taken.is_err() && !is_dry(Limit::RateLimited) {
                return Err(Refusal::RateLimited);
            }
            surplus = surplus.or(taken.err().map(|_| Limit::RateLimited));
        }
        if surplus.is_none() {
            self.by_address.insert(address, here + 1);
        }
        Ok(surplus)
    }

    /// Takes the tokens of a new connection.
    ///
    /// # Errors
    /// A rate has none left; the time until it has one.
    fn take_connection(
        &mut self,
        settings: &Settings,
        address: IpAddr,
        is_exempt: bool,
        now: Time,
    ) -> Result<(), Duration> {
        // Checked first, so that a refused client takes no token of its address.
        let of_all = settings.rate.map(|rate| self.rate_of_all.wait(&rate, now));
        if let Some(wait) = of_all.filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if let Some(rate) = settings.rate_per_address.filter(|_| !is_exempt) {
            self.rates.take(Limited::Connections, address, &rate, now)?;
        }
        settings.rate.map_or(Ok(()), |rate| self.rate_of_all.take(&rate, now))
    }

    /// The time until the rates of connections admit one of this client.
    pub(crate) fn connection_wait(
        &self,
        settings: &Settings,
        client: IpAddr,
        now: Time,
    ) -> Duration {
        let rate_per_address = settings.rate_per_address.filter(|_| !is_exempt(settings, client));
        let of_address = rate_per_address.map_or(Duration::ZERO, |rate| {
            self.rates.wait(Limited::Connections, counted_address(client), &rate, now)
        });
        let of_all = settings.rate.map_or(Duration::ZERO, |rate| self.rate_of_all.wait(&rate, now));
        of_address.max(of_all)
    }

    /// Takes a token for a request to a route with `requests_per_address`.
    ///
    /// # Errors
    /// The client's address has none left; the time until it has one.
    pub(crate) fn take_request(
        &mut self,
        settings: &Settings,
        route: RouteId,
        rate: &Rate,
        client: IpAddr,
        now: Time,
    ) -> Result<(), Duration> {
        if is_exempt(settings, client) {
            return Ok(());
        }
        self.rates.take(Limited::Requests(route), counted_address(client), rate, now)
    }

    /// Addresses with a token bucket, over all rates per address.
    pub(crate) fn rate_entries(&self) -> usize {
        self.rates.len()
    }

    /// How often an address shared a token bucket, because too many have one.
    pub(crate) fn rate_overflows(&self) -> u64 {
        self.rates.overflows()
    }

    /// Uncounts a connection for its address, which is now that of a trusted proxy: it moves from
    /// [`Quota::Clients`] to [`Quota::Proxies`].
    pub(crate) fn release_to_proxy(&mut self, peer: IpAddr) {
        self.release_address(peer);
    }

    pub(super) fn release_address(&mut self, peer: IpAddr) {
        let address = counted_address(peer);
        let count = self.by_address.get_mut(&address);
        debug_assert!(count.is_some(), "a connection was released twice");
        if let Some(count) = count {
            *count = decremented(*count);
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Whether an address is exempt from the limits per address.
fn is_exempt(settings: &Settings, client: IpAddr) -> bool {
    is_in(&settings.exempt, client)
}
