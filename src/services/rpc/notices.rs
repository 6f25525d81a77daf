//! Notices of the backend, and the subscribers that they are published to.

use serde_json::value::RawValue;

use super::backend::{Backend, Notice};
use super::service::Rpc;
use super::subscriptions::{Kind, Source};
use super::wire::error::RpcError;
use super::wire::filling::CallAnswer;
use crate::protocol::CloseCode;
use crate::reactor::Context;
use crate::upstream::upstream_counts::add;

impl<B: Backend> Rpc<B> {
    /// Announces the notices that a timer or a connection of the backend has led to.
    pub(super) fn announce_all(&mut self, cx: &mut Context<'_>) {
        while let Some(notice) = self.backend.next_notice() {
            self.announce(cx, notice);
        }
    }

    pub(super) fn announce(&mut self, cx: &mut Context<'_>, notice: Notice) {
        match notice {
            Notice::Answer { tickets, outcome } => {
                self.answer_all(cx, tickets, outcome);
            }
            Notice::Started { source, outcome } => self.start_subscriptions(cx, source, &outcome),
            Notice::Head(header) => {
                add(&self.counts.heads, 1);
                self.subscriptions.publish(cx, &Kind::Heads, &header);
            }
            Notice::Log(log) => self.subscriptions.publish_log(cx, &log),
            Notice::Pending { hash, full } => {
                self.subscriptions.publish(cx, &Kind::Pending { full: false }, &hash);
                let full = full.unwrap_or(hash);
                self.subscriptions.publish(cx, &Kind::Pending { full: true }, &full);
            }
            Notice::Syncing(state) => self.subscriptions.publish(cx, &Kind::Syncing, &state),
            Notice::Gap => {
                for conn in self.subscriptions.subscribers(Source::Chain) {
                    add(&self.counts.gaps_closed, 1);
                    cx.close(conn, CloseCode::SERVICE_RESTART, "blocks were missed");
                }
            }
            Notice::Nothing => {}
        }
    }

    /// Answers the subscriptions that wait for this source.
    fn start_subscriptions(
        &mut self,
        cx: &mut Context<'_>,
        source: Source,
        outcome: &Result<(), RpcError>,
    ) {
        for (ticket, id) in self.pending.waiting_subscriptions() {
            if self.subscriptions.source(id) == Some(source) {
                let named = RawValue::from_string(format!(r#""{id}""#)).unwrap_or_default();
                self.settle(cx, ticket, &CallAnswer::Own(outcome.clone().map(|()| named)));
            }
        }
    }

    /// Reports to the backend which feeds have subscribers, if that has changed.
    pub(super) fn report_feeds(&mut self, cx: &mut Context<'_>) {
        if self.subscriptions.take_changed() {
            self.backend.on_feeds(cx, self.subscriptions.feeds());
        }
    }
}
