//! Slow consumers: limits of the outbox, dropped messages, and how their connections end.

mod ends;
mod limits;
mod losses;
mod paused;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Metrics, SendOutcome, Service};

use crate::support::{BINARY, CLOSE, Client, DEADLINE, Frame, Server};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// For deadlines that must not pass in a test.
const LONG: Duration = Duration::from_secs(60);
/// For deadlines that pass in a test.
const SHORT: Duration = Duration::from_millis(300);

/// Sends numbered messages on request: `"7x100"` requests seven messages of 100 bytes, `"close"` a
/// Close behind them. Reports the outcome of each.
struct Pusher {
    next: u32,
    sender: Sender<Report>,
}

#[derive(Debug)]
enum Report {
    /// The outcome of each send, and the bytes queued after it.
    Sent(Vec<(SendOutcome, usize)>),
    /// The bytes queued when `on_drain` was called.
    Drained(usize),
    Closed(CloseReason),
}

impl Service for Pusher {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Message::Text(request) = message else {
            return;
        };
        if request == "close" {
            return cx.close(conn, CloseCode::NORMAL, "that was all");
        }
        let (count, len) = request.split_once('x').unwrap();
        let mut payload = vec![b'.'; len.parse().unwrap()];
        let mut sent = Vec::new();
        for _ in 0..count.parse().unwrap() {
            payload[..4].copy_from_slice(&self.next.to_be_bytes());
            self.next += 1;
            let outcome = cx.send(conn, &payload[..]);
            sent.push((outcome, cx.queued_bytes(conn)));
        }
        if sent.is_empty() {
            sent.push((SendOutcome::Queued, cx.queued_bytes(conn)));
        }
        let _ = self.sender.send(Report::Sent(sent));
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = self.sender.send(Report::Drained(cx.queued_bytes(conn)));
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        let _ = self.sender.send(Report::Closed(why));
    }
}

/// A server with a [`Pusher`], and a client that reads only when the test does.
struct Bench {
    server: Server,
    client: Client,
    reports: Receiver<Report>,
}

impl Bench {
    fn new(settings: Settings, route: RouteSettings) -> Bench {
        let (sender, reports) = channel();
        let server = Server::start(settings, move |reactor| {
            let service = reactor.add_service(Pusher { next: 0, sender }).unwrap();
            reactor.add_route("/", service, route).unwrap();
        });
        let client = Client::narrow(server.address, "/");
        Bench { server, client, reports }
    }

    fn next(&self) -> Report {
        self.reports.recv_timeout(DEADLINE).expect("the service reports something")
    }

    /// Requests messages from the service; returns each outcome with the bytes queued after it.
    fn push(&mut self, count: usize, len: usize) -> Vec<(SendOutcome, usize)> {
        self.client.text(&format!("{count}x{len}"));
        match self.next() {
            Report::Sent(sent) => sent,
            other => panic!("{other:?}"),
        }
    }

    /// The bytes queued once the kernel takes no more.
    fn blocked(&mut self) -> usize {
        let mut before = usize::MAX;
        loop {
            // Each request is a turn, and in each turn the kernel takes what it can.
            let (_, queued) = self.push(0, 4)[0];
            if queued == before {
                return queued;
            }
            before = queued;
        }
    }

    fn closed(&self) -> CloseReason {
        loop {
            if let Report::Closed(why) = self.next() {
                return why;
            }
        }
    }

    /// Drops the client and shuts the server down.
    fn stop(self) -> Metrics {
        drop(self.client);
        self.server.stop_clean()
    }
}

/// Reads messages numbered from `first` on, each of `len` bytes, until a frame of another kind
/// comes.
fn read_numbered(client: &mut Client, first: u32, len: usize) -> (u32, Frame) {
    let mut number = first;
    loop {
        let frame = client.frame();
        if frame.opcode != BINARY {
            return (number, frame);
        }
        assert!(frame.fin);
        assert_eq!(frame.payload.len(), len);
        assert_eq!(frame.payload[..4], number.to_be_bytes());
        number += 1;
    }
}

/// Whole messages in order, then Close 1013 and the end of the stream; returns how many there were.
fn expect_numbered_then_1013(client: &mut Client, len: usize, reason: &str) -> u32 {
    let (count, close) = read_numbered(client, 0, len);
    assert_eq!(close.opcode, CLOSE);
    assert_eq!(close.payload[..2], 1013u16.to_be_bytes());
    assert_eq!(close.payload[2..], *reason.as_bytes());
    count
}

fn limits(low: usize, soft: usize, hard: usize) -> RouteSettings {
    RouteSettings::default()
        .message_bytes_max(4 * KIB)
        .outbox_low_bytes(low)
        .outbox_soft_bytes(soft)
        .outbox_hard_bytes(hard)
        .outbox_grace(LONG)
        .write_timeout(LONG)
}
