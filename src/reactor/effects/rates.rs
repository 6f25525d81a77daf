//! Rates of messages and bytes: what a read may take, pauses while no token is left, and closes.
//!
//! Tokens are taken once per read, for all its messages. A read ends when the tokens or its budget
//! are used up. Reading then pauses as long as input waits, until a tenth of a second's tokens are
//! back. The buckets of a connection are in [`conn::rates`](crate::reactor::conn::rates), those that
//! connections share in [`parts::shared_rates`](crate::reactor::parts::shared_rates).
//!
//! The reads here make all checks. While a connection has plenty of tokens, its reads skip them: see
//! [`FastRead`]. The next read takes the tokens of such a read.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::reactor::Reactor;
use crate::reactor::api::budget::SHORT_READ_BYTES;
use crate::reactor::api::close_reason::{CloseReason, Excess};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::{Limit, OverRate, Settings};
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::rates::{ConnRates, FastRead, RatePause};
use crate::reactor::core::Core;
use crate::reactor::parts::addresses::{counted_address, is_in};
use crate::reactor::parts::bucket::{Bucket, Pace};
use crate::reactor::parts::shared_rates::{Key, Owner, SharedRate};

/// What a read may take.
struct Allowance {
    messages: usize,
    bytes: usize,
    /// The bucket is empty, and a further message closes the connection.
    is_last: bool,
}

/// A bucket that a read takes from.
type Rated = (Limit, Pace, Bucket);

/// An empty bucket, and when it has the tokens of a tenth of a second.
type Reached = (Time, Limit);

/// The buckets of one connection: its own two, and those that it shares.
const BUCKETS: usize = 2 + SharedRate::ALL.len();

impl Reactor {
    /// Reads from a connection with rates, as far as its tokens allow.
    #[inline(never)]
    pub(crate) fn read_rated(&mut self, id: ConnId) {
        let Some(allowed) = self.core.allow_read(id) else {
            return;
        };
        let share = self.share;
        self.share = share.limited(allowed.messages, allowed.bytes);
        #[cfg(feature = "proxy")]
        if self.core.conns.get(id).is_some_and(|conn| conn.is_piped()) {
            self.core.work.limit_share(allowed.messages);
        }
        self.core.rated_serial = id.serial();
        let bytes_read = self.core.metrics.bytes_read;
        let bytes = self.read_cold(id);
        self.core.rated_serial = 0;
        self.share = share;
        let bytes_read = (self.core.metrics.bytes_read - bytes_read) as usize;
        let tokens = self.core.spend_tokens(id, bytes, bytes_read);
        if allowed.is_last && tokens > 0 {
            self.core.close(id, CloseReason::Rate(Excess::Messages));
        }
    }
}

impl Core {
    /// Gives a connection the buckets of its route's rates, once its handshake is complete.
    pub(crate) fn begin_rates(&mut self, id: ConnId) {
        let Core { conns, router, settings, shared_rates, now, .. } = self;
        let Some(conn) = conns.get_mut(id).filter(|conn| !conn.is_operator()) else {
            return;
        };
        let route = conn.route;
        let limits = router.rates(route);
        if !limits.is_any() {
            return;
        }
        let shared = SharedRate::ALL.map(|rate| {
            limits.shared[rate as usize]?;
            let owner = owner(conn, rate, settings)?;
            Some(shared_rates.enter(Key { rate, route, owner }, *now))
        });
        let rates = ConnRates::new(limits, shared, conn.traffic.messages_in);
        conn.cold().rates = Some(Box::new(rates));
    }

    /// Moves a connection to the bucket of its subject, which has changed.
    pub(crate) fn move_to_subject(&mut self, id: ConnId) {
        let Core { conns, router, shared_rates, now, .. } = self;
        let Some(conn) = conns.get_mut(id) else {
            return;
        };
        let (rate, route) = (SharedRate::MessagesPerSubject, conn.route);
        let owner = subject(conn).filter(|_| router.rates(route).shared[rate as usize].is_some());
        let Some(rates) = conn.rates_mut() else {
            return;
        };
        let entered = owner.map(|owner| shared_rates.enter(Key { rate, route, owner }, *now));
        if let Some(left) = std::mem::replace(&mut rates.shared[rate as usize], entered) {
            shared_rates.leave(left, *now);
        }
        conn.reading.set_fast(FastRead::No);
    }

