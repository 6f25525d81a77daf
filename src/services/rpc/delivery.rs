//! Delivers answers: fills the placeholder of the call, and sends the reply
//! when it is complete.

use super::backend::{Backend, Ticket};
use super::pending_calls::{Filled, PendingReply, Transport};
use super::service::{Rpc, response};
use super::wire::answer::Outcome;
use super::wire::error::RpcError;
use super::wire::filling::CallAnswer;
use super::wire::method::Class;
use super::wire::reply::{Failed, Reply};
use crate::protocol::CloseCode;
use crate::reactor::{ConnId, Context, SendOutcome};

/// Calls with one answer that are answered at once, without waiting for their turn.
const AT_ONCE_MAX: usize = 16;
/// Replies above this size are replaced by an error if there is no memory for them. For a smaller
/// one the check costs too much: without memory its connection is closed.
const CHECKED_BYTES_MIN: usize = 16 * 1024;

impl<B: Backend> Rpc<B> {
    /// Answers calls: at once if they are few and no answers are queued.
    pub(super) fn answer_all(
        &mut self,
        cx: &mut Context<'_>,
        tickets: Vec<Ticket>,
        outcome: Outcome,
    ) {
        if tickets.is_empty() {
            return;
        }
        if tickets.len() > AT_ONCE_MAX || !self.answers.is_empty() {
            self.answers.push(tickets, outcome);
            return cx.wake();
        }
        let answer = CallAnswer::new(outcome, tickets.len());
        tickets.into_iter().for_each(|ticket| self.settle(cx, ticket, &answer));
    }

    /// Answers one call of the queue. `false`: the queue is empty.
    pub(super) fn answer_next(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((ticket, queued)) = self.answers.pop() else {
            return false;
        };
        self.settle(cx, ticket, &queued.answer);
        self.answers.put_back(queued);
        true
    }

    /// Fills the placeholder of a call, and sends the reply if that completes it.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, ticket: Ticket, answer: &CallAnswer) {
        let waiting = self.pending.waiting_subscription(ticket);
        let filling = answer.filling();
        let (failed, complete) = match self.pending.fill(ticket, filling) {
            Filled::Unknown => return,
            Filled::Partly(failed) => (failed, None),
            Filled::Complete(failed, slot, reply) => (failed, Some((slot, reply))),
        };
        if let Some(failed) = failed {
            self.counts.error(failed);
        }
        if (failed.is_some() || filling.is_err())
            && let Some((conn, id)) = waiting
        {
            self.subscriptions.revoke(conn, id);
            self.report_feeds(cx);
        }
        self.counts.calls_now.set(self.pending.len() as u64);
        if let Some((slot, reply)) = complete {
            self.deliver(cx, slot, reply);
        }
    }

    fn deliver(&mut self, cx: &mut Context<'_>, slot: usize, reply: PendingReply) {
        let PendingReply { conn, transport, reply, .. } = reply;
        self.throttle.finish(cx, conn, reply.placeholders(), 0);
        if let Some(replies) = self.replies.get_mut(conn)
            && let Some(at) = replies.iter().position(|waiting| *waiting == slot)
        {
            replies.swap_remove(at);
        }
        match transport {
            Transport::WebSocket => {
                let reply = self.fit_memory(cx, conn, reply);
                self.send(cx, conn, reply);
            }
            Transport::Http => {
                self.throttle.forget(conn);
                self.replies.remove(conn);
                cx.respond(conn, response(reply));
            }
        }
    }

    /// Replaces a large reply by an error if there is no memory for it.
    fn fit_memory(&mut self, cx: &mut Context<'_>, conn: ConnId, mut reply: Reply) -> Reply {
        if reply.bytes() <= CHECKED_BYTES_MIN || cx.has_memory(conn, reply.bytes()) {
            return reply;
        }
        let error = RpcError::limit("out of memory");
        self.counts.error(Failed { class: Class::Other, code: error.code });
        for id in reply.split_off_named(0) {
            self.subscriptions.revoke(conn, id);
        }
        reply.replace(&error);
        reply
    }

    /// Sends a reply, and then activates the subscriptions that it names.
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
                SendOutcome::Congested => cx.pause(conn),
                // Notifications may be dropped, replies not: the client would wait for ever. If the
                // route's policy has closed the connection already, this changes nothing.
                SendOutcome::Full | SendOutcome::WrongRole => {
                    cx.close(conn, CloseCode::TRY_AGAIN_LATER, "slow consumer");
                }
                SendOutcome::Overloaded => {
                    cx.close(conn, CloseCode::TRY_AGAIN_LATER, "server overloaded");
                }
                SendOutcome::TooLarge => {
                    cx.close(conn, CloseCode::TRY_AGAIN_LATER, "reply too large");
                }
            }
        }
        for &id in reply.named() {
            self.subscriptions.activate(cx, conn, id);
        }
        self.recycle(reply.into_text());
    }

    /// Keeps a buffer for another reply, unless it has grown large.
    fn recycle(&mut self, buffer: String) {
        const KEPT_BYTES: usize = 64 * 1024;
        const KEPT_MAX: usize = 16;
        if self.spares.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES {
            self.spares.push(buffer);
        }
    }
}
