//! The settings of a Nostr relay.

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::{Prefix, Rate};
use weir::services::nostr::keys::KeyEntry;
use weir::services::nostr::settings::{
    AuthPolicy, AuthorKey, BroadFilters, KindRange, Mute, PluginFailure, RelayInfo, RelaySettings,
    SlowReaders, Sync,
};

use super::retention::Retention;
use crate::config::values::{Count, FileName, OrAuto, OrOff, Size, Span, texts};

/// The keys of a `[[relay]]` without a default.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct RelayTable {
    /// The name that routes refer to
    #[arg(long, required = true)]
    pub(in crate::config) name: String,

    /// Directory of the events
    #[arg(long, value_name = "FILE", required = true)]
    pub(in crate::config) data_dir: FileName,
}

/// Settings of a relay. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct RelayOptions {
    /// Addresses by which clients reach the relay, as in wss://relay.example.org
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    urls: Vec<String>,

    /// What clients must authenticate for
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().auth.into())]
    auth: Auth,

    /// Name in the information document
    #[arg(long, value_name = "TEXT", default_value_t = OrOff(None))]
    title: OrOff<String>,

    /// What the relay is for
    #[arg(long, value_name = "TEXT", default_value_t = OrOff(None))]
    description: OrOff<String>,

    /// URL of a wide image
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    banner: OrOff<String>,

    /// URL of a square image
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    icon: OrOff<String>,

    /// Public key of the operator, 64 hex digits
    #[arg(long, value_name = "KEY", default_value_t = OrOff(None))]
    pubkey: OrOff<String>,

    /// Another way to reach the operator
    #[arg(long, value_name = "URI", default_value_t = OrOff(None))]
    contact: OrOff<String>,

    /// URL of the terms of service
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    terms_of_service: OrOff<String>,

    /// URL of the privacy policy
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    privacy_policy: OrOff<String>,

    /// URL of the rules for events
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    posting_policy: OrOff<String>,

    /// Maximum size of an event
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().event_bytes_max))]
    event_max: Size,

    /// Maximum tags of an event
    #[arg(long, value_name = "N", default_value_t = Count(usual().tags_max))]
    tags_max: Count<usize>,

    /// Maximum size of one element of a tag
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().tag_value_bytes_max))]
    tag_value_max: Size,

    /// Maximum characters of the content
    #[arg(long, value_name = "N", default_value_t = OrOff(usual().content_chars_max.map(Count)))]
    content_max: OrOff<Count<usize>>,

    /// How far created_at may be in the future
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().future_max))]
    future_max: Span,

    /// How far created_at may be in the past
    #[arg(long, value_name = "TIME", default_value_t = OrOff(usual().past_max.map(Span)))]
    past_max: OrOff<Span>,

    /// Leading zero bits that the id of an event needs
    #[arg(long, value_name = "BITS", default_value_t = Count(usual().pow_min))]
    pow_min: Count<u8>,

    /// Kinds that are refused, as in 1 or 30000-39999
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    deny_kinds: Vec<KindRange>,

    /// Kinds that are accepted; none: all
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    allow_kinds: Vec<KindRange>,

    /// Authors that may write, as npub or hex; none: all
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    allow_authors: Vec<AuthorKey>,

    /// Authors that may not write
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    deny_authors: Vec<AuthorKey>,

    /// Only listed authors may write, even if none is listed
    #[arg(long, value_name = "BOOL", default_value_t = usual().allow_only)]
    #[arg(action = clap::ArgAction::Set)]
    allow_only: bool,

    /// Anybody may write to a listed author
    #[arg(long, value_name = "BOOL", default_value_t = usual().allow_tagged)]
    #[arg(action = clap::ArgAction::Set)]
    allow_tagged: bool,

    /// Kinds that anybody may write
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[arg(default_values_t = usual().open_kinds.into_iter().map(Count))]
    open_kinds: Vec<Count<u16>>,

    /// Keys that may read; none: all
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    allow_readers: Vec<AuthorKey>,

    /// Keys that may manage the relay over HTTP, as npub, hex, or a file of keys
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    administrators: Vec<KeyEntry>,

    /// Program that judges events by strfry's protocol
    #[arg(long, value_name = "COMMAND", default_value_t = OrOff(None))]
    plugin: OrOff<String>,

    /// Events that the plugin has at once
    #[arg(long, value_name = "N", default_value_t = Count(usual().plugin_in_flight_max))]
    plugin_in_flight: Count<usize>,

    /// How long an event may take in the plugin
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().plugin_timeout))]
    plugin_timeout: Span,

    /// Events that the plugin fails to judge
    #[arg(long, value_name = "POLICY", value_enum)]
    #[arg(default_value_t = usual().plugin_failure.into())]
    plugin_failure: Failure,

    /// Maximum filters of a request
    #[arg(long, value_name = "N", default_value_t = Count(usual().filters_max))]
    filters_max: Count<usize>,

    /// Maximum values in the filters of a request
    #[arg(long, value_name = "N", default_value_t = Count(usual().filter_values_max))]
    filter_values_max: Count<usize>,

    /// Maximum limit of a filter
    #[arg(long, value_name = "N", default_value_t = Count(usual().limit_max))]
    limit_max: Count<usize>,

    /// Limit of a filter without one
    #[arg(long, value_name = "N", default_value_t = Count(usual().limit_default))]
    limit_default: Count<usize>,

    /// Maximum stored events for one request
    #[arg(long, value_name = "N", default_value_t = Count(usual().req_events_max))]
    req_events_max: Count<usize>,

    /// Maximum index steps of one request
    #[arg(long, value_name = "N", default_value_t = Count(usual().scan_steps_max))]
    scan_steps_max: Count<usize>,

    /// Maximum time of one request
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().scan_time_max))]
    scan_time_max: Span,

    /// Maximum characters of a subscription id
    #[arg(long, value_name = "N", default_value_t = Count(usual().subscription_id_max))]
    subscription_id_max: Count<usize>,

    /// Maximum subscriptions of a connection
    #[arg(long, value_name = "N")]
    #[arg(default_value_t = Count(usual().subscriptions_per_connection_max))]
    subscriptions_per_connection_max: Count<usize>,

    /// Maximum subscriptions of the relay
    #[arg(long, value_name = "N", default_value_t = Count(usual().subscriptions_max))]
    subscriptions_max: Count<usize>,

    /// Maximum filter values of all subscriptions
    #[arg(long, value_name = "N", default_value_t = Count(usual().live_values_max))]
    live_values_max: Count<usize>,

    /// Scans of a connection at which reading pauses
    #[arg(long, value_name = "N", default_value_t = Count(usual().scans_per_connection_max))]
    scans_per_connection_max: Count<usize>,

    /// Maximum scans that wait for a thread
    #[arg(long, value_name = "N", default_value_t = Count(usual().scans_waiting_max))]
    scans_waiting_max: Count<usize>,

    /// Maximum memory of requests that wait for their connections to read
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().scan_bytes_max))]
    scan_bytes_max: Size,

    /// Filters without ids, authors and tags
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().broad_filters.into())]
    broad_filters: Broad,

    /// Unknown members of filters
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Unknown::Refuse)]
    unknown_members: Unknown,

    /// Maximum index steps of an exact COUNT
    #[arg(long, value_name = "N", default_value_t = Count(usual().count_max))]
    count_max: Count<usize>,

    /// Newest matches that a search examines; 0: no search
    #[arg(long, value_name = "N", default_value_t = Count(usual().search_events_max))]
    search_events_max: Count<usize>,

    /// Maximum events of a negentropy session; 0: no negentropy
    #[arg(long, value_name = "N", default_value_t = Count(usual().neg_items_max))]
    neg_items_max: Count<usize>,

    /// Kinds that only their author and recipients get
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[arg(default_values_t = usual().restricted_kinds.into_iter().map(Count))]
    restricted_kinds: Vec<Count<u16>>,

    /// Say in EOSE whether there are more stored events
    #[arg(long, value_name = "BOOL", default_value_t = usual().eose_hint)]
    #[arg(action = clap::ArgAction::Set)]
    eose_hint: bool,

    /// The OK of an ephemeral event without a subscriber
    #[arg(long, value_name = "OK", value_enum, default_value_t = usual().mute.into())]
    mute: MuteOk,

    /// How long ephemeral events are offered to later requests
    #[arg(long, value_name = "TIME", default_value_t = OrOff(usual().ephemeral_keep.map(Span)))]
    ephemeral_keep: OrOff<Span>,

    /// Events of a connection without OK at which reading pauses
    #[arg(long, value_name = "N", default_value_t = Count(usual().events_in_flight_max))]
    events_in_flight_max: Count<usize>,

    /// Malformed messages in a row after which a connection is closed with 1008
    #[arg(long, value_name = "N", default_value_t = Count(usual().bad_messages_max))]
    bad_messages_max: Count<usize>,

    /// Time after which a connection is closed that has no subscription and sends no event
    #[arg(long, value_name = "TIME", default_value_t = OrOff(usual().idle_timeout.map(Span)))]
    unused_timeout: OrOff<Span>,

    /// Live events for connections that read too slowly
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().slow.into())]
    slow_readers: Slow,

    /// Rate of events of a connection
    #[arg(long, value_name = "RATE", default_value_t = OrOff(usual().events_rate))]
    events_rate: OrOff<Rate>,

    /// Rate of events of an address
    #[arg(long, value_name = "RATE", default_value_t = OrOff(usual().events_rate_per_address))]
    events_rate_per_address: OrOff<Rate>,

    /// Rate of events of an author
    #[arg(long, value_name = "RATE", default_value_t = OrOff(usual().events_rate_per_author))]
    events_rate_per_author: OrOff<Rate>,

    /// Rate of requests of a connection
    #[arg(long, value_name = "RATE", default_value_t = OrOff(usual().requests_rate))]
    requests_rate: OrOff<Rate>,

    /// Addresses without these rates
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    exempt: Vec<Prefix>,

    /// Authors and authenticated keys without these rates
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    exempt_keys: Vec<AuthorKey>,

    /// When an event is acknowledged
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = usual().sync.into())]
    sync: SyncWhen,

    /// Memory of the store's block cache
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().cache_bytes))]
    cache: Size,

    /// Free disk space below which events are refused
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().disk_free_min as usize))]
    disk_free_min: Size,

    /// Events that are removed at an age, as in "90d kinds 1,7"
    #[arg(long, value_name = "RULE")]
    retention: Vec<Retention>,

    /// Maximum size of the stored events
    #[arg(long, value_name = "SIZE", default_value_t = OrOff(None))]
    store_max: OrOff<Size>,

    /// Threads that verify events
    #[arg(long, value_name = "N", default_value_t = OrAuto(None))]
    verify_threads: OrAuto<Count<usize>>,

    /// Threads that search the store
    #[arg(long, value_name = "N", default_value_t = OrAuto(None))]
    scan_threads: OrAuto<Count<usize>>,
}

