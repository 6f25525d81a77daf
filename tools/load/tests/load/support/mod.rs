//! Servers in this process, and the binary as their client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir::protocol::Message;
use weir::protocol::handshake::{Response, accept_key};
use weir::reactor::settings::{
    CertificateFiles, ListenSettings, RouteSettings, Settings, TlsSettings,
};
use weir::reactor::{
    ConnId, Context, Decision, Handle, Metrics, Reactor, SendOutcome, Service, UpgradeRequest,
};
use weir::services::Rooms;
use weir::services::nostr::{Relay, RelaySettings};
use weir::services::rooms::RoomSettings;
use weir::services::rpc::node::{Node, NodeSettings, RoleSettings};
use weir::services::rpc::{Rpc, RpcSettings};
use weir_authority::{Authority, Files};

/// Longer than any test takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A loop on a thread: a service at `/` and, with a short write timeout, at `/strict`; an echo that
/// requires headers at `/demanding`; a second service at `/rooms/{name}`.
pub(crate) struct Server {
    address: SocketAddr,
    handle: Handle,
    echoed: Arc<AtomicU64>,
    thread: Option<JoinHandle<Metrics>>,
}

impl Server {
    /// An echo, and rooms.
    pub(crate) fn start() -> Server {
        let echoed = Arc::new(AtomicU64::new(0));
        let echo = Counted(Arc::clone(&echoed));
        Server::build(echoed, echo, || Rooms::new(RoomSettings::default()))
    }

    /// Two given services.
    pub(crate) fn with(
        root: impl Service + Send + 'static,
        rooms: impl Service + Send + 'static,
    ) -> Server {
        Server::build(Arc::default(), root, || rooms)
    }

    /// An echo, and at `/rooms/{name}` a node of a development chain that makes blocks on demand.
    pub(crate) fn node(data_dir: PathBuf) -> Server {
        let echoed = Arc::new(AtomicU64::new(0));
        let echo = Counted(Arc::clone(&echoed));
        let role = RoleSettings::Leader { block_time: None };
        let settings = NodeSettings::new(7, data_dir, role);
        Server::build(echoed, echo, move || {
            Rpc::new(Node::open(settings).unwrap(), RpcSettings::default())
        })
    }

    /// An echo, and at `/rooms/{name}` a relay without rates.
    pub(crate) fn relay(data_dir: PathBuf) -> Server {
        let echoed = Arc::new(AtomicU64::new(0));
        let echo = Counted(Arc::clone(&echoed));
        let settings = RelaySettings::new(data_dir)
            .events_rate(None)
            .events_rate_per_address(None)
            .requests_rate(None);
        Server::build(echoed, echo, move || {
            Relay::open("relay", settings, &RouteSettings::default(), None).unwrap()
        })
    }

    /// An echo and rooms over TLS, for `localhost`.
    pub(crate) fn secure(authority: &Authority) -> Server {
        let Files { chain, key } = authority.server(&["localhost"]);
        let tls = TlsSettings::new(CertificateFiles::new(chain, key));
        let echoed = Arc::new(AtomicU64::new(0));
        let echo = Counted(Arc::clone(&echoed));
        let rooms = || Rooms::new(RoomSettings::default());
        Server::listening(Some(tls), echoed, echo, rooms)
    }

