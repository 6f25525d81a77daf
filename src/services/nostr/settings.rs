//! The settings of a relay: [`RelaySettings`], each with its contract and default.
//!
//! They name no part of the relay: the service derives the settings of its parts from them.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::keys::KeyEntry;
use super::policy::ListSettings;
use super::relay_names::RelayNames;
use crate::reactor::settings::{Prefix, Rate, RouteSettings, with_setters};

pub use super::filter::BroadFilters;
pub use super::plugin::PluginFailure;
pub use super::store::{RetentionRule, Sync};

/// Kinds whose events are for their recipients only (NIP-17, NIP-59).
const PRIVATE_KINDS: [u16; 3] = [4, 1059, 21059];

with_setters! {
    /// The settings of a relay.
    #[derive(Debug, Clone, PartialEq)]
    pub struct RelaySettings {
        /// The directory of the events. One process may use it at a time.
        pub data_dir: PathBuf = data_dir,
        /// The addresses by which clients reach the relay, as in `wss://relay.example.org`: an AUTH
        /// must name one of them (NIP-42). Empty: loopback names and addresses only.
        pub urls: Vec<String> = Vec::new(),
        /// What clients must authenticate for.
        pub auth: AuthPolicy = AuthPolicy::Offer,

        /// The members of the information document (NIP-11) that operators choose.
        pub info: RelayInfo = RelayInfo::default(),

        /// Maximum size of the JSON of an event.
        pub event_bytes_max: usize = 512 * 1024,
        /// Maximum number of tags of an event.
        pub tags_max: usize = 10_000,
        /// Maximum size of one element of a tag.
        pub tag_value_bytes_max: usize = 64 * 1024,
        /// Maximum number of characters of the content of an event. `None`: as the event allows.
        pub content_chars_max: Option<usize> = None,
        /// How far `created_at` may be in the future.
        pub future_max: Duration = Duration::from_secs(15 * 60),
        /// How far `created_at` may be in the past. `None`: any time.
        pub past_max: Option<Duration> = None,
        /// Leading zero bits of the id that an event needs (NIP-13).
        pub pow_min: u8 = 0,
        /// Kinds that are refused, beside those that are never for relays.
        pub deny_kinds: Vec<KindRange> = Vec::new(),
        /// Kinds that are accepted. Empty: all.
        pub allow_kinds: Vec<KindRange> = Vec::new(),

        /// Authors that may write. Not empty: the others may not. A file without a key counts as an entry.
        pub allow_authors: Vec<KeyEntry> = Vec::new(),
        /// Authors that may not write.
        pub deny_authors: Vec<KeyEntry> = Vec::new(),
        /// Whether only listed authors may write, even if no author is listed.
        pub allow_only: bool = false,
        /// Whether anybody may write an event with a `p` tag of an allowed author.
        pub allow_tagged: bool = false,
        /// Kinds that anybody may write who is not denied.
        pub open_kinds: Vec<u16> = ListSettings::default().open_kinds,
        /// Keys that may read. Not empty: the others may not. A file without a key counts as an entry.
        pub allow_readers: Vec<KeyEntry> = Vec::new(),
        /// Keys that may manage the relay over HTTP (NIP-86). Empty: there is no management.
        pub administrators: Vec<KeyEntry> = Vec::new(),
        /// A write policy in a process of its own: a path, or a command for the shell if it has spaces.
        pub plugin: Option<String> = None,
        /// Events that the plugin has at once.
        pub plugin_in_flight_max: usize = 64,
        /// How long an event may take in the plugin.
        pub plugin_timeout: Duration = Duration::from_secs(10),
        /// What happens to events that the plugin fails to judge.
        pub plugin_failure: PluginFailure = PluginFailure::Refuse,

        /// Maximum number of filters of a request.
        pub filters_max: usize = 100,
        /// Maximum number of values in all filters of a request.
        pub filter_values_max: usize = 5_000,
        /// Maximum `limit` of a filter; larger ones are reduced to it.
        pub limit_max: usize = 1_000,
        /// The `limit` of a filter without one.
        pub limit_default: usize = 500,
        /// Maximum number of stored events for one request.
        pub req_events_max: usize = 5_000,
        /// Maximum number of index steps of one request.
        pub scan_steps_max: usize = 2_000_000,
        /// Maximum time that one request may scan.
        pub scan_time_max: Duration = Duration::from_secs(10),
        /// The time of a request's scan from which it is logged, with its plan.
        pub slow_scan: Duration = Duration::from_secs(1),
        /// Maximum length of a subscription id in characters.
        pub subscription_id_max: usize = 64,
        /// Maximum number of subscriptions of one connection.
        pub subscriptions_per_connection_max: usize = 200,
        /// Maximum number of subscriptions of the relay.
        pub subscriptions_max: usize = 1_000_000,
        /// Maximum number of filter values of all subscriptions.
        pub live_values_max: usize = 20_000_000,
        /// Maximum number of scans of one connection; then reading from it pauses.
        pub scans_per_connection_max: usize = 32,
        /// Maximum number of scans that wait for a thread.
        pub scans_waiting_max: usize = 10_000,
        /// Maximum memory of the requests that wait for their connections to read.
        pub scan_bytes_max: usize = 256 * 1024 * 1024,
        /// What happens to filters without ids, authors and tags.
        pub broad_filters: BroadFilters = BroadFilters::Allow,
        /// Whether members of a filter that the relay does not know are ignored.
        pub ignore_unknown_members: bool = false,
        /// Maximum number of index steps of an exact COUNT (NIP-45).
        pub count_max: usize = 1_000_000,
        /// Newest matches of a filter that a `search` examines (NIP-50); 0: no search.
        pub search_events_max: usize = 0,
        /// Maximum number of events of a negentropy session (NIP-77); 0: no negentropy.
        pub neg_items_max: usize = 1_000_000,
        /// Kinds that only their author and recipients get.
        pub restricted_kinds: Vec<u16> = PRIVATE_KINDS.to_vec(),
        /// Whether EOSE says that there are more stored events (NIP-67).
        pub eose_hint: bool = true,
        /// The OK of an ephemeral event without a subscriber.
        pub mute: Mute = Mute::True,
        /// How long an ephemeral event is offered to later requests. `None`: not at all.
        pub ephemeral_keep: Option<Duration> = None,

        /// Events of one connection that are not acknowledged; then reading from it pauses.
        pub events_in_flight_max: usize = 256,
        /// Messages in a row that do not parse; then the connection is closed with 1008.
        pub bad_messages_max: usize = 100,
        /// Time after which a connection is closed with 1001 that has neither a subscription nor a
        /// session and sends no event. `None`: never.
        pub idle_timeout: Option<Duration> = Duration::from_secs(600).into(),
        /// What happens to live events for a connection that reads too slowly.
        pub slow: SlowReaders = SlowReaders::Close,

        /// Rate of events of one connection; an event costs 1 and one more for each 4 KiB.
        pub events_rate: Option<Rate> = Some(rate(50.0, 500)),
        /// Rate of events of one address.
        pub events_rate_per_address: Option<Rate> = Some(rate(200.0, 2000)),
        /// Rate of events of one author.
        pub events_rate_per_author: Option<Rate> = None,
        /// Rate of REQ, COUNT, NEG-OPEN and NEG-MSG of one connection.
        pub requests_rate: Option<Rate> = Some(rate(20.0, 200)),

        /// Addresses without these rates.
        pub exempt: Vec<Prefix> = Vec::new(),
        /// Authors and authenticated keys without these rates.
        pub exempt_keys: Vec<KeyEntry> = Vec::new(),

        /// When an event counts as stored.
        pub sync: Sync = Sync::Commit,
        /// Memory of the store's block cache.
        pub cache_bytes: usize = 256 * 1024 * 1024,
        /// Free space of the disk below which events are refused.
        pub disk_free_min: u64 = 1024 * 1024 * 1024,
        /// Events that are removed at an age. One goes if any rule names it.
        pub retention: Vec<RetentionRule> = Vec::new(),
        /// Maximum bytes of the stored events; the oldest ones are removed. `None`: unlimited.
        pub store_bytes_max: Option<u64> = None,

        /// Threads that verify events. `None`: one less than the machine has CPUs, at least one.
        pub verify_threads: Option<usize> = None,
        /// Threads that search the store. `None`: as many as verify.
        pub scan_threads: Option<usize> = None,
    }

    /// A relay with its events in this directory.
    pub fn new(data_dir: PathBuf);
}

