//! What the tests share: a reactor on a thread, a service that reports what it sees, and a client that
//! speaks frames by hand, so that it can also speak them wrongly.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weir::protocol::Message;
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings, TlsSettings};
use weir::reactor::{CloseReason, ConnId, Context, Handle, Metrics, Reactor, SendOutcome, Service};

/// Longer than anything here takes on a busy machine; what takes longer has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A port of 127.0.0.1 that is free.
fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A reactor on a thread of its own. Dropped, it shuts down and is waited for.
pub struct Server {
    pub address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<Metrics>>,
}

impl Server {
    /// A reactor with whatever `build` puts on it, listening on a port of 127.0.0.1.
    pub fn start(settings: Settings, build: impl FnOnce(&mut Reactor) + Send + 'static) -> Server {
        Server::listening(ListenSettings::new(any()), settings, build)
    }

    /// The same, by TLS with these settings.
    pub fn secure(
        tls: TlsSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor) + Send + 'static,
    ) -> Server {
        Server::listening(ListenSettings::secure(any()), settings, |reactor| {
            reactor.set_tls(tls).unwrap();
            build(reactor);
        })
    }

    fn listening(
        listen: ListenSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor) + Send + 'static,
    ) -> Server {
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new(settings).unwrap();
            build(&mut reactor);
            let address = reactor.listen(&listen).unwrap();
            tell.send((address, reactor.handle())).unwrap();
            reactor.run().unwrap();
            reactor.metrics().clone()
        });
        let (address, handle) = told.recv_timeout(DEADLINE).unwrap();
        Server { address, handle, thread: Some(thread) }
    }

    /// A [`Watched`] echo at `/`.
    pub fn watched(settings: Settings, route: RouteSettings) -> (Server, Receiver<Seen>) {
        let (service, seen) = Watched::echo();
        let server = Server::start(settings, move |reactor| {
            let service = reactor.add_service(service).unwrap();
            reactor.add_route("/", service, route).unwrap();
        });
        (server, seen)
    }

    /// Orders the shutdown, without waiting for its end.
    pub fn shutdown(&self) {
        self.handle.shutdown();
    }

    /// Shuts down and tells what was counted.
    pub fn stop(mut self) -> Metrics {
        self.handle.shutdown();
        self.join()
    }

    /// Waits for the end of a shutdown that was ordered already.
    pub fn join(&mut self) -> Metrics {
        let thread = self.thread.take().unwrap();
        eventually(|| thread.is_finished(), "the reactor ends");
        thread.join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
        if self.thread.is_some() && !thread::panicking() {
            self.join();
        }
    }
}

/// What a [`Watched`] service has seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Only by [`Deferring`](crate::deferring::Deferring).
    Deferred(ConnId),
    Opened(ConnId),
    Message(ConnId, Vec<u8>),
    Drained(ConnId),
    Closed(ConnId, CloseReason),
}

/// What a [`Watched`] service does with a message.
type Reply = Box<dyn FnMut(&mut Context<'_>, ConnId, Message<'_>) + Send>;

/// A service that reports what it sees and does with messages what the test says.
pub struct Watched {
    tell: Sender<Seen>,
    reply: Reply,
}

impl Watched {
    pub fn new(
        reply: impl FnMut(&mut Context<'_>, ConnId, Message<'_>) + Send + 'static,
    ) -> (Watched, Receiver<Seen>) {
        let (tell, seen) = channel();
        (Watched { tell, reply: Box::new(reply) }, seen)
    }

    /// Sends back what it gets, losslessly.
    pub fn echo() -> (Watched, Receiver<Seen>) {
        Watched::new(|cx, conn, message| {
            if cx.send(conn, message) == SendOutcome::Congested {
                cx.pause(conn);
            }
        })
    }

    pub fn tell(&self, seen: Seen) {
        // A test that has seen enough has dropped its end.
        let _ = self.tell.send(seen);
    }
}

impl Service for Watched {
    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.tell(Seen::Opened(conn));
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.tell(Seen::Message(conn, message.as_bytes().to_vec()));
        (self.reply)(cx, conn, message);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.tell(Seen::Drained(conn));
        cx.resume(conn);
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.tell(Seen::Closed(conn, why));
    }
}

/// The reason for the end of the next connection that ends.
pub fn next_end(seen: &Receiver<Seen>) -> CloseReason {
    loop {
        if let Seen::Closed(_, why) = seen.recv_timeout(DEADLINE).expect("a connection ends") {
            return why;
        }
    }
}

/// A frame as the client got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// RSV1.
    pub compressed: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
/// RSV1, beside the opcode.
pub const COMPRESSED: u8 = 0x40;

/// A client that does what it is told, over TCP or whatever lies on it.
pub struct Client<S = TcpStream> {
    pub stream: S,
    /// Bytes received and not looked at yet.
    pending: Vec<u8>,
}

