//! Replies on their way out: an answer into its place, a whole reply to its connection.

use super::Rpc;
use super::backend::{Backend, Ticket};
use super::calls::{Exchange, Filled, Via};
use super::service::response;
use super::wire::error::RpcError;
use super::wire::filling::Answer;
use super::wire::method::Class;
use super::wire::reply::{Failed, Reply};
use crate::protocol::CloseCode;
use crate::reactor::{ConnId, Context, Decision, SendOutcome};

/// Bytes of a reply from which on it is looked whether there is memory for it. A smaller one that has
/// none closes its connection.
const CHECKED_BYTES_MIN: usize = 16 * 1024;

impl<B: Backend> Rpc<B> {
    /// Puts an answer in its place, and sends the reply if that completes it.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, ticket: Ticket, answer: &Answer) {
        let begun = self.calls.begins(ticket);
        let filling = answer.filling();
        let (failed, whole) = match self.calls.fill(ticket, filling) {
            Filled::Unknown => return,
            Filled::Partly(failed) => (failed, None),
            Filled::Whole(failed, slot, exchange) => (failed, Some((slot, exchange))),
        };
        if let Some(failed) = failed {
            self.counts.error(failed);
        }
        if (failed.is_some() || filling.is_err())
            && let Some((conn, id)) = begun
        {
            self.subscriptions.take_back(conn, id);
            self.tell_feeds(cx);
        }
        self.counts.calls_now.set(self.calls.len() as u64);
        if let Some((slot, exchange)) = whole {
            self.deliver(cx, slot, exchange);
        }
    }

    fn deliver(&mut self, cx: &mut Context<'_>, slot: usize, exchange: Exchange) {
        let Exchange { conn, via, reply, .. } = exchange;
        if let Some(flow) = self.flows.get_mut(conn) {
            flow.calls -= reply.holes();
            if let Some(at) = flow.exchanges.iter().position(|waiting| *waiting == slot) {
                flow.exchanges.swap_remove(at);
            }
            if flow.is_saturated && flow.calls <= self.settings.calls_per_connection_max / 2 {
                flow.is_saturated = false;
                if !flow.is_congested {
                    cx.resume(conn);
                }
            }
        }
        match via {
            Via::WebSocket => {
                let reply = self.fit_memory(cx, conn, reply);
                self.send(cx, conn, reply);
            }
            Via::Http => {
                self.flows.leave(conn);
                cx.answer(conn, Decision::Respond(response(reply)));
            }
        }
    }

    /// The reply, or an error in its place if there is no memory for a large one.
    fn fit_memory(&mut self, cx: &mut Context<'_>, conn: ConnId, mut reply: Reply) -> Reply {
        if reply.bytes() <= CHECKED_BYTES_MIN || cx.has_memory(conn, reply.bytes()) {
            return reply;
        }
        let error = RpcError::limit("out of memory");
        self.counts.error(Failed { class: Class::Other, code: error.code });
        for id in reply.unname(0) {
            self.subscriptions.take_back(conn, id);
        }
        reply.replace(&error);
        reply
    }

    /// Sends a reply, and then begins what it names.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, conn: ConnId, mut reply: Reply) {
        let outcome = if reply.is_shared() {
            Some(cx.send_pieces(conn, &reply.take_pieces()))
        } else {
            let text = reply.finish();
            if text.is_empty() { None } else { Some(cx.send(conn, text)) }
        };
        if let Some(outcome) = outcome {
            match outcome {
                SendOutcome::Queued | SendOutcome::Gone => {}
                SendOutcome::Congested => {
                    self.flows.enter(conn).is_congested = true;
                    cx.pause(conn);
                }
                // Notifications may be dropped for it, but a call whose reply was is never over.
                SendOutcome::Refused => {
                    cx.close(conn, CloseCode::TRY_AGAIN_LATER, "slow consumer");
                }
            }
        }
        for &id in reply.named() {
            self.subscriptions.activate(cx, conn, id);
        }
        self.keep(reply.into_text());
    }

    /// Keeps a buffer for the next reply, unless it has grown large.
    fn keep(&mut self, buffer: String) {
        const KEPT_BYTES: usize = 64 * 1024;
        const KEPT_MAX: usize = 16;
        if self.spares.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES {
            self.spares.push(buffer);
        }
    }
}
