//! The log's way to standard error: it never waits for a reader, and counts the lines that are lost.
//!
//! A line is lost if a pipe has no room because its reader is slow, or if the write fails: the disk is
//! full, or the reader of a pipe has gone. The first line that can be written again is preceded by one
//! that tells how many are missing, and why.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write, stderr};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use log::{Level, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Lines that were lost since the process began.
static LINES_LOST: AtomicU64 = AtomicU64::new(0);
/// The system's error that lost the last of them.
static LAST_ERROR: AtomicI32 = AtomicI32::new(NOBODY_READ);
/// In place of an error: a pipe had no room.
const NOBODY_READ: i32 = 0;
/// What the targets of the HTTP client begin with: ureq and ureq_proto.
const HTTP_CLIENT: &str = "ureq";

thread_local! {
    /// Whether the last line of this thread could not be written. The logger drops the error.
    static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// How many lines were lost, for [`observe`](crate::observe).
pub(crate) fn lines_lost() -> u64 {
    LINES_LOST.load(Ordering::Relaxed)
}

/// A logger that waits for nobody: the loop itself may call it.
pub(super) struct Outlet {
    logger: env_logger::Logger,
    /// Targets that the filter names.
    named: Vec<String>,
    /// Lost lines that the log itself has reported.
    reported: AtomicU64,
}

impl Outlet {
    pub(super) fn new(logger: env_logger::Logger, named: Vec<String>) -> Outlet {
        Outlet { logger, named, reported: AtomicU64::new(0) }
    }

    /// Whether a line is of weir itself, a warning, or of a target that the filter names. Lines of the
    /// HTTP client below a warning are never logged: they hold URLs, whose paths may hold a key.
    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        let is_below = |name: &str| metadata.target().starts_with(name);
        metadata.level() <= Level::Warn
            || is_below("weir")
            || !is_below(HTTP_CLIENT) && self.named.iter().any(|name| is_below(name))
    }

    /// Logs how many lines are missing here, if any are. Whether the log can be written to.
    fn report_lost(&self) -> bool {
        let lost = lines_lost();
        let before = self.reported.swap(lost, Ordering::Relaxed);
        if lost <= before {
            return true;
        }
        let missing = lost - before;
        let cause = match LAST_ERROR.load(Ordering::Relaxed) {
            NOBODY_READ => "nobody read the log".to_owned(),
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

/// Whether stderr takes a line now. A pipe that says so takes 4 KiB without waiting, and none of ours is
/// longer. What cannot be asked is written to: an error is no wait.
fn has_room() -> bool {
    let stderr = stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let has_room = poll(&mut asked, Some(&Timespec::default())) != Ok(0);
    if !has_room {
        LAST_ERROR.store(NOBODY_READ, Ordering::Relaxed);
    }
    has_room
}

/// Standard error, which notes what could not be written.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    /// A part of the last line was written, and no end of line.
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
    /// Takes a whole line, whether it can be written or not.
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

    /// A disk with room for so many bytes.
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
    fn a_torn_line_is_ended_before_the_next() {
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
    fn lines_of_libraries_are_warnings_unless_named() {
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
