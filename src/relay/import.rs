//! `weir relay import`: progress on a terminal, the result, and the lines that were refused.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use weir::services::nostr::commands::{ImportReport, OfflineStore};

use super::opening::{CommandError, Place, StoreArguments, failed, print, report, unopened};

/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Stores the events of standard input.
pub(super) fn import(arguments: &StoreArguments, place: &Place) -> Result<(), CommandError> {
    let settings = arguments.settings(place)?;
    let opened = OfflineStore::open_or_create(settings, Some(place.disk_free));
    let mut store = opened.map_err(unopened)?;
    let mut result = ImportReport::default();
    let mut progress = Progress::new();
    let imported = store.import(io::stdin(), &mut result, &mut |report| progress.show(report));
    let ImportReport { lines, stored, duplicates, superseded, deleted, refused, described } =
        result;
    for (line, why) in &described {
        report(format_args!("line {line}: {why}"));
    }
    if refused > described.len() as u64 {
        report(format_args!("{} further lines were refused", refused - described.len() as u64));
    }
    print(format_args!(
        "{lines} lines: {stored} stored, {duplicates} duplicates, {superseded} superseded, \
         {deleted} deleted before, {refused} refused\n"
    ))?;
    imported.map_err(failed)?;
    if lines > 0 && refused == lines {
        return Err(failed("no line has an event that can be stored"));
    }
    Ok(())
}

/// A line per second on standard error, if that is a terminal.
struct Progress {
    is_shown: bool,
    start: Instant,
    next: Instant,
}

impl Progress {
    fn new() -> Progress {
        let start = Instant::now();
        Progress { is_shown: io::stderr().is_terminal(), start, next: start + PROGRESS_INTERVAL }
    }

    fn show(&mut self, result: &ImportReport) {
        let now = Instant::now();
        if !self.is_shown || now < self.next {
            return;
        }
        self.next = now + PROGRESS_INTERVAL;
        let ImportReport { lines, stored, refused, .. } = result;
        let rate = *lines as f64 / (now - self.start).as_secs_f64();
        report(format_args!(
            "{lines} lines: {stored} stored, {refused} refused, {rate:.0} lines/s"
        ));
    }
}
