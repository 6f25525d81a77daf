//! The state of a node, and the service that reports it: `GET /healthz` and `GET /readyz`.
//!
//! A node that answers is healthy. A leader is ready while it can write its store, a follower while
//! its leader is on its chain and at most [`LAG_MAX`] blocks ahead. No node is ready during a
//! shutdown. The answer has the reason that a node is not ready.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::json;

use super::settings::Role;
use crate::protocol::Message;
use crate::protocol::handshake::Response;
use crate::reactor::{ConnId, Context, HttpRequest, Service};
use crate::services::rpc::counts::Counts;
use crate::services::rpc::wire::hex::Quantity;

/// Blocks that a ready follower may lack: it is fetching them.
const LAG_MAX: u64 = 2;

/// Whether a node works, and the reason if it does not, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeState {
    /// A leader can write its store; a follower has verified that its leader is on its chain.
    Working,
    /// The node tries again until it succeeds.
    Failing(String),
    /// The leader has a different chain. The node tries again, but only an operator can end this.
    Diverged(String),
}

/// The state of a node, on the loop.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) role: Role,
    pub(super) chain_id: u64,
    pub(super) head: Cell<Option<u64>>,
    /// The number of the leader's head as last reported; at a leader its own.
    pub(super) leader_head: Cell<Option<u64>>,
    pub(super) state: RefCell<NodeState>,
}

impl Status {
    /// The number of blocks that the leader is ahead.
    fn lag(&self) -> Option<u64> {
        match self.role {
            Role::Leader => Some(0),
            Role::Follower => Some(self.leader_head.get()?.saturating_sub(self.head.get()?)),
        }
    }

    /// The reason that the node is not ready; `None` if it is ready.
    fn reason(&self) -> Option<String> {
        match (&*self.state.borrow(), self.lag()) {
            (NodeState::Failing(reason) | NodeState::Diverged(reason), _) => Some(reason.clone()),
            (NodeState::Working, Some(..=LAG_MAX)) => None,
            (NodeState::Working, Some(lag)) => Some(format!("{lag} blocks behind the leader")),
            (NodeState::Working, None) => Some("no block yet".to_owned()),
        }
    }
}

/// The service that reports whether a node is healthy and ready.
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
