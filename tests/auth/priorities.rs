//! The priority that a gate gives a connection, within the limit of the route.

use std::sync::mpsc::{Receiver, Sender, channel};

use weir::protocol::Message;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Gate, GateId, Priority, Reactor, Service};
use weir::services::auth::{Hook, Jwt};

use super::gated::{hmac, status_of};
use super::hook_server::{Answer, HookServer, ok};
use super::tokens::{claims, hs256};
use crate::support::{Client, DEADLINE, Server, upgrade};

/// Reports the priority of each connection that opens.
struct Opened(Sender<Priority>);

impl Service for Opened {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = self.0.send(cx.record(conn).unwrap().priority);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A server with this gate before `/` and before `/any`, whose `priority_max` is critical.
fn gated<G: Gate + 'static>(
    gate: impl FnOnce() -> G + Send + 'static,
) -> (Server, Receiver<Priority>) {
    let (sender, opened) = channel();
    let server = Server::start(Settings::default(), move |reactor: &mut Reactor| {
        let gate: GateId = reactor.add_gate(gate(), GateSettings::default()).unwrap();
        let service = reactor.add_service(Opened(sender)).unwrap();
        let route = RouteSettings::default().gate(gate);
        reactor.add_route("/", service, route.clone()).unwrap();
        let any = route.priority(Priority::Low).priority_max(Priority::Critical);
        reactor.add_route("/any", service, any).unwrap();
    });
    (server, opened)
}

/// What a gate says, and the priorities of a connection at `/` and at `/any`.
const PRIORITIES: [(&str, Priority, Priority); 6] = [
    ("low", Priority::Low, Priority::Low),
    ("normal", Priority::Normal, Priority::Normal),
    ("high", Priority::High, Priority::High),
    ("critical", Priority::High, Priority::Critical),
    ("urgent", Priority::Normal, Priority::Low),
    ("", Priority::Normal, Priority::Low),
];

/// Opens a connection with these header lines at `/` and at `/any`; returns their priorities.
fn priorities(server: &Server, opened: &Receiver<Priority>, lines: &str) -> (Priority, Priority) {
    let open = |path: &str| {
        let head = Client::tcp(server.address).request(&upgrade(path, lines));
        assert_eq!(status_of(&head), 101, "{head}");
        opened.recv_timeout(DEADLINE).unwrap()
    };
    (open("/"), open("/any"))
}

#[test]
fn the_claim_priority_is_that_of_the_connection_up_to_priority_max() {
    let (settings, _file) = hmac();
    let (server, opened) = gated(move || Jwt::new("users", &settings).unwrap());
    for (name, limited, any) in PRIORITIES {
        let token = hs256(&claims("ann", &format!(r#","priority":"{name}""#)));
        let lines = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(priorities(&server, &opened, &lines), (limited, any), "{name:?}");
    }
}

#[test]
fn x_weir_priority_is_that_of_the_connection_up_to_priority_max() {
    let hook = HookServer::new(Answer::End);
    let settings = hook.settings();
    let (server, opened) = gated(move || Hook::new("hook", settings).unwrap());
    for (name, limited, any) in PRIORITIES {
        hook.set(ok(&format!("X-Weir-User: ann\r\nX-Weir-Priority: {name}\r\n")));
        assert_eq!(priorities(&server, &opened, ""), (limited, any), "{name:?}");
    }
}
