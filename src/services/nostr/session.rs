//! Authentication (NIP-42): the keys of a connection.
//!
//! Reading pauses while a thread checks an AUTH, so that messages behind it are judged with it.

use std::sync::Arc;

use super::client::{KEYS_MAX, Pause};
use super::event::PublicKey;
use super::jobs::VerifyJob;
use super::message::event_id_of;
use super::metrics::{Reply, add};
use super::parse::HexId;
use super::refusal::{Prefix, Refusal};
use super::relay::Relay;
use super::reply::write_ok;
use super::settings::AuthPolicy;
use crate::protocol::CloseCode;
use crate::reactor::{ConnId, Context};

/// Refused AUTHs of a connection; then it is closed with 1008.
const FAILURES_MAX: u8 = 10;

impl Relay {
    /// Takes an AUTH message.
    pub(super) fn take_auth(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        if self.settings.auth == AuthPolicy::Off {
            let refusal = Prefix::Unsupported.text("authentication is off");
            return self.refuse_auth(cx, conn, event_id_of(text), &refusal);
        }
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        if let Err(refusal) = client.charge_event(&mut self.rates, text.len(), cx.now()) {
            return self.refuse_auth(cx, conn, event_id_of(text), &refusal);
        }
        let challenge = client.challenge_text();
        if !self.put_job(VerifyJob::Auth { conn, text: text.into(), challenge }) {
            let refusal = Prefix::RateLimited.text("the relay is busy");
            return self.refuse_auth(cx, conn, event_id_of(text), &refusal);
        }
        if let Some(client) = self.clients.get_mut(conn) {
            client.pause(cx, conn, Pause::Auth);
        }
    }

    /// An AUTH was checked.
    pub(super) fn finish_auth(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        id: Option<HexId>,
        result: Result<PublicKey, Refusal>,
    ) {
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        client.resume(cx, conn, Pause::Auth);
        let added = result.and_then(|key| match client.keys().len() {
            _ if client.is(&key) => Ok(()),
            KEYS_MAX.. => {
                let text = format!("at most {KEYS_MAX} keys for a connection");
                Err(Prefix::RateLimited.text(text))
            }
            len => {
                if len == 0 {
                    add(&self.counts.authenticated_now, 1);
                }
                let keys: Arc<[PublicKey]> = client.keys().iter().copied().chain([key]).collect();
                client.keys = Some(keys);
                log::info!(conn:% = conn, key:% = hex::encode(key); "authenticated");
                Ok(())
            }
        });
        match added {
            Ok(()) => {
                self.count_good(conn);
                if let Some(id) = id {
                    let _ = self.send(cx, conn, Reply::Ok, |out| write_ok(out, id, true, ""));
                }
            }
            Err(refusal) => self.refuse_auth(cx, conn, id, &refusal),
        }
    }

    fn refuse_auth(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        id: Option<HexId>,
        refusal: &Refusal,
    ) {
        match id {
            Some(id) => {
                self.counts.refuse(refusal.prefix);
                let _ = self.send(cx, conn, Reply::Ok, |out| write_ok(out, id, false, refusal));
            }
            None => {
                self.notice(cx, conn, refusal);
                self.count_bad(cx, conn);
            }
        }
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        client.auth_failures = client.auth_failures.saturating_add(1);
        if client.auth_failures >= FAILURES_MAX {
            cx.close(conn, CloseCode::POLICY, "too many failed authentications");
        }
    }
}
