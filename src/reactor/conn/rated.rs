//! What follows from a connection's rates: whether they apply, and when its pause ends.
//!
//! The state itself is in [`rates`](super::rates).

use super::connection::Connection;
use super::pause::PauseOwner;
use super::phase::Phase;
use super::rates::ConnRates;
use crate::protocol::ProtocolError;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;

impl Connection {
    pub(crate) fn rates(&self) -> Option<&ConnRates> {
        self.cold.as_deref()?.rates.as_deref()
    }

    #[inline]
    pub(crate) fn rates_mut(&mut self) -> Option<&mut ConnRates> {
        self.cold.as_deref_mut()?.rates.as_deref_mut()
    }

    /// Whether rates apply to its next read: it has some, and its messages are handled.
    #[inline]
    pub(crate) fn is_rated(&self) -> bool {
        let is_open = match self.phase {
            Phase::Open => true,
            #[cfg(feature = "proxy")]
            Phase::Piped => true,
            _ => false,
        };
        is_open && self.rates().is_some()
    }

    /// When the pause by a rate ends, if there is one.
    pub(crate) fn refill_at(&self) -> Option<Time> {
        let pause = self.rates()?.pause()?;
        debug_assert!(self.pauses.has(PauseOwner::Rate));
        Some(pause.until)
    }

    /// The timeout of silence that has passed although the connection was read as far as its rates
    /// allow. While a rate pauses it, none of them has a deadline.
    pub(crate) fn silence(&self, route: &RouteSettings, now: Time) -> Option<CloseReason> {
        if route.idle_timeout.is_some_and(|idle| self.last_data + idle <= now) {
            return Some(CloseReason::IdleTimeout);
        }
        let is_late = self.message_since + route.fragment_timeout <= now;
        is_late.then_some(CloseReason::Protocol(ProtocolError::FragmentTimeout))
    }
}
