//! The rates of one connection: its buckets, and its pause while they are empty.
//!
//! State only, in the cold state: [`effects::rates`](crate::reactor::effects::rates) takes tokens,
//! pauses and resumes. What follows for the connection is in [`rated`](super::rated).

use std::rc::Rc;
use std::time::Duration;

use crate::reactor::api::budget::{RATED_READ_BYTES_MAX, READ_BYTES, SHORT_READ_BYTES};
use crate::reactor::api::settings::Limit;
use crate::reactor::api::time::Time;
use crate::reactor::parts::bucket::{Bucket, Pace};
use crate::reactor::parts::shared_rates::{RouteRates, SharedId, SharedRate};

/// How long pauses are added up for [`OverRate::Close`](crate::reactor::settings::OverRate::Close).
const WINDOW: Duration = Duration::from_secs(60);

/// The rates of a connection whose route has any.
#[derive(Debug)]
pub(crate) struct ConnRates {
    /// The rates of its route.
    pub(crate) limits: Rc<RouteRates>,
    pub(crate) messages: Bucket,
    pub(crate) bytes: Bucket,
    /// The number of received messages when tokens were last taken, less the control frames since then.
    taken_at: u64,
    /// Bytes of the last fast read, whose tokens are not taken yet.
    fast_bytes: u32,
    /// By [`SharedRate`].
    pub(crate) shared: [Option<SharedId>; SharedRate::ALL.len()],
    /// The most bytes of the next read.
    pub(crate) read_bytes_max: u32,
    /// The pause by a rate. Invariant: `Some` exactly while
    /// [`PauseOwner::Rate`](super::pause::PauseOwner::Rate) pauses reading.
    pause: Option<RatePause>,
    /// In a dry run: until when reading would be paused.
    pub(crate) dry_until: Time,
    /// When the minute started in which pauses are added up.
    window: Time,
    /// The sum of the ended pauses of that minute.
    paused: Duration,
}

const _: () = assert!(size_of::<ConnRates>() <= 112, "each connection with rates holds one");

/// A pause of reading by a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RatePause {
    pub(crate) since: Time,
    /// When to check whether tokens are back.
    pub(crate) until: Time,
    pub(crate) limit: Limit,
}

/// Whether the next read may be a fast one: it reads the socket without other checks, if the buckets
/// have plenty of tokens, and its tokens are taken when the next read starts. This is the usual case of
/// a connection with rates, so a rate that is not reached costs little.
///
/// Invariant: unless it is `No`, the connection has rates, shares no bucket, and its own buckets can
/// have plenty of tokens; its cold state holds no input. A change of the cold state resets it, and a
/// read with all checks sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FastRead {
    #[default]
    No,
    /// Yes, with at most a rate of messages.
    Messages,
    /// Yes, with a rate of bytes.
    Bytes,
}

impl ConnRates {
    /// Full buckets of a connection that has received so many messages.
    pub(crate) fn new(
        limits: &Rc<RouteRates>,
        shared: [Option<SharedId>; SharedRate::ALL.len()],
        messages_in: u64,
    ) -> ConnRates {
        ConnRates {
            limits: Rc::clone(limits),
            messages: Bucket::default(),
            bytes: Bucket::default(),
            taken_at: messages_in,
            fast_bytes: 0,
            shared,
            read_bytes_max: SHORT_READ_BYTES as u32,
            pause: None,
            dry_until: Time::ZERO,
            window: Time::ZERO,
            paused: Duration::ZERO,
        }
    }

    /// The fast read that its buckets allow.
    pub(crate) fn fast_read(&self) -> FastRead {
        let RouteRates { messages, bytes, .. } = &*self.limits;
        let is_alone = self.shared.iter().all(Option::is_none);
        let allows_plenty = messages.iter().chain(bytes).all(Pace::allows_plenty);
        match bytes {
            _ if !is_alone || !allows_plenty => FastRead::No,
            Some(_) => FastRead::Bytes,
            None => FastRead::Messages,
        }
    }