/// Declares the names of an enum of the settings, and the conversions both ways.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident of $of:ident { $($(#[$doc:meta])* $value:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
        #[serde(rename_all = "lowercase")]
        enum $name {
            $($(#[$doc])* $value,)*
        }

        impl From<$of> for $name {
            fn from(value: $of) -> $name {
                match value {
                    $($of::$value => $name::$value,)*
                }
            }
        }

        impl From<$name> for $of {
            fn from(name: $name) -> $of {
                match name {
                    $($name::$value => $of::$value,)*
                }
            }
        }
    };
}

names! {
    /// The names of [`AuthPolicy`].
    Auth of AuthPolicy {
        /// No challenge is sent
        Off,
        /// For private kinds and protected events
        Offer,
        /// For events, too
        Write,
        /// For requests, too
        Read,
        /// For events and requests
        All,
    }
}

names! {
    /// The names of [`BroadFilters`].
    Broad of BroadFilters {
        /// They are accepted
        Allow,
        /// They need a limit of at most 100, or a range of at most two hours
        Limited,
        /// They are refused
        Refuse,
    }
}

names! {
    /// The names of [`PluginFailure`].
    Failure of PluginFailure {
        /// They are refused
        Refuse,
        /// They are accepted
        Accept,
    }
}

names! {
    /// The names of [`Mute`].
    MuteOk of Mute {
        /// OK true with mute:
        True,
        /// OK false with mute:
        False,
        /// OK true
        Off,
    }
}

