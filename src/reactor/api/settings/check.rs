//! Checks the numbers of [`Settings`] and [`RouteSettings`] and their relations.
//!
//! It owns the ranges, and [`SettingsError`], which names both sides of a contradiction. It
//! corrects nothing: a setting is accepted as given or rejected.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::load::MemoryMax;
use super::notation::{Prefix, Rate};
use super::reactor::{Heartbeat, Settings};
use super::route::RouteSettings;
use crate::protocol::deflate::{LEVELS, MEM_LEVELS, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// Range of [`RouteSettings::message_bytes_max`]: a control frame's payload (125 bytes) always
/// fits, and no single message takes more than 1 GiB.
pub const MESSAGE_BYTES_RANGE: RangeInclusive<usize> = 125..=1 << 30;
/// Range of [`field@Settings::head_bytes_max`].
pub const HEAD_BYTES_RANGE: RangeInclusive<usize> = 1 << 10..=1 << 20;
/// Range of the thresholds of memory: each level falls at a threshold five points lower.
const MEMORY_PERCENT: RangeInclusive<u8> = 10..=100;
/// The largest reserve: others keep at least half of the connections.
const RESERVE_PERCENT_MAX: u8 = 50;
/// The longest frame header (RFC 6455, 5.2): 2 bytes, 8 of extended length, 4 of masking key.
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// The least burst of a rate that pauses reading, in seconds of the rate. A pause lasts a tenth of a
/// second and up to one slot of the timer wheel: a smaller bucket is full before it ends, and the
/// tokens after that are lost.
const BURST_SECONDS_MIN: f64 = 0.3;

impl Settings {
    /// Checks ranges and relations.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.connections_max == 0 {
            return Err(SettingsError::Zero("connections_max"));
        }
        if self.outbound_max == 0 {
            return Err(SettingsError::Zero("outbound_max"));
        }
        if !HEAD_BYTES_RANGE.contains(&self.head_bytes_max) {
            return Err(SettingsError::Head(self.head_bytes_max));
        }
        check_deadlines(&[
            ("handshake_timeout", self.handshake_timeout),
            ("close_timeout", self.close_timeout),
            ("drain_timeout", self.drain_timeout),
        ])?;
        check_range("deflate_level", self.deflate_level, LEVELS)?;
        check_range("deflate_mem_level", self.deflate_mem_level, MEM_LEVELS)?;
        if let Some(window) = self.key_reuse_window {
            check_deadlines(&[("key_reuse_window", window)])?;
        }
        check_rate("rate", self.rate)?;
        check_rate("rate_per_address", self.rate_per_address)?;
        check_prefixes("exempt", &self.exempt)?;
        check_prefixes("trusted_proxies", &self.trusted_proxies)?;
        self.check_levels()?;
        self.heartbeat.map_or(Ok(()), Heartbeat::check)
    }

    fn check_levels(&self) -> Result<(), SettingsError> {
        check_deadlines(&[("delay_elevated", self.delay_elevated)])?;
        if self.delay_elevated >= self.delay_critical {
            return Err(SettingsError::NotBelow("delay_elevated", "delay_critical"));
        }
        check_range("memory_elevated", self.memory_elevated_percent, MEMORY_PERCENT)?;
        check_range("memory_critical", self.memory_critical_percent, MEMORY_PERCENT)?;
        if self.memory_elevated_percent >= self.memory_critical_percent {
            return Err(SettingsError::NotBelow("memory_elevated", "memory_critical"));
        }
        if self.memory_max == MemoryMax::Bytes(0) {
            return Err(SettingsError::Zero("memory_max"));
        }
        check_range("reserve", self.reserve_percent, 0..=RESERVE_PERCENT_MAX)?;
        check_range("shed_max", self.shed_max_percent, 0..=100)
    }
}

impl Heartbeat {
    fn check(self) -> Result<(), SettingsError> {
        if self.misses_max == 0 {
            return Err(SettingsError::Zero("pong_misses_max"));
        }
        check_deadlines(&[("ping_interval", self.interval), ("pong_timeout", self.pong_timeout)])?;
        if self.pong_timeout >= self.interval {
            return Err(SettingsError::PongAfterNextPing {
                timeout: self.pong_timeout,
                interval: self.interval,
            });
        }
        Ok(())
    }
}

fn check_prefixes(name: &'static str, prefixes: &[Prefix]) -> Result<(), SettingsError> {
    match prefixes.iter().find(|prefix| prefix.bits > prefix.width()) {
        Some(&prefix) => Err(SettingsError::Prefix(name, prefix)),
        None => Ok(()),
    }
}

