//! What the peers share: their options, one thread of tokio, and who is in which room.
//!
//! Each peer echoes at `/` and relays at `/rooms/{name}` to the others there, as weir does. They are
//! built as their own benchmarks are: no compression, TCP_NODELAY, one thread. A room's queues are
//! unbounded, which only a load client that waits for its messages makes right.

pub mod relay;
pub mod rooms;

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::unconstrained;

/// Connections that may wait to be accepted: a load client comes with thousands at once.
const BACKLOG: i32 = 4096;

/// What every peer can be told.
#[derive(Debug, Parser)]
pub struct Options {
    /// Address and port to listen on; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// CPU to stay on
    #[arg(long, value_name = "CPU")]
    pub pin: Option<usize>,
}

impl Options {
    /// Reads the command line, pins, listens and says where on standard output.
    ///
    /// # Errors
    /// The CPU or the address cannot be had.
    pub fn listen() -> Result<std::net::TcpListener, Box<dyn Error>> {
        let options = Options::parse();
        if let Some(cpu) = options.pin {
            pin(cpu)?;
        }
        // Whoever started the peer may be killed; the peer is not to stay.
        set_parent_process_death_signal(Some(Signal::TERM))?;
        let socket = Socket::new(Domain::for_address(options.listen), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&options.listen.into())?;
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        writeln!(io::stdout(), "listening ws://{}/", listener.local_addr()?)?;
        Ok(listener)
    }
}

/// Keeps the process on one CPU.
fn pin(cpu: usize) -> Result<(), Box<dyn Error>> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(format!("pin to CPU {cpu}: beyond {}", CpuSet::MAX_CPU - 1).into());
    }
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Runs `session` for each connection, all on one thread, until the process is ended.
///
/// # Errors
/// What kept the peer from starting. A connection that fails ends, and nothing else.
pub fn serve<F, S>(session: F) -> Result<(), Box<dyn Error>>
where
    F: Fn(TcpStream) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = Options::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // As fastwebsockets' benchmark does: no budget for a task that has more to do.
            tokio::spawn(unconstrained(session(stream)));
        }
    })
}
