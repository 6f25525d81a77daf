//! The service that forwards requests to an upstream which a test plays by hand.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::{Refusal, Request, Response};
use weir::protocol::http::{
    BodyPass, RequestOrigin, RequestRules, ResponseHead, ResponseRules, check_request,
    write_request, write_response,
};
use weir::reactor::settings::{RouteSettings, Settings, TlsSettings};
use weir::reactor::{
    CloseReason, ConnId, Connect, Context, Decision, ExchangeEnd, ExchangeOutcome, ForwardResponse,
    HeadDecision, Reactor, RequestHead, RouteId, Service, TlsConnector, UpgradeRequest,
    UpstreamDecision, UpstreamRequest,
};

use crate::pipe::upstream::{Upstream, listener};
use crate::support::{Client, DEADLINE, Server};

/// An event that a [`Forwarding`] service reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A request, by its method and target.
    Asked(String),
    Ended(ExchangeEnd),
    ClientClosed(CloseReason),
    UpstreamClosed(CloseReason),
}

/// A service that forwards each request to one upstream, on an idle connection if it has one.
pub struct Forwarding {
    pub address: SocketAddr,
    pub connector: Option<TlsConnector>,
    pub answer_timeout: Duration,
    pub body_timeout: Duration,
    /// Whether failed requests are sent again while nothing of their body was read.
    pub retries: bool,
    /// Whether it tries that also after a part of the body was read.
    pub insists: bool,
    route: Option<RouteId>,
    /// By the upstream.
    asked: HashMap<ConnId, Asked>,
    /// Clients that wait for a response.
    waiting: HashSet<ConnId>,
    idle: Vec<ConnId>,
    sender: Sender<Event>,
}

/// A request that waits for its response.
#[derive(Debug, Clone)]
struct Asked {
    client: ConnId,
    head: Vec<u8>,
    method: String,
    minor_version: u8,
}

impl Forwarding {
    fn report(&self, event: Event) {
        // A test that needs no more events has dropped the receiver.
        let _ = self.sender.send(event);
    }

    /// The head for the upstream.
    fn ask(
        &self,
        client: ConnId,
        request: &Request<'_>,
        peer: SocketAddr,
    ) -> Result<Asked, Refusal> {
        check_request(request)?;
        let origin = RequestOrigin {
            peer: peer.ip(),
            client: peer.ip(),
            is_peer_trusted: false,
            is_secure: false,
            upstream: "upstream",
            keep_alive: true,
            trace: None,
            identity: None,
        };
        let mut head = Vec::new();
        write_request(request, &RequestRules::default(), &origin, &mut head)?;
        let method = request.method().to_owned();
        Ok(Asked { client, head, method, minor_version: request.minor_version() })
    }

    fn forward(&mut self, cx: &mut Context<'_>, asked: &Asked) -> bool {
        self.waiting.insert(asked.client);
        let request = || {
            UpstreamRequest::new(asked.head.clone(), self.answer_timeout)
                .client(asked.client)
                .body_timeout(self.body_timeout)
        };
        while let Some(upstream) = self.idle.pop() {
            if cx.send_request(upstream, request()) {
                self.asked.insert(upstream, asked.clone());
                return true;
            }
        }
        let Ok(upstream) =
            cx.dial(Connect::to(self.address).tls(&self.connector), self.route.unwrap(), DEADLINE)
        else {
            return false;
        };
        let is_sent = cx.send_request(upstream, request());
        if is_sent {
            self.asked.insert(upstream, asked.clone());
        } else {
            cx.abort(upstream);
        }
        is_sent
    }
}

impl Service for Forwarding {
    fn streams_http(&self) -> bool {
        true
    }

