//! What the operator reads on stderr: the filter, the two formats, and the one place that installs
//! the logger.
//!
//! The loop never waits for who reads its log: a line for which there is no room is lost, and counted.
//! Reads no environment, not even `RUST_LOG`: the filter is a setting like any other.

use std::fmt;
use std::io::{Write as _, stderr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::nearest::nearest;

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) filter: LogFilter,
    pub(crate) format: LogFormat,
}

impl LogSettings {
    /// Installs the logger of the process. A second call changes nothing.
    pub(crate) fn install(&self) {
        let mut builder = env_logger::Builder::new();
        builder.parse_filters(&self.filter.0);
        if self.format == LogFormat::Json {
            builder.format(json);
        }
        let logger = builder.build();
        let most = logger.filter();
        // Fails only where a logger is installed already, and then that one goes on.
        if log::set_boxed_logger(Box::new(Unhurried::new(logger, self.filter.targets()))).is_ok() {
            log::set_max_level(most);
        }
    }
}

/// Lines that were lost since the process began, because nobody read those before.
static LINES_LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines were lost, for [`observe`](crate::observe).
pub(crate) fn lines_lost() -> u64 {
    LINES_LOST.load(Ordering::Relaxed)
}

/// A logger that waits for nobody: who calls it may be the loop.
struct Unhurried {
    logger: env_logger::Logger,
    /// Targets that the filter names.
    named: Vec<String>,
    /// Lines lost that the log itself has told of.
    told: AtomicU64,
}

impl Unhurried {
    fn new(logger: env_logger::Logger, named: Vec<String>) -> Unhurried {
        Unhurried { logger, named, told: AtomicU64::new(0) }
    }

    /// Whether a line is of weir itself, a warning, or of a target that the filter names: ureq, for
    /// one, logs whole URLs at trace, and their paths may hold a key.
    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        let is_below = |name: &str| metadata.target().starts_with(name);
        metadata.level() <= Level::Warn
            || is_below("weir")
            || self.named.iter().any(|name| is_below(name))
    }

    /// Tells how many lines are missing here, if any are.
    fn tell_lost(&self) {
        let lost = lines_lost();
        let before = self.told.swap(lost, Ordering::Relaxed);
        if lost > before {
            let mut record = Record::builder();
            record.level(Level::Warn).target(module_path!());
            let missing = lost - before;
            self.logger.log(
                &record.args(format_args!("{missing} lines lost: nobody read the log")).build(),
            );
        }
    }
}

impl Log for Unhurried {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.is_wanted(metadata) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.is_wanted(record.metadata()) || !self.logger.matches(record) {
            return;
        }
        if has_room() {
            self.tell_lost();
        }
        if has_room() {
            self.logger.log(record);
        } else {
            LINES_LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// Whether stderr takes a line now. A pipe that says so takes 4 KiB without waiting, and none of ours is
/// longer. What cannot be asked is written to: an error is no wait.
fn has_room() -> bool {
    let stderr = stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec::default())) != Ok(0)
}

/// Levels by target: `info`, or `warn,weir=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LogFilter(String);

impl LogFilter {
    /// The targets that have a level of their own.
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

    /// Stricter than the logger, which takes a misspelt level for the name of a target.
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
    format!(r#""{level}" is no level: expected one of {}{hint}"#, levels.join(", "))
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line: ts, level, target, message
    Json,
}

/// The fields of a JSON line, in this order.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    level: &'static str,
    target: &'a str,
    message: &'a fmt::Arguments<'a>,
}

fn json(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let line = Line {
        ts: out.timestamp_millis().to_string(),
        level: record.level().as_str(),
        target: record.target(),
        message: record.args(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use env_logger::Target;

    use super::*;

    #[test]
    fn filters_are_levels_by_target() {
        for text in ["info", "off", "warn,weir=debug", "weir::reactor=trace", "DEBUG"] {
            assert_eq!(text.parse::<LogFilter>().unwrap().to_string(), text);
        }
        for text in ["", "weir", "weir=", "info,", "verbose"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
        let error = "weir=wran".parse::<LogFilter>().unwrap_err();
        assert!(error.contains(r#"(did you mean "warn"?)"#), "{error}");
    }

    /// A sink that the logger writes to and the test reads.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_are_escaped() {
        let sink = Sink::default();
        let logger = env_logger::Builder::new()
            .filter_level(LevelFilter::Info)
            .format(json)
            .target(Target::Pipe(Box::new(sink.clone())))
            .build();
        let log = |message: fmt::Arguments<'_>| {
            let mut record = Record::builder();
            record.level(log::Level::Warn).target("weir::x").args(message);
            logger.log(&record.build());
        };
        log(format_args!("a \"b\"\n{}", 1));
        log(format_args!("c"));

        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "weir::x");
        assert_eq!(line["message"], "a \"b\"\n1");
        assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn lines_of_libraries_are_warnings_unless_named() {
        let sees = |filter: &str, target: &str, level| {
            let filter: LogFilter = filter.parse().unwrap();
            let logger = env_logger::Builder::new().parse_filters(&filter.0).build();
            let metadata = Metadata::builder().target(target).level(level).build();
            Unhurried::new(logger, filter.targets()).enabled(&metadata)
        };
        assert!(sees("trace", "weir::reactor", Level::Trace));
        assert!(
            !sees("trace", "ureq::util", Level::Info) && sees("trace", "ureq::util", Level::Warn)
        );
        assert!(!sees("error", "ureq::util", Level::Warn));
        assert!(sees("info,ureq=trace", "ureq::util", Level::Trace));
        assert!(!sees("trace,mio=debug", "ureq::util", Level::Debug));
    }
}
