//! Pending transactions, by a filter at one upstream, and whether the upstream is syncing.

use serde_json::value::RawValue;

use super::{Purpose, Watch};
use crate::services::rpc::backend::Notice;
use crate::services::rpc::subscriptions::Source;
use crate::services::rpc::wire::answer::Outcome;

impl Watch {
    pub(super) fn request_pending(&mut self) {
        self.awaits_pending = true;
        match &self.filter {
            None => {
                let params = "[]".to_owned();
                self.request(Purpose::Filter, "eth_newPendingTransactionFilter", params, None);
            }
            Some((upstream, id)) => {
                let (params, upstream) = (format!("[{}]", id.get()), *upstream);
                self.request(Purpose::Changes, "eth_getFilterChanges", params, Some(upstream));
            }
        }
    }

    pub(super) fn on_filter(&mut self, upstream: Option<usize>, outcome: Outcome) {
        self.awaits_pending = false;
        match (upstream, outcome) {
            _ if !self.wanted.pending => {}
            (Some(upstream), Ok(id)) => {
                self.filter = Some((upstream, id));
                self.announce_start(Source::Mempool, Ok(()));
            }
            (_, Ok(_)) => {}
            (_, Err(error)) => self.announce_start(Source::Mempool, Err(error)),
        }
    }

    pub(super) fn on_changes(&mut self, outcome: Option<Box<RawValue>>) {
        self.awaits_pending = false;
        let hashes = outcome.as_ref().and_then(|json| serde_json::from_str(json.get()).ok());
        match hashes {
            Some(hashes) => {
                let hashes: Vec<&RawValue> = hashes;
                hashes.into_iter().for_each(|hash| self.announce_pending(hash.to_owned()));
            }
            // The upstream has dropped the filter, or is not available.
            None => self.filter = None,
        }
    }

    pub(super) fn on_syncing(&mut self, outcome: Option<Box<RawValue>>) {
        let Some(state) = outcome.filter(|_| self.wanted.syncing) else {
            return;
        };
        let is_syncing = |state: &RawValue| state.get() != "false";
        let before = self.syncing.replace(state.clone());
        let has_changed = before.is_some_and(|before| is_syncing(&before) != is_syncing(&state));
        if !has_changed {
            return;
        }
        let result = if is_syncing(&state) {
            let text = format!(r#"{{"syncing":true,"status":{}}}"#, state.get());
            RawValue::from_string(text).unwrap_or_default()
        } else {
            state
        };
        self.notices.push_back(Notice::Syncing(result));
    }

    fn announce_pending(&mut self, hash: Box<RawValue>) {
        if self.wanted.full {
            let params = format!("[{}]", hash.get());
            let purpose = Purpose::Transaction(hash);
            self.request(purpose, "eth_getTransactionByHash", params, None);
        } else if self.wanted.pending {
            self.notices.push_back(Notice::Pending { hash, full: None });
        }
    }
}
