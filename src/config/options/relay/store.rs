//! The store of a relay, and its threads.

use clap::Args;
use serde::Serialize;
use weir::services::nostr::settings::RelaySettings;

use super::names::SyncWhen;
use super::usual::usual;
use crate::config::options::retention::Retention;
use crate::config::values::{Count, OrAuto, OrOff, Size};

/// The store and the threads.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct StoreOptions {
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

impl From<&RelaySettings> for StoreOptions {
    fn from(relay: &RelaySettings) -> StoreOptions {
        StoreOptions {
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

impl StoreOptions {
    /// The settings with these options.
    pub(super) fn apply(self, relay: RelaySettings) -> RelaySettings {
        relay
            .sync(self.sync.into())
            .cache_bytes(self.cache.0)
            .disk_free_min(self.disk_free_min.0 as u64)
            .retention(self.retention.into_iter().map(|rule| rule.0).collect())
            .store_bytes_max(self.store_max.0.map(|size| size.0 as u64))
            .verify_threads(self.verify_threads.0.map(|count| count.0))
            .scan_threads(self.scan_threads.0.map(|count| count.0))
    }
}
