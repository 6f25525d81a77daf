//! Starts the threads of a relay.

use std::sync::Mutex;

use super::jobs::{Checking, Release, VERIFY_JOBS_MAX};
use super::judging::Judging;
use super::manage::Management;
use super::rates::AuthorRates;
use super::relay::Relay;
use super::running::Running;
use super::scans::{FirstSlices, ScanJob};
use super::settings::{AuthPolicy, Sync};
use super::verify::VerifySettings;
use super::writer::WriterThread;
use super::written::WriterJob;
use crate::reactor::{Context, WorkerSettings};

/// First slices of scans after which a continued one runs, so that large scans go on.
const FIRST_SLICES_IN_A_ROW: usize = 4;
/// Batches of the writer that the loop has not taken; then the writer waits.
const WRITER_MAIL_MAX: usize = 16;

impl Relay {
    /// Starts the threads.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let (sender, mail) = cx.mailbox(WRITER_MAIL_MAX);
        let syncs = self.settings.sync == Sync::Interval;
        self.show_totals(writer.totals());
        let lists = self.lists.clone();
        let writer = WriterThread::start(writer, syncs, lists, self.room.take(), sender);
        let Some(accepted) = writer.sender() else {
            return;
        };
        let (judging, judged) = match self.policy.take() {
            Some(policy) => {
                let (mail, judged) = cx.mailbox(WRITER_MAIL_MAX);
                // An error means that the loop has ended.
                let send = Box::new(move |settled| drop(mail.send(settled)));
                (Some(Judging::new(policy, accepted.clone(), send)), Some(judged))
            }
            None => (None, None),
        };
        let checking = Checking {
            // The lists deny kinds: they can be reloaded.
            settings: VerifySettings {
                denied_kinds: Vec::new(),
                ..self.settings.verify(self.names.borrow().clone())
            },
            limits: self.limits.clone(),
            store: self.store.clone(),
            management: Management {
                lists: self.lists.clone(),
                used: Mutex::default(),
                submit: {
                    let writer = accepted.clone();
                    Box::new(move |change| writer.send(WriterJob::Change(change)).is_ok())
                },
            },
            lists: self.lists.clone(),
            authors: AuthorRates::new(&self.rate_limits),
            offers_auth: self.settings.auth != AuthPolicy::Off,
            release: Release::new(accepted, judging),
        };
        let threads = self.settings.threads();
        let workers = WorkerSettings::new("relay verify", threads.verify, VERIFY_JOBS_MAX);
        let verifiers = cx.workers(workers, move |job| checking.run(job));
        let (store, jobs) = (self.store.clone(), self.settings.scans_waiting_max);
        let slow = self.settings.slow_scan;
        let workers = WorkerSettings::new("relay scan", threads.scan, jobs)
            .high_in_a_row_max(FIRST_SLICES_IN_A_ROW);
        let (first_slices, taken) = (FirstSlices::default(), 0);
        let waiting = first_slices.clone();
        let run = move |job: Box<ScanJob>| job.run(&store, &waiting, slow);
        let scanners = cx.workers(workers, run);
        let running = Running { verifiers, scanners, first_slices, writer, mail, judged, taken };
        self.running = Some(running);
    }
}
