//! Negentropy sessions (NIP-77) of the relay's connections: their messages, and what threads return.

use std::time::Duration;

use super::filter::Filter;
use super::message::SubscriptionId;
use super::metrics::Reply;
use super::negentropy::{NegentropyDone, NegentropyJob, Reply as Answer, SessionError};
use super::refusal::{Prefix, Refusal};
use super::relay::Relay;
use super::reply::write_neg_err;
use super::store::Collect;
use crate::reactor::{ConnId, Context};

/// The timer that ends sessions without a message.
pub(super) const SESSIONS_TIMER: u64 = 2;
/// How often it looks, while there are sessions.
const SESSIONS_PERIOD: Duration = Duration::from_secs(1);

impl Relay {
    /// NEG-OPEN.
    pub(super) fn open_session(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        filter: Filter,
        message: Vec<u8>,
    ) {
        if self.settings.neg_items_max == 0 {
            let refusal = Prefix::Unsupported.text("negentropy is off");
            return self.notice(cx, conn, &refusal);
        }
        // An open session ends all the same.
        self.sessions.close(conn, &sub);
        if let Err(refusal) = self.check_request(conn, std::slice::from_ref(&filter), cx.now()) {
            return self.refuse_session(cx, conn, &sub, &refusal);
        }
        let limits = self.settings.collect_limits();
        let collect = Collect::new(filter, limits, self.visibility(conn));
        let job = self.sessions.open(conn, sub.clone(), collect, message);
        self.schedule_expiry(cx);
        self.negotiate(cx, conn, sub, job);
    }

    /// NEG-MSG.
    pub(super) fn continue_session(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        message: Vec<u8>,
    ) {
        let now = cx.now();
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        if let Err(refusal) = client.charge_request(&mut self.rates, now) {
            self.sessions.close(conn, &sub);
            return self.refuse_session(cx, conn, &sub, &refusal);
        }
        let job = self.sessions.message(conn, &sub, message);
        self.negotiate(cx, conn, sub, job);
    }

    /// Answers with NEG-ERR for a reason that is not the session's.
    fn refuse_session(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: &SubscriptionId,
        refusal: &Refusal,
    ) {
        self.counts.refuse(refusal.prefix);
        let _ = self.send(cx, conn, Reply::NegErr, |out| write_neg_err(out, sub, refusal));
        self.show_sessions();
    }

    fn negotiate(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: SubscriptionId,
        job: Result<NegentropyJob, SessionError>,
    ) {
        self.drop_scans(conn);
        match job {
            Ok(job) => {
                let scan = self.negentropy_scan(cx, conn, sub, job);
                self.add_scan(cx, conn, scan);
            }
            Err(error) => {
                self.count_session_error(&error);
                let _ = self.send(cx, conn, Reply::NegErr, |out| write_neg_err(out, &sub, &error));
            }
        }
        self.show_sessions();
    }

    /// NEG-CLOSE.
    pub(super) fn close_session(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        sub: &SubscriptionId,
    ) {
        self.sessions.close(conn, sub);
        if let Some(client) = self.clients.get_mut(conn) {
            client.used = cx.now();
        }
        self.drop_scans(conn);
        self.start_scans(cx, conn);
        self.show_sessions();
    }

    /// A thread has finished the work of a session.
    pub(super) fn negotiated(&mut self, cx: &mut Context<'_>, done: NegentropyDone) {
        if let Some(answer) = self.sessions.finish(done, cx.now()) {
            self.answer_session(cx, answer);
        }
    }

    /// Ends sessions without a message.
    pub(super) fn expire_sessions(&mut self, cx: &mut Context<'_>) {
        while let Some(answer) = self.sessions.expire(cx.now()) {
            self.answer_session(cx, answer);
        }
        self.has_sessions_timer = false;
        self.schedule_expiry(cx);
    }

    fn schedule_expiry(&mut self, cx: &mut Context<'_>) {
        if !self.has_sessions_timer && !self.sessions.is_empty() {
            // Without a timer the next NEG-OPEN tries again.
            self.has_sessions_timer = cx.schedule(SESSIONS_PERIOD, SESSIONS_TIMER).is_some();
        }
    }

    fn count_session_error(&self, error: &SessionError) {
        if let Some(prefix) = error.prefix() {
            self.counts.refuse(prefix);
        }
    }

    fn answer_session(&mut self, cx: &mut Context<'_>, answer: Answer<ConnId>) {
        let Answer { conn, text, error } = answer;
        let reply = match &error {
            None => Reply::NegMsg,
            Some(error) => {
                self.count_session_error(error);
                Reply::NegErr
            }
        };
        if let Some(client) = self.clients.get_mut(conn) {
            client.used = cx.now();
        }
        let _ = self.send(cx, conn, reply, |out| *out = text);
        self.show_sessions();
    }

    pub(super) fn show_sessions(&self) {
        self.counts.negentropy_sessions_now.set(self.sessions.len() as u64);
    }
}