with_setters! {
    /// The members of the information document (NIP-11) that operators choose.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RelayInfo {
        /// The name of the relay.
        pub name: Option<String> = None,
        /// What the relay is for.
        pub description: Option<String> = None,
        /// The URL of a wide image.
        pub banner: Option<String> = None,
        /// The URL of a square image.
        pub icon: Option<String> = None,
        /// The public key of the operator: 64 hex digits.
        pub pubkey: Option<String> = None,
        /// Another way to reach the operator, as in `mailto:admin@example.org`.
        pub contact: Option<String> = None,
        /// The URL of the terms of service.
        pub terms_of_service: Option<String> = None,
        /// The URL of the privacy policy.
        pub privacy_policy: Option<String> = None,
        /// The URL of the rules for events.
        pub posting_policy: Option<String> = None,
    }
}

impl RelaySettings {
    /// The limits of a relay's route, before an operator changes them.
    pub fn route() -> RouteSettings {
        RouteSettings::default().message_bytes_max(512 * 1024).outbox_hard_bytes(8 * 1024 * 1024)
    }

    /// Checks each value, and values against each other.
    ///
    /// # Errors
    /// The first value that no relay can work with.
    pub fn check(&self) -> Result<(), RelaySettingsError> {
        let least_one = [
            ("event_max", self.event_bytes_max),
            ("filters_max", self.filters_max),
            ("filter_values_max", self.filter_values_max),
            ("limit_max", self.limit_max),
            ("req_events_max", self.req_events_max),
            ("scan_steps_max", self.scan_steps_max),
            ("subscription_id_max", self.subscription_id_max),
            ("subscriptions_per_connection_max", self.subscriptions_per_connection_max),
            ("subscriptions_max", self.subscriptions_max),
            ("live_values_max", self.live_values_max),
            ("scans_per_connection_max", self.scans_per_connection_max),
            ("scans_waiting_max", self.scans_waiting_max),
            ("events_in_flight_max", self.events_in_flight_max),
            ("bad_messages_max", self.bad_messages_max),
            ("plugin_in_flight", self.plugin_in_flight_max),
            ("verify_threads", self.verify_threads.unwrap_or(1)),
            ("scan_threads", self.scan_threads.unwrap_or(1)),
        ];
        if let Some((name, _)) = least_one.iter().find(|(_, value)| *value == 0) {
            return Err(RelaySettingsError::Zero(name));
        }
        if self.limit_default > self.limit_max {
            return Err(RelaySettingsError::DefaultAboveMax(self.limit_default, self.limit_max));
        }
        if self.scan_time_max.is_zero() {
            return Err(RelaySettingsError::Zero("scan_time_max"));
        }
        if let Err(url) = RelayNames::of_urls(self.urls.iter().map(String::as_str)) {
            return Err(RelaySettingsError::Url(url.to_owned()));
        }
        let is_key = |key: &String| {
            key.len() == 64 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        match &self.info.pubkey {
            Some(key) if !is_key(key) => Err(RelaySettingsError::PublicKey),
            _ => Ok(()),
        }
    }

    /// Checks the files of keys. Blocks.
    ///
    /// # Errors
    /// The first file that cannot be read or has a malformed line: one line, with the setting first.
    pub fn check_files(&self) -> Result<(), String> {
        self.lists()?;
        self.rates()?;
        Ok(())
    }

    /// Whether this kind is for its author and recipients only.
    pub(super) fn is_restricted(&self, kind: u16) -> bool {
        self.restricted_kinds.contains(&kind)
    }
}

/// Why the settings of a relay are rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelaySettingsError {
    /// This one must be more than zero.
    Zero(&'static str),
    /// `limit_default` and the smaller `limit_max`.
    DefaultAboveMax(usize, usize),
    /// A text in `urls` that is not the URL of a relay.
    Url(String),
    /// `pubkey` is not 64 lower-case hex digits.
    PublicKey,
}

impl fmt::Display for RelaySettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelaySettingsError::Zero(name) => write!(f, "{name} must be more than zero"),
            RelaySettingsError::DefaultAboveMax(usual, max) => {
                write!(f, "limit_default ({usual}) must not exceed limit_max ({max})")
            }
            RelaySettingsError::Url(url) => {
                write!(f, "urls: {url:?} is not a URL such as wss://relay.example.org")
            }
            RelaySettingsError::PublicKey => f.write_str("pubkey must be 64 lower-case hex digits"),
        }
    }
}

