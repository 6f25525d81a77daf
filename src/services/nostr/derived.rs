//! The settings of the relay's parts, from those of the relay.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use super::client::Client;
use super::filter::{FilterLimits, UnknownMembers};
use super::keys::{self, KeyEntry};
use super::live::LiveLimits;
use super::message::MessageLimits;
use super::negentropy::NegentropyLimits;
use super::parse::EventLimits;
use super::plugin::PluginSettings;
use super::policy::ListSettings;
use super::rates::RateLimits;
use super::relay_names::RelayNames;
use super::settings::RelaySettings;
use super::store::{CollectLimits, CountLimits, DiskFree, ScanLimits, StoreSettings, Visibility};
use super::subscription::SubscriptionLimits;
use super::tags::PublicKey;
use super::verify::VerifySettings;

/// Threads of a relay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Threads {
    pub(super) verify: usize,
    pub(super) scan: usize,
}

impl RelaySettings {
    pub(super) fn messages(&self) -> MessageLimits {
        MessageLimits {
            subscription_id_max_chars: self.subscription_id_max,
            filters_max: self.filters_max,
            filter: FilterLimits {
                values_max: self.filter_values_max,
                limit_max: self.limit_max,
                unknown_members: match self.ignore_unknown_members {
                    true => UnknownMembers::Ignore,
                    false => UnknownMembers::Refuse,
                },
                search: self.search_events_max > 0,
            },
        }
    }

    /// `names` are those of the relay, for requests to vanish and AUTHs.
    pub(super) fn verify(&self, names: RelayNames) -> VerifySettings {
        VerifySettings {
            limits: EventLimits {
                event_max_bytes: self.event_bytes_max,
                tags_max: self.tags_max,
                tag_value_max_bytes: self.tag_value_bytes_max,
                content_max_chars: self.content_chars_max,
            },
            denied_kinds: self.deny_kinds.iter().map(|range| range.kinds()).collect(),
            future_max_seconds: self.future_max.as_secs(),
            past_max_seconds: self.past_max.map(|past| past.as_secs()),
            pow_min_bits: self.pow_min.into(),
            names,
        }
    }

    pub(super) fn subscriptions(&self) -> SubscriptionLimits {
        SubscriptionLimits {
            live: LiveLimits {
                subscriptions_max: self.subscriptions_max,
                values_max: self.live_values_max,
            },
            per_connection_max: self.subscriptions_per_connection_max,
            ephemeral_keep: self.ephemeral_keep,
        }
    }

    pub(super) fn store(&self, disk_free: Option<DiskFree>) -> StoreSettings {
        StoreSettings {
            sync: self.sync,
            retention: self.retention.clone(),
            store_max: self.store_bytes_max,
            disk_free_min: self.disk_free_min,
            disk_free,
            ..StoreSettings::default()
        }
    }

    /// Reads the files of keys.
    ///
    /// # Errors
    /// A file cannot be read or has a malformed line: one line that names the setting and the file.
    pub(super) fn lists(&self) -> Result<ListSettings, String> {
        Ok(ListSettings {
            allow_authors: keys_of("allow_authors", &self.allow_authors)?,
            deny_authors: keys_of("deny_authors", &self.deny_authors)?,
            allow_kinds: self.allow_kinds.iter().map(|range| range.kinds()).collect(),
            deny_kinds: self.deny_kinds.iter().map(|range| range.kinds()).collect(),
            // A file that has become empty does not open the relay.
            allow_only: self.allow_only || !self.allow_authors.is_empty(),
            allow_tagged: self.allow_tagged,
            open_kinds: self.open_kinds.clone(),
            allow_readers: keys_of("allow_readers", &self.allow_readers)?,
            readers_only: !self.allow_readers.is_empty(),
            administrators: keys_of("administrators", &self.administrators)?,
        })
    }

    /// Reads the files of keys without rates.
    ///
    /// # Errors
    /// As [`RelaySettings::lists`].
    pub(super) fn rates(&self) -> Result<RateLimits, String> {
        Ok(RateLimits {
            events: self.events_rate,
            events_per_address: self.events_rate_per_address,
            events_per_author: self.events_rate_per_author,
            requests: self.requests_rate,
            exempt_addresses: self.exempt.clone(),
            exempt_keys: keys_of("exempt_keys", &self.exempt_keys)?,
        })
    }

    /// The plugin, if there is one.
    pub(super) fn plugin_settings(&self) -> Option<PluginSettings> {
        let mut plugin = PluginSettings::new(self.plugin.clone()?);
        plugin.in_flight_max = self.plugin_in_flight_max;
        plugin.timeout = self.plugin_timeout;
        plugin.failure = self.plugin_failure;
        Some(plugin)
    }

    pub(super) fn scan_limits(&self) -> ScanLimits {
        ScanLimits {
            limit_default: self.limit_default,
            limit_max: self.limit_max,
            req_events_max: self.req_events_max,
            scan_steps_max: self.scan_steps_max,
            scan_time_max: self.scan_time_max,
            search_events_max: self.search_events_max,
        }
    }

    pub(super) fn negentropy(&self) -> NegentropyLimits {
        NegentropyLimits { items_max: self.neg_items_max, ..NegentropyLimits::default() }
    }

    pub(super) fn collect_limits(&self) -> CollectLimits {
        CollectLimits {
            scan_steps_max: self.scan_steps_max,
            scan_time_max: self.scan_time_max,
            ..CollectLimits::items(self.neg_items_max)
        }
    }

    pub(super) fn count_limits(&self) -> CountLimits {
        CountLimits {
            count_max: self.count_max,
            scan_time_max: self.scan_time_max,
            ..CountLimits::default()
        }
    }

    pub(super) fn threads(&self) -> Threads {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let others = cores.saturating_sub(1).max(1);
        Threads {
            verify: self.verify_threads.unwrap_or(others),
            scan: self.scan_threads.unwrap_or(others),
        }
    }

    /// The restricted kinds, sorted; none if everything is served to everybody.
    pub(super) fn guarded_kinds(&self) -> Arc<[u16]> {
        let mut kinds = if self.guards() { self.restricted_kinds.clone() } else { Vec::new() };
        kinds.sort_unstable();
        kinds.into()
    }
}

fn keys_of(setting: &str, entries: &[KeyEntry]) -> Result<Vec<PublicKey>, String> {
    keys::load(entries).map_err(|why| format!("{setting}: {why}"))
}

/// What a connection may see of the store.
pub(super) fn visibility(client: Option<&Client>, restricted: &Arc<[u16]>) -> Visibility {
    let keys = client.map_or(Vec::new(), |client| client.keys().to_vec());
    Visibility { keys, restricted: Arc::clone(restricted) }
}
