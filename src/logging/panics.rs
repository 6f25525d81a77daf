//! Logs panics with their message and place, like any other log line.
//!
//! The standard library's hook writes to stderr and blocks, which could stall the loop. Panics per
//! second are limited, so that a service that panics on a peer's messages cannot flood the log.

use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum number of panics logged per second.
const LINES_PER_SECOND: u32 = 10;

/// Counts lines logged in the current second, and lines suppressed since the last logged one.
struct Lines {
    since: Option<Instant>,
    logged: u32,
    held_back: u64,
}

static LINES: Mutex<Lines> = Mutex::new(Lines { since: None, logged: 0, held_back: 0 });

impl Lines {
    /// Whether this line may be logged: if so, the number of suppressed lines before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_new = self.since.is_none_or(|since| now - since >= Duration::from_secs(1));
        if is_new {
            self.since = Some(now);
            self.logged = 0;
        }
        if self.logged == LINES_PER_SECOND {
            self.held_back += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

/// Installs the panic hook.
pub(super) fn install() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let held_back = LINES.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    let Some(held_back) = held_back else {
        return;
    };
    if held_back > 0 {
        log::error!(more = held_back; "panicked: {held_back} lines suppressed");
    }
    let thread = thread::current();
    let place = info.location().map(ToString::to_string);
    // `payload_as_str` needs Rust 1.91, a release more than the dependencies do.
    let payload = info.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    let message = literal.or(formatted).unwrap_or("no message");
    log::error!(
        thread = thread.name(), place = place.as_deref();
        "panicked: {message}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_panics_per_second_are_logged_and_others_are_counted() {
        let mut lines = Lines { since: None, logged: 0, held_back: 0 };
        let now = Instant::now();
        let logged = (0..100).filter(|_| lines.take(now).is_some()).count();
        assert_eq!(logged, 10);
        assert_eq!(lines.take(now + Duration::from_secs(1)), Some(90));
        assert_eq!(lines.take(now + Duration::from_secs(1)), Some(0));
    }
}
