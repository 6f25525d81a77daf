//! Where connections come from: sockets that listen, and what to do when descriptors run out.
//!
//! Owns binding and accepting. Whom to let in is admission's question, what becomes of a connection
//! the core's. When the process or the system has no descriptor left the poll stays silent although
//! clients wait; a spare one is then used to turn one away, and accepting rests for a moment.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::SystemTime;

use log::{Level, debug, error, warn};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::upgrade::Handshake;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::protocol::{Decoder, Role};
use crate::reactor::Reactor;
use crate::reactor::api::budget::{
    ACCEPT_PAUSE, ACCEPT_PAUSE_TOLD, ACCEPTS, ACCEPTS_WHEN_CROWDED, OPERATOR_SPARES,
};
use crate::reactor::api::id::{ServiceId, Source};
use crate::reactor::api::settings::ListenSettings;
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::{Connection, Phase, Place, Standing};
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::router::RouteId;
use crate::reactor::parts::schedule::Timer;

/// Connections that the kernel completes before we accept them; it applies its own maximum.
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    /// Its connections begin with TLS.
    is_secure: bool,
    /// Which routes are found from here.
    site: u16,
    /// Which limit its connections count against.
    quota: Quota,
    /// A connection may wait: an edge came, and no accept has come up empty since.
    pub(crate) readable: bool,
    /// Accepting waits for descriptors; a timer ends that.
    resting: bool,
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
    fn rest(&mut self, error: &io::Error, now: Time) {
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
    fn make_room_for_operator(&mut self) -> bool {
        self.operators.pop().is_some()
    }

    /// Turns one waiting client away with a 503, on the spare descriptor.
    fn turn_away(&mut self, socket: &TcpListener, metrics: &mut Metrics, date: &str) {
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

impl Reactor {
    /// Accepts what waits at one listener, within the turn's budget.
    pub(crate) fn accept(&mut self, index: usize) {
        let Reactor { listeners, core, reserve, .. } = self;
        let Some(Some(listener)) = listeners.get_mut(index) else {
            return;
        };
        let budget = if core.admission.is_crowded() { ACCEPTS_WHEN_CROWDED } else { ACCEPTS };
        for _ in 0..budget {
            match listener.socket.accept() {
                Ok((stream, peer)) => core.adopt(stream, peer, listener),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.readable = false;
                    return;
                }
                Err(error)
                    if is_exhaustion(&error)
                        && listener.is_for_operators()
                        && reserve.make_room_for_operator() => {}
                Err(error) if is_exhaustion(&error) => {
                    let date = core.dates.at(core.now, SystemTime::now);
                    reserve.turn_away(&listener.socket, &mut core.metrics, date);
                    if !listener.resting {
                        listener.rest(&error, core.now);
                        core.metrics.accept_pauses += 1;
                        let timer = Timer::Listener(index as u32);
                        core.schedule.insert(core.now + ACCEPT_PAUSE, timer);
                    }
                    return;
                }
                // The client has left the queue already, or the network failed it: the next, please.
                Err(error) => debug!("accept: {error}"),
            }
        }
    }

    /// Accepts again after a rest.
    pub(crate) fn end_rest(&mut self, index: usize) {
        if let Some(Some(listener)) = self.listeners.get_mut(index) {
            listener.resting = false;
            listener.readable = true;
        }
    }
}

impl Core {
    /// Gives an accepted connection its place in the table.
    fn adopt(&mut self, socket: TcpStream, peer: SocketAddr, listener: &Listener) {
        self.metrics.accepted += 1;
        let session = match listener.is_secure.then(|| self.tls.accept()).transpose() {
            Ok(session) => session,
            Err(error) => {
                self.metrics.dropped_at_accept += 1;
                if self.may_log(Level::Error, "no TLS for a client", "no_session") {
                    error!("no TLS for a client: {error}");
                }
                return;
            }
        };
        let refused = match listener.quota {
            Quota::Operators => self.admission.admit_operator(),
            _ => self.admission.admit(&self.settings, peer.ip(), self.now),
        };
        let refused = refused.err();
        if refused.is_some() && !self.admission.admit_refused(&self.settings) {
            self.metrics.dropped_at_accept += 1;
            return;
        }
        let id = self.conns.next_id();
        let mut handshake = Handshake::new(self.now);
        handshake.refused = refused;
        handshake.site = listener.site;
        // Until the request names a route, none of these is used.
        let place = Place {
            route: RouteId::default(),
            service: ServiceId::default(),
            path: self.no_path.clone(),
        };
        let decoder = Decoder::new(Role::Server);
        let phase = Phase::Handshake;
        let mut conn = Connection::new(id, socket, peer, decoder, phase, handshake, place);
        conn.quota = listener.quota;
        if refused.is_some() {
            conn.standing = Standing::Refused;
        }
        if let Some(session) = session {
            conn.rare().session = Some(session);
        }
        self.insert(conn);
        self.sync_interest(id);
        self.arm(id);
    }
}

/// Whether the process (EMFILE) or the system (ENFILE, ENOBUFS, ENOMEM) has run out.
fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}
