//! [`Gate`]: a service that decides on requests before the service of their route sees them.
//!
//! A gate determines who the client is. The loop enforces the verdict: it refuses, holds the request back,
//! or passes it on with an identity, and ends connections whose identity has expired.
//! [`effects::gate`](crate::reactor::effects::gate) carries out verdicts.

use super::context::Context;
use super::id::ConnId;
use super::outcome::Verdict;
use super::request::GateRequest;
use super::service::Service;
use super::token_request::TokenRequest;
use crate::protocol::handshake::{Refusal, Response};

/// A service that decides on the requests of routes that name it as their
/// [`gate`](field@crate::reactor::settings::RouteSettings::gate).
///
/// A request passes its gate when its head is complete, after host, path, origin and the limits per
/// address were checked, and before its body is read. Pages and `OPTIONS` pass without a verdict.
///
/// From [`on_gate`](Gate::on_gate) until the verdict the connection belongs to the gate: functions of
/// the [`Context`] and a [`ConnMap`](crate::reactor::ConnMap) accept its id. After
/// [`Verdict::Later`], [`on_close`](Service::on_close) reports a client that ends before the verdict.
///
/// ```
/// use weir::protocol::Message;
/// use weir::protocol::handshake::Refusal;
/// use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
/// use weir::reactor::{ConnId, Context, Gate, GateRequest, Identity, Reactor, Service, Verdict};
/// # struct Feed;
/// # impl Service for Feed {
/// #     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
/// # }
///
/// /// Admits clients that send the header `X-User`.
/// struct Named;
///
/// impl Service for Named {
///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
/// }
///
/// impl Gate for Named {
///     fn on_gate(&mut self, _: &mut Context<'_>, _: ConnId, request: &GateRequest<'_>) -> Verdict {
///         match request.http.header("X-User").map(Identity::new) {
///             Some(Ok(identity)) => Verdict::Pass(Some(Box::new(identity))),
///             _ => Verdict::Refuse(Refusal::Unauthorized, None),
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reactor = Reactor::new(Settings::default())?;
/// let gate = reactor.add_gate(Named, GateSettings::default())?;
/// let feed = reactor.add_service(Feed)?;
/// reactor.add_route("/feed", feed, RouteSettings::default().gate(gate))?;
/// # Ok(())
/// # }
/// ```
pub trait Gate: Service {
    /// Decides on a request, before the service of its route sees it. A panic refuses it with 500.
    fn on_gate(&mut self, cx: &mut Context<'_>, conn: ConnId, request: &GateRequest<'_>)
    -> Verdict;

    /// A request to the route passes without a verdict, since browsers send it without credentials:
    /// `OPTIONS`, to a service that forwards it. The gate marks what
    /// [`on_gate`](Gate::on_gate) would mark, so that no upstream gets it from other clients.
    fn on_exempt(&mut self, cx: &mut Context<'_>, conn: ConnId, request: &GateRequest<'_>) {
        let _ = (cx, conn, request);
    }

    /// Decides on a token that came in a message of an open connection
    /// ([`Context::present`]): passes it with the identity that replaces the present one, or refuses
    /// it; the connection stays as it is then. The connection belongs to its service.
    /// [`identity`](Context::identity) and [`verdict`](Context::verdict) accept its id: after
    /// [`Verdict::Later`] the verdict follows, or [`on_close`](Service::on_close) reports that it is not
    /// needed any more.
    ///
    /// By default a gate takes no such tokens.
    fn on_token(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &TokenRequest<'_>,
    ) -> Verdict {
        let _ = (cx, conn, request);
        Verdict::Refuse(Refusal::Forbidden, None)
    }

    /// The gate has passed a request, but its identity does not meet the route's
    /// [`require`](field@crate::reactor::settings::RouteSettings::require): the client gets 403. A
    /// response replaces that of the loop.
    fn on_forbidden(&mut self, cx: &mut Context<'_>, conn: ConnId) -> Option<Box<Response>> {
        let _ = (cx, conn);
        None
    }

    /// An operator has signed a subject out ([`Context::sign_out`]). Its connections are closed. The gate
    /// refuses what identified it until now, if it can.
    fn on_signed_out(&mut self, cx: &mut Context<'_>, subject: &str) {
        let _ = (cx, subject);
    }
}