    /// Notes that a control frame takes a token.
    pub(crate) fn note_control(&mut self) {
        self.taken_at = self.taken_at.wrapping_sub(1);
    }

    /// The tokens to take for the messages and control frames since the last call.
    #[inline(always)]
    pub(crate) fn untaken(&mut self, messages_in: u64) -> usize {
        messages_in.wrapping_sub(std::mem::replace(&mut self.taken_at, messages_in)) as usize
    }

    /// Takes the tokens of the last read, if that was a fast one, and starts the next one. Whether
    /// plenty of tokens are left.
    #[inline(always)]
    pub(crate) fn start_read(&mut self, messages_in: u64, now: Time) -> bool {
        let tokens = self.untaken(messages_in);
        let Some(pace) = &self.limits.bytes else {
            return self.start_messages(tokens, now);
        };
        let bytes = std::mem::take(&mut self.fast_bytes) as usize;
        let has_bytes = self.bytes.start_read(pace, bytes, now);
        self.start_messages(tokens, now) && has_bytes
    }

    #[inline(always)]
    fn start_messages(&mut self, tokens: usize, now: Time) -> bool {
        let pace = self.limits.messages.as_ref();
        pace.is_none_or(|pace| self.messages.start_read(pace, tokens, now))
    }

    /// Notes the bytes of a fast read for the start of the next one; false if there are too many.
    #[inline(always)]
    pub(crate) fn note_fast_bytes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= READ_BYTES;
        if fits {
            self.fast_bytes = bytes as u32;
        }
        fits
    }

    /// Adapts the size of the next read: it grows while reads are full and handled whole, and is
    /// small after one that was not, since the rest waits in our memory instead of the peer's socket.
    #[inline]
    pub(crate) fn note_read(&mut self, bytes: usize, is_whole: bool) {
        if !is_whole {
            self.read_bytes_max = SHORT_READ_BYTES as u32;
        } else if bytes >= self.read_bytes_max as usize {
            self.read_bytes_max = (self.read_bytes_max * 2).min(RATED_READ_BYTES_MAX as u32);
        }
    }

    pub(crate) fn pause(&self) -> Option<RatePause> {
        self.pause
    }

    pub(crate) fn begin_pause(&mut self, pause: RatePause) {
        if pause.since.since(self.window) >= WINDOW {
            self.window = pause.since;
            self.paused = Duration::ZERO;
        }
        self.pause = Some(pause);
    }

    /// Ends the pause; returns its length.
    pub(crate) fn end_pause(&mut self, now: Time) -> Duration {
        let length = self.pause.take().map_or(Duration::ZERO, |pause| now.since(pause.since));
        self.paused += length;
        length
    }

    /// How long reading was paused in the present minute.
    pub(crate) fn paused(&self, now: Time) -> Duration {
        self.paused + self.pause.map_or(Duration::ZERO, |pause| now.since(pause.since))
    }

    /// Moves the end of the pause.
    pub(crate) fn pause_until(&mut self, until: Time) {
        if let Some(pause) = &mut self.pause {
            pause.until = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::api::id::RouteId;
    use crate::reactor::api::settings::{Rate, RouteSettings};
    use crate::reactor::parts::shared_rates::{Key, Owner, SharedRates};

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn rates() -> ConnRates {
        ConnRates::new(&Rc::default(), [None; SharedRate::ALL.len()], 0)
    }

    fn pause(rates: &mut ConnRates, since: u64, until: u64) -> Duration {
        let limit = Limit::Messages;
        rates.begin_pause(RatePause { since: at(since), until: at(until), limit });
        let before = rates.paused(at(until));
        assert_eq!(rates.end_pause(at(until)), Duration::from_secs(until - since));
        assert_eq!((rates.pause(), rates.paused(at(until + 1))), (None, before));
        before
    }

    #[test]
    fn pauses_of_one_minute_are_added_up() {
        let mut rates = rates();
        let sums: Vec<u64> = [(100, 103), (110, 114), (159, 165), (170, 171), (500, 502)]
            .map(|(since, until)| pause(&mut rates, since, until).as_secs())
            .into();
        assert_eq!(sums, [3, 7, 13, 1, 2]);
    }

    fn of(route: RouteSettings) -> ConnRates {
        let limits = Rc::new(RouteRates::from(&route));
        ConnRates::new(&limits, [None; SharedRate::ALL.len()], 10)
    }

    fn per_second(per_second: f64, burst: u32) -> Option<Rate> {
        Some(Rate { per_second, burst })
    }

    #[test]
    fn reads_are_fast_with_rates_that_can_have_plenty_of_tokens() {
        let route = RouteSettings::default;
        let (small, large) = (per_second(100.0, 255), per_second(1e6, 1 << 20));
        for (route, expected) in [
            (route(), FastRead::Messages),
            (route().messages_rate(large), FastRead::Messages),
            (route().messages_rate(small), FastRead::No),
            (route().bytes_rate(large), FastRead::Bytes),
            (route().bytes_rate(per_second(1e6, 1 << 17)), FastRead::No),
            (route().messages_rate(large).bytes_rate(large), FastRead::Bytes),
            (route().messages_rate(small).bytes_rate(large), FastRead::No),
        ] {
            assert_eq!(of(route.clone()).fast_read(), expected, "{route:?}");
        }
        let mut shared = SharedRates::new(1);
        let owner = Owner::Address([192, 0, 2, 1].into());
        let key = Key { rate: SharedRate::BytesPerAddress, route: RouteId(0), owner };
        let mut rates = of(route());
        rates.shared[SharedRate::BytesPerAddress as usize] = Some(shared.enter(key, at(1)));
        assert_eq!(rates.fast_read(), FastRead::No);
    }

    #[test]
    fn tokens_of_a_fast_read_are_taken_when_the_next_one_starts() {
        let route = RouteSettings::default()
            .messages_rate(per_second(1.0, 1000))
            .bytes_rate(per_second(1000.0, 1_000_000));
        let mut rates = of(route);
        let left = |rates: &ConnRates, now| {
            let RouteRates { messages, bytes, .. } = &*rates.limits;
            let messages = rates.messages.tokens(&messages.unwrap(), now);
            (messages, rates.bytes.tokens(&bytes.unwrap(), now))
        };
        // 200 messages, three control frames, and 5,000 bytes.
        assert!(rates.start_read(10, at(100)));
        (0..3).for_each(|_| rates.note_control());
        assert!(rates.note_fast_bytes(5000));
        // 40 seconds later: they were taken when that read started.
        assert!(rates.start_read(210, at(140)));
        assert_eq!(left(&rates, at(140)), (837, 1_000_000));
        assert!(rates.note_fast_bytes(200_000));
        assert!(!rates.start_read(210 + 582, at(140)));
        assert_eq!(left(&rates, at(140)), (255, 800_000));
        assert!(!rates.note_fast_bytes(READ_BYTES + 1));
        assert!(rates.start_read(210 + 582, at(141)));
        assert_eq!(left(&rates, at(141)), (256, 801_000));
    }

    #[test]
    fn reads_grow_while_they_are_handled_whole() {
        let mut rates = rates();
        let mut most = Vec::new();
        for (bytes, is_whole) in
            [(4096, true), (8192, true), (100, true), (16384, false), (4096, true)]
        {
            rates.note_read(bytes, is_whole);
            most.push(rates.read_bytes_max);
        }
        assert_eq!(most, [8192, 16384, 16384, 4096, 8192]);
        for _ in 0..20 {
            rates.note_read(rates.read_bytes_max as usize, true);
        }
        assert_eq!(rates.read_bytes_max as usize, RATED_READ_BYTES_MAX);
    }
}
