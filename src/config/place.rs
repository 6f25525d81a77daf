//! Where a setting was written: errors begin with its place.

use std::fmt;

/// Where a key was written.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Line {
        file: String,
        line: usize,
    },
    Environment,
    CommandLine,
    /// No source of the operator's: a built-in route.
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(f, "{file}:{line}"),
            Place::Environment => f.write_str("environment"),
            Place::CommandLine => f.write_str("command line"),
            Place::BuiltIn => f.write_str("built-in route"),
        }
    }
}

impl Place {
    /// The key in the notation of this place.
    pub(super) fn name(&self, key: &str) -> String {
        match self {
            Place::Environment => format!("WEIR_{}", key.to_ascii_uppercase()),
            Place::CommandLine => format!("--{}", key.replace('_', "-")),
            Place::Line { .. } | Place::BuiltIn => key.to_owned(),
        }
    }
}