impl Client {
    /// A connection on which nothing was sent yet.
    pub fn tcp(address: SocketAddr) -> Client {
        Client::on(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// An open WebSocket.
    pub fn open(address: SocketAddr, path: &str) -> Client {
        Client::tcp(address).upgraded(path)
    }

    /// An open WebSocket whose request had further header lines, each ended by CR LF, and the head of
    /// its answer.
    pub fn open_with(address: SocketAddr, path: &str, lines: &str) -> (Client, String) {
        let mut client = Client::tcp(address);
        let head = client.request(&upgrade(path, lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, head)
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a stream that is set up already.
    pub fn over(stream: S) -> Client<S> {
        Client { stream, pending: Vec::new() }
    }

    /// The same as an open WebSocket.
    pub fn upgraded(mut self, path: &str) -> Client<S> {
        let head = self.request(&upgrade(path, ""));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends a request and returns the head of the answer.
    pub fn request(&mut self, request: &str) -> String {
        self.raw(request.as_bytes());
        self.head()
    }

    /// The head of an HTTP answer, with the empty line that ends it.
    pub fn head(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.receive(), "the stream ended within a head");
        };
        String::from_utf8(self.pending.drain(..end).collect()).unwrap()
    }

    /// Exactly so many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.pending.len() < len {
            assert!(self.receive(), "the stream ended after {} bytes", self.pending.len());
        }
        self.pending.drain(..len).collect()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&frame(true, opcode, payload));
    }

    pub fn text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.send(CLOSE, &payload);
    }

    /// The next frame, which must be well-formed, unmasked and in its shortest form.
    pub fn frame(&mut self) -> Frame {
        let head = self.bytes(2);
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        assert_eq!(head[0] & 0x30, 0, "RSV2 and RSV3 mean nothing");
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.bytes(8).try_into().unwrap()),
            short => u64::from(short),
        };
        let payload = self.bytes(len as usize);
        let (fin, compressed) = (head[0] & 0x80 != 0, head[0] & 0x40 != 0);
        Frame { fin, compressed, opcode: head[0] & 0x0F, payload }
    }

    /// The next frame, which must be this message.
    pub fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame();
        assert!(frame.fin && !frame.compressed);
        assert_eq!(frame.opcode, opcode, "{:?}", String::from_utf8_lossy(&frame.payload));
        assert!(frame.payload == payload, "{} bytes came back differently", payload.len());
    }

    /// Skips messages until a Close comes; returns its code (0 if empty) and reason.
    pub fn expect_close(&mut self) -> (u16, String) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < DEADLINE, "frames, but no Close");
            let frame = self.frame();
            if frame.opcode == CLOSE {
                return match &frame.payload[..] {
                    [] => (0, String::new()),
                    [a, b, reason @ ..] => {
                        (u16::from_be_bytes([*a, *b]), String::from_utf8(reason.to_vec()).unwrap())
                    }
                    [_] => panic!("a Close with one byte"),
                };
            }
        }
    }

    /// The server has ended the stream, in good order.
    pub fn expect_end(&mut self) {
        assert!(self.pending.is_empty(), "{:?}", self.pending);
        assert!(!self.receive(), "{:?}", self.pending);
    }

    /// The stream has ended, no matter how.
    pub fn expect_gone(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it lives on"),
                Err(_) => return,
            }
        }
    }

    /// Receives more; whether there was more.
    fn receive(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let len = self.stream.read(&mut chunk).expect("bytes, or the end, within the deadline");
        self.pending.extend_from_slice(&chunk[..len]);
        len > 0
    }
}

/// The key of every request that is made here: that of RFC 6455, 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A valid upgrade request with further header lines, each ended by CR LF.
pub fn upgrade(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// A client's frame, masked.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    bytes
}

/// Waits for a condition that other threads bring about.
pub fn eventually(mut condition: impl FnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

impl Server {
    /// Shuts down and tells what was counted; nothing may be left of the connections that were.
    pub fn stop_clean(self) -> Metrics {
        let metrics = self.stop();
        let left = (metrics.buffered_now, metrics.connections_now, metrics.refused_now);
        assert_eq!(left, (0, 0, 0), "bytes, connections and refusals left over: {metrics}");
        metrics
    }
}

impl Client {
    /// An open WebSocket whose kernel holds little for it: what it does not read stays with the server.
    pub fn narrow(address: SocketAddr, path: &str) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        let mut client = Client::on(socket.into());
        let head = client.request(&upgrade(path, ""));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// A connection from this address of the machine.
    pub fn from(source: Ipv4Addr, address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Client::on(socket.into())
    }

    /// A second hand on the same connection, for another thread: one writes while the other reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, pending: Vec::new() }
    }
}

/// A reactor whose turns the test makes itself, on its own thread: what happens between two of them is
/// what the test does, however busy the machine is.
pub struct ByHand {
    pub reactor: Reactor,
    pub address: SocketAddr,
}

impl ByHand {
    pub fn new(settings: Settings, build: impl FnOnce(&mut Reactor)) -> ByHand {
        ByHand::listening(ListenSettings::new(any()), settings, build)
    }

    /// One by TLS, for which `build` must set the certificates.
    pub fn secure(settings: Settings, build: impl FnOnce(&mut Reactor)) -> ByHand {
        ByHand::listening(ListenSettings::secure(any()), settings, build)
    }

