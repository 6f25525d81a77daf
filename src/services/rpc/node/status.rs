//! How a node is doing, and the answers to those who watch it: `GET /healthz` and `GET /readyz`.
//!
//! A node that answers is alive. A leader is ready; a follower is if it follows and has caught up;
//! neither is during a shutdown.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::json;

use super::super::counts::Counts;
use super::super::hex::Quantity;
use super::Role;
use crate::protocol::Message;
use crate::protocol::handshake::Response;
use crate::reactor::{ConnId, Context, PlainRequest, Service};

/// Blocks that a follower may lack and still be ready: they are on their way.
const LAG_MAX: u64 = 2;

/// What is known of a node's chain, on the loop.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) role: Role,
    pub(super) chain_id: u64,
    pub(super) head: Cell<Option<u64>>,
    /// The leader's head, as a follower has last heard; its own for a leader.
    pub(super) leader: Cell<Option<u64>>,
    /// Whether the leader answers.
    pub(super) is_following: Cell<bool>,
}

impl Status {
    /// Blocks that the leader has and we do not.
    fn lag(&self) -> Option<u64> {
        match self.role {
            Role::Leader => Some(0),
            Role::Follower => Some(self.leader.get()?.saturating_sub(self.head.get()?)),
        }
    }

    fn is_ready(&self) -> bool {
        let follows = self.role == Role::Leader || self.is_following.get();
        follows && self.lag().is_some_and(|lag| lag <= LAG_MAX)
    }
}

/// Answers those who watch a node.
#[derive(Debug)]
pub struct Health {
    status: Rc<Status>,
    counts: Rc<Counts>,
}

impl Health {
    pub(super) fn new(status: Rc<Status>, counts: Rc<Counts>) -> Health {
        Health { status, counts }
    }
}

impl Service for Health {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    fn on_plain(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &PlainRequest<'_>,
    ) -> Option<Response> {
        let Health { status, counts } = self;
        let is_draining = cx.occupancy().is_draining;
        let panicked = cx.recovering().next();
        let is_ready = status.is_ready() && !is_draining && panicked.is_none();
        let is_ok = is_ready || request.http.path() != "/readyz";
        let mut body = json!({
            "role": status.role.name(),
            "chainId": Quantity(status.chain_id),
            "ready": is_ready,
            "head": status.head.get(),
            "lag": status.lag(),
            "connections": counts.connections_now.get(),
            "subscriptions": counts.subscriptions_now.get(),
            "calls": counts.calls_now.get(),
            "notifications": {
                "encoded": counts.notifications_encoded.get(),
                "sent": counts.notifications_sent.get(),
                "dropped": counts.notifications_dropped.get(),
            },
        });
        if is_draining {
            body["reason"] = json!("shutting down");
        } else if let Some((service, name)) = panicked {
            let number = service.number();
            body["reason"] = json!(format!("service {number} ({name}) panicked in on_mail"));
        }
        let code = if is_ok { 200 } else { 503 };
        Some(Response::new(code, "application/json", body.to_string().into_bytes()))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}
