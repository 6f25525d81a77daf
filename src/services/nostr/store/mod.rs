//! The store of events, on fjall: tables, one writer, and readers that work in slices.
//!
//! [`open`] gives a [`Store`] for readers and its only [`Writer`]. A commit is one transaction; when it returns,
//! its events are on disk. Readers use snapshots, for one slice of work each, so that the writer can open the
//! database again after a disk error. Nothing here knows connections or the loop.

mod batch;
mod check;
mod collect;
mod commands;
mod count;
mod cursor;
mod deletion;
mod error;
mod hyperloglog;
mod index;
mod key;
mod lists;
mod merge;
mod meter;
mod outcome;
mod plan;
mod progress;
mod quota;
mod record;
mod reopen;
mod retention;
mod room;
mod rules;
mod scan;
mod search;
mod settings;
mod shared;
mod stepwise;
mod sweep;
mod tables;
mod vanish;
mod visibility;
mod writer;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, check};
pub use collect::{Collect, CollectLimits, Collected};
pub use commands::{Delete, Export, Stat};
pub use count::{Count, CountLimits, Counted};
pub use deletion::batch_weight;
pub use error::{OpenError, StoreError};
pub use hyperloglog::REGISTERS;
pub use index::INDEXED_TAGS_MAX;
pub use key::{Order, TIME_END};
pub use meter::Budget;
pub use outcome::{Committed, Outcome};
pub use quota::Completeness;
pub use record::Record;
pub use room::Allowed;
pub use scan::{End, Scan, ScanError, ScanLimits, Slice};
pub use settings::{DiskFree, RetentionRule, StoreSettings, Sync};
pub use shared::{Snapshot, Store, Totals, Vanishing};
pub use sweep::{SWEEP_STEPS, Swept};
pub use tables::{CACHED_FILES, Table};
pub use visibility::Visibility;
pub use writer::{Writer, open, open_existing};