    /// Applies the changed rates of its route to a connection that has rates.
    pub(crate) fn review_rates(&mut self, id: ConnId) {
        let Core { conns, router, now, .. } = self;
        let Some(conn) = conns.get_mut(id) else {
            return;
        };
        let (route, messages_in) = (conn.route, conn.traffic.messages_in);
        conn.reading.set_fast(FastRead::No);
        if let Some(rates) = conn.rates_mut() {
            rates.start_read(messages_in, *now);
            rates.limits = Rc::clone(router.rates(route));
        }
    }

    /// Frees the buckets of a connection that has ended.
    pub(crate) fn end_rates(&mut self, rates: &ConnRates) {
        for id in rates.shared.into_iter().flatten() {
            self.shared_rates.leave(id, self.now);
        }
        if rates.pause().is_some() {
            self.throttled -= 1;
        }
    }

    /// Takes the tokens of a fast read that left input, or is the last one for now.
    #[inline(never)]
    pub(crate) fn finish_rated_read(&mut self, id: ConnId, bytes: usize) {
        self.spend_tokens(id, bytes, bytes);
        self.after_read(id);
    }

    /// What the next read of a connection may take; `None` if it may take nothing now.
    #[inline]
    fn allow_read(&mut self, id: ConnId) -> Option<Allowance> {
        let Core { conns, shared_rates, now, .. } = self;
        let conn = conns.get_mut(id)?;
        let (route, messages_in) = (conn.route, conn.traffic.messages_in);
        let rates = conn.rates_mut()?;
        rates.start_read(messages_in, *now);
        let limits = &rates.limits;
        let (mut messages, mut bytes) = (usize::MAX, rates.read_bytes_max as usize);
        if let Some(pace) = &limits.messages
            && !rates.messages.has_plenty(pace, *now)
        {
            messages = rates.messages.tokens(pace, *now);
        }
        if let Some(pace) = &limits.bytes
            && !rates.bytes.has_plenty(pace, *now)
        {
            bytes = bytes.min(read_of(rates.bytes.tokens(pace, *now)));
        }
        for rate in SharedRate::ALL {
            if let Some(id) = rates.shared[rate as usize]
                && let Some(pace) = &limits.shared[rate as usize]
            {
                let bucket = shared_rates.bucket(id, rate, route);
                if !bucket.has_plenty(pace, *now) {
                    let tokens = bucket.tokens(pace, *now);
                    match rate.counts_bytes() {
                        true => bytes = bytes.min(read_of(tokens)),
                        false => messages = messages.min(tokens),
                    }
                }
            }
        }
        if messages == 0 || bytes == 0 {
            return self.run_out(id);
        }
        Some(Allowance { messages, bytes, is_last: false })
    }

    /// A bucket is empty and input waits: pauses reading, unless only limits in a dry run are reached,
    /// or the next message is to close the connection.
    #[cold]
    fn run_out(&mut self, id: ConnId) -> Option<Allowance> {
        let now = self.now;
        let buckets = self.buckets(id);
        let conn = self.conns.get(id)?;
        // The bytes of unread input were counted when they were read.
        let has_unread = conn.has_unread();
        // The end of the stream needs no token.
        if conn.read_closed && !has_unread && !matches!(conn.socket.peek(&mut [0]), Ok(1..)) {
            return Some(Allowance {
                messages: usize::MAX,
                bytes: SHORT_READ_BYTES,
                is_last: false,
            });
        }
        let route = self.router.settings(conn.route);
        let closes_at_once = route.over == OverRate::Close && route.over_grace.is_zero();
        let bytes = conn.rates()?.read_bytes_max as usize;
        let mut allowed = Allowance { messages: usize::MAX, bytes, is_last: false };
        let (mut enforced, mut dry): (Option<Reached>, Option<Reached>) = (None, None);
        for (limit, pace, bucket) in buckets.into_iter().flatten() {
            let tokens = bucket.tokens(&pace, now);
            match counts_bytes(limit) {
                true if has_unread => continue,
                true if tokens > 0 => allowed.bytes = allowed.bytes.min(read_of(tokens)),
                false if tokens > 0 => allowed.messages = allowed.messages.min(tokens),
                _ => {
                    let until = bucket.resume_at(&pace);
                    let reached = if self.is_dry(limit) { &mut dry } else { &mut enforced };
                    if reached.is_none_or(|(latest, _)| latest < until) {
                        *reached = Some((until, limit));
                    }
                }
            }
        }
        if let Some((until, limit)) = dry {
            self.note_dry_pause(id, limit, until);
        }
        match enforced {
            None => Some(allowed),
            Some((_, limit)) if closes_at_once && counts_bytes(limit) => {
                self.close(id, CloseReason::Rate(Excess::Bytes));
                None
            }
            // Only a whole message exceeds the rate: a fragment or a Close does not.
            Some(_) if closes_at_once => Some(Allowance { messages: 1, is_last: true, ..allowed }),
            Some((until, limit)) => {
                self.throttle(id, RatePause { since: now, until, limit });
                None
            }
        }
    }

