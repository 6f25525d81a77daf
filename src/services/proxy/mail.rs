//! What arrives in the mailbox of the proxy: reloads from any thread, and requests of operators.
//!
//! Plain data. [`reload`](super::reload) and [`question`](super::question) act on it.

use super::settings::ProxySettings;
use crate::protocol::handshake::Response;
use crate::reactor::settings::RouteSettings;
use crate::reactor::{ConnId, MailSender};
use crate::upstream::LoadedPool;

/// Mail for a [`Proxy`](super::Proxy) with a [mailbox](super::Proxy::mailbox).
#[derive(Debug)]
pub struct ProxyMail(pub(super) Mail);

#[derive(Debug)]
pub(super) enum Mail {
    Reload(ProxyReload),
    Operator(OperatorRequest),
}

impl From<ProxyReload> for ProxyMail {
    /// Calls [`Proxy::reload`](super::Proxy::reload).
    fn from(reload: ProxyReload) -> ProxyMail {
        ProxyMail(Mail::Reload(reload))
    }
}

impl From<OperatorRequest> for ProxyMail {
    fn from(request: OperatorRequest) -> ProxyMail {
        ProxyMail(Mail::Operator(request))
    }
}

/// The pools and routes that replace those of a running [`Proxy`](super::Proxy).
#[derive(Debug, Default)]
pub struct ProxyReload {
    /// All pools. An upstream of the same name in the same pool keeps its state.
    pub pools: Vec<LoadedPool>,
    /// All routes. Those with the same path change their settings, others are added or removed.
    pub routes: Vec<ProxyRoute>,
}

/// A route of the proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyRoute {
    /// The pattern of its path.
    pub path: String,
    /// The limits of its connections.
    pub limits: RouteSettings,
    /// Its pool, and how requests are forwarded.
    pub settings: ProxySettings,
}

/// A response of the proxy for a connection of [`ProxyOperator`].
pub(super) type Reply = (ConnId, Response);

/// A valid request of an operator.
#[derive(Debug)]
pub(super) struct OperatorRequest {
    pub(super) conn: ConnId,
    pub(super) question: Question,
    pub(super) replies: MailSender<Reply>,
}

/// What an operator asks.
#[derive(Debug)]
pub(super) enum Question {
    Status { is_json: bool },
    Drain { upstream: String, is_drained: bool },
}
