//! `DELETE /auth/NAME/users/SUBJECT` on the admin address: signs a subject of a gate out.
//!
//! The loop closes the connections, and the gate refuses tokens that it has seen until now. The admin
//! address has no login; requests that state an Origin are refused before they come here, since pages
//! in an operator's browser could send them.

use crate::protocol::handshake::{Request, Response};
use crate::protocol::{CloseCode, Message};
use crate::reactor::{ConnId, Context, Decision, GateId, HttpRequest, Service, UpgradeRequest};

/// The path: the names of a gate and of a subject.
pub const SIGN_OUT: &str = "/auth/{name}/users/{subject}";

/// The service that signs subjects out.
#[derive(Debug)]
pub struct SignOut {
    gates: Vec<(String, GateId)>,
}

impl SignOut {
    /// A service for these gates, by name.
    pub fn new(gates: Vec<(String, GateId)>) -> SignOut {
        SignOut { gates }
    }
}

impl Service for SignOut {
    fn methods(&self) -> &'static [&'static str] {
        &["DELETE"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let (name, subject) = (request.params.get("name"), request.params.get("subject"));
        let gate = self.gates.iter().find(|(other, _)| Some(other.as_str()) == name);
        let (Some((_, gate)), Some(subject)) = (gate, subject) else {
            return Some(Response::text(404, "there is no such gate\n"));
        };
        let Some(code) = code(request.http) else {
            return Some(Response::text(400, "code must be 1000, 1008, or 3000 to 4999\n"));
        };
        let closed = cx.sign_out(*gate, subject, code);
        let body = format!("{{\"closed\":{closed}}}\n").into_bytes();
        Some(Response::new(202, "application/json", body))
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        Decision::Respond(Response::text(404, "this path does not serve WebSocket"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// The close code of a sign-out: that of the query, or 3003.
fn code(request: &Request<'_>) -> Option<CloseCode> {
    let Some(text) = request.query_value("code") else {
        return Some(CloseCode::FORBIDDEN);
    };
    let code = text.parse().ok().filter(|code| matches!(code, 1000 | 1008 | 3000..=4999));
    code.and_then(CloseCode::new)
}
