//! An upstream that a test plays by hand, and the service that joins clients with it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use weir::protocol::handshake::{Response, accept_key};
use weir::protocol::http::ResponseHead;
use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Connect, Context, Decision, MailReceiver, MailSender, More, PipeEnd,
    Reactor, RouteId, Service, TlsConnector, TunnelSettings, UpgradeRequest, UpstreamDecision,
    UpstreamRequest,
};

use crate::support::{CLOSE, Client, DEADLINE, Frame, KEY, Server, any, header};

/// An event that a [`Joining`] service reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Connected,
    Status(u16),
    /// The client and its upstream are joined.
    Joined(ConnId, ConnId),
    Lost,
    Ended(PipeEnd),
    ClientClosed(CloseReason),
    UpstreamClosed(CloseReason),
}

/// A service that dials an upstream for each upgrade, and joins the two.
pub struct Joining {
    pub address: SocketAddr,
    pub connector: Option<TlsConnector>,
    pub preface: &'static [u8],
    pub connect_timeout: Duration,
    pub answer_timeout: Duration,
    pub tunnel: TunnelSettings,
    pub lost: CloseCode,
    route: Option<RouteId>,
    /// The client of each upstream.
    clients: HashMap<ConnId, ConnId>,
    /// The upstream of each client that waits for its response.
    waiting: HashMap<ConnId, ConnId>,
    sender: Sender<Event>,
    lend: Sender<MailSender<Task>>,
    tasks: Option<MailReceiver<Task>>,
}

type Task = Box<dyn FnOnce(&mut Context<'_>) + Send>;

impl Joining {
    pub fn new(address: SocketAddr) -> (Joining, Events) {
        let (sender, events) = channel();
        let (lend, lent) = channel();
        let joining = Joining {
            address,
            connector: None,
            preface: b"",
            connect_timeout: DEADLINE,
            answer_timeout: DEADLINE,
            tunnel: TunnelSettings::default(),
            lost: CloseCode::SERVICE_RESTART,
            route: None,
            clients: HashMap::new(),
            waiting: HashMap::new(),
            sender,
            lend,
            tasks: None,
        };
        (joining, Events { events, lent, mail: OnceCell::new() })
    }

    pub fn place(mut self, reactor: &mut Reactor, route: RouteSettings) {
        let id = reactor.next_service_id();
        self.route = Some(reactor.add_outbound(id, RouteSettings::default()).unwrap());
        let service = reactor.add_service(self).unwrap();
        reactor.add_route("/", service, route).unwrap();
    }

    fn report(&self, event: Event) {
        // A test that needs no more events has dropped the receiver.
        let _ = self.sender.send(event);
    }
}

impl Service for Joining {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(8);
        self.tasks = Some(receiver);
        let _ = self.lend.send(sender);
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        if let Some(Ok(task)) = self.tasks.as_ref().map(MailReceiver::try_recv) {
            task(cx);
            return More::Yes;
        }
        More::No
    }

    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        let to = Connect::to(self.address).tls(&self.connector).preface(self.preface);
        let dialed = cx.dial(to, self.route.unwrap(), self.connect_timeout);
        let Ok(upstream) = dialed else {
            return Decision::Respond(Response::text(503, "no socket"));
        };
        let key = request.http.header("Sec-WebSocket-Key").unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: upstream\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        let request = UpstreamRequest::new(head.into(), self.answer_timeout).client(client);
        assert!(cx.send_request(upstream, request));
        self.clients.insert(upstream, client);
        self.waiting.insert(client, upstream);
        Decision::Defer
    }

    fn on_connect(&mut self, _: &mut Context<'_>, _: ConnId) {
        self.report(Event::Connected);
    }

    fn on_response_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        self.report(Event::Status(head.status()));
        if head.status() != 101 {
            cx.respond(self.clients[&upstream], Response::text(head.status(), "refused"));
            return UpstreamDecision::Drop;
        }
        self.waiting.remove(&self.clients[&upstream]);
        self.report(Event::Joined(self.clients[&upstream], upstream));
        let accept = head.header("Sec-WebSocket-Accept").unwrap();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        UpstreamDecision::Join { head: head.into(), tunnel: self.tunnel }
    }

    fn on_upstream_lost(&mut self, _: &mut Context<'_>, _: ConnId, _: ConnId) -> CloseCode {
        self.report(Event::Lost);
        self.lost
    }

    fn on_pipe_end(&mut self, _: &mut Context<'_>, _: ConnId, _: ConnId, end: &PipeEnd) {
        self.report(Event::Ended(*end));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {
        panic!("a message on a joined connection");
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        match self.clients.remove(&conn) {
            Some(client) => {
                self.report(Event::UpstreamClosed(why));
                cx.respond(client, Response::text(502, "bad gateway"));
            }
            None => {
                self.report(Event::ClientClosed(why));
                if let Some(upstream) = self.waiting.remove(&conn) {
                    cx.abort(upstream);
                }
            }
        }
    }
}

