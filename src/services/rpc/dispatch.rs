//! Dispatches the calls of a message: each is answered at once or given to the backend.

use super::backend::{Backend, Progress};
use super::pending_calls::{Origin, Transport};
use super::service::Rpc;
use super::subscriptions::Kind;
use super::wire::error::RpcError;
use super::wire::method::Class;
use super::wire::reply::{Failed, Reply, Written};
use super::wire::request::{self, Call, Rejected};
use crate::reactor::Context;

impl<B: Backend> Rpc<B> {
    /// Carries out the calls of a message, and writes the answers that are available at once. Each call
    /// of a batch counts for the rates of messages.
    pub(super) fn dispatch(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        text: &str,
        reply: &mut Reply,
    ) {
        let bounds = self.settings.bounds();
        self.pending.start_message();
        let mut cost = 0;
        if request::is_batch(text) {
            match request::batch(text, bounds) {
                Ok(items) => {
                    reply.start_batch();
                    for item in items {
                        cost += self.answer(cx, origin, request::item(item, bounds), reply);
                    }
                }
                Err(error) => self.reject(reply, &Rejected { id: None, error }),
            }
        } else {
            cost += self.answer(cx, origin, request::single(text, bounds), reply);
        }
        let counted = match origin.transport {
            // The loop has counted the message itself.
            Transport::WebSocket => 1,
            Transport::Http => 0,
        };
        if cost > counted {
            cx.charge(origin.conn, cost - counted);
        }
        self.report_feeds(cx);
    }

    fn reject(&self, reply: &mut Reply, rejected: &Rejected<'_>) {
        self.counts.error(Failed { class: Class::Other, code: rejected.error.code });
        reply.error(rejected.id, &rejected.error);
    }

    /// Carries out one call; returns as how many messages it counts.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        call: Result<Call<'_>, Rejected<'_>>,
        reply: &mut Reply,
    ) -> usize {
        let mut call = match call {
            Ok(call) => call,
            Err(rejected) => {
                self.reject(reply, &rejected);
                return 1;
            }
        };
        if cx.settings().trace {
            call.trace = cx.trace(origin.conn);
        }
        let call = &call;
        let class = Class::of(&call.method);
        self.counts.request(class);
        let (placeholder, named) = (reply.placeholders(), reply.named().len());
        let ticket = self.pending.ticket(placeholder);
        let is_full = self.pending.len() + placeholder >= self.settings.calls_max;
        let written = reply.call(call.id, class, |out, subscriptions| match &*call.method {
            "eth_chainId" if !self.backend.answers_all() => done(out, &self.chain_id),
            "net_version" if !self.backend.answers_all() => done(out, &self.net_version),
            "eth_subscribe" => {
                let kind = self.subscription_kind(origin, call)?;
                let is_started = self.backend.is_started(kind.source());
                if !is_started && is_full {
                    return Err(RpcError::busy());
                }
                let id = self.subscriptions.add(cx, origin.conn, kind)?;
                if !is_started {
                    subscriptions.waiting.push((placeholder, id));
                    return Ok(false);
                }
                subscriptions.named.push(id);
                done(out, &format!(r#""{id}""#))
            }
            "eth_unsubscribe" => {
                self.unsubscribe(cx, origin, call)?;
                done(out, "true")
            }
            _ if is_full => Err(RpcError::busy()),
            _ => {
                let progress = self.backend.call(cx, ticket, call, out)?;
                Ok(progress == Progress::Done)
            }
        });
        if let Written::Error(failed) = written {
            self.counts.error(failed);
            // The client does not learn the id of a subscription that had no room in the reply.
            for id in reply.split_off_named(named) {
                self.subscriptions.revoke(origin.conn, id);
            }
        }
        self.settings.costs.of(&call.method)
    }

    fn subscription_kind(&self, origin: Origin, call: &Call<'_>) -> Result<Kind, RpcError> {
        self.backend.check_can_subscribe()?;
        let kind = Kind::parse(call)?;
        match origin.transport {
            Transport::WebSocket => Ok(kind),
            Transport::Http => Err(RpcError::no_notifications()),
        }
    }

    fn unsubscribe(
        &mut self,
        cx: &mut Context<'_>,
        origin: Origin,
        call: &Call<'_>,
    ) -> Result<(), RpcError> {
        self.backend.check_can_subscribe()?;
        let (id,): (Option<String>,) = call.positional(1)?;
        let id = id.ok_or_else(|| RpcError::invalid_params("missing subscription id"))?;
        self.subscriptions.remove(cx, origin.conn, &id)
    }
}

/// Appends a result that is available at once.
fn done(out: &mut String, result: &str) -> Result<bool, RpcError> {
    *out += result;
    Ok(true)
}