    fn build<S: Service + 'static>(
        echoed: Arc<AtomicU64>,
        root: impl Service + Send + 'static,
        rooms: impl FnOnce() -> S + Send + 'static,
    ) -> Server {
        Server::listening(None, echoed, root, rooms)
    }

    fn listening<S: Service + 'static>(
        tls: Option<TlsSettings>,
        echoed: Arc<AtomicU64>,
        root: impl Service + Send + 'static,
        rooms: impl FnOnce() -> S + Send + 'static,
    ) -> Server {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || {
            let settings = Settings::default()
                .handshake_timeout(Duration::from_millis(300))
                .close_timeout(Duration::from_millis(300))
                .drain_timeout(Duration::from_millis(300));
            let mut reactor = Reactor::new(settings).unwrap();
            let root = reactor.add_service(root).unwrap();
            let rooms = reactor.add_service(rooms()).unwrap();
            let demanding = reactor.add_service(Demanding).unwrap();
            let route = RouteSettings::default().fragment_timeout(Duration::from_millis(300));
            let strict = route.clone().write_timeout(Duration::from_millis(200));
            reactor.add_route("/", root, route.clone()).unwrap();
            reactor.add_route("/strict", root, strict).unwrap();
            reactor.add_route("/rooms/{name}", rooms, route.clone()).unwrap();
            reactor.add_route("/demanding", demanding, route).unwrap();
            let any = "127.0.0.1:0".parse().unwrap();
            let listen = ListenSettings::new(any).secure(tls.is_some());
            if let Some(tls) = tls {
                reactor.set_tls(tls).unwrap();
            }
            let address = reactor.listen(&listen).unwrap();
            sender.send((address, reactor.handle())).unwrap();
            reactor.run().unwrap();
            reactor.metrics().clone()
        });
        let (address, handle) = receiver.recv_timeout(DEADLINE).unwrap();
        Server { address, handle, echoed, thread: Some(thread) }
    }

    /// A URL with the name of the certificate.
    pub(crate) fn secure_url(&self, path: &str) -> String {
        format!("wss://localhost:{}{path}", self.address.port())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Number of messages that the echo has returned.
    pub(crate) fn echoed(&self) -> u64 {
        self.echoed.load(Ordering::Relaxed)
    }

    /// Waits until the echo has returned `count` messages.
    pub(crate) fn await_echoes(&self, count: u64) {
        await_count(&self.echoed, count);
    }

    /// Shuts down; returns the loop's metrics.
    pub(crate) fn stop(mut self) -> Metrics {
        self.handle.shutdown();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take().filter(|_| !thread::panicking()) {
            thread.join().unwrap();
        }
    }
}

/// Waits until a counter has reached `count`.
pub(crate) fn await_count(counter: &AtomicU64, count: u64) {
    let start = Instant::now();
    while counter.load(Ordering::Relaxed) < count {
        let now = counter.load(Ordering::Relaxed);
        assert!(start.elapsed() < DEADLINE, "{now}, not {count}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// An echo that counts its messages.
struct Counted(Arc<AtomicU64>);

impl Service for Counted {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        if cx.send(conn, message) == SendOutcome::Congested {
            cx.pause(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }
}

/// An echo that requires an origin, a subprotocol and a header.
struct Demanding;

impl Service for Demanding {
    fn protocols(&self) -> &[&str] {
        &["tea"]
    }

    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        let has = |name, value| request.http.header(name) == Some(value);
        if has("X-Sugar", "two") && has("Origin", "http://here") && request.protocol == Some("tea")
        {
            Decision::Accept(request.accept())
        } else {
            Decision::Respond(Response::text(400, "not like that\n"))
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let _ = cx.send(conn, message);
    }
}

/// A server that closes every connection with 1000; returns its URL.
pub(crate) fn wrong_codes() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || close_wrongly(stream));
        }
    });
    url
}

/// A server that stops listening at the first frame; returns its URL.
pub(crate) fn gone_after_a_frame() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if is_over.load(Ordering::Acquire) {
                return;
            }
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                if close_wrongly(stream).is_some() {
                    is_over.store(true, Ordering::Release);
                    // Wakes the listening thread, which then ends.
                    let _ = TcpStream::connect(address);
                }
            });
        }
    });
    format!("ws://{address}/")
}

fn close_wrongly(mut stream: TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let accept = String::from_utf8(accept_key(key.as_bytes()).to_vec()).ok()?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).ok()?;
    let mut frame = [0; 64];
    let _ = stream.read(&mut frame).ok()?;
    stream.write_all(&[0x88, 2, 0x03, 0xE8]).ok()
}

/// Starts the binary with these arguments, separated by spaces.
pub(crate) fn spawn(line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_weir-load"))
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end of the process: standard output, standard error, exit code.
pub(crate) fn finish(mut child: Child) -> (String, String, i32) {
    let mut pipes = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = thread::spawn(move || {
        let (mut out, mut err) = (String::new(), String::new());
        pipes.0.read_to_string(&mut out).unwrap();
        pipes.1.read_to_string(&mut err).unwrap();
        (out, err)
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("not done within {DEADLINE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (out, err) = reader.join().unwrap();
    (out, err, status.code().unwrap_or(-1))
}

/// Runs the binary: standard output, standard error, exit code.
pub(crate) fn load(line: &str) -> (String, String, i32) {
    finish(spawn(line))
}

/// Runs the binary: standard output and exit code.
pub(crate) fn table(line: &str) -> (String, i32) {
    let (out, _, code) = load(line);
    (out, code)
}

/// Runs the binary with `--json`: its parsed output, and the exit code.
pub(crate) fn report(line: &str) -> (Value, i32) {
    let (out, err, code) = load(&format!("{line} --json"));
    let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{line}: {out} {err}"));
    (report, code)
}
