//! Heartbeat: pings for silent peers, and the end of those that do not answer.
//!
//! It owns the heartbeat state of one connection. Any received frame proves that the peer is alive;
//! only a pong with the last ping's payload gives a round trip. A successful write proves nothing,
//! since the kernel accepts it even if the peer is gone. But if the kernel accepts bytes again
//! after it was full, the peer has read, and the ping gets more time. The time of a ping depends on
//! the connection's serial, so that peers which became silent together are not pinged together.

use std::time::Duration;

use super::due::Due;
use crate::reactor::api::record::RoundTrips;
use crate::reactor::api::settings::Heartbeat;
use crate::reactor::api::time::Time;

/// Bytes of our ping's payload: send time and sequence number.
pub(crate) const PING_BYTES: usize = 12;

/// The heartbeat state of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeartbeatState {
    /// When the last ping was sent; [`Time::MAX`] before the first ping, and after its pong.
    sent: Time,
    sequence: u16,
    misses: u8,
    /// Since the last ping the peer has read output that was blocked. The ping may still be on its
    /// way behind that output.
    has_read: bool,
    pub(crate) round_trips: RoundTrips,
}

impl Default for HeartbeatState {
    fn default() -> HeartbeatState {
        let round_trips = RoundTrips::default();
        HeartbeatState { sent: Time::MAX, sequence: 0, misses: 0, has_read: false, round_trips }
    }
}

impl HeartbeatState {
    /// The time of the next ping, or the end of the wait for the last ping's answer.
    pub(crate) fn deadline(
        &self,
        heartbeat: &Heartbeat,
        serial: u32,
        last_heard: Time,
    ) -> (Time, Due) {
        if self.awaits_answer(last_heard) {
            (self.sent + heartbeat.pong_timeout, Due::Pong)
        } else {
            let silence = heartbeat.interval - spread(serial, heartbeat.interval / 2);
            (last_heard + silence, Due::Ping)
        }
    }

    /// Whether nothing was received since the last ping.
    pub(crate) fn awaits_answer(&self, last_heard: Time) -> bool {
        self.sent != Time::MAX && last_heard <= self.sent
    }

    /// Whether the last ping was sent before this time, and its pong is missing.
    pub(crate) fn was_sent_before(&self, time: Time) -> bool {
        self.sent < time
    }

    /// Records that bytes were received.
    pub(crate) fn received(&mut self) {
        self.misses = 0;
    }

    /// Records that the peer has read output that was blocked.
    pub(crate) fn peer_read(&mut self) {
        self.has_read = true;
    }

    /// Counts a missed pong, unless the peer's slow reading delayed it; true if too many were
    /// missed.
    pub(crate) fn miss(&mut self, misses_max: u8) -> bool {
        if !self.has_read {
            self.misses = self.misses.saturating_add(1);
        }
        self.misses >= misses_max
    }

    /// Starts the next ping; returns its payload.
    pub(crate) fn ping(&mut self, now: Time) -> [u8; PING_BYTES] {
        self.start_ping(now);
        self.payload()
    }