names! {
    /// The names of [`SlowReaders`].
    Slow of SlowReaders {
        /// Close the connection with 1013
        Close,
        /// Drop the events
        Drop,
    }
}

names! {
    /// The names of [`Sync`].
    SyncWhen of Sync {
        /// When it is on disk
        Commit,
        /// When the system has it; on disk within 200 ms
        Interval,
    }
}

/// Whether unknown members of filters are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Unknown {
    /// The request is refused
    Refuse,
    /// They are ignored
    Ignore,
}

fn usual() -> RelaySettings {
    RelaySettings::new("relay".into())
}

impl From<&RelaySettings> for RelayOptions {
    fn from(relay: &RelaySettings) -> RelayOptions {
        let info = relay.info.clone();
        RelayOptions {
            urls: relay.urls.clone(),
            auth: relay.auth.into(),
            title: OrOff(info.name),
            description: OrOff(info.description),
            banner: OrOff(info.banner),
            icon: OrOff(info.icon),
            pubkey: OrOff(info.pubkey),
            contact: OrOff(info.contact),
            terms_of_service: OrOff(info.terms_of_service),
            privacy_policy: OrOff(info.privacy_policy),
            posting_policy: OrOff(info.posting_policy),
            event_max: Size(relay.event_bytes_max),
            tags_max: Count(relay.tags_max),
            tag_value_max: Size(relay.tag_value_bytes_max),
            content_max: OrOff(relay.content_chars_max.map(Count)),
            future_max: Span(relay.future_max),
            past_max: OrOff(relay.past_max.map(Span)),
            pow_min: Count(relay.pow_min),
            deny_kinds: relay.deny_kinds.clone(),
            allow_kinds: relay.allow_kinds.clone(),
            allow_authors: relay.allow_authors.clone(),
            deny_authors: relay.deny_authors.clone(),
            allow_only: relay.allow_only,
            allow_tagged: relay.allow_tagged,
            open_kinds: relay.open_kinds.iter().copied().map(Count).collect(),
            allow_readers: relay.allow_readers.clone(),
            administrators: relay.administrators.clone(),
            plugin: OrOff(relay.plugin.clone()),
            plugin_in_flight: Count(relay.plugin_in_flight_max),
            plugin_timeout: Span(relay.plugin_timeout),
            plugin_failure: relay.plugin_failure.into(),
            exempt: relay.exempt.clone(),
            exempt_keys: relay.exempt_keys.clone(),
            filters_max: Count(relay.filters_max),
            filter_values_max: Count(relay.filter_values_max),
            limit_max: Count(relay.limit_max),
            limit_default: Count(relay.limit_default),
            req_events_max: Count(relay.req_events_max),
            scan_steps_max: Count(relay.scan_steps_max),
            scan_time_max: Span(relay.scan_time_max),
            subscription_id_max: Count(relay.subscription_id_max),
            subscriptions_per_connection_max: Count(relay.subscriptions_per_connection_max),
            subscriptions_max: Count(relay.subscriptions_max),
            live_values_max: Count(relay.live_values_max),
            scans_per_connection_max: Count(relay.scans_per_connection_max),
            scans_waiting_max: Count(relay.scans_waiting_max),
            scan_bytes_max: Size(relay.scan_bytes_max),
            broad_filters: relay.broad_filters.into(),
            unknown_members: match relay.ignore_unknown_members {
                true => Unknown::Ignore,
                false => Unknown::Refuse,
            },
            count_max: Count(relay.count_max),
            search_events_max: Count(relay.search_events_max),
            neg_items_max: Count(relay.neg_items_max),
            restricted_kinds: relay.restricted_kinds.iter().copied().map(Count).collect(),
            eose_hint: relay.eose_hint,
            mute: relay.mute.into(),
            ephemeral_keep: OrOff(relay.ephemeral_keep.map(Span)),
            events_in_flight_max: Count(relay.events_in_flight_max),
            bad_messages_max: Count(relay.bad_messages_max),
            unused_timeout: OrOff(relay.idle_timeout.map(Span)),
            slow_readers: relay.slow.into(),
            events_rate: OrOff(relay.events_rate),
            events_rate_per_address: OrOff(relay.events_rate_per_address),
            events_rate_per_author: OrOff(relay.events_rate_per_author),
            requests_rate: OrOff(relay.requests_rate),
            sync: relay.sync.into(),
            cache: Size(relay.cache_bytes),
            disk_free_min: Size(relay.disk_free_min as usize),
            retention: relay.retention.iter().cloned().map(Retention).collect(),
            store_max: OrOff(relay.store_bytes_max.map(|bytes| Size(bytes as usize))),
            verify_threads: OrAuto(relay.verify_threads.map(Count)),
            scan_threads: OrAuto(relay.scan_threads.map(Count)),
        }
    }
}

