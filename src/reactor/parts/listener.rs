//! Listening sockets, and the descriptors that are kept for when there are no others.
//!
//! Owns binding, and turning one client away. [`accept`](crate::reactor::effects::accept) accepts.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;

use log::{debug, warn};
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::admission::Quota;
use super::metrics::Metrics;
use crate::protocol::handshake;
use crate::protocol::handshake::{Refusal, Response};
use crate::reactor::api::budget::{ACCEPT_PAUSE_TOLD, OPERATOR_SPARES};
use crate::reactor::api::id::Source;
use crate::reactor::api::settings::ListenSettings;
use crate::reactor::api::time::Time;

/// Connections that the kernel completes before we accept them; it applies its own maximum.
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// Its connections begin with TLS.
    pub(crate) is_secure: bool,
    /// Which routes are found from here.
    pub(crate) site: u16,
    /// Which limit its connections count against.
    pub(crate) quota: Quota,
    /// A connection may wait: an edge came, and no accept has come up empty since.
    pub(crate) readable: bool,
    /// Accepting waits for descriptors; a timer ends that.
    pub(crate) resting: bool,
    /// When that was last logged.
    rest_told: Option<Time>,
}

impl Listener {
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn bind(
        settings: &ListenSettings,
        index: usize,
        registry: &Registry,
    ) -> io::Result<Listener> {
        let domain = Domain::for_address(settings.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // A port whose last connections still linger can be bound again.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(settings.reuse_port)?;
        if settings.address.is_ipv6() {
            // Each address is asked for by name: [::] does not take IPv4's port.
            socket.set_only_v6(true)?;
        }
        // Inherited by what is accepted. Frames go out when they are written, not when Nagle agrees.
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&settings.address.into())?;
        socket.listen(BACKLOG)?;
        let mut socket = TcpListener::from_std(socket.into());
        let token = Token::from(Source::Listener(index));
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener {
            socket,
            site: settings.site,
            quota: if settings.for_operators { Quota::Operators } else { Quota::Clients },
            is_secure: settings.secure,
            readable: false,
            resting: false,
            rest_told: None,
        })
    }

    /// Whether its connections are operators'.
    pub(crate) fn is_for_operators(&self) -> bool {
        self.quota == Quota::Operators
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Begins a rest, and says so unless that was said lately: rests are short, and follow each other.
    pub(crate) fn rest(&mut self, error: &io::Error, now: Time) {
        self.resting = true;
        if self.rest_told.is_none_or(|told| now.since(told) >= ACCEPT_PAUSE_TOLD) {
            self.rest_told = Some(now);
            warn!("accepting rests: {error}");
        }
    }

    /// Whether there is something to accept now.
    pub(crate) fn is_ready(&self) -> bool {
        self.readable && !self.resting
    }
}

/// Descriptors that are given up when there is no other.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// For turning a client away.
    refusal: Option<File>,
    /// For operators: a process without descriptors is one to look at.
    operators: Vec<File>,
    operators_max: usize,
}

impl Reserve {
    pub(crate) fn new() -> Reserve {
        Reserve { refusal: spare(), operators: Vec::new(), operators_max: 0 }
    }

    /// Keeps descriptors for operators, too.
    pub(crate) fn keep_for_operators(&mut self) {
        self.operators_max = OPERATOR_SPARES;
        self.refill();
    }

    /// Takes back what was given up, now that a connection has ended.
    pub(crate) fn refill(&mut self) {
        if self.refusal.is_none() {
            self.refusal = spare();
        }
        while self.operators.len() < self.operators_max
            && let Some(file) = spare()
        {
            self.operators.push(file);
        }
    }

    /// Frees a descriptor for an operator that waits; whether there was one.
    pub(crate) fn make_room_for_operator(&mut self) -> bool {
        self.operators.pop().is_some()
    }

    /// Turns one waiting client away with a 503, on the spare descriptor.
    pub(crate) fn turn_away(&mut self, socket: &TcpListener, metrics: &mut Metrics, date: &str) {
        self.refusal = None;
        if let Ok((mut stream, _)) = socket.accept() {
            let mut answer = Vec::new();
            let refusal = Refusal::OutOfResources;
            let close = handshake::Connection::Close;
            Response::from(refusal).write(&mut answer, close, false, Some(date));
            metrics.count_refusal(refusal);
            // It may be gone or its request unread; more than a try is not possible here.
            if let Err(error) = stream.write_all(&answer) {
                debug!("a client turned away was not told: {error}");
            }
        }
        self.refusal = spare();
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether the process (EMFILE) or the system (ENFILE, ENOBUFS, ENOMEM) has run out.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}
