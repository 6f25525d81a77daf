//! How a node is doing, and the answers to those who watch it: `GET /healthz` and `GET /readyz`.
//!
//! A node that answers is alive. A leader is ready while it can write its store, a follower while its
//! leader is on its chain and no more than [`LAG_MAX`] blocks ahead; neither is during a shutdown. A node
//! that is not ready says why.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::json;

use super::Role;
use crate::protocol::Message;
use crate::protocol::handshake::Response;
use crate::reactor::{ConnId, Context, HttpRequest, Service};
use crate::services::rpc::counts::Counts;
use crate::services::rpc::wire::hex::Quantity;

/// Blocks that a follower may lack and still be ready: they are on their way.
const LAG_MAX: u64 = 2;

/// Whether a node does its work, and if not, the reason, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A leader can write its store; a follower has verified that its leader is on its chain.
    Working,
    /// The node tries again until it works.
    Failing(String),
    /// The leader's chain is another one. The node tries again, but only an operator can end this.
    Diverged(String),
}

/// What is known of a node's chain, on the loop.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) role: Role,
    pub(super) chain_id: u64,
    pub(super) head: Cell<Option<u64>>,
    /// The leader's head, as a follower has last heard; its own for a leader.
    pub(super) leader: Cell<Option<u64>>,
    pub(super) standing: RefCell<Standing>,
}

impl Status {
    /// Blocks that the leader has and we do not.
    fn lag(&self) -> Option<u64> {
        match self.role {
            Role::Leader => Some(0),
            Role::Follower => Some(self.leader.get()?.saturating_sub(self.head.get()?)),
        }
    }

    /// Why the node is not ready; `None` if it is.
    fn reason(&self) -> Option<String> {
        match (&*self.standing.borrow(), self.lag()) {
            (Standing::Failing(reason) | Standing::Diverged(reason), _) => Some(reason.clone()),
            (Standing::Working, Some(..=LAG_MAX)) => None,
            (Standing::Working, Some(lag)) => Some(format!("{lag} blocks behind the leader")),
            (Standing::Working, None) => Some("no block yet".to_owned()),
        }
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

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let Health { status, counts } = self;
        let reason = if cx.occupancy().is_draining {
            Some("shutting down".to_owned())
        } else if let Some((service, name)) = cx.recovering().next() {
            Some(format!("service {} ({name}) panicked in on_mail", service.number()))
        } else {
            status.reason()
        };
        let is_ready = reason.is_none();
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
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        let code = if is_ok { 200 } else { 503 };
        Some(Response::new(code, "application/json", body.to_string().into_bytes()))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}