    /// The buckets that a read of a connection takes from.
    fn buckets(&mut self, id: ConnId) -> [Option<Rated>; BUCKETS] {
        let mut buckets = [None; BUCKETS];
        let Core { conns, shared_rates, .. } = self;
        let Some(conn) = conns.get(id) else {
            return buckets;
        };
        let Some(rates) = conn.rates() else {
            return buckets;
        };
        let (route, limits) = (conn.route, &rates.limits);
        let [messages, bytes, shared @ ..] = &mut buckets;
        *messages = limits.messages.map(|pace| (Limit::Messages, pace, rates.messages));
        *bytes = limits.bytes.map(|pace| (Limit::Bytes, pace, rates.bytes));
        for (rate, bucket) in SharedRate::ALL.into_iter().zip(shared) {
            let (id, pace) = (rates.shared[rate as usize], limits.shared[rate as usize]);
            *bucket = id
                .zip(pace)
                .map(|(id, pace)| (rate.limit(), pace, *shared_rates.bucket(id, rate, route)));
        }
        buckets
    }

    /// Takes the tokens that a read has used; returns those of messages and control frames. `bytes_read`
    /// came from the socket, encrypted or not.
    #[inline]
    fn spend_tokens(&mut self, id: ConnId, bytes: usize, bytes_read: usize) -> usize {
        let Core { conns, shared_rates, now, .. } = self;
        let Some(conn) = conns.get_mut(id) else {
            return 0;
        };
        let (route, messages_in) = (conn.route, conn.traffic.messages_in);
        let is_whole = !conn.has_unread();
        let Some(rates) = conn.rates_mut() else {
            return 0;
        };
        rates.note_read(bytes_read, is_whole);
        let messages = rates.untaken(messages_in);
        let limits = &rates.limits;
        if let Some(pace) = &limits.messages {
            rates.messages.spend(pace, messages, *now);
        }
        if let Some(pace) = &limits.bytes {
            rates.bytes.spend(pace, bytes, *now);
        }
        for rate in SharedRate::ALL {
            if let Some(id) = rates.shared[rate as usize]
                && let Some(pace) = &limits.shared[rate as usize]
            {
                let tokens = if rate.counts_bytes() { bytes } else { messages };
                shared_rates.bucket(id, rate, route).spend(pace, tokens, *now);
            }
        }
        conn.review_fast_read();
        messages
    }

    /// Makes a costly call count as so many messages more, at once.
    pub(crate) fn charge(&mut self, id: ConnId, tokens: usize) {
        let Core { conns, shared_rates, now, .. } = self;
        let is_read = self.rated_serial == id.serial();
        let Some(conn) = conns.get_mut(id) else {
            return;
        };
        let (route, messages_in) = (conn.route, conn.traffic.messages_in);
        let Some(rates) = conn.rates_mut() else {
            return;
        };
        if !is_read {
            rates.start_read(messages_in, *now);
        }
        let limits = &rates.limits;
        let mut has_plenty = true;
        if let Some(pace) = &limits.messages {
            rates.messages.spend(pace, tokens, *now);
            has_plenty = rates.messages.has_plenty(pace, *now);
        }
        for rate in SharedRate::ALL {
            if let Some(id) = rates.shared[rate as usize]
                && let Some(pace) = &limits.shared[rate as usize]
                && !rate.counts_bytes()
            {
                let bucket = shared_rates.bucket(id, rate, route);
                bucket.spend(pace, tokens, *now);
                has_plenty &= bucket.has_plenty(pace, *now);
            }
        }
        if !has_plenty {
            conn.reading.set_fast(FastRead::No);
            // The messages behind this one need tokens that may be gone.
            if is_read {
                self.work.end_share();
            }
        }
    }

