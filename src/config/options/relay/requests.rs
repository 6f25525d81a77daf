//! Limits on requests, subscriptions and scans of a relay.

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::services::nostr::settings::RelaySettings;

use super::names::{Broad, Slow};
use super::usual::usual;
use crate::config::values::{Count, Size, Span};

/// Whether unknown members of filters are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Unknown {
    /// The request is refused
    Refuse,
    /// They are ignored
    Ignore,
}

/// Limits on requests and subscriptions.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct RequestOptions {
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

    /// Time of one request from which it is logged
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().slow_scan))]
    slow_scan: Span,

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

    /// Say in EOSE whether there are more stored events
    #[arg(long, value_name = "BOOL", default_value_t = usual().eose_hint)]
    #[arg(action = clap::ArgAction::Set)]
    eose_hint: bool,

    /// Live events for connections that read too slowly
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().slow.into())]
    slow_readers: Slow,
}

impl From<&RelaySettings> for RequestOptions {
    fn from(relay: &RelaySettings) -> RequestOptions {
        RequestOptions {
            filters_max: Count(relay.filters_max),
            filter_values_max: Count(relay.filter_values_max),
            limit_max: Count(relay.limit_max),
            limit_default: Count(relay.limit_default),
            req_events_max: Count(relay.req_events_max),
            scan_steps_max: Count(relay.scan_steps_max),
            scan_time_max: Span(relay.scan_time_max),
            slow_scan: Span(relay.slow_scan),
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
            eose_hint: relay.eose_hint,
            slow_readers: relay.slow.into(),
        }
    }
}

impl RequestOptions {
    /// The settings with these options.
    pub(super) fn apply(self, relay: RelaySettings) -> RelaySettings {
        relay
            .filters_max(self.filters_max.0)
            .filter_values_max(self.filter_values_max.0)
            .limit_max(self.limit_max.0)
            .limit_default(self.limit_default.0)
            .req_events_max(self.req_events_max.0)
            .scan_steps_max(self.scan_steps_max.0)
            .scan_time_max(self.scan_time_max.0)
            .slow_scan(self.slow_scan.0)
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
            .eose_hint(self.eose_hint)
            .slow(self.slow_readers.into())
    }
}