/// The test's side of a [`Joining`] service.
pub struct Events {
    events: Receiver<Event>,
    lent: Receiver<MailSender<Task>>,
    mail: OnceCell<MailSender<Task>>,
}

impl Events {
    pub fn next(&self) -> Event {
        self.events.recv_timeout(DEADLINE).expect("an event is reported")
    }

    /// Runs a task on the loop.
    pub fn run(&self, task: impl FnOnce(&mut Context<'_>) + Send + 'static) {
        let lent = || self.lent.recv_timeout(DEADLINE).expect("the loop starts");
        let mail = self.mail.get_or_init(lent);
        assert!(mail.send(Box::new(task)).is_ok(), "the loop runs");
    }

    /// All events until the loop has ended.
    pub fn rest(self) -> Vec<Event> {
        self.events.iter().collect()
    }

    /// The ids of the next tunnel.
    pub fn joined(&self) -> (ConnId, ConnId) {
        loop {
            if let Event::Joined(client, upstream) = self.next() {
                return (client, upstream);
            }
        }
    }

    /// Waits for both connections of a tunnel to end; returns its end, and the reasons of client and
    /// upstream. Each is reported once, the tunnel's end first.
    pub fn ends(&self) -> (PipeEnd, CloseReason, CloseReason) {
        let (mut end, mut client, mut upstream) = (None, None, None);
        while client.is_none() || upstream.is_none() {
            match self.next() {
                Event::Connected | Event::Status(_) | Event::Joined(..) | Event::Lost => {}
                Event::Ended(ended) => {
                    assert!(end.is_none() && client.is_none() && upstream.is_none());
                    end = Some(ended);
                }
                Event::ClientClosed(why) => assert_eq!(client.replace(why), None),
                Event::UpstreamClosed(why) => assert_eq!(upstream.replace(why), None),
            }
        }
        let end = end.expect("the end of the tunnel was reported first");
        assert_eq!(Some(end.reason), client);
        (end, client.unwrap(), upstream.unwrap())
    }
}

/// The upstream's end of a connection: reads masked frames, writes others.
pub struct Upstream<S = TcpStream> {
    pub stream: S,
    pending: Vec<u8>,
}

impl Upstream {
    /// The next connection at this listener.
    pub fn accept(listener: &TcpListener) -> Upstream {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Upstream::over(stream)
    }

    /// Resets the connection.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl<S: Read + Write> Upstream<S> {
    pub fn over(stream: S) -> Upstream<S> {
        Upstream { stream, pending: Vec::new() }
    }

