//! Memory: the limit of all connections together, an idle connection, and announced lengths.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, SendOutcome, Service};

use crate::support::{BINARY, CLOSE, Client, Process, Server, crowd, eventually, frame, upgrade};

const KIB: usize = 1024;
const LONG: Duration = Duration::from_secs(60);

/// An echo that records the maximum of bytes that all connections hold. The text `"held?"` requests the
/// bytes held now and the number of refusals; other texts are numbers of bytes to send.
struct Gauge(Arc<AtomicU64>);

impl Service for Gauge {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let (held, refused) = (cx.metrics().buffered_now, cx.metrics().buffered_refused);
        let outcome = match message {
            Message::Text("held?") => cx.send(conn, &format!("{held} {refused}")[..]),
            Message::Text(number) => cx.send(conn, &vec![b'.'; number.parse().unwrap()][..]),
            other => cx.send(conn, other),
        };
        if outcome == SendOutcome::Congested {
            cx.pause(conn);
        }
        self.0.fetch_max(cx.metrics().buffered_now, Ordering::Relaxed);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        let expected = [
            CloseReason::Overloaded,
            CloseReason::PeerGone,
            CloseReason::PeerReset,
            CloseReason::Shutdown,
        ];
        assert!(expected.contains(&why), "{why}");
    }
}

