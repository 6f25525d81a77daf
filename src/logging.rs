//! The log on stderr: its filter, its format, and the installation of the logger.
//!
//! [`outlet`] writes without blocking and counts lost lines, [`format`](mod@format) writes the
//! fields of a line, [`panics`] logs panics. No environment variable is read, not even `RUST_LOG`:
//! the filter is a setting like any other.

mod format;
mod outlet;
mod panics;

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use env_logger::{Target, WriteStyle};
use log::LevelFilter;
use serde::Serialize;

use self::outlet::{Outlet, Stderr};
use crate::nearest::nearest;

pub(crate) use self::outlet::lines_lost;

/// Filter and format of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) filter: LogFilter,
    pub(crate) format: LogFormat,
}

impl LogSettings {
    /// Installs the logger of the process. Further calls have no effect.
    pub(crate) fn install(&self) {
        let mut builder = env_logger::Builder::new();
        builder.parse_filters(&self.filter.0);
        match self.format {
            LogFormat::Text => builder.format_key_values(format::text_fields),
            LogFormat::Json => builder.format(format::json),
        };
        builder.write_style(WriteStyle::from(anstream::AutoStream::choice(&std::io::stderr())));
        builder.target(Target::Pipe(Box::new(Stderr::default())));
        let logger = builder.build();
        let most = logger.filter();
        // Fails only if a logger is already installed; that one stays.
        if log::set_boxed_logger(Box::new(Outlet::new(logger, self.filter.targets()))).is_ok() {
            log::set_max_level(most);
            panics::install();
        }
    }
}

/// Levels by target: `info`, or `warn,weir=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LogFilter(String);

impl LogFilter {
    /// The targets that the filter names.
    fn targets(&self) -> Vec<String> {
        let named = self.0.split(',').filter_map(|directive| directive.split_once('='));
        named.map(|(target, _)| target.trim().to_owned()).collect()
    }
}

impl Default for LogFilter {
    fn default() -> LogFilter {
        LogFilter("info".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    /// Stricter than env_logger, which parses a misspelt level as a target's name.
    fn from_str(text: &str) -> Result<LogFilter, String> {
        let text = text.trim();
        for directive in text.split(',') {
            let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
            if level.parse::<LevelFilter>().is_err() {
                let levels = LevelFilter::iter().map(|level| level.as_str().to_ascii_lowercase());
                return Err(unknown_level(level, levels.collect()));
            }
        }
        Ok(LogFilter(text.to_owned()))
    }
}

fn unknown_level(level: &str, levels: Vec<String>) -> String {
    let nearest = nearest(level, levels.iter().map(String::as_str));
    let hint = nearest.map_or(String::new(), |nearest| format!(r#" (did you mean "{nearest}"?)"#));
    format!(r#"unknown level "{level}": expected one of {}{hint}"#, levels.join(", "))
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Readable text
    #[default]
    Text,
    /// One JSON object per line: ts, level, target, message, and the fields of the event
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_a_level_for_each_target() {
        for text in ["info", "off", "warn,weir=debug", "weir::reactor=trace", "DEBUG"] {
            assert_eq!(text.parse::<LogFilter>().unwrap().to_string(), text);
        }
        for text in ["", "weir", "weir=", "info,", "verbose"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
        let error = "weir=wran".parse::<LogFilter>().unwrap_err();
        assert!(error.contains(r#"(did you mean "warn"?)"#), "{error}");
    }
}
