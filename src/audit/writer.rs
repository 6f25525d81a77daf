//! The thread that writes the log: it gives each event its sequence and its HMAC.
//!
//! An event that cannot be written is lost, like one that finds the channel full. A sequence is used
//! up only by a line in the file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use log::{error, info};
use serde::Deserialize;

use super::chain::{Key, Mac, START, add_mac, split_mac};
use super::entry::Entry;
use super::log_file::LogFile;
use super::shared::{Mail, Shared};

#[derive(Debug)]
pub(super) struct Writer {
    file: LogFile,
    key: Option<Key>,
    /// The HMAC of the last line.
    last: Mac,
    /// The sequence of the last line.
    sequence: u64,
    /// Lost events that a line has reported.
    reported: u64,
    /// The last line could not be written.
    is_failing: bool,
    shared: Arc<Shared>,
}

/// What a new line needs to know of the last one.
#[derive(Deserialize)]
struct LastLine {
    sequence: u64,
}

impl Writer {
    /// Opens the file; its last complete line continues the chain.
    ///
    /// # Errors
    /// The file cannot be used, or its last line is not of an audit log.
    pub(super) fn open(path: &Path, key: Option<Key>, shared: Arc<Shared>) -> io::Result<Writer> {
        let mut file = LogFile::open(path)?;
        let line = file.last_line()?;
        let (sequence, last) = match &line {
            None => (0, START),
            Some(line) => {
                let LastLine { sequence } = serde_json::from_str(line).map_err(|error| {
                    let why = format!("its last line is not one of an audit log: {error}");
                    io::Error::new(io::ErrorKind::InvalidData, why)
                })?;
                (sequence, split_mac(line.as_bytes()).map_or(START, |(_, mac)| mac))
            }
        };
        shared.sequence.store(sequence, Ordering::Relaxed);
        info!(file:% = path.display(), sequence = sequence; "audit log opened");
        Ok(Writer { file, key, last, sequence, reported: 0, is_failing: false, shared })
    }

    /// Writes until there is no sender left.
    pub(super) fn run(&mut self, mail: &Receiver<Mail>) {
        while let Ok(mail) = mail.recv() {
            if self.shared.reopens.swap(false, Ordering::Relaxed) {
                self.reopen();
            }
            match mail {
                Mail::Entry(entry) => self.write(&entry),
                Mail::Wake => {}
            }
        }
    }

    fn write(&mut self, entry: &Entry) {
        let (lost, sequence) = (self.shared.lost.load(Ordering::Relaxed), self.sequence + 1);
        let mut line = entry.to_json(sequence, lost - self.reported);
        let mac = self.key.as_ref().map(|key| key.mac(&self.last, line.as_bytes()));
        if let Some(mac) = &mac {
            add_mac(&mut line, mac);
        }
        line.push('\n');
        match self.file.append(line.as_bytes()) {
            Ok(()) => {
                self.last = mac.unwrap_or(START);
                (self.sequence, self.reported) = (sequence, lost);
                self.shared.sequence.store(sequence, Ordering::Relaxed);
                self.shared.written.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    info!(sequence = sequence; "audit log written again");
                }
            }
            Err(why) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    error!(sequence = self.sequence; "audit log not written: {why}");
                }
            }
        }
    }

    fn reopen(&mut self) {
        let sequence = self.sequence;
        match self.file.reopen() {
            Ok(true) => info!(sequence = sequence; "audit log opened again"),
            Ok(false) => {}
            Err(why) => error!(sequence = sequence; "audit log not opened again: {why}"),
        }
    }
}
