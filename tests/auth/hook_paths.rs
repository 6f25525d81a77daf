//! The path that a hook decides on is the one that the service or the upstream gets.

use std::sync::mpsc::{Receiver, channel};

use weir::protocol::Message;
use weir::protocol::handshake::Response;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, HeadDecision, RequestHead, Service};
use weir::services::auth::Hook;

use super::gated::{Reporter, report, response, status_of};
use super::hook_server::{HookServer, hooked, ok};
use crate::support::{Client, DEADLINE, Server, header};

/// Stands for the reverse proxy: forwards nothing, and accepts all requests.
struct Forwarding(Reporter);

impl Service for Forwarding {
    fn streams_http(&self) -> bool {
        true
    }

    fn on_request_head(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        _: &RequestHead<'_>,
    ) -> HeadDecision {
        HeadDecision::Respond(Response::text(200, "ok"))
    }

    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &weir::reactor::UpgradeRequest<'_>,
    ) -> weir::reactor::Decision {
        self.0.on_request(cx, conn, request)
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// The targets that the hook got with the last request.
fn targets(heads: &Receiver<String>) -> [String; 3] {
    let head = heads.recv_timeout(DEADLINE).unwrap();
    ["X-Original-URI", "X-Forwarded-Uri", "X-Original-URL"]
        .map(|name| header(&head, name).unwrap().replace("http://localhost", ""))
}

#[test]
fn a_hook_gets_the_normal_form_of_a_path() {
    let hook = HookServer::new(ok(""));
    let (server, _seen) = hooked(hook.settings(), RouteSettings::default());
    for (target, normal) in [
        ("/%61dmin", "/admin"),
        ("/%7Euser/%2e", "/~user/."),
        ("/a%2fb%c3%a9", "/a%2Fb%C3%A9"),
        ("/%2561dmin", "/%2561dmin"),
        ("/%61?next=%61%2f", "/a?next=%61%2f"),
        // Nothing is forwarded, and weir decodes in one way.
        ("//a;b", "//a;b"),
    ] {
        assert_eq!(status_of(&response(&server, target, "")), 101, "{target}");
        assert_eq!(targets(&hook.heads), [normal; 3], "{target}");
    }
}

/// Other spellings of a path are the same question.
#[test]
fn an_answer_is_used_again_for_another_spelling() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    let settings = hook.settings().cache(std::time::Duration::from_secs(60));
    let (server, _seen) = hooked(settings, RouteSettings::default());
    for (target, asked) in [("/ab", 1), ("/%61b", 1), ("/a%62", 1), ("/a%2Fb", 2), ("/a%2fb", 2)] {
        assert_eq!(status_of(&response(&server, target, "")), 101);
        assert_eq!(hook.asked(), asked, "{target}");
    }
}

/// An upstream may merge slashes, decode separators or drop parameters: it would serve another path than
/// the hook has admitted.
#[test]
fn ambiguous_paths_to_an_upstream_are_refused_before_the_hook() {
    let hook = HookServer::new(ok(""));
    let settings = hook.settings();
    let (sender, _seen) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let hook = Hook::new("hook", settings).unwrap();
        let gate = reactor.add_gate(hook, GateSettings::default()).unwrap();
        let (reporter, seen) = report();
        let service = reactor.add_service(Forwarding(reporter)).unwrap();
        reactor.add_route("/*", service, RouteSettings::default().gate(gate)).unwrap();
        sender.send(seen).unwrap();
    });
    let plain = |target: &str| {
        let mut client = Client::tcp(server.address);
        client.raw(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        client.head()
    };
    for target in ["//admin", "/x//admin", "/x%2Fadmin", "/x%5cadmin", "/x;a/admin", "/%2fadmin"] {
        for head in [response(&server, target, ""), plain(target)] {
            assert_eq!(status_of(&head), 400, "{target}: {head}");
            let reason = "path can be read as another one";
            assert_eq!(header(&head, "X-WebSocket-Error"), Some(reason), "{target}");
        }
    }
    assert_eq!(hook.asked(), 0);
    for (target, normal) in [("/x%2Ey", "/x.y"), ("/%61dmin?a=//b", "/admin?a=//b")] {
        assert_eq!(status_of(&response(&server, target, "")), 101, "{target}");
        assert_eq!(targets(&hook.heads), [normal; 3]);
        assert_eq!(status_of(&plain(target)), 200, "{target}");
        assert_eq!(targets(&hook.heads), [normal; 3]);
    }
}
