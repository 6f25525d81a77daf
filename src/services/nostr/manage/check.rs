//! Requests of the management API on a thread that verifies.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, CallError, Method};
use super::change::Change;
use crate::reactor::ConnId;
use crate::services::nostr::managed::{Entry, ManagedLists};
use crate::services::nostr::nip98::{self, HttpAuthTerms, UsedIds};
use crate::services::nostr::policy::SharedPolicy;
use crate::services::nostr::refusal::{Prefix, Refusal};
use crate::services::nostr::relay_names::RelayNames;
use crate::services::nostr::signature::KeyCache;
use crate::services::nostr::tags::PublicKey;

/// A request that is not checked yet.
#[derive(Debug)]
pub(crate) struct ManageJob {
    pub(crate) conn: ConnId,
    /// The value of the header Authorization.
    pub(crate) authorization: Box<str>,
    /// Path and query.
    pub(crate) target: Box<str>,
    pub(crate) body: Box<[u8]>,
}

/// What the threads need to check requests.
pub(crate) struct Management {
    pub(crate) lists: SharedPolicy,
    pub(crate) used: Mutex<UsedIds>,
    /// Passes a change to the thread that writes; false if that has ended.
    pub(crate) submit: Box<dyn Fn(Box<Change>) -> bool + Send + Sync>,
}

impl Management {
    /// Answers a request; `None`: the thread that writes will.
    pub(crate) fn answer(
        &self,
        job: &ManageJob,
        names: &RelayNames,
        keys: &mut KeyCache,
        now: u64,
    ) -> Option<Answer> {
        let by = match self.authorize(job, names, keys, now) {
            Ok(by) => by,
            Err(refusal) => return Some(Answer::refused(&refusal)),
        };
        let call = match Call::parse(&job.body) {
            Ok(call) => call,
            Err(CallError::Malformed(text)) => return Some(Answer::error(400, text)),
            Err(CallError::Refused(text)) => return Some(Answer::error(200, text)),
        };
        if call.settings.is_empty() {
            return Some(Answer::result(self.read(call.method)));
        }
        if let Some(text) = self.objection(&call) {
            return Some(Answer::error(200, text));
        }
        let change = Change { conn: job.conn, by, call };
        match (self.submit)(Box::new(change)) {
            true => None,
            false => Some(Answer::error(503, "the relay is shutting down")),
        }
    }

    /// The administrator that has sent the request.
    fn authorize(
        &self,
        job: &ManageJob,
        names: &RelayNames,
        keys: &mut KeyCache,
        now: u64,
    ) -> Result<PublicKey, Refusal> {
        let ManageJob { authorization, target, body, .. } = job;
        let terms = HttpAuthTerms { names, method: "POST", target, body, now };
        let event = nip98::check(authorization, &terms, keys)?;
        if !self.lists.load().is_administrator(event.pubkey()) {
            return Err(Prefix::Restricted.text("the author is not an administrator"));
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(&event, now)?;
        Ok(*event.pubkey())
    }

    /// The result of a call that changes nothing.
    fn read(&self, method: Method) -> Value {
        let policy = self.lists.load();
        let lists: &ManagedLists = policy.managed();
        let listed = |entry: &'static str, named: Vec<(String, &str)>| -> Value {
            let mut named = named;
            named.sort_unstable();
            named.into_iter().map(|(name, reason)| json!({entry: name, "reason": reason})).collect()
        };
        match method {
            Method::ListBannedPubkeys => listed("pubkey", in_hex(&lists.banned_authors)),
            Method::ListAllowedPubkeys => listed("pubkey", in_hex(&lists.allowed_authors)),
            Method::ListBannedEvents => listed("id", in_hex(&lists.banned_ids)),
            Method::ListBlockedIps => {
                let blocked = lists.blocked_addresses.iter();
                listed("ip", blocked.map(|(ip, reason)| (ip.to_string(), &**reason)).collect())
            }
            Method::ListAllowedKinds => policy.listed_kinds().into_iter().collect(),
            _ => Method::ALL.iter().map(|method| method.name()).collect(),
        }
    }

    /// Why a call would have no effect, or has no room.
    fn objection(&self, call: &Call) -> Option<&'static str> {
        let policy = self.lists.load();
        call.settings.iter().find_map(|setting| {
            let adds = setting.reason.is_some();
            match setting.entry {
                // A ban beats an allow.
                Entry::BannedAuthor(key) if !adds && policy.denies_author(&key) => {
                    Some("the configuration of the relay denies this author")
                }
                Entry::AllowedKind(kind) if adds && policy.is_denied_kind(kind) => {
                    Some("the configuration of the relay denies this kind")
                }
                entry if adds && policy.managed().is_full_for(&entry) => Some("the list is full"),
                _ => None,
            }
        })
    }
}

fn in_hex(list: &std::collections::HashMap<[u8; 32], Box<str>>) -> Vec<(String, &str)> {
    list.iter().map(|(entry, reason)| (hex::encode(entry), &**reason)).collect()
}