    fn start_ping(&mut self, now: Time) {
        self.sent = now;
        self.has_read = false;
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Handles a pong; returns the round trip if it answers the last ping.
    pub(crate) fn pong(&mut self, now: Time, payload: &[u8]) -> Option<Duration> {
        if self.sent == Time::MAX || payload != self.payload() {
            return None;
        }
        self.record_pong(now)
    }

    fn record_pong(&mut self, now: Time) -> Option<Duration> {
        let round_trip = now.since(self.sent);
        self.round_trips.push(round_trip);
        self.sent = Time::MAX;
        Some(round_trip)
    }

    /// Starts the next ping to a side of a tunnel; returns its sequence number.
    #[cfg(feature = "proxy")]
    pub(crate) fn ping_side(&mut self, now: Time) -> u32 {
        self.start_ping(now);
        self.sequence.into()
    }

    /// Starts the wait for the answer to a ping that its partner has sent, in place of a ping of
    /// ours. The pong to an earlier one of ours gives no round trip.
    #[cfg(feature = "proxy")]
    pub(crate) fn forwarded(&mut self, now: Time) {
        self.start_ping(now);
    }

    /// Handles the pong to a ping of ours to a side of a tunnel; returns the round trip if that was
    /// the last one.
    #[cfg(feature = "proxy")]
    pub(crate) fn pong_of_side(&mut self, now: Time, sequence: u32) -> Option<Duration> {
        if self.sent == Time::MAX || sequence != u32::from(self.sequence) {
            return None;
        }
        self.record_pong(now)
    }

    fn payload(&self) -> [u8; PING_BYTES] {
        let mut payload = [0; PING_BYTES];
        payload[..8].copy_from_slice(&self.sent.as_nanos().to_be_bytes());
        payload[8..].copy_from_slice(&u32::from(self.sequence).to_be_bytes());
        payload
    }
}

/// A part of `window` that differs for neighbouring serials: multiples of the golden ratio fill an
/// interval evenly (Knuth, The Art of Computer Programming, 6.4).
fn spread(serial: u32, window: Duration) -> Duration {
    let fraction = serial.wrapping_mul(0x9E37_79B9);
    window.mul_f64(f64::from(fraction) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Heartbeat = Heartbeat {
        interval: Duration::from_secs(30),
        pong_timeout: Duration::from_secs(10),
        misses_max: 2,
    };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn pings_of_silent_peers_are_spread() {
        let state = HeartbeatState::default();
        let mut buckets = [0; 15];
        for serial in 1..=1500 {
            let (due, kind) = state.deadline(&HEARTBEAT, serial, at(100));
            assert_eq!(kind, Due::Ping);
            let second = due.since(at(115)).as_secs() as usize;
            buckets[second.min(14)] += 1;
        }
        assert!(buckets.iter().all(|count| (80..=120).contains(count)), "{buckets:?}");
    }

    #[test]
    fn any_frame_is_a_sign_of_life_but_only_the_last_pong_gives_a_round_trip() {
        let mut state = HeartbeatState::default();
        let first = state.ping(at(30));
        assert_eq!(state.deadline(&HEARTBEAT, 1, at(5)), (at(40), Due::Pong));
        let second = state.ping(at(40));
        assert_eq!(state.deadline(&HEARTBEAT, 1, at(5)), (at(50), Due::Pong));
        assert_eq!(state.pong(at(41), &first), None);
        assert_eq!(state.round_trips.mean(), None);
        assert_eq!(state.deadline(&HEARTBEAT, 1, at(41)).1, Due::Ping);
        let round_trip = Duration::from_millis(1);
        assert_eq!(state.pong(at(40) + round_trip, &second), Some(round_trip));
        assert_eq!(state.round_trips.mean(), Some(round_trip));
        assert_eq!(state.pong(at(43), b"unsolicited"), None);
    }

    #[cfg(feature = "proxy")]
    #[test]
    fn only_the_pong_to_the_last_ping_of_a_side_gives_a_round_trip() {
        let mut state = HeartbeatState::default();
        let first = state.ping_side(at(30));
        let second = state.ping_side(at(40));
        assert_eq!(state.pong_of_side(at(41), first), None);
        assert_eq!(state.pong_of_side(at(42), second), Some(Duration::from_secs(2)));
        assert_eq!(state.pong_of_side(at(43), second), None);
        let third = state.ping_side(at(50));
        state.forwarded(at(60));
        assert_eq!(state.pong_of_side(at(61), third), None);
    }

    #[test]
    fn a_ping_delayed_by_slow_reading_is_not_missed() {
        let mut state = HeartbeatState::default();
        state.ping(at(30));
        state.peer_read();
        assert!(!state.miss(1));
        state.ping(at(40));
        assert!(!state.miss(2));
        assert!(state.miss(2));
    }
}
