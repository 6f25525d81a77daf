//! The file of an audit log: whole lines are appended, and a line that did not fit is removed again.
//!
//! It may also be a FIFO that another process reads. Only one process may write a regular file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes at the end of the file that must contain the last complete line.
const TAIL_BYTES: u64 = 64 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    is_regular: bool,
    /// The last line could not be removed: the next one starts with a line end.
    is_torn: bool,
}

impl LogFile {
    /// Opens the file, or creates one that only its owner can read.
    ///
    /// # Errors
    /// It cannot be opened, nobody reads the FIFO, or another process has locked the file.
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        let file = open_file(path)?;
        let is_regular = file.metadata()?.is_file();
        if is_regular {
            lock(&file)?;
        }
        Ok(LogFile { path: path.to_owned(), file, is_regular, is_torn: false })
    }

    /// Opens the path again, if it names another file now. Returns whether it does.
    ///
    /// # Errors
    /// As [`LogFile::open`]. The file stays open then.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let (old, path) = (self.file.metadata()?, &self.path);
        if let Ok(new) = path.metadata()
            && (new.dev(), new.ino()) == (old.dev(), old.ino())
        {
            return Ok(false);
        }
        *self = LogFile::open(&self.path.clone())?;
        Ok(true)
    }

    /// The last complete line of a regular file; `None` without one. An incomplete line after it,
    /// which a crash may have left, is removed.
    ///
    /// # Errors
    /// The file cannot be read or cut, or does not end in lines.
    pub(super) fn last_line(&mut self) -> io::Result<Option<String>> {
        if !self.is_regular {
            return Ok(None);
        }
        let len = self.file.metadata()?.len();
        let start = len.saturating_sub(TAIL_BYTES);
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if end == 0 && start > 0 {
            return Err(invalid("its last line is too long for an audit log"));
        }
        if end < tail.len() {
            self.file.set_len(start + end as u64)?;
            log::warn!("audit: an incomplete line of {} bytes removed", tail.len() - end);
        }
        let Some(line) = tail[..end].strip_suffix(b"\n") else {
            return Ok(None);
        };
        let begin = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = std::str::from_utf8(&line[begin..]);
        line.map(|line| Some(line.to_owned())).map_err(|_| invalid("its last line is not UTF-8"))
    }

    /// Appends a line, which ends in a line end.
    ///
    /// # Errors
    /// The line is not in the file, or only a part of it is.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write(b"\n").map_err(|(_, error)| error)?;
            self.is_torn = false;
        }
        self.write(line).map_err(|(written, error)| {
            self.is_torn = written > 0 && self.remove_end(written).is_err();
            error
        })
    }

    /// Writes all bytes. An error has the number of bytes written before it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(len) => written += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn remove_end(&mut self, bytes: usize) -> io::Result<()> {
        if !self.is_regular {
            return Err(ErrorKind::Unsupported.into());
        }
        let len = self.file.metadata()?.len();
        self.file.set_len(len.saturating_sub(bytes as u64))
    }
}

/// Opens without waiting for the reader of a FIFO; later writes wait for it.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes this file"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file that is removed when dropped.
    struct Path(PathBuf);

    impl Path {
        fn new(name: &str, content: &str) -> Path {
            let path =
                std::env::temp_dir().join(format!("weir-audit-{name}-{}", std::process::id()));
            fs::write(&path, content).unwrap();
            Path(path)
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_last_complete_line_is_read_and_an_incomplete_one_removed() {
        for (index, (content, last, left)) in [
            ("", None, ""),
            ("torn", None, ""),
            ("one\n", Some("one"), "one\n"),
            ("one\ntwo\nto", Some("two"), "one\ntwo\n"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = Path::new(&format!("last-{index}"), content);
            let mut file = LogFile::open(&path.0).unwrap();
            assert_eq!(file.last_line().unwrap().as_deref(), last);
            assert_eq!(fs::read_to_string(&path.0).unwrap(), left);
            file.append(b"next\n").unwrap();
            assert_eq!(fs::read_to_string(&path.0).unwrap(), format!("{left}next\n"));
        }
        let path = Path::new("last-long", &"x".repeat(TAIL_BYTES as usize + 1));
        assert!(LogFile::open(&path.0).unwrap().last_line().is_err());
    }

    #[test]
    fn only_one_process_writes_a_file() {
        let path = Path::new("lock", "");
        let mut first = LogFile::open(&path.0).unwrap();
        let error = LogFile::open(&path.0).unwrap_err();
        assert_eq!(error.to_string(), "another process writes this file");
        assert!(!first.reopen().unwrap(), "the file has not changed");
        fs::remove_file(&path.0).unwrap();
        assert!(first.reopen().unwrap());
        first.append(b"a\n").unwrap();
        assert_eq!(fs::read_to_string(&path.0).unwrap(), "a\n");
    }

    #[test]
    fn an_incomplete_line_of_a_pipe_is_ended_before_the_next() {
        let path = Path::new("torn", "");
        let mut file = LogFile::open(&path.0).unwrap();
        file.is_torn = true;
        file.append(b"a\n").unwrap();
        file.append(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&path.0).unwrap(), "\na\nb\n");
    }
}
