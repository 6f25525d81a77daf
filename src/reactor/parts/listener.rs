//! Listening sockets, and spare descriptors for when the process has no others.
//!
//! It owns binding, and the refusal of one client on a spare descriptor. It accepts no connections:
//! [`accept`](crate::reactor::effects::accept) does.

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
use crate::reactor::api::budget::{ACCEPT_PAUSE_LOG_INTERVAL, OPERATOR_SPARES};
use crate::reactor::api::id::Source;
use crate::reactor::api::settings::ListenSettings;
use crate::reactor::api::time::Time;

/// The listen backlog. The kernel applies its own maximum (`somaxconn`).
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// Connections start with a TLS handshake.
    pub(crate) is_secure: bool,
    /// Connections start with a PROXY header.
    pub(crate) expects_proxy_header: bool,
    /// The listener group: which routes its requests can find.
    pub(crate) listener_group: u16,
    /// The quota that its connections count against.
    pub(crate) quota: Quota,
    /// Connections may be waiting: an event was reported, and no accept has returned `WouldBlock`
    /// since.
    pub(crate) readable: bool,
    /// Accepting is paused until a timer fires, because descriptors or memory ran out.
    pub(crate) is_paused: bool,
    /// When a pause was last logged.
    pause_logged: Option<Time>,
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
        // SO_REUSEADDR: the port can be bound again while its last connections are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(settings.reuse_port)?;
        if settings.address.is_ipv6() {
            // IPV6_V6ONLY: [::] must not occupy the IPv4 port; each address is configured
            // explicitly.
            socket.set_only_v6(true)?;
        }
        // Inherited by accepted sockets. TCP_NODELAY: frames are sent when they are written.
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&settings.address.into())?;
        socket.listen(BACKLOG)?;
        let mut socket = TcpListener::from_std(socket.into());
        let token = Token::from(Source::Listener(index));
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener {
            socket,
            listener_group: settings.listener_group,
            quota: if settings.for_operators { Quota::Operators } else { Quota::Clients },
            is_secure: settings.secure,
            expects_proxy_header: settings.proxy_header,
            readable: false,
            is_paused: false,
            pause_logged: None,
        })
    }

    /// Whether it accepts connections of operators.
    pub(crate) fn is_for_operators(&self) -> bool {
        self.quota == Quota::Operators
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Starts a pause, and logs it unless one was logged recently: pauses are short and follow each
    /// other.
    pub(crate) fn pause(&mut self, error: &io::Error, now: Time) {
        self.is_paused = true;
        if self.pause_logged.is_none_or(|logged| now.since(logged) >= ACCEPT_PAUSE_LOG_INTERVAL) {
            self.pause_logged = Some(now);
            warn!("accepting paused: {error}");
        }
    }

    /// Whether there may be a connection to accept now.
    pub(crate) fn is_ready(&self) -> bool {
        self.readable && !self.is_paused
    }
}

/// Spare descriptors, closed when no other descriptor is left.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// For refusing a client.
    refusal: Option<File>,
    /// For operators, who need to inspect a process without descriptors.
    operators: Vec<File>,
    operators_max: usize,
}

impl Reserve {
    pub(crate) fn new() -> Reserve {
        Reserve { refusal: spare(), operators: Vec::new(), operators_max: 0 }
    }

    /// Also reserves descriptors for operators.
    pub(crate) fn keep_for_operators(&mut self) {
        self.operators_max = OPERATOR_SPARES;
        self.refill();
    }

    /// Reopens spare descriptors after a connection has ended.
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

    /// Closes a spare descriptor for an operator that waits; false if none is left.
    pub(crate) fn make_room_for_operator(&mut self) -> bool {
        self.operators.pop().is_some()
    }

    /// Accepts one waiting client on the spare descriptor and refuses it with a 503.
    pub(crate) fn refuse_one(
        &mut self,
        socket: &TcpListener,
        metrics: &mut Metrics,
        date: &str,
        retry_after_seconds: u32,
    ) {
        self.refusal = None;
        if let Ok((mut stream, _)) = socket.accept() {
            let mut answer = Vec::new();
            let refusal = Refusal::OutOfResources;
            let close = handshake::ConnectionOption::Close;
            let mut response = Response::from(refusal);
            response.add("Retry-After", &retry_after_seconds.to_string());
            response.write(&mut answer, close, false, Some(date));
            metrics.count_refusal(refusal);
            // One attempt only: the client may have gone, or its request is unread.
            if let Err(error) = stream.write_all(&answer) {
                debug!("503 not written: {error}");
            }
        }
        self.refusal = spare();
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether the process (EMFILE) or the system (ENFILE, ENOBUFS, ENOMEM) has run out of resources.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    use libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}