impl RelayOptions {
    /// The settings of the relay with these options.
    pub(in crate::config) fn settings(self, data_dir: FileName) -> RelaySettings {
        let info = RelayInfo::default()
            .name(self.title.0)
            .description(self.description.0)
            .banner(self.banner.0)
            .icon(self.icon.0)
            .pubkey(self.pubkey.0)
            .contact(self.contact.0)
            .terms_of_service(self.terms_of_service.0)
            .privacy_policy(self.privacy_policy.0)
            .posting_policy(self.posting_policy.0);
        RelaySettings::new(data_dir.0)
            .urls(self.urls)
            .auth(self.auth.into())
            .info(info)
            .event_bytes_max(self.event_max.0)
            .tags_max(self.tags_max.0)
            .tag_value_bytes_max(self.tag_value_max.0)
            .content_chars_max(self.content_max.0.map(|count| count.0))
            .future_max(self.future_max.0)
            .past_max(self.past_max.duration())
            .pow_min(self.pow_min.0)
            .deny_kinds(self.deny_kinds)
            .allow_kinds(self.allow_kinds)
            .allow_authors(self.allow_authors)
            .deny_authors(self.deny_authors)
            .allow_only(self.allow_only)
            .allow_tagged(self.allow_tagged)
            .open_kinds(self.open_kinds.into_iter().map(|kind| kind.0).collect())
            .allow_readers(self.allow_readers)
            .administrators(self.administrators)
            .plugin(self.plugin.0)
            .plugin_in_flight_max(self.plugin_in_flight.0)
            .plugin_timeout(self.plugin_timeout.0)
            .plugin_failure(self.plugin_failure.into())
            .exempt(self.exempt)
            .exempt_keys(self.exempt_keys)
            .filters_max(self.filters_max.0)
            .filter_values_max(self.filter_values_max.0)
            .limit_max(self.limit_max.0)
            .limit_default(self.limit_default.0)
            .req_events_max(self.req_events_max.0)
            .scan_steps_max(self.scan_steps_max.0)
            .scan_time_max(self.scan_time_max.0)
            .subscription_id_max(self.subscription_id_max.0)
            .subscriptions_per_connection_max(self.subscriptions_per_connection_max.0)
            .subscriptions_max(self.subscriptions_max.0)
            .live_values_max(self.live_values_max.0)
            .scans_per_connection_max(self.scans_per_connection_max.0)
            .scans_waiting_max(self.scans_waiting_max.0)
            .scan_bytes_max(self.scan_bytes_max.0)
            .broad_filters(self.broad_filters.into())
            .ignore_unknown_members(self.unknown_members == Unknown::Ignore)
            .count_max(self.count_max.0)
            .search_events_max(self.search_events_max.0)
            .neg_items_max(self.neg_items_max.0)
            .restricted_kinds(self.restricted_kinds.into_iter().map(|kind| kind.0).collect())
            .eose_hint(self.eose_hint)
            .mute(self.mute.into())
            .ephemeral_keep(self.ephemeral_keep.duration())
            .events_in_flight_max(self.events_in_flight_max.0)
            .bad_messages_max(self.bad_messages_max.0)
            .idle_timeout(self.unused_timeout.duration())
            .slow(self.slow_readers.into())
            .events_rate(self.events_rate.0)
            .events_rate_per_address(self.events_rate_per_address.0)
            .events_rate_per_author(self.events_rate_per_author.0)
            .requests_rate(self.requests_rate.0)
            .sync(self.sync.into())
            .cache_bytes(self.cache.0)
            .disk_free_min(self.disk_free_min.0 as u64)
            .retention(self.retention.into_iter().map(|rule| rule.0).collect())
            .store_bytes_max(self.store_max.0.map(|size| size.0 as u64))
            .verify_threads(self.verify_threads.0.map(|count| count.0))
            .scan_threads(self.scan_threads.0.map(|count| count.0))
    }
}
