//! The compared servers: real sockets on 127.0.0.1, driven on the caller's thread.
//!
//! A round is [`Clients::write`], then [`Server::serve`], which alone is timed, then
//! [`Clients::read`]. All input of a round is in the kernel before the server runs, so only the
//! server at full load is timed. Peers get sockets whose handshake is assumed to be done.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub mod bare;
pub mod fastwebsockets;
pub mod tungstenite;
pub mod weir;

/// Longer than any operation takes; after it, the operation has failed.
const DEADLINE: Duration = Duration::from_secs(20);
/// Maximum number of polls per round, each of up to one second.
const POLLS_MAX: usize = 10_000;
/// Maximum wait of a poll for input that should already be there.
const POLL_MAX: Duration = Duration::from_secs(1);
/// Descriptors for 1,000 connections with both ends in this process, and some more.
const DESCRIPTORS: u64 = 4096;

/// The work of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Each connection sends a message and receives it back.
    Echo,
    /// The first connection sends a message, and all connections receive it.
    Fanout,
}

/// The parameters of every round.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The kind of work.
    pub work: Work,
    /// Number of connections.
    pub connections: usize,
    /// Messages that one connection sends at once.
    pub depth: usize,
    /// Bytes of a message.
    pub payload_bytes: usize,
}

impl Load {
    /// Messages that the clients receive in one round.
    pub fn deliveries(&self) -> usize {
        self.connections * self.depth
    }
}

/// A server whose clients are on the same thread.
pub trait Server: Sized {
    /// The name in the table.
    const NAME: &'static str;

    /// Starts a server with its clients, all connected.
    ///
    /// # Errors
    /// The sockets could not be created.
    fn start(load: Load) -> io::Result<(Self, Clients)>;

    /// Serves the clients' messages, until the kernel has all answers.
    fn serve(&mut self);

    /// Size of the answer to one message.
    fn answer_bytes(load: &Load) -> usize {
        ::weir::protocol::frame_bytes(load.payload_bytes)
    }
}

/// The client ends.
#[derive(Debug)]
pub struct Clients {
    streams: Vec<TcpStream>,
    senders: usize,
    /// Bytes that a sender writes in one round.
    request: Vec<u8>,
    /// Buffer for the answers of one client in one round.
    answers: Vec<u8>,
}

impl Clients {
    /// Clients for open connections.
    fn new(streams: Vec<TcpStream>, load: &Load, answer_bytes: usize) -> io::Result<Clients> {
        for stream in &streams {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
        }
        let payload = vec![b'x'; load.payload_bytes];
        let frame = crate::input::frame(::weir::protocol::Message::Binary(&payload));
        Ok(Clients {
            senders: if load.work == Work::Echo { streams.len() } else { 1 },
            streams,
            request: frame.repeat(load.depth),
            answers: vec![0; answer_bytes * load.depth],
        })
    }

    /// Writes the messages of a round.
    pub fn write(&mut self) {
        for mut stream in &self.streams[..self.senders] {
            stream.write_all(&self.request).unwrap();
        }
    }

    /// Reads all answers of a round.
    pub fn read(&mut self) {
        for mut stream in &self.streams {
            stream.read_exact(&mut self.answers).unwrap();
        }
    }

    /// The answers to the last client in the last round.
    pub fn answers(&self) -> &[u8] {
        &self.answers
    }
}

/// Timed rounds of one server.
pub struct Rounds<S> {
    server: S,
    clients: Clients,
}

impl<S: Server> Rounds<S> {
    /// Connects the clients and warms up with a few rounds.
    ///
    /// # Errors
    /// The sockets could not be created.
    pub fn new(load: Load) -> io::Result<Rounds<S>> {
        let (server, clients) = S::start(load)?;
        let mut rounds = Rounds { server, clients };
        rounds.time(3);
        Ok(rounds)
    }

    /// Serves `count` rounds; returns the time of serving.
    pub fn time(&mut self, count: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..count {
            self.round(|server| {
                let start = Instant::now();
                server.serve();
                total += start.elapsed();
            });
        }
        total
    }

    /// One round; `serve` does the server's part.
    pub fn round(&mut self, serve: impl FnOnce(&mut S)) {
        self.clients.write();
        serve(&mut self.server);
        self.clients.read();
    }

    /// The answers to the last client in the last round.
    pub fn answers(&self) -> &[u8] {
        self.clients.answers()
    }
}

/// Connected pairs on 127.0.0.1: client ends, and nonblocking server ends.
fn pairs(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    rlimit::increase_nofile_limit(DESCRIPTORS)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let pair = |_| {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        server.set_nodelay(true)?;
        server.set_nonblocking(true)?;
        Ok((client, server))
    };
    (0..count).map(pair).collect()
}

/// Polls until `work` returns true.
fn until(mut work: impl FnMut() -> bool) {
    for _ in 0..POLLS_MAX {
        if work() {
            return;
        }
    }
    panic!("the round did not end");
}