    fn listening(
        listen: ListenSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor),
    ) -> ByHand {
        let mut reactor = Reactor::new(settings).unwrap();
        build(&mut reactor);
        let address = reactor.listen(&listen).unwrap();
        reactor.start();
        ByHand { reactor, address }
    }

    /// One more address, in the clear.
    pub fn listen_plain(&mut self) -> SocketAddr {
        self.reactor.listen(&ListenSettings::new(any())).unwrap()
    }

    /// Turns until there is something to read on the other end of a connection.
    pub fn turn_until_readable(&mut self, stream: &TcpStream) {
        let begun = Instant::now();
        stream.set_nonblocking(true).unwrap();
        while stream.peek(&mut [0]).is_err() {
            assert!(begun.elapsed() < DEADLINE, "nothing to read within {DEADLINE:?}");
            self.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        stream.set_nonblocking(false).unwrap();
    }

    /// Turns until the metrics say so; returns how many turns that took.
    pub fn turn_until(&mut self, what: &str, condition: impl Fn(&Metrics) -> bool) -> u64 {
        let before = self.reactor.metrics().turns;
        let begun = Instant::now();
        while !condition(self.reactor.metrics()) {
            assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
            self.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        self.reactor.metrics().turns - before
    }

    /// An open WebSocket.
    pub fn open(&mut self, path: &str) -> Client {
        self.open_at(self.address, path)
    }

    /// The same at another of its addresses.
    pub fn open_at(&mut self, address: SocketAddr, path: &str) -> Client {
        let opened = self.reactor.metrics().opened;
        let mut client = Client::tcp(address);
        client.raw(upgrade(path, "").as_bytes());
        self.turn_until("a connection opens", |metrics| metrics.opened > opened);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client
    }

    /// Waits until the connections, whose clients are gone, are; nothing may be left of them.
    pub fn stop_clean(mut self) -> Metrics {
        self.turn_until("all connections end", |metrics| metrics.connections_now == 0);
        let metrics = self.reactor.metrics().clone();
        assert_eq!((metrics.buffered_now, metrics.refused_now), (0, 0), "{metrics}");
        metrics
    }
}
impl Client {
    /// A connection whose kernel buffers little of what it does not read.
    pub fn narrow_tcp(address: SocketAddr) -> Client {
        let kind = socket2::Type::STREAM;
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), kind, None).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { stream, pending: Vec::new() }
    }

    /// The next HTTP answer: its head and its body.
    pub fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 "), "more was sent before: {head}");
        let len = header(&head, "Content-Length").expect("a length").parse().unwrap();
        let body = self.bytes(len);
        (head, body)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// The value of a header in a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1);
    let mut pairs = lines.filter_map(|line| line.split_once(": "));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Awaits the end of the only connection, then that of its server: the reason, told exactly once, and
/// what was counted.
pub fn only_end(server: Server, seen: &Receiver<Seen>) -> (CloseReason, Metrics) {
    let reason = next_end(seen);
    let metrics = server.stop();
    let more: Vec<Seen> = seen.iter().filter(|seen| matches!(seen, Seen::Closed(..))).collect();
    assert_eq!(more, [], "on_close is called once");
    assert_eq!((metrics.connections_now, metrics.buffered_now), (0, 0));
    (reason, metrics)
}

/// A server with one service at `/`.
pub fn serving(settings: Settings, service: impl Service + Send + 'static) -> Server {
    Server::start(settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    })
}

/// The real binary on a port of 127.0.0.1, with its log; killed when dropped.
pub struct Binary {
    /// Where it listens first.
    pub address: SocketAddr,
    /// By TLS.
    pub is_secure: bool,
    lines: Receiver<String>,
    process: std::process::Child,
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Binary {
    /// `weir serve` with these flags, and no settings from the environment.
    pub fn serve(flags: &[&str]) -> Binary {
        Binary::listening(&[&["--listen", "127.0.0.1:0"], flags].concat())
    }

    /// The same, where the flags say.
    pub fn listening(flags: &[&str]) -> Binary {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let settings = std::env::vars().filter(|(name, _)| name.starts_with("WEIR_"));
        for (name, _) in settings {
            command.env_remove(name);
        }
        command.arg("serve").args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = std::sync::Arc::<std::sync::Mutex<String>>::default();
        let (written, errors) = (log.clone(), BufReader::new(process.stderr.take().unwrap()));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                *written.lock().unwrap() += &(line + "\n");
            }
        });
        let (tell, lines) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let (address, is_secure) = next_listener(&lines);
        Binary { address, is_secure, lines, process, log }
    }

    /// The next address on which it listens.
    pub fn next_address(&self) -> SocketAddr {
        next_listener(&self.lines).0
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

fn next_listener(lines: &Receiver<String>) -> (SocketAddr, bool) {
    let line = lines.recv_timeout(DEADLINE).expect("it listens");
    let url = line.strip_prefix("listening ").expect(&line);
    let (scheme, address) = url.split_once("://").expect(&line);
    (address.trim_end_matches('/').parse().unwrap(), scheme == "wss")
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
