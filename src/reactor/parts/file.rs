//! Reads whole files that an operator names, without blocking on the wrong kind of file.
//!
//! Opening a FIFO blocks the thread, and a device may never end: only regular files are read, up to
//! a size limit.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Reads a regular file of at most `bytes_max` bytes. Symbolic links are followed.
///
/// # Errors
/// It cannot be opened or read, is not a regular file, or is larger.
pub fn read_regular_file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    check_type(fs::metadata(path)?.file_type())?;
    // The file may have been replaced since: without O_NONBLOCK, opening a FIFO waits for a writer.
    let mut options = OpenOptions::new();
    let file: File = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    check_type(file.metadata()?.file_type())?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let why = format!("larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

fn check_type(kind: FileType) -> io::Result<()> {
    let name = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let why = format!("{name}, not a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn error(path: &Path, bytes_max: usize) -> String {
        read_regular_file(path, bytes_max).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let directory = std::env::temp_dir().join(format!("weir-file-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (file, fifo) = (directory.join("file"), directory.join("fifo"));
        fs::write(&file, "12345").unwrap();
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let read = read_regular_file(&file, 5).unwrap();
        let (large, named_pipe, parent) = (error(&file, 4), error(&fifo, 5), error(&directory, 5));
        let (device, absent) = (error(Path::new("/dev/zero"), 5), error(&directory.join("x"), 5));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(read, b"12345");
        assert_eq!(large, "larger than 4 bytes");
        assert_eq!(named_pipe, "a FIFO, not a regular file");
        assert_eq!(parent, "a directory, not a regular file");
        assert_eq!(device, "a device, not a regular file");
        assert!(absent.contains("No such file"), "{absent}");
    }
}
