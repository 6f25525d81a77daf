//! The contenders as servers of real sockets on 127.0.0.1, driven by hand on the caller's thread.
//!
//! A round: [`Clients::write`], then [`Server::serve`], which alone is timed, then [`Clients::read`].
//! All that a round needs is in the kernel before it is served, so what is timed is the server at
//! full load and nothing else. Peers get sockets whose handshake is taken as done.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub mod bare;
pub mod fastwebsockets;
pub mod tungstenite;
pub mod weir;

/// Longer than anything here takes; what takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(20);
/// Polls of one round before it counts as failed, each of which may wait for a second.
const POLLS_MAX: usize = 10_000;
/// The most that a poll waits for what should be there already.
const POLL_MAX: Duration = Duration::from_secs(1);
/// Descriptors that a thousand connections with both ends here need, and some more.
const DESCRIPTORS: u64 = 4096;

/// What a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Each connection says something and gets it back.
    Echo,
    /// The first connection says something and all of them get it.
    Fanout,
}

/// The shape of every round.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Who is answered.
    pub work: Work,
    /// Connections.
    pub connections: usize,
    /// Messages that one connection sends at once.
    pub depth: usize,
    /// Bytes of a message.
    pub payload_bytes: usize,
}

impl Load {
    /// Messages that one round sends to clients.
    pub fn deliveries(&self) -> usize {
        self.connections * self.depth
    }
}

/// A server whose clients are on the same thread.
pub trait Server: Sized {
    /// What the table calls it.
    const NAME: &'static str;

    /// A server with its clients, all connected.
    ///
    /// # Errors
    /// The system has no sockets to give.
    fn start(load: Load) -> io::Result<(Self, Clients)>;

    /// Serves what the clients wrote, until the kernel has all answers.
    fn serve(&mut self);

    /// Bytes that answer one message.
    fn answer_bytes(load: &Load) -> usize {
        ::weir::protocol::encoder::frame_bytes(load.payload_bytes)
    }
}

/// The clients' ends.
#[derive(Debug)]
pub struct Clients {
    streams: Vec<TcpStream>,
    speakers: usize,
    /// What a speaker says in one round.
    said: Vec<u8>,
    /// Where answers go: the bytes of one client and round.
    heard: Vec<u8>,
}

impl Clients {
    /// The ends of connections that are open.
    fn new(streams: Vec<TcpStream>, load: &Load, answer_bytes: usize) -> io::Result<Clients> {
        for stream in &streams {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
        }
        let payload = vec![b'x'; load.payload_bytes];
        let frame = crate::input::frame(::weir::protocol::Message::Binary(&payload));
        Ok(Clients {
            speakers: if load.work == Work::Echo { streams.len() } else { 1 },
            streams,
            said: frame.repeat(load.depth),
            heard: vec![0; answer_bytes * load.depth],
        })
    }

    /// Says what begins a round.
    pub fn write(&mut self) {
        for mut stream in &self.streams[..self.speakers] {
            stream.write_all(&self.said).unwrap();
        }
    }

    /// Takes every answer of a round.
    pub fn read(&mut self) {
        for mut stream in &self.streams {
            stream.read_exact(&mut self.heard).unwrap();
        }
    }

    /// What the last client heard in the last round.
    pub fn heard(&self) -> &[u8] {
        &self.heard
    }
}

/// Rounds of one server and their time.
pub struct Rounds<S> {
    server: S,
    clients: Clients,
}

impl<S: Server> Rounds<S> {
    /// Connected, and warm after a few rounds.
    ///
    /// # Errors
    /// The system has no sockets to give.
    pub fn new(load: Load) -> io::Result<Rounds<S>> {
        let (server, clients) = S::start(load)?;
        let mut rounds = Rounds { server, clients };
        rounds.time(3);
        Ok(rounds)
    }

    /// Serves so many rounds; the time that serving took.
    pub fn time(&mut self, count: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..count {
            self.round(|server| {
                let begun = Instant::now();
                server.serve();
                total += begun.elapsed();
            });
        }
        total
    }

    /// One round, served by `serve`.
    pub fn round(&mut self, serve: impl FnOnce(&mut S)) {
        self.clients.write();
        serve(&mut self.server);
        self.clients.read();
    }

    /// What the last client heard in the last round.
    pub fn heard(&self) -> &[u8] {
        self.clients.heard()
    }
}

/// Connected pairs on 127.0.0.1: clients' ends and servers' ends, those set not to block.
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

/// Polls until `work` says that all is done.
fn until(mut work: impl FnMut() -> bool) {
    for _ in 0..POLLS_MAX {
        if work() {
            return;
        }
    }
    panic!("a round does not end");
}
