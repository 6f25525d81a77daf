//! What follows from a connection's rates: whether they apply, and when its pause ends.
//!
//! The state itself is in [`rates`](super::rates).

use super::cold::ColdState;
use super::connection::Connection;
use super::pause::PauseOwner;
use super::phase::Phase;
use super::rates::{ConnRates, FastRead};
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

    /// Starts a fast read, if the next one may be such a read: returns how many bytes it may take.
    #[inline(always)]
    pub(crate) fn start_fast_read(&mut self, now: Time) -> Option<usize> {
        if !self.reading.is_fast() {
            return None;
        }
        let cold = self.cold.as_deref_mut()?;
        debug_assert!(cold.is_passive(), "a fast read beside {cold:?}");
        let rates = cold.rates.as_deref_mut()?;
        debug_assert_ne!(rates.fast_read(), FastRead::No, "{rates:?}");
        let has_plenty = rates.start_read(self.traffic.messages_in, now);
        has_plenty.then_some(rates.read_bytes_max as usize)
    }

    /// Ends a fast read of so many bytes; false if input is left, or its tokens must be taken now.
    #[inline(always)]
    pub(crate) fn end_fast_read(&mut self, bytes: usize) -> bool {
        if self.holds_input() {
            return false;
        }
        if self.reading.is_fast_without_bytes() {
            return true;
        }
        self.reading.is_fast() && self.rates_mut().is_some_and(|rates| rates.note_fast_bytes(bytes))
    }

    /// After a read with all checks: whether the next one may be a fast one.
    pub(crate) fn review_fast_read(&mut self) {
        let mut fast = self.rates().map_or(FastRead::No, ConnRates::fast_read);
        if fast != FastRead::No && !self.cold.as_deref().is_some_and(ColdState::is_passive) {
            fast = FastRead::No;
        }
        self.reading.set_fast(fast);
    }

    /// Notes that a control frame takes a token, like a message.
    #[inline]
    pub(crate) fn note_control(&mut self) {
        if let Some(rates) = self.rates_mut() {
            rates.note_control();
        }
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