fn gauge(settings: Settings) -> (Server, Arc<AtomicU64>) {
    let most = Arc::new(AtomicU64::new(0));
    let gauge = Gauge(Arc::clone(&most));
    let route = RouteSettings::default().outbox_grace(LONG).write_timeout(LONG);
    let server = Server::start(settings, move |reactor| {
        let service = reactor.add_service(gauge).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    (server, most)
}

/// Bytes that all connections hold now, and the number of refusals for lack of memory.
fn held(client: &mut Client) -> (usize, usize) {
    client.text("held?");
    let reply = String::from_utf8(client.frame().payload).unwrap();
    let (held, refused) = reply.split_once(' ').unwrap();
    (held.parse().unwrap(), refused.parse().unwrap())
}

/// Half of the limit for any connection, and a share of 20 KiB for each of two hundred.
fn little_memory() -> Settings {
    Settings::default()
        .connections_max(200)
        .outbound_max(1)
        .buffered_bytes_max(8000 * KIB)
        .close_timeout(LONG)
        .heartbeat(None)
}

#[test]
fn unfinished_messages_above_the_memory_limit_end_only_large_connections() {
    let settings = little_memory();
    let limit = settings.buffered_bytes_max;
    let (server, most) = gauge(settings);
    let mut modest: Vec<Client> = (0..20).map(|_| Client::open(server.address, "/")).collect();
    let mut greedy: Vec<Client> = (0..50).map(|_| Client::open(server.address, "/")).collect();
    let message = frame(true, BINARY, &[7; 400 * KIB]);
    let (first, rest) = message.split_at(200 * KIB);
    for client in &mut greedy {
        let (before, refused) = held(&mut modest[0]);
        client.raw(first);
        eventually(
            || {
                let (now, refused_now) = held(&mut modest[0]);
                now >= before + 200 * KIB || refused_now > refused
            },
            "the bytes are held or refused",
        );
    }
    // These fill the common half and more. Each holds less than its share, and stays open.
    let small = frame(true, BINARY, &[6; 8 * KIB]);
    let mut fillers: Vec<Client> = (0..100).map(|_| Client::open(server.address, "/")).collect();
    for client in &mut fillers {
        client.raw(&small[..7 * KIB]);
    }
    eventually(|| held(&mut modest[0]).0 > limit / 2, "the common half is full");
    for client in &mut modest {
        client.send(BINARY, &[8; 10 * KIB]);
        client.expect(BINARY, &[8; 10 * KIB]);
    }
    // A closing connection assembles no message, however many bytes arrive.
    for client in &mut greedy {
        client.raw(rest);
    }
    for client in &mut fillers {
        client.raw(&small[7 * KIB..]);
        client.expect(BINARY, &[6; 8 * KIB]);
    }
    let (mut served, mut closed) = (0, 0);
    for client in &mut greedy {
        let answer = client.frame();
        if answer.opcode == CLOSE {
            assert_eq!(answer.payload, b"\x03\xf5server overloaded");
            closed += 1;
        } else {
            assert!(answer.payload == [7; 400 * KIB]);
            served += 1;
        }
    }
    assert_eq!(served + closed, 50);
    assert!(served > 0 && closed >= 25, "{served} served, {closed} closed");
    for client in &mut modest {
        client.send(BINARY, &[9; 10 * KIB]);
        client.expect(BINARY, &[9; 10 * KIB]);
    }
    assert!(held(&mut modest[0]).0 < 100 * KIB, "closed connections hold memory");
    let most = most.load(Ordering::Relaxed) as usize;
    assert!(most > limit / 4 && most <= limit, "{most} bytes held, the limit is {limit}");
    drop((modest, greedy, fillers));
    let metrics = server.stop_clean();
    assert_eq!((metrics.ended_overloaded, metrics.panics), (closed, 0));
}

#[test]
fn unread_output_above_the_memory_limit_ends_only_large_connections() {
    let settings = little_memory().close_timeout(Duration::from_millis(300));
    let limit = settings.buffered_bytes_max;
    let (server, most) = gauge(settings);
    let mut modest: Vec<Client> = (0..20).map(|_| Client::open(server.address, "/")).collect();
    let mut greedy: Vec<Client> = Vec::new();
    for _ in 0..20 {
        let mut client = Client::narrow(server.address, "/");
        // More than the kernel takes. The connection is paused after each message, with some in its outbox.
        for _ in 0..40 {
            client.text("250000");
        }
        greedy.push(client);
    }
    eventually(|| held(&mut modest[0]).1 > 0, "a message is refused");
    for client in &mut modest {
        client.send(BINARY, &[8; 10 * KIB]);
        client.expect(BINARY, &[8; 10 * KIB]);
    }
    let most = most.load(Ordering::Relaxed) as usize;
    assert!(most > limit / 4 && most <= limit, "{most} bytes held, the limit is {limit}");
    let mut closed = 0;
    for client in &mut greedy {
        let mut messages = 0;
        loop {
            let answer = client.frame();
            if answer.opcode == CLOSE {
                assert_eq!(answer.payload, b"\x03\xf5server overloaded");
                closed += 1;
                break;
            }
            assert_eq!(answer.payload.len(), 250_000);
            messages += 1;
            if messages == 40 {
                break;
            }
        }
    }
    assert!(closed > 0, "no connection was closed");
    drop((modest, greedy));
    let metrics = server.stop_clean();
    assert_eq!((metrics.ended_overloaded, metrics.panics), (closed, 0));
}

#[test]
fn an_announced_length_allocates_no_memory() {
    let settings = Settings::default().connections_max(1000).heartbeat(None);
    let (server, _) = gauge(settings);
    let mut asks = Client::open(server.address, "/");
    let mut clients: Vec<Client> = (0..500).map(|_| Client::open(server.address, "/")).collect();
    let message = frame(true, BINARY, &vec![7; 1024 * KIB]);
    // A part of a header, a header, a few bytes, then some thousand. Reads of a large frame go to its
    // assembly buffer, which must not have more room than bytes have arrived.
    let mut before = 0;
    for (sent, most_each) in
        [(5, 0), (14, 256), (30, 256), (3000, 8 * KIB), (6000, 32 * KIB), (9000, 32 * KIB)]
    {
        for client in &mut clients {
            client.raw(&message[before..sent]);
        }
        before = sent;
        // The payload bytes sent are held, and no more than the frame's bookkeeping besides.
        let least = if sent > 14 { (sent - 14) * clients.len() } else { 0 };
        let mut now = 0;
        eventually(
            || {
                now = held(&mut asks).0;
                now >= least
            },
            "all of it is read",
        );
        let each = now / clients.len();
        assert!(each <= most_each, "{each} bytes held for {sent}");
    }
    drop((asks, clients));
    server.stop_clean();
}

/// Resident memory of a process, in bytes.
fn resident(pid: Pid) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * KIB
}

/// Opens idle WebSockets, a hundred at a time.
fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let request = upgrade("/", "");
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let batch: Vec<Client> = (0..100)
            .map(|_| {
                let mut client = Client::tcp(address);
                client.raw(request.as_bytes());
                client
            })
            .collect();
        for mut client in batch {
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            open.push(client.stream);
        }
    }
    open
}

