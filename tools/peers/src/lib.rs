//! Common parts of the peers: options, the tokio thread, and the rooms.
//!
//! Each peer echoes at `/` and relays to the other members at `/rooms/{name}`, as weir does. The
//! peers are configured as in their own benchmarks: no compression, TCP_NODELAY, one thread. The
//! queues of a room are unbounded, which is only safe with a load client that waits for its
//! messages.

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

/// Accept backlog: a load client opens thousands of connections at once.
const BACKLOG: i32 = 4096;

/// The options of every peer.
#[derive(Debug, Parser)]
pub struct Options {
    /// Address and port to listen on; port 0: chosen by the system
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// CPU to run on
    #[arg(long, value_name = "CPU")]
    pub pin: Option<usize>,
}

impl Options {
    /// Parses the command line, pins the process, listens, and prints the address on standard
    /// output.
    ///
    /// # Errors
    /// The CPU or the address is not available.
    pub fn listen() -> Result<std::net::TcpListener, Box<dyn Error>> {
        Options::parse().open()
    }

    fn open(&self) -> Result<std::net::TcpListener, Box<dyn Error>> {
        if let Some(cpu) = self.pin {
            pin(cpu)?;
        }
        // If the parent process is killed, the peer must end, too.
        set_parent_process_death_signal(Some(Signal::TERM))?;
        let socket = Socket::new(Domain::for_address(self.listen), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.listen.into())?;
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        writeln!(io::stdout(), "listening ws://{}/", listener.local_addr()?)?;
        Ok(listener)
    }
}

/// The options of a relay.
#[derive(Debug, Parser)]
pub struct RelayOptions {
    #[command(flatten)]
    options: Options,
    /// Address to relay to
    #[arg(long, value_name = "ADDR")]
    upstream: SocketAddr,
}

impl RelayOptions {
    /// As [`Options::listen`]; also the address of the upstream.
    ///
    /// # Errors
    /// The CPU or the address is not available.
    pub fn listen() -> Result<(std::net::TcpListener, SocketAddr), Box<dyn Error>> {
        let RelayOptions { options, upstream } = RelayOptions::parse();
        Ok((options.open()?, upstream))
    }
}

/// Pins the process to one CPU.
fn pin(cpu: usize) -> Result<(), Box<dyn Error>> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(format!("pin to CPU {cpu}: beyond {}", CpuSet::MAX_CPU - 1).into());
    }
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Runs `session` for each connection, all on one thread, until the process ends.
///
/// # Errors
/// The peer could not start. An error of a connection only ends that connection.
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
            // As in fastwebsockets' benchmark: no cooperative budget for tasks.
            tokio::spawn(unconstrained(session(stream)));
        }
    })
}
