//! Who may write to a relay, read from it, and manage it.

use clap::Args;
use serde::Serialize;
use weir::services::nostr::keys::KeyEntry;
use weir::services::nostr::settings::{KindRange, RelaySettings};

use super::names::Failure;
use super::usual::usual;
use crate::config::values::{Count, OrOff, Span, texts};

/// Who may write, read and manage.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct PolicyOptions {
    /// Kinds that are refused, as in 1 or 30000-39999
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    deny_kinds: Vec<KindRange>,

    /// Kinds that are accepted; none: all
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    allow_kinds: Vec<KindRange>,

    /// Authors that may write, as npub, hex, or a file of keys; none: all
    #[arg(long, value_name = "KEY_OR_FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    allow_authors: Vec<KeyEntry>,

    /// Authors that may not write
    #[arg(long, value_name = "KEY_OR_FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    deny_authors: Vec<KeyEntry>,

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
    #[arg(long, value_name = "KEY_OR_FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    allow_readers: Vec<KeyEntry>,

    /// Keys that may manage the relay over HTTP, as npub, hex, or a file of keys
    #[arg(long, value_name = "KEY_OR_FILE", value_delimiter = ',')]
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

    /// Kinds that only their author and recipients get
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    #[arg(default_values_t = usual().restricted_kinds.into_iter().map(Count))]
    restricted_kinds: Vec<Count<u16>>,
}

impl From<&RelaySettings> for PolicyOptions {
    fn from(relay: &RelaySettings) -> PolicyOptions {
        PolicyOptions {
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
            restricted_kinds: relay.restricted_kinds.iter().copied().map(Count).collect(),
        }
    }
}

impl PolicyOptions {
    /// The settings with these options.
    pub(super) fn apply(self, relay: RelaySettings) -> RelaySettings {
        relay
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
            .restricted_kinds(self.restricted_kinds.into_iter().map(|kind| kind.0).collect())
    }
}
