//! The threads of a running relay, and the mail that they send.

use std::sync::mpsc::TrySendError;

use super::jobs::{Verifiers, VerifyDone};
use super::judging::SettledMail;
use super::scans::{FirstSlices, ScanDone, Scanners};
use super::writer::WriterThread;
use super::written::WriterMail;
use crate::reactor::{ConnId, Finished, MailReceiver};

/// The threads of a running relay.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) verifiers: Verifiers,
    pub(super) scanners: Scanners,
    /// First slices in the queue of `scanners`.
    pub(super) first_slices: FirstSlices,
    pub(super) writer: WriterThread,
    pub(super) mail: MailReceiver<WriterMail>,
    /// `None` without a write policy.
    pub(super) judged: Option<MailReceiver<SettledMail>>,
    /// Mails taken so far: each source has its turn.
    pub(super) taken: usize,
}

/// Mail of one of the threads.
pub(super) enum Mail {
    Verified(VerifyDone),
    Written(WriterMail),
    Judged(SettledMail),
    Scanned(Box<ScanDone>),
    /// A job was lost to a panic that it did not catch: a scan of this connection, if it was one.
    Lost(Option<ConnId>),
}

impl Running {
    pub(super) fn next(&mut self) -> Option<Mail> {
        (0..4).find_map(|_| {
            self.taken += 1;
            match self.taken % 4 {
                0 => self.mail.try_recv().ok().map(Mail::Written),
                1 => self.judged.as_ref()?.try_recv().ok().map(Mail::Judged),
                2 => self.verifiers.take().map(|done| match done {
                    Finished::Done(done) => Mail::Verified(done),
                    Finished::Lost(()) => Mail::Lost(None),
                }),
                _ => self.scanners.take().map(|done| match done {
                    Finished::Done(done) => Mail::Scanned(done),
                    Finished::Lost(conn) => Mail::Lost(Some(conn)),
                }),
            }
        })
    }
}

/// The job that a full queue returns.
pub(super) fn unput<J>(error: TrySendError<J>) -> J {
    match error {
        TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
    }
}

impl Running {
    /// Waits until the threads have ended. Events that were accepted are stored.
    pub(super) fn join(self) {
        let Running { verifiers, scanners, writer, mail, judged, .. } = self;
        // Without the loop's end of the mailboxes no thread waits for the loop.
        drop((mail, judged));
        verifiers.join();
        scanners.join();
        writer.join();
    }
}
