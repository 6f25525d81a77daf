//! The commands on the store of a relay that does not run: import, export, deletion, check, numbers.
//!
//! [`OfflineStore`] has the store open, and locked. Arguments are parsed, and results printed, by the
//! binary. A running relay has the store to itself.

mod import;
mod lines;
mod offline;

use super::filter::{Filter, FilterLimits, UnknownMembers};
use super::refusal::Refusal;

pub use self::import::{ImportError, ImportReport};
pub use self::offline::{ExportError, OfflineStore, StoreStat};

/// Values of a filter on the command line: more than its arguments can have.
const FILTER_VALUES_MAX: usize = 1_000_000;

/// A filter that a command was given.
///
/// # Errors
/// The text is not a filter, or has members that a command cannot apply.
pub fn parse_filter(json: &str) -> Result<Filter, Refusal> {
    let limits = FilterLimits {
        values_max: FILTER_VALUES_MAX,
        limit_max: usize::MAX,
        unknown_members: UnknownMembers::Refuse,
        search: false,
    };
    Filter::parse(json, &limits)
}