/// Number of open descriptors of a process.
fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn an_idle_connection_takes_less_than_400_bytes() {
    const COUNT: usize = 10_000;
    const BYTES_EACH_MAX: usize = 400;
    let _alone = crowd();
    let (server, address) = Process::serve(&["--connections-max", "15000"]);
    // The first thousand connections cause all allocations that happen once.
    let clients = idle(address, 1000);
    let none = descriptors(server.pid()) - clients.len();
    drop(clients);
    eventually(|| descriptors(server.pid()) == none, "the first thousand are gone");
    let before = resident(server.pid());
    let clients = idle(address, COUNT);
    let grown = resident(server.pid()).saturating_sub(before);
    println!("{} bytes for each idle connection", grown / COUNT);
    assert!(grown <= COUNT * BYTES_EACH_MAX, "{grown} bytes for {COUNT} idle connections");
    drop(clients);
    eventually(|| descriptors(server.pid()) == none, "all are gone");
}

#[test]
fn memory_of_partial_heads_is_returned_to_the_system() {
    const COUNT: usize = 5_000;
    const LEN: usize = 15_000;
    let _alone = crowd();
    let (server, address) = Process::serve(&[]);
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(LEN));
    drop(idle(address, 100));
    let before = resident(server.pid());
    let held = COUNT * LEN;
    let mut clients: Vec<Client> = (0..COUNT).map(|_| Client::tcp(address)).collect();
    clients.iter_mut().for_each(|client| client.raw(head.as_bytes()));
    eventually(|| resident(server.pid()) >= before + held, "all heads are read");
    drop(clients);
    eventually(|| resident(server.pid()) < before + held / 4, "the memory is returned");
}

/// The bytes that the server's memory account reports for all connections.
fn accounted(admin: SocketAddr) -> usize {
    let mut client = Client::tcp(admin);
    client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let text = String::from_utf8(client.answer().1).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("weir_buffered_bytes ")).unwrap();
    value.parse::<f64>().unwrap() as usize
}

#[test]
fn memory_of_non_readers_is_accounted_and_returned_to_the_system() {
    const COUNT: usize = 1_000;
    /// Some of the output stays in the server's queues until the kernel has enlarged its send buffers.
    const SENT_BYTES: usize = 250 * KIB;
    let _alone = crowd();
    let (server, address) = Process::serve(&[
        "--admin",
        "127.0.0.1:0",
        "--outbox-grace",
        "10m",
        "--write-timeout",
        "10m",
    ]);
    let line = server.line();
    let admin = line.strip_prefix("admin http://").unwrap().trim_end_matches('/').parse().unwrap();
    drop(idle(address, 100));
    let before = resident(server.pid());
    let message = frame(true, BINARY, &[7; 100]);
    let burst = message.repeat(SENT_BYTES / message.len());
    let mut clients: Vec<Client> = (0..COUNT).map(|_| Client::narrow(address, "/")).collect();
    clients.iter_mut().for_each(|client| client.raw(&burst));
    let mut grown = 0;
    eventually(
        || {
            let held = accounted(admin);
            grown = resident(server.pid()) - before;
            held >= COUNT * 32 * KIB && held >= grown / 4 * 3 && grown >= held / 4 * 3
        },
        "the account is within a quarter of the resident memory",
    );
    drop(clients);
    eventually(|| resident(server.pid()) < before + grown / 8, "the memory is returned");
}
