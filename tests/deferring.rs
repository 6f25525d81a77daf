//! A service that defers its decisions on requests, for tests of what may happen in between.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Decision, Service, UpgradeRequest};

use crate::support::{Seen, Server, Watched};

/// A [`Watched`] service that defers each request: until its next timer, or for ever.
pub struct Deferring {
    watched: Watched,
    decision: Option<Decision>,
    asked: Vec<ConnId>,
}

impl Service for Deferring {
    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        _: &UpgradeRequest<'_>,
    ) -> Decision {
        let key = self.asked.len() as u64;
        self.asked.push(conn);
        cx.schedule(Duration::ZERO, key).unwrap();
        Decision::Defer
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        let conn = self.asked[key as usize];
        self.watched.report(Seen::Deferred(conn));
        match self.decision.clone() {
            Some(Decision::Accept(accept)) => cx.accept(conn, accept),
            Some(Decision::Respond(response)) => cx.respond(conn, response),
            Some(Decision::Refuse(refusal)) => cx.refuse(conn, refusal),
            None => {}
            Some(other) => panic!("{other:?} decides nothing"),
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.watched.on_open(cx, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.watched.on_message(cx, conn, message);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.watched.on_close(cx, conn, why);
    }
}

/// A server whose service at `/` defers every request, and then takes this decision, if any.
pub fn deferring(settings: Settings, decision: Option<Decision>) -> (Server, Receiver<Seen>) {
    deferring_on(settings, RouteSettings::default(), decision)
}

/// The same, on a route with these settings.
pub fn deferring_on(
    settings: Settings,
    route: RouteSettings,
    decision: Option<Decision>,
) -> (Server, Receiver<Seen>) {
    let (watched, seen) = Watched::echo();
    let service = Deferring { watched, decision, asked: Vec::new() };
    let server = Server::start(settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    (server, seen)
}