/// Checks that a rate admits connections: positive and finite.
fn check_rate(name: &'static str, rate: Option<Rate>) -> Result<(), SettingsError> {
    let admits =
        |rate: Rate| rate.per_second > 0.0 && rate.per_second.is_finite() && rate.burst > 0;
    if rate.is_none_or(admits) { Ok(()) } else { Err(SettingsError::Zero(name)) }
}

/// Checks that a bucket that pauses reading holds what comes back during a pause.
fn check_burst(name: &'static str, rate: Option<Rate>) -> Result<(), SettingsError> {
    let Some(rate) = rate else {
        return Ok(());
    };
    let least = (rate.per_second * BURST_SECONDS_MIN).ceil();
    match f64::from(rate.burst) < least {
        true => Err(SettingsError::Burst { name, burst: rate.burst, least: least as u64 }),
        false => Ok(()),
    }
}

fn check_deadlines(deadlines: &[(&'static str, Duration)]) -> Result<(), SettingsError> {
    match deadlines.iter().find(|(_, deadline)| deadline.is_zero()) {
        Some((name, _)) => Err(SettingsError::Zero(name)),
        None => Ok(()),
    }
}

impl RouteSettings {
    /// The smallest `outbox_hard_bytes`: `outbox_soft_bytes` plus one message of maximum size, or
    /// plus `outbox_room_bytes`. A service that pauses reading at the soft limit then never gets
    /// `Full` or `TooLarge`: an echo is lossless.
    pub fn outbox_hard_min(&self) -> usize {
        let message = self.message_bytes_max.saturating_add(FRAME_HEADER_BYTES_MAX);
        self.outbox_soft_bytes.saturating_add(self.outbox_room_bytes.unwrap_or(message))
    }

    /// The rates that pause reading, by the keys of the configuration.
    pub fn reading_rates(&self) -> [(&'static str, Option<Rate>); 5] {
        [
            ("messages_rate", self.messages_rate),
            ("bytes_rate", self.bytes_rate),
            ("messages_rate_per_address", self.messages_rate_per_address),
            ("bytes_rate_per_address", self.bytes_rate_per_address),
            ("messages_rate_per_subject", self.messages_rate_per_subject),
        ]
    }

    /// Checks ranges and relations.
    pub fn check(&self) -> Result<(), SettingsError> {
        let (low, soft, hard) =
            (self.outbox_low_bytes, self.outbox_soft_bytes, self.outbox_hard_bytes);
        if !MESSAGE_BYTES_RANGE.contains(&self.message_bytes_max) {
            return Err(SettingsError::Message(self.message_bytes_max));
        }
        if low >= soft {
            return Err(SettingsError::LowNotBelowSoft { low, soft });
        }
        if hard < self.outbox_hard_min() {
            return Err(SettingsError::HardTooLow { hard, least: self.outbox_hard_min() });
        }
        check_deadlines(&[
            ("outbox_grace", self.outbox_grace),
            ("fragment_timeout", self.fragment_timeout),
            ("write_timeout", self.write_timeout),
            ("deflate_idle", self.deflate_idle),
        ])?;
        if self.gate.is_none() && !self.require.is_empty() {
            return Err(SettingsError::RequireWithoutGate);
        }
        check_rate("requests_per_address", self.requests_per_address)?;
        for (name, rate) in self.reading_rates() {
            check_rate(name, rate)?;
            check_burst(name, rate)?;
        }
        if self.connections_max == Some(0) {
            return Err(SettingsError::Zero("connections_max"));
        }
        self.heartbeat.or(None).map_or(Ok(()), Heartbeat::check)?;
        let window_bits = WINDOW_BITS_MIN..=WINDOW_BITS_MAX;
        check_range("deflate_window_bits", self.deflate_window_bits, window_bits)?;
        match self.idle_timeout {
            Some(timeout) => check_deadlines(&[("idle_timeout", timeout)]),
            None => Ok(()),
        }
    }
}

fn check_range(
    name: &'static str,
    given: u8,
    range: RangeInclusive<u8>,
) -> Result<(), SettingsError> {
    let (least, most) = range.into_inner();
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(SettingsError::Range { name, given, least, most })
}

/// A setting that is out of range or contradicts another one. Sizes are in bytes.
///
/// The text names settings by their configuration keys, which have no unit (`outbox_low` for
/// [`field@RouteSettings::outbox_low_bytes`]): by the first key in it, the binary finds the file
/// and line of the mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// The named count, rate or deadline must not be zero.
    Zero(&'static str),
    /// `head_bytes_max` is outside [`HEAD_BYTES_RANGE`].
    Head(usize),
    /// `message_bytes_max` is outside [`MESSAGE_BYTES_RANGE`].
    Message(usize),
    /// The named number is outside its range.
    Range {
        /// The name of the setting.
        name: &'static str,
        /// The given value.
        given: u8,
        /// The smallest valid value.
        least: u8,
        /// The largest valid value.
        most: u8,
    },
    /// The burst of the named rate is below 0.3 s of the rate.
    Burst {
        /// The name of the rate.
        name: &'static str,
        /// The given burst.
        burst: u32,
        /// The smallest valid burst.
        least: u64,
    },
    /// The first setting is not below the second.
    NotBelow(&'static str, &'static str),
    /// A prefix in the named list has more bits than its address.
    Prefix(&'static str, Prefix),
    /// `outbox_low_bytes` is not below `outbox_soft_bytes`: a drained outbox would still be
    /// congested.
    LowNotBelowSoft {
        /// `outbox_low_bytes`.
        low: usize,
        /// `outbox_soft_bytes`.
        soft: usize,
    },
    /// `outbox_hard_bytes` leaves no room for a message of maximum size above the soft limit.
    HardTooLow {
        /// `outbox_hard_bytes`.
        hard: usize,
        /// [`RouteSettings::outbox_hard_min`].
        least: usize,
    },
    /// `require` is set without a gate: no client would have an identity.
    RequireWithoutGate,
    /// `pong_timeout` is not below the interval: a ping would follow before the last one is missed.
    PongAfterNextPing {
        /// [`field@Heartbeat::pong_timeout`].
        timeout: Duration,
        /// [`field@Heartbeat::interval`].
        interval: Duration,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SettingsError::Zero(name) => write!(f, "{name} must be more than zero"),
            SettingsError::Head(bytes) => {
                let (least, most) = HEAD_BYTES_RANGE.into_inner();
                write!(f, "head_max is {bytes} bytes, but must be {least} to {most} bytes")
            }
            SettingsError::Message(bytes) => {
                let (least, most) = MESSAGE_BYTES_RANGE.into_inner();
                write!(f, "message_max is {bytes} bytes, but must be {least} to {most} bytes")
            }
            SettingsError::Range { name, given, least, most } => {
                write!(f, "{name} is {given}, but must be {least} to {most}")
            }
            SettingsError::Burst { name, burst, least } => write!(
                f,
                "{name} has a burst of {burst}, but must have at least {least}, 0.3 s of its rate: \
                 reading pauses for up to 0.23 s at a time"
            ),
            SettingsError::NotBelow(lower, higher) => write!(f, "{lower} must be below {higher}"),
            SettingsError::Prefix(name, prefix) => {
                write!(f, "{prefix} in {name} has more bits than the address")
            }
            SettingsError::LowNotBelowSoft { low, soft } => {
                write!(f, "outbox_low ({low} bytes) must be less than outbox_soft ({soft} bytes)")
            }
            SettingsError::HardTooLow { hard, least } => write!(
                f,
                "outbox_hard is {hard} bytes, but must be at least {least} bytes: outbox_soft plus \
                 one message of maximum size and its {FRAME_HEADER_BYTES_MAX} bytes of header, or on \
                 routes of the proxy outbox_soft plus hold_max plus one read of 256 KiB"
            ),
            SettingsError::RequireWithoutGate => f.write_str("require needs auth"),
            SettingsError::PongAfterNextPing { timeout, interval } => write!(
                f,
                "pong_timeout ({timeout:?}) must be less than ping_interval ({interval:?})"
            ),
        }
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::super::RouteHeartbeat;
    use super::*;
    use crate::reactor::api::id::{GateId, ServiceId};
    use crate::reactor::api::identity::Requirement;

    fn route(edit: impl FnOnce(&mut RouteSettings)) -> Result<(), SettingsError> {
        let mut settings = RouteSettings::default();
        edit(&mut settings);
        settings.check()
    }

    fn shared(edit: impl FnOnce(&mut Settings)) -> Result<(), SettingsError> {
        let mut settings = Settings::default();
        edit(&mut settings);
        settings.check()
    }

    #[test]
    fn defaults_are_consistent() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(RouteSettings::default().check(), Ok(()));
    }

    #[test]
    fn output_limits_must_be_in_order() {
        assert_eq!(
            route(|r| r.outbox_low_bytes = r.outbox_soft_bytes),
            Err(SettingsError::LowNotBelowSoft { low: 256 << 10, soft: 256 << 10 })
        );
        let least = RouteSettings::default().outbox_hard_min();
        assert_eq!(least, (256 << 10) + (1 << 20) + 14);
        assert_eq!(route(|r| r.outbox_hard_bytes = least), Ok(()));
        assert_eq!(
            route(|r| r.outbox_hard_bytes = least - 1),
            Err(SettingsError::HardTooLow { hard: least - 1, least })
        );
        assert!(route(|r| r.outbox_soft_bytes = usize::MAX).is_err(), "no overflow");
        let room = |room, hard| {
            route(|r| {
                r.message_bytes_max = 1 << 30;
                r.outbox_room_bytes = Some(room);
                r.outbox_hard_bytes = hard;
            })
        };
        assert_eq!(room(1000, (256 << 10) + 1000), Ok(()));
        assert!(room(1001, (256 << 10) + 1000).is_err());
    }

    #[test]
    fn sizes_outside_their_range_are_rejected() {
        assert_eq!(route(|r| r.message_bytes_max = 125), Ok(()));
        assert_eq!(route(|r| r.message_bytes_max = 124), Err(SettingsError::Message(124)));
        let past = (1 << 30) + 1;
        assert_eq!(route(|r| r.message_bytes_max = past), Err(SettingsError::Message(past)));
        assert_eq!(shared(|s| s.head_bytes_max = 1024), Ok(()));
        assert_eq!(shared(|s| s.head_bytes_max = 1023), Err(SettingsError::Head(1023)));
        assert_eq!(shared(|s| s.connections_max = 0), Err(SettingsError::Zero("connections_max")));
        assert_eq!(shared(|s| s.outbound_max = 0), Err(SettingsError::Zero("outbound_max")));
    }

    #[test]
    fn deflate_parameters_outside_their_range_are_rejected() {
        let range =
            |name, given, least, most| Err(SettingsError::Range { name, given, least, most });
        assert_eq!(route(|r| r.deflate_window_bits = 9), Ok(()));
        let bits = "deflate_window_bits";
        assert_eq!(route(|r| r.deflate_window_bits = 8), range(bits, 8, 9, 15));
        assert_eq!(route(|r| r.deflate_window_bits = 16), range(bits, 16, 9, 15));
        assert_eq!(shared(|s| s.deflate_level = 0), range("deflate_level", 0, 1, 9));
        assert_eq!(shared(|s| s.deflate_level = 9), Ok(()));
        assert_eq!(shared(|s| s.deflate_mem_level = 10), range("deflate_mem_level", 10, 1, 9));
    }

    #[test]
    fn deadlines_of_zero_are_rejected() {
        let zero = |name| Err(SettingsError::Zero(name));
        assert_eq!(route(|r| r.write_timeout = Duration::ZERO), zero("write_timeout"));
        assert_eq!(route(|r| r.outbox_grace = Duration::ZERO), zero("outbox_grace"));
        assert_eq!(route(|r| r.fragment_timeout = Duration::ZERO), zero("fragment_timeout"));
        assert_eq!(route(|r| r.idle_timeout = Some(Duration::ZERO)), zero("idle_timeout"));
        assert_eq!(route(|r| r.deflate_idle = Duration::ZERO), zero("deflate_idle"));
        assert_eq!(shared(|s| s.close_timeout = Duration::ZERO), zero("close_timeout"));
        assert_eq!(shared(|s| s.drain_timeout = Duration::ZERO), zero("drain_timeout"));
        assert_eq!(shared(|s| s.handshake_timeout = Duration::ZERO), zero("handshake_timeout"));
        assert_eq!(shared(|s| s.key_reuse_window = Some(Duration::ZERO)), zero("key_reuse_window"));
    }

    #[test]
    fn rates_of_zero_and_too_long_prefixes_are_rejected() {
        let rate = |per_second, burst| {
            let rate = Some(Rate { per_second, burst });
            let all = shared(|s| s.rate = rate);
            let each = shared(|s| s.rate_per_address = rate);
            let requests = route(|r| r.requests_per_address = rate);
            [all, each, requests]
        };
        let refused = || {
            ["rate", "rate_per_address", "requests_per_address"]
                .map(|name| Err(SettingsError::Zero(name)))
        };
        assert_eq!(rate(f64::MIN_POSITIVE, 1), [Ok(()); 3]);
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(rate(per_second, 1), refused());
        }
        assert_eq!(rate(1.0, 0), refused());
        let prefix = |bits| Prefix { address: [10, 0, 0, 0].into(), bits };
        let exempt = |bits| shared(|s| s.exempt = vec![prefix(bits)]);
        let trusted = |bits| shared(|s| s.trusted_proxies = vec![prefix(bits)]);
        assert_eq!((exempt(32), trusted(32)), (Ok(()), Ok(())));
        assert_eq!(exempt(33), Err(SettingsError::Prefix("exempt", prefix(33))));
        assert_eq!(trusted(33), Err(SettingsError::Prefix("trusted_proxies", prefix(33))));
    }

    #[test]
    fn a_burst_below_0_3_s_of_a_rate_that_pauses_reading_is_rejected() {
        let rate = |burst| Some(Rate { per_second: 10.0, burst });
        let refused = |name| Err(SettingsError::Burst { name, burst: 2, least: 3 });
        assert_eq!(route(|r| r.messages_rate = rate(3)), Ok(()));
        assert_eq!(route(|r| r.messages_rate = rate(2)), refused("messages_rate"));
        assert_eq!(route(|r| r.bytes_rate = rate(2)), refused("bytes_rate"));
        let name = "messages_rate_per_address";
        assert_eq!(route(|r| r.messages_rate_per_address = rate(2)), refused(name));
        let name = "bytes_rate_per_address";
        assert_eq!(route(|r| r.bytes_rate_per_address = rate(2)), refused(name));
        assert_eq!(route(|r| r.requests_per_address = rate(2)), Ok(()));
        let zero = Err(SettingsError::Zero("messages_rate"));
        assert_eq!(route(|r| r.messages_rate = rate(0)), zero);
        let zero = Err(SettingsError::Zero("connections_max"));
        assert_eq!(route(|r| r.connections_max = Some(0)), zero);
    }

    #[test]
    fn the_pong_timeout_must_be_below_the_ping_interval() {
        let beat = |interval, pong_timeout, misses_max| {
            let seconds = Duration::from_secs;
            let (interval, pong_timeout) = (seconds(interval), seconds(pong_timeout));
            shared(|s| s.heartbeat = Some(Heartbeat { interval, pong_timeout, misses_max }))
        };
        assert_eq!(beat(11, 10, 1), Ok(()));
        assert!(matches!(beat(10, 10, 1), Err(SettingsError::PongAfterNextPing { .. })));
        assert_eq!(beat(11, 10, 0), Err(SettingsError::Zero("pong_misses_max")));
        assert_eq!(beat(0, 10, 2), Err(SettingsError::Zero("ping_interval")));
        assert_eq!(beat(30, 0, 2), Err(SettingsError::Zero("pong_timeout")));
        assert_eq!(shared(|s| s.heartbeat = None), Ok(()));
        let own = |misses_max| RouteHeartbeat::Own(Heartbeat::default().misses_max(misses_max));
        assert_eq!(route(|r| r.heartbeat = own(1)), Ok(()));
        assert_eq!(route(|r| r.heartbeat = own(0)), Err(SettingsError::Zero("pong_misses_max")));
    }

    #[test]
    fn requirements_need_a_gate() {
        let require = |r: &mut RouteSettings| r.require = [Requirement::new("a", "b")].into();
        assert_eq!(route(require), Err(SettingsError::RequireWithoutGate));
        let gated = |r: &mut RouteSettings| {
            require(r);
            r.gate = Some(GateId(ServiceId::default()));
        };
        assert_eq!(route(gated), Ok(()));
    }

    #[test]
    fn thresholds_of_levels_must_be_in_order() {
        let not_below = |lower, higher| Err(SettingsError::NotBelow(lower, higher));
        let delays = shared(|s| s.delay_elevated = s.delay_critical);
        assert_eq!(delays, not_below("delay_elevated", "delay_critical"));
        let memory = shared(|s| s.memory_critical_percent = s.memory_elevated_percent);
        assert_eq!(memory, not_below("memory_elevated", "memory_critical"));
        let zero = |name| Err(SettingsError::Zero(name));
        assert_eq!(shared(|s| s.delay_elevated = Duration::ZERO), zero("delay_elevated"));
        assert_eq!(shared(|s| s.memory_max = MemoryMax::Bytes(0)), zero("memory_max"));
        let range =
            |name, given, least, most| Err(SettingsError::Range { name, given, least, most });
        let of_memory = range("memory_critical", 101, 10, 100);
        assert_eq!(shared(|s| s.memory_critical_percent = 101), of_memory);
        assert_eq!(shared(|s| s.reserve_percent = 51), range("reserve", 51, 0, 50));
        assert_eq!(shared(|s| s.shed_max_percent = 101), range("shed_max", 101, 0, 100));
        assert_eq!(shared(|s| (s.reserve_percent, s.shed_max_percent) = (0, 0)), Ok(()));
    }

    #[test]
    fn errors_state_both_numbers() {
        let error = route(|r| r.outbox_low_bytes = 300_000).unwrap_err().to_string();
        assert!(error.contains("300000") && error.contains("262144"), "{error}");
    }
}
