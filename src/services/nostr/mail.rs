//! Mail of the threads: verified events, commits, judgements and slices of scans.

use std::sync::Arc;

use super::client::Pause;
use super::jobs::VerifyDone;
use super::live_sample::Sampled;
use super::relay::{Announcement, Relay};
use super::running::{Mail, Running};
use super::store::Totals;
use super::written::WriterMail;
use crate::protocol::CloseCode;
use crate::reactor::{Context, More};

impl Relay {
    /// Handles one announcement or one mail.
    pub(super) fn handle_mail(&mut self, cx: &mut Context<'_>) -> More {
        self.measure_live(cx);
        if let Some(Announcement { event, serial }) = self.events.announcing.pop_front() {
            self.announce(cx, event, Some(serial));
            return More::Yes;
        }
        let Some(mail) = self.running.as_mut().and_then(Running::next) else {
            self.reload_lists();
            return More::No;
        };
        match mail {
            Mail::Judged(settled) | Mail::Verified(VerifyDone::Events(settled)) => {
                for (ticket, settled) in settled {
                    self.settle(cx, ticket, settled);
                }
            }
            Mail::Verified(VerifyDone::Auth { conn, id, result }) => {
                self.finish_auth(cx, conn, id, result);
            }
            Mail::Verified(VerifyDone::Managed { conn, answer }) => {
                self.finish_call(cx, conn, answer);
            }
            Mail::Verified(VerifyDone::Parsed { conn, request }) => {
                if let Some(client) = self.clients.get_mut(conn) {
                    client.resume(cx, conn, Pause::Parse);
                    match request {
                        Ok(request) => {
                            self.count_good(conn);
                            self.handle_request(cx, conn, request);
                        }
                        Err(bad) => self.answer_bad(cx, conn, &bad),
                    }
                }
            }
            Mail::Written(WriterMail::Batch { written, committed, took, totals }) => {
                self.show_totals(totals);
                self.counts.commits.count(took);
                self.counts.batch_events.count(written.len());
                let deliveries = self.counts.deliveries_live.get();
                self.live_sample.start(self.counts.commits.total(), committed, deliveries);
                for written in written {
                    self.acknowledge(cx, written);
                }
                self.subscriptions.acknowledge(totals.last);
            }
            Mail::Written(WriterMail::Totals(totals)) => self.show_totals(totals),
            Mail::Written(WriterMail::Found(found)) => {
                let found = found.into_iter();
                let found = found.map(|(serial, event)| Announcement { event, serial });
                self.events.announcing.extend(found);
            }
            Mail::Written(WriterMail::Changed(change, answer)) => {
                self.finish_change(cx, &change, answer);
            }
            Mail::Written(WriterMail::State(state)) => {
                self.counts.failure.replace(state.err());
            }
            Mail::Written(WriterMail::TableBytes(bytes)) => {
                for (shown, bytes) in self.counts.table_bytes_now.iter().zip(bytes) {
                    shown.set(bytes);
                }
            }
            Mail::Scanned(done) => self.scanned(cx, *done),
            Mail::Lost(conn) => {
                log::error!("a job of the relay was lost to a panic");
                // A request of the connection would wait for its answer for ever.
                if let Some(conn) = conn {
                    cx.close(conn, CloseCode::INTERNAL_ERROR, "internal error");
                }
            }
        }
        More::Yes
    }

    /// Replaces the lists of the configuration, if it was read again.
    fn reload_lists(&mut self) {
        let Some(reload) = self.reloads.as_ref().and_then(|reloads| reloads.try_recv().ok()) else {
            return;
        };
        let (lists, settings) = reload.apply(&self.settings);
        self.lists.reload(lists);
        self.settings = Arc::new(settings);
        self.render_documents();
    }

    /// Measures how long some of the live events take.
    fn measure_live(&mut self, cx: &mut Context<'_>) {
        let is_announced = self.events.announcing.is_empty();
        let deliveries = self.counts.deliveries_live.get();
        match self.live_sample.look(is_announced, deliveries, cx.now()) {
            Sampled::Nothing => {}
            Sampled::Queued => cx.wake(),
            Sampled::Took(took) => self.counts.live.count(took),
        }
    }

    pub(super) fn show_totals(&self, totals: Totals) {
        self.counts.store_events_now.set(totals.events);
        self.counts.live_bytes_now.set(totals.live_bytes);
    }
}
