//! Gates: their verdicts, the identities of connections, and refusals by a Close.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use weir::protocol::handshake::{Refusal, Response};
use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Context, Decision, Gate, GateId, GateRequest, HttpRequest, Identity,
    PublishOptions, Reactor, Record, Service, Target, TokenRequest, UpgradeRequest, Verdict,
};

use crate::support::{DEADLINE, Server};

mod bounds;
mod expiry;
mod identities;
mod listed;
mod operators;
mod presented;
mod proxied;
mod refusals;
mod rooms;
mod sign_outs;
mod verdicts;
mod waiting;

/// What the gate and the service of a test have seen.
#[derive(Debug, PartialEq)]
enum Noted {
    /// The gate was asked about this head.
    Asked(String),
    /// The service got this request, with the subject and the metadata `role`.
    Passed {
        head: String,
        subject: Option<String>,
        role: Option<String>,
    },
    /// `on_close` of the gate.
    GateClosed(CloseReason),
    /// `on_close` of the service.
    Closed(CloseReason),
    SignedOut(String),
    Forbidden,
    /// `on_identity` of the service, with the subject.
    Identity(String),
}

/// A gate that does what the header `X-Token` says: `NAME` passes as this subject; `NAME;role=R` with
/// metadata, `NAME;exp=MS` with an expiry. `later NAME` passes at the next timer, `silent` never decides,
/// `none` passes without an identity, `panic` panics, `forbid` refuses; `missing`, `limited` and `dated`
/// refuse with a response of their own.
struct Scripted {
    notes: Sender<Noted>,
    /// Each with whether a request waits for the verdict.
    later: Vec<(ConnId, String, bool)>,
}

impl Scripted {
    fn identity(cx: &Context<'_>, token: &str) -> Box<Identity> {
        let mut parts = token.split(';');
        let mut identity = Identity::new(parts.next().unwrap()).unwrap();
        for part in parts {
            match part.split_once('=').unwrap() {
                ("exp", millis) => {
                    let left = Duration::from_millis(millis.parse().unwrap());
                    identity.expires = Some(cx.now() + left);
                }
                (key, value) => identity.metadata.add(key, value).unwrap(),
            }
        }
        Box::new(identity)
    }

    /// What a token says.
    fn decide(&mut self, cx: &mut Context<'_>, conn: ConnId, token: &str) -> Verdict {
        match token {
            "none" => Verdict::Pass(None),
            "forbid" => Verdict::Refuse(Refusal::Forbidden, None),
            "missing" => {
                let response = Response::text(404, "not here\n").header("X-Own", "1").unwrap();
                Verdict::Refuse(Refusal::NotFound, Some(Box::new(response)))
            }
            "limited" => {
                let response = Response::text(429, "enough");
                Verdict::Refuse(Refusal::GateLimited, Some(Box::new(response)))
            }
            "dated" => {
                let response = Response::text(503, "gone");
                let response = response.header("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT");
                Verdict::Refuse(Refusal::GateFailed, Some(Box::new(response.unwrap())))
            }
            "panic" => panic!("on purpose"),
            "silent" => Verdict::Later,
            token => match token.strip_prefix("later ") {
                Some(token) => {
                    self.later.push((conn, token.to_owned(), cx.record(conn).is_some()));
                    cx.schedule(Duration::ZERO, 0).unwrap();
                    Verdict::Later
                }
                None => Verdict::Pass(Some(Scripted::identity(cx, token))),
            },
        }
    }
}

impl Service for Scripted {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        for (conn, token, is_request) in self.later.drain(..) {
            assert_eq!(cx.record(conn).is_some(), is_request, "it is the gate's until the verdict");
            let verdict = match token.as_str() {
                "refused" => Verdict::Refuse(Refusal::Forbidden, None),
                token => Verdict::Pass(Some(Scripted::identity(cx, token))),
            };
            cx.verdict(conn, verdict);
            cx.verdict(conn, Verdict::Refuse(Refusal::Internal, None));
        }
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        let _ = self.notes.send(Noted::GateClosed(why));
    }
}

impl Gate for Scripted {
    fn on_gate(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &GateRequest<'_>,
    ) -> Verdict {
        let head = String::from_utf8(request.head.to_vec()).unwrap();
        expect_no_head(&format!("{request:?}"));
        let _ = self.notes.send(Noted::Asked(head));
        let Some(token) = request.http.header("X-Token") else {
            return Verdict::Refuse(Refusal::Unauthorized, None);
        };
        assert!(cx.redact(conn, token.as_bytes()));
        assert!(!cx.redact(conn, b"elsewhere"));
        assert!(cx.record(conn).is_some(), "it is the gate's until the verdict");
        self.decide(cx, conn, token)
    }

    fn on_token(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &TokenRequest<'_>,
    ) -> Verdict {
        assert!(cx.record(conn).is_none(), "it is the service's");
        assert!(request.peer.ip().is_loopback());
        self.decide(cx, conn, request.token)
    }

    fn on_forbidden(&mut self, _: &mut Context<'_>, _: ConnId) -> Option<Box<Response>> {
        let _ = self.notes.send(Noted::Forbidden);
        let response = Response::text(403, "more is needed\n");
        Some(Box::new(response.header("WWW-Authenticate", "Bearer").unwrap()))
    }

