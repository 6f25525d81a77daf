//! Servers with a gate for tokens in front of a service that reports what it sees.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use weir::protocol::Message;
use weir::protocol::handshake::Response;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{
    ConnId, Context, Decision, HttpRequest, Identity, Reactor, Service, UpgradeRequest,
};
use weir::services::auth::settings::Algorithm;
use weir::services::auth::{Jwt, JwtSettings};

use super::tokens::SECRET;
use crate::support::{Client, DEADLINE, Server, header, upgrade};

/// What the service of a route saw of a request.
#[derive(Debug)]
pub struct Seen {
    pub head: String,
    /// Subject and metadata.
    pub identity: Option<(String, Vec<(String, String)>)>,
}

/// Reports requests, and accepts all of them.
pub struct Reporter(Sender<Seen>);

/// A service that reports requests.
pub fn report() -> (Reporter, Receiver<Seen>) {
    let (sender, seen) = channel();
    (Reporter(sender), seen)
}

impl Reporter {
    fn report(&self, head: String, identity: Option<&Identity>) {
        let identity = identity.map(|identity| {
            let entry = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            (identity.subject().to_owned(), identity.metadata.iter().map(entry).collect())
        });
        // The test may have ended.
        let _ = self.0.send(Seen { head, identity });
    }
}

impl Service for Reporter {
    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        self.report(String::from_utf8_lossy(request.head).into_owned(), request.identity);
        Decision::Accept(request.accept())
    }

    fn methods(&self) -> &'static [&'static str] {
        &["GET"]
    }

    fn on_http(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let lines = request.http.all_headers();
        let lines =
            lines.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
        let target = request.http.target().to_owned();
        let head = [target].into_iter().chain(lines).collect::<Vec<_>>().join("\r\n");
        self.report(head, request.identity);
        Some(Response::text(200, "ok"))
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let _ = cx.send(conn, message);
    }
}

/// A file that is removed with its test.
pub struct TestFile(pub PathBuf);

impl TestFile {
    pub fn new(text: impl AsRef<[u8]>) -> TestFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weir-auth-{}-{number}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        TestFile(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Settings for HS256 with [`SECRET`], and its file.
pub fn hmac() -> (JwtSettings, TestFile) {
    let file = TestFile::new(SECRET);
    (JwtSettings::new(vec![Algorithm::Hs256]).secret_file(file.0.clone()), file)
}

/// A gate, its route `/`, and the route of refreshes.
pub fn add(reactor: &mut Reactor, settings: &JwtSettings, route: RouteSettings) -> Receiver<Seen> {
    let (service, seen) = report();
    let gate = Jwt::new("users", settings).unwrap();
    let gate = reactor.add_gate(gate, GateSettings::default()).unwrap();
    let service = reactor.add_service(service).unwrap();
    reactor.add_route("/", service, route.gate(gate)).unwrap();
    reactor.add_route("/auth/refresh", gate.service(), RouteSettings::default()).unwrap();
    seen
}

/// A server with this gate.
pub fn gated(settings: JwtSettings) -> (Server, Receiver<Seen>) {
    gated_route(settings, RouteSettings::default())
}

pub fn gated_route(settings: JwtSettings, route: RouteSettings) -> (Server, Receiver<Seen>) {
    let (sender, receiver) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        sender.send(add(reactor, &settings, route)).unwrap();
    });
    (server, receiver.recv_timeout(DEADLINE).unwrap())
}

/// The head of the response to an upgrade with these header lines.
pub fn response(server: &Server, path: &str, lines: &str) -> String {
    Client::tcp(server.address).request(&upgrade(path, lines))
}

/// The status of the response to an upgrade with a token in `Authorization`.
pub fn status(server: &Server, token: &str) -> u16 {
    let head = response(server, "/", &format!("Authorization: Bearer {token}\r\n"));
    status_of(&head)
}

pub fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

pub fn challenge(head: &str) -> Option<&str> {
    header(head, "WWW-Authenticate")
}