    /// Pauses reading from a connection until tokens are back, unless it was silent for too long
    /// although it was read.
    fn throttle(&mut self, id: ConnId, pause: RatePause) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let route = conn.route;
        if let Some(reason) = conn.silence(self.router.settings(route), self.now) {
            return self.close(id, reason);
        }
        let Some(rates) = conn.rates_mut() else {
            return;
        };
        rates.begin_pause(pause);
        conn.pauses.add(PauseOwner::Rate);
        self.throttled += 1;
        self.metrics.count_pauses(self.router.text(route), pause.limit, 1);
        self.set_refill(id, pause.until);
        self.enqueue_flush(id);
    }

    /// Sets the time of the next check whether tokens are back. With a grace time, that is no later
    /// than its end.
    fn set_refill(&mut self, id: ConnId, until: Time) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let settings = self.router.settings(conn.route);
        let (over, grace) = (settings.over, settings.over_grace);
        let Some(rates) = conn.rates_mut() else {
            return;
        };
        let until = match over {
            OverRate::Pause => until,
            OverRate::Close => until.min(now + grace.saturating_sub(rates.paused(now))),
        };
        rates.pause_until(until);
        self.arm(id);
    }

    /// Resumes reading if tokens are back, or closes the connection if its grace time is over.
    pub(crate) fn refill(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let settings = self.router.settings(conn.route);
        let Some((rates, pause)) = conn.rates().and_then(|rates| Some((rates, rates.pause()?)))
        else {
            return;
        };
        if settings.over == OverRate::Close && rates.paused(now) > settings.over_grace {
            return self.close(id, CloseReason::Rate(excess(pause.limit)));
        }
        let mut until = Time::ZERO;
        for (limit, pace, bucket) in self.buckets(id).into_iter().flatten() {
            if !self.is_dry(limit) {
                until = until.max(bucket.resume_at(&pace));
            }
        }
        if until > now {
            return self.set_refill(id, until);
        }
        self.throttled -= 1;
        self.resume(id, PauseOwner::Rate);
    }

    /// Counts a pause that a dry run spares a connection, once until its end.
    fn note_dry_pause(&mut self, id: ConnId, limit: Limit, until: Time) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(rates) = conn.rates_mut().filter(|rates| rates.dry_until <= now) else {
            return;
        };
        rates.dry_until = until;
        self.count_dry(id, limit);
    }
}

/// Whose bucket of a rate a connection shares; `None`: the rate does not apply to it.
pub(crate) fn owner(conn: &Connection, rate: SharedRate, settings: &Settings) -> Option<Owner> {
    if rate == SharedRate::MessagesPerSubject {
        return subject(conn);
    }
    let address = SocketAddr::from(conn.peer).ip();
    let is_exempt = is_in(&settings.exempt, address) || is_in(&settings.trusted_proxies, address);
    (!is_exempt).then(|| Owner::Address(counted_address(address)))
}

/// The subject of a connection with an identity.
fn subject(conn: &Connection) -> Option<Owner> {
    let held = conn.held_identity()?;
    Some(Owner::Subject(held.gate, Arc::clone(held.identity.shared_subject())))
}

fn counts_bytes(limit: Limit) -> bool {
    matches!(limit, Limit::Bytes | Limit::BytesPerAddress)
}

fn excess(limit: Limit) -> Excess {
    if counts_bytes(limit) { Excess::Bytes } else { Excess::Messages }
}

/// Bytes of a read for so many tokens: a small read may exceed them.
fn read_of(tokens: usize) -> usize {
    if tokens == 0 { 0 } else { tokens.max(SHORT_READ_BYTES) }
}
