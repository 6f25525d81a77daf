//! Priorities of connections: which of them are refused, slowed down and closed first under load.
//!
//! A route sets the initial priority; a gate may change it, up to the route's `priority_max`. What
//! each load level does to a priority is in `parts/load.rs`.

use std::fmt;
use std::str::FromStr;

/// How important a connection is when the loop is overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Refused from the first load level on, and closed first.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Admitted at every load level, read without cuts, and never closed because of load.
    High,
    /// As [`High`](Priority::High); a name of its own for filters, metrics and gates.
    Critical,
}

impl Priority {
    /// All priorities, the lowest first.
    pub const ALL: [Priority; 4] =
        [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

    /// The name in settings, tokens and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }

    /// Whether load levels restrict nothing about it.
    pub(in crate::reactor) fn is_exempt(self) -> bool {
        self >= Priority::High
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorityError;

impl fmt::Display for PriorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected low, normal, high or critical")
    }
}

impl std::error::Error for PriorityError {}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Priority, PriorityError> {
        let named = Priority::ALL.into_iter().find(|priority| priority.name() == text);
        named.ok_or(PriorityError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_parse_from_their_names_and_are_ordered() {
        for priority in Priority::ALL {
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        assert!(Priority::ALL.is_sorted());
        for text in ["", "High", "urgent", " low"] {
            assert_eq!(text.parse::<Priority>(), Err(PriorityError), "{text:?}");
        }
    }
}