    fn on_request_head(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        request: &RequestHead<'_>,
    ) -> HeadDecision {
        self.report(Event::Asked(format!("{} {}", request.http.method(), request.http.target())));
        assert!(request.head.ends_with(b"\r\n\r\n") && cx.is_body_unread(client));
        match self.ask(client, request.http, request.peer) {
            Err(refusal) => HeadDecision::Refuse(refusal),
            Ok(_) if request.http.path() == "/own" => {
                HeadDecision::Respond(Response::text(404, "here"))
            }
            Ok(asked) if self.forward(cx, &asked) => HeadDecision::Defer,
            Ok(_) => HeadDecision::Respond(Response::text(503, "no socket")),
        }
    }

    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        self.report(Event::Asked(format!("upgrade {}", request.http.target())));
        match self.ask(client, request.http, request.peer) {
            Err(refusal) => Decision::Refuse(refusal),
            Ok(asked) if self.forward(cx, &asked) => Decision::Defer,
            Ok(_) => Decision::Respond(Response::text(503, "no socket")),
        }
    }

    fn on_response_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        let Asked { client, method, minor_version, .. } = self.asked[&upstream].clone();
        let (method, keep_alive) = (method.as_str(), cx.keeps_alive(client));
        let mut written = Vec::new();
        if head.status() == 101 {
            self.waiting.remove(&client);
            cx.respond(client, Response::text(502, "a 101"));
            return UpstreamDecision::Drop;
        }
        let (cookie, protocol) = (None, None);
        let rules = ResponseRules { method, minor_version, keep_alive, cookie, protocol };
        if head.is_interim() {
            if minor_version == 1 {
                write_response(head, &rules, &mut written);
            }
            return UpstreamDecision::Interim(written);
        }
        let keeps_client = write_response(head, &rules, &mut written);
        let body = BodyPass::new(head.framing(method), minor_version, u64::MAX).unwrap();
        self.asked.remove(&upstream);
        self.waiting.remove(&client);
        let response = ForwardResponse::new(written, body)
            .keep_client(keeps_client)
            .keep_upstream(head.keeps_alive(method));
        UpstreamDecision::Forward(response)
    }

    fn on_exchange_end(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        upstream: ConnId,
        end: &ExchangeEnd,
    ) {
        if end.is_upstream_idle {
            self.idle.push(upstream);
        }
        self.report(Event::Ended(*end));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        panic!("a message in an exchange");
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let asked = self.asked.remove(&conn);
        if self.waiting.remove(&conn) {
            self.asked.retain(|_, asked| asked.client != conn);
            return self.report(Event::ClientClosed(why));
        }
        self.idle.retain(|idle| *idle != conn);
        self.report(Event::UpstreamClosed(why));
        let Some(asked) = asked.filter(|_| why != CloseReason::Aborted) else {
            return;
        };
        let client = asked.client;
        let may_retry = self.retries && cx.is_body_unread(client) || self.insists;
        if may_retry && self.forward(cx, &asked) {
            return;
        }
        self.waiting.remove(&client);
        let status = if why == CloseReason::HandshakeTimeout { 504 } else { 502 };
        cx.respond(client, Response::text(status, "bad gateway"));
    }
}

/// A server that forwards to a listener, whose connections the test plays.
pub struct Proxy {
    pub server: Server,
    pub listener: TcpListener,
    pub events: Receiver<Event>,
}

impl Proxy {
    pub fn new() -> Proxy {
        Proxy::with(Settings::default(), RouteSettings::default(), |_| {})
    }

    pub fn with(
        settings: Settings,
        route: RouteSettings,
        change: impl FnOnce(&mut Forwarding),
    ) -> Proxy {
        Proxy::over(None, settings, route, change)
    }

    /// With TLS for clients, if set.
    pub fn over(
        tls: Option<TlsSettings>,
        settings: Settings,
        route: RouteSettings,
        change: impl FnOnce(&mut Forwarding),
    ) -> Proxy {
        let listener = listener();
        let (sender, events) = channel();
        let mut forwarding = Forwarding {
            address: listener.local_addr().unwrap(),
            connector: None,
            answer_timeout: DEADLINE,
            body_timeout: DEADLINE,
            retries: false,
            insists: false,
            route: None,
            asked: HashMap::new(),
            waiting: HashSet::new(),
            idle: Vec::new(),
            sender,
        };
        change(&mut forwarding);
        let build = move |reactor: &mut Reactor| {
            let id = reactor.next_service_id();
            let outbound = reactor.add_outbound(id, RouteSettings::default()).unwrap();
            forwarding.route = Some(outbound);
            let service = reactor.add_service(forwarding).unwrap();
            reactor.add_route("/*", service, route).unwrap();
        };
        let server = match tls {
            None => Server::start(settings, build),
            Some(tls) => Server::secure(tls, settings, build),
        };
        Proxy { server, listener, events }
    }

    pub fn client(&self) -> Client {
        Client::tcp(self.server.address)
    }

    /// The next connection to the upstream, and the head of its request.
    pub fn upstream(&self) -> (Upstream, String) {
        let mut upstream = Upstream::accept(&self.listener);
        let head = upstream.request();
        (upstream, head)
    }

    /// Sends a request, and returns its client and upstream. The upstream has read the head.
    pub fn ask(&self, request: &str) -> (Client, Upstream) {
        let mut client = self.client();
        client.raw(request.as_bytes());
        let (upstream, _) = self.upstream();
        (client, upstream)
    }

    pub fn next(&self) -> Event {
        self.events.recv_timeout(DEADLINE).expect("an event is reported")
    }

    /// The next end of an exchange. Other events before it are skipped.
    pub fn end(&self) -> ExchangeEnd {
        loop {
            if let Event::Ended(end) = self.next() {
                return end;
            }
        }
    }

    pub fn outcome(&self) -> ExchangeOutcome {
        self.end().outcome
    }

    /// The reason of the next upstream that ends. Other events before it are skipped.
    pub fn upstream_end(&self) -> CloseReason {
        loop {
            if let Event::UpstreamClosed(why) = self.next() {
                return why;
            }
        }
    }

    /// The reason of the next client that ends before its response. Other events are skipped.
    pub fn client_end(&self) -> CloseReason {
        loop {
            if let Event::ClientClosed(why) = self.next() {
                return why;
            }
        }
    }
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A response with a length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// `body` in chunks of these sizes, without the last chunk.
pub fn chunked(pieces: &[&str]) -> String {
    pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect()
}

pub const LAST_CHUNK: &str = "0\r\n\r\n";