impl std::error::Error for RelaySettingsError {}

/// A rate of a burst that is at least one.
const fn rate(per_second: f64, burst: u32) -> Rate {
    Rate { per_second, burst }
}

/// What clients must authenticate for (NIP-42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthPolicy {
    /// No challenge is sent.
    Off,
    /// For restricted kinds and protected events.
    Offer,
    /// For events, too.
    Write,
    /// For requests, too.
    Read,
    /// For events and requests.
    All,
}

impl AuthPolicy {
    /// Whether events need a key.
    pub fn protects_writes(self) -> bool {
        matches!(self, AuthPolicy::Write | AuthPolicy::All)
    }

    /// Whether requests need a key.
    pub fn protects_reads(self) -> bool {
        matches!(self, AuthPolicy::Read | AuthPolicy::All)
    }
}

/// The OK of an ephemeral event without a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mute {
    /// `OK true` with the prefix `mute:`.
    True,
    /// `OK false` with the prefix `mute:`.
    False,
    /// `OK true` without a text.
    Off,
}

/// What happens to live events for a connection that reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowReaders {
    /// The connection is closed with 1013.
    Close,
    /// The events are dropped and counted; each subscription gets one NOTICE.
    Drop,
}

/// One kind, or a range of kinds: `1`, `30000-39999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindRange {
    first: u16,
    last: u16,
}

impl KindRange {
    /// The kinds of the range.
    pub fn kinds(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for KindRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<KindRange, Self::Err> {
        const WRONG: &str = r#"expected a kind such as 1, or a range such as "30000-39999""#;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| WRONG);
        let range = KindRange { first: number(first)?, last: number(last)? };
        if range.first <= range.last { Ok(range) } else { Err(WRONG) }
    }
}

impl fmt::Display for KindRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => self.first.fmt(f),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
