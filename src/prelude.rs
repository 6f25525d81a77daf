//! The names that most services need, for `use weir::prelude::*`.
//!
//! Names alone: every item is defined in [`protocol`](crate::protocol) or [`reactor`](crate::reactor).
//! Items for special uses (compression, timers' keys, wire formats) are imported from there.

pub use crate::protocol::handshake::{Accept, ClientRequest, Refusal, Response};
pub use crate::protocol::{CloseCode, Message, SharedFrame};
pub use crate::reactor::settings::{ListenSettings, RouteSettings, Settings};
pub use crate::reactor::{
    CloseReason, ConnId, ConnMap, Connect, Context, Decision, Handle, HttpRequest, MailReceiver,
    MailSender, More, PublishOptions, Reactor, RouteId, SendOutcome, Service, ServiceId, Target,
    Throttle, UpgradeRequest,
};
