//! Reloads certificates of a running server: a thread watches the files, the loop swaps a pointer.
//!
//! Reading and checking block, for long on a slow disk, so the loop does neither. The thread
//! compares file times instead of using inotify: that works on every file system, follows the
//! symbolic links by which certificates are usually replaced, and costs a few system calls per
//! interval. Files that were rejected are tried again only after a change.

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
use crate::reactor::api::settings::{ClientCertificates, TlsSettings};
use crate::reactor::parts::mailbox::LoopWaker;

/// The result of a reload.
pub(crate) type Reloaded = Result<Arc<ServerConfig>, TlsError>;

/// The loop's end: requests reloads and receives configurations. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Reloader {
    requests: SyncSender<()>,
    reloaded: Receiver<Reloaded>,
}

impl Reloader {
    /// Loads the files in `settings` and starts the thread that watches them.
    ///
    /// # Errors
    /// The files cannot be loaded, or the thread cannot be started.
    pub(crate) fn start(
        settings: TlsSettings,
        loop_waker: LoopWaker,
    ) -> Result<(Reloader, Loaded), TlsError> {
        let resumption = Resumption::new()?;
        // Times first: a change while the files are read is then seen as a change.
        let stamps = stamps(&settings);
        let loaded = load(&settings, &resumption)?;
        // Capacity 1: several pending requests are equal to one.
        let (requests, requested) = sync_channel(1);
        let (results, reloaded) = sync_channel(1);
        let watch =
            Watch { settings, resumption, stamps, requests: requested, results, loop_waker };
        thread::Builder::new()
            .name("weir-certificates".to_owned())
            .spawn(move || watch.run())
            .map_err(TlsError::Thread)?;
        Ok((Reloader { requests, reloaded }, loaded))
    }

    /// Requests a reload, whether the files have changed or not.
    pub(crate) fn request(&self) {
        if let Err(TrySendError::Disconnected(())) = self.requests.try_send(()) {
            error!("the thread that reads certificates has ended");
        }
    }

    /// The result of a reload since the last call.
    pub(crate) fn next(&self) -> Option<Reloaded> {
        self.reloaded.try_recv().ok()
    }
}

/// The state of the thread.
struct Watch {
    settings: TlsSettings,
    resumption: Resumption,
    stamps: Vec<Stamp>,
    requests: Receiver<()>,
    results: SyncSender<Reloaded>,
    loop_waker: LoopWaker,
}

impl Watch {
    fn run(mut self) {
        while let Some(is_requested) = self.wait() {
            let stamps = stamps(&self.settings);
            if !is_requested && stamps == self.stamps {
                continue;
            }
            self.stamps = stamps;
            let result = read(|| load(&self.settings, &self.resumption));
            if self.results.send(result).is_err() {
                return;
            }
            self.loop_waker.wake();
        }
    }

    /// Waits for a request or the interval; true for a request, `None` if the loop has ended.
    fn wait(&self) -> Option<bool> {
        match self.settings.watch {
            None => self.requests.recv().ok().map(|()| true),
            Some(interval) => match self.requests.recv_timeout(interval) {
                Ok(()) => Some(true),
                Err(RecvTimeoutError::Timeout) => Some(false),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        }
    }
}

/// Reads the files. A panic in a parser fails this reload, not the thread.
fn read(load: impl FnOnce() -> Result<Loaded, TlsError>) -> Reloaded {
    let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or(Err(TlsError::Panicked));
    loaded.and_then(reject_not_valid_now)
}

/// Rejects certificates that are not valid now. The running server keeps the old ones, which may be
/// valid.
fn reject_not_valid_now(loaded: Loaded) -> Reloaded {
    match loaded.not_valid_now {
        Some(error) => Err(error),
        None => Ok(loaded.config),
    }
}

/// Identifies the version of a file by device, inode, size and modification time; `None` if the
/// file is missing.
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
