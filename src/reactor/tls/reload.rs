//! New certificates for a server that runs: a thread looks at the files, and the loop swaps a pointer.
//!
//! Reading and checking block, on a slow disk for long, so the loop does neither. The times of the files
//! are compared rather than the kernel asked to tell: that works on every file system, follows the
//! symbolic links by which certificates are mostly replaced, and costs a few system calls each time.
//! What was refused once is tried again when a file changes, not before.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;

use log::error;
use rustls::ServerConfig;

use super::certificates::{Loaded, Resumption, load};
use super::error::TlsError;
use crate::reactor::mailbox::Alarm;
use crate::reactor::settings::{ClientCertificates, TlsSettings};

/// What the thread made of the files.
pub(super) type Reloaded = Result<Arc<ServerConfig>, TlsError>;

/// The loop's end: it orders and gets configurations. Dropped, it ends the thread.
#[derive(Debug)]
pub(super) struct Reloader {
    orders: SyncSender<()>,
    reloaded: Receiver<Reloaded>,
}

impl Reloader {
    /// Loads what `settings` name, and watches it.
    ///
    /// # Errors
    /// It cannot be loaded, or there is no thread to be had.
    pub(super) fn start(
        settings: TlsSettings,
        alarm: Alarm,
    ) -> Result<(Reloader, Loaded), TlsError> {
        let resumption = Resumption::new()?;
        // In this order: what changes while it is read is seen to have changed.
        let stamps = stamps(&settings);
        let loaded = load(&settings, &resumption)?;
        // One order that waits is as good as many.
        let (orders, ordered) = sync_channel(1);
        let (tell, reloaded) = sync_channel(1);
        let watch = Watch { settings, resumption, stamps, ordered, tell, alarm };
        thread::Builder::new()
            .name("weir-certificates".to_owned())
            .spawn(move || watch.run())
            .map_err(TlsError::Thread)?;
        Ok((Reloader { orders, reloaded }, loaded))
    }

    /// Has the files read anew, whether they have changed or not.
    pub(super) fn order(&self) {
        if let Err(TrySendError::Disconnected(())) = self.orders.try_send(()) {
            error!("the thread that reads certificates has ended");
        }
    }

    /// What has been reloaded since this was last asked.
    pub(super) fn next(&self) -> Option<Reloaded> {
        self.reloaded.try_recv().ok()
    }
}

/// The thread's end.
struct Watch {
    settings: TlsSettings,
    resumption: Resumption,
    stamps: Vec<Stamp>,
    ordered: Receiver<()>,
    tell: SyncSender<Reloaded>,
    alarm: Alarm,
}

impl Watch {
    fn run(mut self) {
        while let Some(is_ordered) = self.wait() {
            let stamps = stamps(&self.settings);
            if !is_ordered && stamps == self.stamps {
                continue;
            }
            self.stamps = stamps;
            let result = read(|| load(&self.settings, &self.resumption));
            if self.tell.send(result).is_err() {
                return;
            }
            self.alarm.ring();
        }
    }

    /// Whether it was an order that ended the wait; `None` if the loop is gone.
    fn wait(&self) -> Option<bool> {
        match self.settings.watch {
            None => self.ordered.recv().ok().map(|()| true),
            Some(interval) => match self.ordered.recv_timeout(interval) {
                Ok(()) => Some(true),
                Err(RecvTimeoutError::Timeout) => Some(false),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        }
    }
}

/// Reads the files. A panic in a parser costs this one reload, and not all that follow.
fn read(load: impl FnOnce() -> Result<Loaded, TlsError>) -> Reloaded {
    let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or(Err(TlsError::Panicked));
    loaded.and_then(timely)
}

/// A server that runs does not give a certificate up for one that nobody accepts.
fn timely(loaded: Loaded) -> Reloaded {
    match loaded.untimely {
        Some(error) => Err(error),
        None => Ok(loaded.config),
    }
}

/// What tells that a file is another than it was: place, size and time of change; `None` while there is
/// no such file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps(settings: &TlsSettings) -> Vec<Stamp> {
    let pairs = settings.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
    let clients = match &settings.clients {
        ClientCertificates::Off => None,
        ClientCertificates::Wanted(path) | ClientCertificates::Required(path) => Some(path),
    };
    pairs.chain(clients).map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;

    #[test]
    fn a_panic_while_files_are_read_is_an_error() {
        let result = read(|| resume_unwind(Box::new("on purpose")));
        assert!(matches!(result, Err(TlsError::Panicked)), "{result:?}");
    }
}