    fn on_signed_out(&mut self, _: &mut Context<'_>, subject: &str) {
        let _ = self.notes.send(Noted::SignedOut(subject.to_owned()));
    }
}

/// The gate of these tests, for others. Nothing looks at its notes.
pub fn scripted() -> impl Gate {
    Scripted { notes: channel().0, later: Vec::new() }
}

/// The service behind the gate. A message `who` returns the subject, `be TOKEN` sets another
/// identity, `out NAME` signs a subject out, `count NAME` returns its number of connections, `tell NAME`
/// sends to those of a subject, by a filter. `present TOKEN` returns what its gate says to a token.
struct Behind {
    notes: Sender<Noted>,
    gate: GateId,
}

impl Behind {
    fn note(&self, head: &[u8], identity: Option<&Identity>) {
        let role = identity.and_then(|identity| identity.metadata.get("role"));
        let noted = Noted::Passed {
            head: String::from_utf8(head.to_vec()).unwrap(),
            subject: identity.map(|identity| identity.subject().to_owned()),
            role: role.map(str::to_owned),
        };
        let _ = self.notes.send(noted);
    }
}

impl Service for Behind {
    fn protocols(&self) -> &[&str] {
        &["chat"]
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        self.note(request.head, request.identity);
        expect_no_head(&format!("{request:?}"));
        match request.http.query() {
            Some("respond") => Decision::Respond(Response::text(404, "no such room\nor other")),
            Some("busy") => Decision::Respond(Response::text(500, "no worker")),
            Some("defer") => Decision::Defer,
            Some("panic") => panic!("on purpose"),
            _ => Decision::Accept(request.accept()),
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "POST"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        self.note(request.body, request.identity);
        assert_eq!(cx.identity(conn), request.identity);
        Some(Response::text(200, "served"))
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Message::Text(text) = message else {
            return;
        };
        let answer = match text.split_once(' ').unwrap_or((text, "")) {
            ("who", _) => {
                let subject = |identity: &Identity| identity.subject().to_owned();
                let record = cx.record(conn).unwrap().identity.map(subject);
                assert_eq!(record, cx.identity(conn).map(subject));
                record.unwrap_or_default()
            }
            ("be", token) => {
                let identity = Scripted::identity(cx, token);
                format!("{:?}", cx.set_identity(conn, identity))
            }
            ("out", name) => cx.sign_out(self.gate, name, CloseCode::FORBIDDEN).to_string(),
            ("present", token) => match cx.present(conn, token) {
                Ok(()) => return,
                Err(error) => format!("{error:?}"),
            },
            ("count", name) => cx.subject(self.gate, name).count().to_string(),
            ("tell", name) => {
                let is_it = |record: &Record<'_>| record.subject() == Some(name);
                let options = PublishOptions::default().filter(&is_it);
                cx.publish(Target::All, "for you", options).sent.to_string()
            }
            _ => text.to_owned(),
        };
        let _ = cx.send(conn, &answer);
    }

    fn on_identity(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let subject = cx.identity(conn).unwrap().subject().to_owned();
        let _ = self.notes.send(Noted::Identity(subject));
    }

    fn on_presented(&mut self, cx: &mut Context<'_>, conn: ConnId, outcome: Result<(), Refusal>) {
        let _ = cx.send(conn, &format!("{outcome:?}"));
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        let _ = self.notes.send(Noted::Closed(why));
    }
}

/// Expects that debug output of a request does not have its head, as text or as bytes.
fn expect_no_head(debug: &str) {
    let bytes = format!("{:?}", b"HTTP/1.1");
    assert!(
        !debug.contains("HTTP/1.1") && !debug.contains(bytes.trim_matches(['[', ']'])),
        "{debug}"
    );
}

/// A gate and a service in a reactor, with routes of these settings.
fn build(
    reactor: &mut Reactor,
    notes: Sender<Noted>,
    gate: GateSettings,
    routes: &[(&str, RouteSettings)],
) {
    let scripted = Scripted { notes: notes.clone(), later: Vec::new() };
    let gate = reactor.add_gate(scripted, gate).unwrap();
    let service = reactor.add_service(Behind { notes, gate }).unwrap();
    for (path, settings) in routes {
        reactor.add_route(path, service, settings.clone().gate(gate)).unwrap();
    }
}

/// A server whose route `/` has a gate.
fn gated(
    settings: Settings,
    gate: GateSettings,
    route: RouteSettings,
) -> (Server, Receiver<Noted>) {
    let (notes, noted) = channel();
    let server = Server::start(settings, move |reactor| {
        build(reactor, notes, gate, &[("/", route)]);
    });
    (server, noted)
}

/// The next note.
fn next(noted: &Receiver<Noted>) -> Noted {
    noted.recv_timeout(DEADLINE).expect("a note in time")
}

/// The next note that is not one of the gate's being asked.
fn next_after_asked(noted: &Receiver<Noted>) -> Noted {
    loop {
        match next(noted) {
            Noted::Asked(_) => {}
            other => return other,
        }
    }
}