    /// Reads the request; returns its head.
    pub fn request(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.receive(), "the stream ended within a head");
        };
        String::from_utf8(self.pending.drain(..end).collect()).unwrap()
    }

    /// Accepts the upgrade, with these bytes right behind the 101.
    pub fn upgrade(&mut self, behind: &[u8]) {
        let head = self.request();
        assert_eq!(header(&head, "Sec-WebSocket-Key"), Some(KEY));
        let accept = accept_key(KEY.as_bytes());
        let accept = std::str::from_utf8(&accept).unwrap();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.raw(&[head.as_bytes(), behind].concat());
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&unmasked(true, opcode, payload));
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        self.send(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.pending.len() < len {
            assert!(self.receive(), "the stream ended after {} bytes", self.pending.len());
        }
        self.pending.drain(..len).collect()
    }

    /// The next frame, which must be masked and in its shortest form.
    pub fn frame(&mut self) -> Frame {
        let head = self.bytes(2);
        assert_eq!(head[1] & 0x80, 0x80, "a client's frames are masked");
        let len = match head[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.bytes(8).try_into().unwrap()),
            short => u64::from(short),
        };
        let key = self.bytes(4);
        let mut payload = self.bytes(len as usize);
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= key[i % 4]);
        let (fin, compressed) = (head[0] & 0x80 != 0, head[0] & 0x40 != 0);
        Frame { fin, compressed, opcode: head[0] & 0x0F, payload }
    }

    pub fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame();
        assert_eq!(frame.opcode, opcode, "{:?}", String::from_utf8_lossy(&frame.payload));
        assert!(frame.fin && frame.payload == payload, "{} bytes differ", payload.len());
    }

    /// The next frame, which must be a Close; returns its code (0 if empty) and reason.
    pub fn expect_close(&mut self) -> (u16, String) {
        let frame = self.frame();
        assert_eq!(frame.opcode, CLOSE);
        match &frame.payload[..] {
            [] => (0, String::new()),
            [a, b, reason @ ..] => {
                (u16::from_be_bytes([*a, *b]), String::from_utf8(reason.to_vec()).unwrap())
            }
            [_] => panic!("a Close with one byte"),
        }
    }

    /// Expects a FIN, and no byte before it.
    pub fn expect_end(&mut self) {
        assert!(self.pending.is_empty(), "{:?}", self.pending);
        assert!(!self.receive(), "{:?}", self.pending);
    }

    fn receive(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let len = self.stream.read(&mut chunk).expect("bytes, or the end, within the deadline");
        self.pending.extend_from_slice(&chunk[..len]);
        len > 0
    }
}

/// A server's frame.
pub fn unmasked(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => bytes.push(len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A joined client and upstream.
pub struct Joined {
    pub server: Server,
    pub client: Client,
    pub upstream: Upstream,
    pub events: Events,
}

/// A listener for an upstream that the test plays.
pub fn listener() -> TcpListener {
    let listener = TcpListener::bind(any()).unwrap();
    socket2::SockRef::from(&listener).set_read_timeout(Some(DEADLINE)).unwrap();
    listener
}

/// A server that joins clients with the listener's upstream.
pub fn joining(
    listener: &TcpListener,
    settings: Settings,
    route: RouteSettings,
    change: impl FnOnce(&mut Joining),
) -> (Server, Events) {
    let (mut joining, events) = Joining::new(listener.local_addr().unwrap());
    change(&mut joining);
    (Server::start(settings, move |reactor| joining.place(reactor, route)), events)
}

impl Joined {
    pub fn new() -> Joined {
        Joined::with(Settings::default(), RouteSettings::default(), |_| {})
    }

    pub fn with(
        settings: Settings,
        route: RouteSettings,
        change: impl FnOnce(&mut Joining),
    ) -> Joined {
        let listener = listener();
        let (server, events) = joining(&listener, settings, route, change);
        let (client, upstream) = join(Client::tcp(server.address), &listener);
        Joined { server, client, upstream, events }
    }

    /// Waits for the end of the tunnel; then for that of the server, where nothing may be left.
    pub fn ends(self) -> (PipeEnd, CloseReason, CloseReason) {
        let ends = self.events.ends();
        drop((self.client, self.upstream));
        self.server.stop_clean();
        ends
    }
}

/// Joins a client with the next connection at the listener.
pub fn join(mut client: Client, listener: &TcpListener) -> (Client, Upstream) {
    client.raw(crate::support::upgrade("/", "").as_bytes());
    let mut upstream = Upstream::accept(listener);
    upstream.upgrade(b"");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    (client, upstream)
}
