//! Writes the log to standard error without ever blocking, and counts lost lines.
//!
//! A line is lost if a pipe is full because its reader is slow, or if the write fails, for example
//! on a full disk or a closed pipe. The next line that can be written is preceded by one that
//! states how many lines were lost, and why.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write, stderr};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use log::{Level, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Number of lines lost since the process started.
static LINES_LOST: AtomicU64 = AtomicU64::new(0);
/// The error code of the last lost line.
static LAST_ERROR: AtomicI32 = AtomicI32::new(NOBODY_READ);
/// Instead of an error code: the pipe was full.
const NOBODY_READ: i32 = 0;
/// The prefix of the HTTP client's targets: ureq and ureq_proto.
const HTTP_CLIENT: &str = "ureq";

thread_local! {
    /// Whether this thread's last line could not be written. env_logger drops the error.
    static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// The number of lost lines, for [`observe`](crate::observe).
pub(crate) fn lines_lost() -> u64 {
    LINES_LOST.load(Ordering::Relaxed)
}

/// A logger that never blocks: the loop itself may log.
pub(super) struct Outlet {
    logger: env_logger::Logger,
    /// Targets that the filter names.
    named: Vec<String>,
    /// Lost lines that the log has reported.
    reported: AtomicU64,
}

impl Outlet {
    pub(super) fn new(logger: env_logger::Logger, named: Vec<String>) -> Outlet {
        Outlet { logger, named, reported: AtomicU64::new(0) }
    }

    /// Whether a line is a warning, or comes from weir or from a target that the filter names. Below a
    /// warning, lines of the HTTP client are never logged: they contain URLs, whose paths may contain a
    /// key.
    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        let is_below = |name: &str| metadata.target().starts_with(name);
        metadata.level() <= Level::Warn
            || is_below("weir")
            || !is_below(HTTP_CLIENT) && self.named.iter().any(|name| is_below(name))
    }

    /// Logs the number of lost lines, if there are any. Returns whether the log can be written to.
    fn report_lost(&self) -> bool {
        let lost = lines_lost();
        let before = self.reported.swap(lost, Ordering::Relaxed);
        if lost <= before {
            return true;
        }
        let missing = lost - before;
        let cause = match LAST_ERROR.load(Ordering::Relaxed) {
            NOBODY_READ => "standard error was not read".to_owned(),
            code => io::Error::from_raw_os_error(code).to_string(),
        };
        let mut record = Record::builder();
        record.level(Level::Warn).target(module_path!());
        let is_written =
            self.write(&record.args(format_args!("{missing} lines lost: {cause}")).build());
        if !is_written {
            self.reported.store(before, Ordering::Relaxed);
        }
        is_written
    }

    fn write(&self, record: &Record<'_>) -> bool {
        HAS_FAILED.set(false);
        self.logger.log(record);
        !HAS_FAILED.get()
    }
}

impl Log for Outlet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.is_wanted(metadata) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.is_wanted(record.metadata()) || !self.logger.matches(record) {
            return;
        }
        let is_written = has_room() && self.report_lost() && has_room() && self.write(record);
        if !is_written {
            LINES_LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// Whether stderr can take a line now. A writable pipe takes 4 KiB without blocking, and none of
/// our lines is longer. If poll fails, the write is tried: an error does not block.
fn has_room() -> bool {
    let stderr = stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let has_room = poll(&mut asked, Some(&Timespec::default())) != Ok(0);
    if !has_room {
        LAST_ERROR.store(NOBODY_READ, Ordering::Relaxed);
    }
    has_room
}

/// Standard error. Records failed writes.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    /// Part of the last line was written, without its end.
    is_torn: bool,
}

impl Stderr {
    fn write_line(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<()> {
        if self.is_torn {
            out.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => {
                    rest = &rest[len..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Write for Stderr {
    /// Accepts a whole line, whether or not it can be written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.write_line(line, &mut stderr().lock()) {
            LAST_ERROR.store(error.raw_os_error().unwrap_or(NOBODY_READ), Ordering::Relaxed);
            HAS_FAILED.set(true);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::LogFilter;

    /// A disk with room for this many bytes.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let len = bytes.len().min(self.room);
            self.room -= len;
            self.written.extend(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_partial_line_is_ended_before_the_next() {
        let mut disk = Disk { room: 9, written: Vec::new() };
        let mut stderr = Stderr::default();
        let mut write = |disk: &mut Disk, line: &str| stderr.write_line(line.as_bytes(), disk);
        assert!(write(&mut disk, "first\n").is_ok());
        assert!(write(&mut disk, "second\n").is_err());
        assert!(write(&mut disk, "third\n").is_err());
        disk.room = 100;
        assert!(write(&mut disk, "fourth\n").is_ok());
        assert!(write(&mut disk, "fifth\n").is_ok());
        assert_eq!(disk.written, b"first\nsec\nfourth\nfifth\n");
    }

    #[test]
    fn libraries_log_only_warnings_unless_the_filter_names_them() {
        let sees = |filter: &str, target: &str, level| {
            let filter: LogFilter = filter.parse().unwrap();
            let logger = env_logger::Builder::new().parse_filters(&filter.to_string()).build();
            let metadata = Metadata::builder().target(target).level(level).build();
            Outlet::new(logger, filter.targets()).enabled(&metadata)
        };
        assert!(sees("trace", "weir::reactor", Level::Trace));
        assert!(
            !sees("trace", "ureq::util", Level::Info) && sees("trace", "ureq::util", Level::Warn)
        );
        assert!(!sees("error", "ureq::util", Level::Warn));
        assert!(sees("info,rustls=trace", "rustls::client", Level::Trace));
        assert!(!sees("trace,mio=debug", "rustls::client", Level::Debug));
    }

    #[test]
    fn urls_of_the_http_client_are_not_logged_even_if_it_is_named() {
        let filter: LogFilter = "trace,ureq=trace,ureq_proto=trace".parse().unwrap();
        let logger = env_logger::Builder::new().parse_filters(&filter.to_string()).build();
        let outlet = Outlet::new(logger, filter.targets());
        let sees = |target: &str, level| {
            outlet.enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(!sees("ureq::run", Level::Debug) && !sees("ureq_proto::util", Level::Info));
        assert!(sees("ureq::run", Level::Warn));
    }
}
