//! Limits on the events of clients, and on their rates.

use clap::Args;
use serde::Serialize;
use weir::reactor::settings::{Prefix, Rate};
use weir::services::nostr::keys::KeyEntry;
use weir::services::nostr::settings::RelaySettings;

use super::names::MuteOk;
use super::usual::usual;
use crate::config::values::{Count, OrOff, Size, Span, texts};

/// Limits on events, and on the rates of clients.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct EventOptions {
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

    /// The OK of an ephemeral event without a subscriber
    #[arg(long, value_name = "OK", value_enum, default_value_t = usual().mute.into())]
    mute: MuteOk,

    /// How long ephemeral events are offered to later requests
    #[arg(long, value_name = "TIME", default_value_t = OrOff(usual().ephemeral_keep.map(Span)))]
    ephemeral_keep: OrOff<Span>,

    /// Events of a connection without OK at which reading pauses
    #[arg(long, value_name = "N", default_value_t = Count(usual().events_in_flight_max))]
    events_in_flight_max: Count<usize>,

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
    #[arg(long, value_name = "KEY_OR_FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    exempt_keys: Vec<KeyEntry>,

    /// Malformed messages in a row after which a connection is closed with 1008
    #[arg(long, value_name = "N", default_value_t = Count(usual().bad_messages_max))]
    bad_messages_max: Count<usize>,

    /// Time after which a connection is closed that has no subscription and sends no event
    #[arg(long, value_name = "TIME", default_value_t = OrOff(usual().idle_timeout.map(Span)))]
    unused_timeout: OrOff<Span>,
}

impl From<&RelaySettings> for EventOptions {
    fn from(relay: &RelaySettings) -> EventOptions {
        EventOptions {
            event_max: Size(relay.event_bytes_max),
            tags_max: Count(relay.tags_max),
            tag_value_max: Size(relay.tag_value_bytes_max),
            content_max: OrOff(relay.content_chars_max.map(Count)),
            future_max: Span(relay.future_max),
            past_max: OrOff(relay.past_max.map(Span)),
            pow_min: Count(relay.pow_min),
            mute: relay.mute.into(),
            ephemeral_keep: OrOff(relay.ephemeral_keep.map(Span)),
            events_in_flight_max: Count(relay.events_in_flight_max),
            events_rate: OrOff(relay.events_rate),
            events_rate_per_address: OrOff(relay.events_rate_per_address),
            events_rate_per_author: OrOff(relay.events_rate_per_author),
            requests_rate: OrOff(relay.requests_rate),
            exempt: relay.exempt.clone(),
            exempt_keys: relay.exempt_keys.clone(),
            bad_messages_max: Count(relay.bad_messages_max),
            unused_timeout: OrOff(relay.idle_timeout.map(Span)),
        }
    }
}

impl EventOptions {
    /// The settings with these options.
    pub(super) fn apply(self, relay: RelaySettings) -> RelaySettings {
        relay
            .event_bytes_max(self.event_max.0)
            .tags_max(self.tags_max.0)
            .tag_value_bytes_max(self.tag_value_max.0)
            .content_chars_max(self.content_max.0.map(|count| count.0))
            .future_max(self.future_max.0)
            .past_max(self.past_max.duration())
            .pow_min(self.pow_min.0)
            .mute(self.mute.into())
            .ephemeral_keep(self.ephemeral_keep.duration())
            .events_in_flight_max(self.events_in_flight_max.0)
            .events_rate(self.events_rate.0)
            .events_rate_per_address(self.events_rate_per_address.0)
            .events_rate_per_author(self.events_rate_per_author.0)
            .requests_rate(self.requests_rate.0)
            .exempt(self.exempt)
            .exempt_keys(self.exempt_keys)
            .bad_messages_max(self.bad_messages_max.0)
            .idle_timeout(self.unused_timeout.duration())
    }
}
