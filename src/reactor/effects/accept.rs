//! Accepts connections, and pauses when the process or the system has no descriptor left.
//!
//! The poll then reports nothing although clients wait: one client is refused on a spare
//! descriptor, and a timer ends the pause. [`admission`](crate::reactor::parts::admission) decides
//! which clients are served.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use log::{Level, debug, error};
use mio::net::TcpStream;

use crate::protocol::{Decoder, Role};
use crate::reactor::Reactor;
use crate::reactor::api::budget::{ACCEPT_PAUSE, ACCEPTS, ACCEPTS_WHEN_CROWDED};
use crate::reactor::api::close_reason::{CloseReason, ProxyFault};
use crate::reactor::api::id::{RouteId, ServiceId};
use crate::reactor::api::level::Level as LoadLevel;
use crate::reactor::conn::connection::{Connection, Place};
use crate::reactor::conn::handshake::{AwaitedProxyHeader, Handshake, TrustedProxy};
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::Core;
use crate::reactor::parts::admission::{Admitted, Quota};
use crate::reactor::parts::listener::{Listener, is_exhaustion};
use crate::reactor::parts::schedule::Timer;

impl Reactor {
    /// Accepts connections waiting at one listener, within the turn's budget.
    pub(crate) fn accept(&mut self, index: usize) {
        let Reactor { listeners, core, reserve, .. } = self;
        let Some(Some(listener)) = listeners.get_mut(index) else {
            return;
        };
        let is_slow = core.admission.is_crowded() || core.load.levels.level() > LoadLevel::Normal;
        let budget = if is_slow { ACCEPTS_WHEN_CROWDED } else { ACCEPTS };
        for _ in 0..budget {
            match listener.socket.accept() {
                Ok((stream, peer)) => core.insert_accepted(stream, peer, listener),
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
                    let retry_after = core.masks.retry_after_seconds();
                    let metrics = &mut core.metrics;
                    reserve.refuse_one(&listener.socket, metrics, date, retry_after);
                    if !listener.is_paused {
                        listener.pause(&error, core.now);
                        core.metrics.accept_pauses += 1;
                        let timer = Timer::Listener(index as u32);
                        core.schedule.insert(core.now + ACCEPT_PAUSE, timer);
                    }
                    return;
                }
                // The client has gone already, or the network failed: try the next one.
                Err(error) => debug!("accept failed: {error}"),
            }
        }
    }

    /// Resumes accepting after a pause.
    pub(crate) fn resume_accept(&mut self, index: usize) {
        if let Some(Some(listener)) = self.listeners.get_mut(index) {
            listener.is_paused = false;
            listener.readable = true;
        }
    }
}

impl Core {
    /// Creates the connection of an accepted socket.
    fn insert_accepted(&mut self, socket: TcpStream, peer: SocketAddr, listener: &Listener) {
        self.metrics.accepted += 1;
        let begins_with_tls = listener.is_secure && !listener.expects_proxy_header;
        let session = match begins_with_tls.then(|| self.tls.accept()).transpose() {
            Ok(session) => session,
            Err(error) => {
                self.metrics.dropped_at_accept += 1;
                if self.may_log(Level::Error, "TLS session not created", "no_session") {
                    error!("TLS session not created: {error}");
                }
                return;
            }
        };
        let is_trusted = self.is_trusted_proxy(peer.ip());
        let is_client = listener.quota == Quota::Clients;
        let quota = if is_trusted && is_client { Quota::Proxies } else { listener.quota };
        let admitted = match quota {
            Quota::Operators => self.admission.admit_operator().map(|()| Admitted::default()),
            Quota::Proxies => self.admission.admit_proxy(),
            _ => self.admission.admit(&self.settings, peer.ip(), self.now),
        };
        let refused = admitted.err();
        let Admitted { is_provisional, surplus } = admitted.unwrap_or_default();
        let quota = if surplus.is_some() { Quota::Surplus } else { quota };
        if refused.is_some() && !self.admission.admit_refused(&self.settings) {
            self.metrics.dropped_at_accept += 1;
            return;
        }
        let id = self.conns.next_id();
        let mut handshake = Handshake::new(self.now);
        handshake.refused = refused;
        handshake.listener_group = listener.listener_group;
        handshake.proxy = is_trusted.then(|| TrustedProxy::new(peer));
        handshake.proxy_header =
            listener.expects_proxy_header.then_some(match listener.is_secure {
                true => AwaitedProxyHeader::BeforeTls,
                false => AwaitedProxyHeader::BeforeHttp,
            });
        // Placeholders, until the request determines its route.
        let place = Place {
            route: RouteId::default(),
            service: ServiceId::default(),
            path: self.no_path.clone(),
        };
        let decoder = Decoder::new(Role::Server);
        let phase = Phase::Handshake;
        let mut conn = Connection::new(id, socket, peer, decoder, phase, handshake, place);
        let is_refused = refused.is_some();
        let registration = if is_refused { Registration::Refused } else { Registration::Admitted };
        conn.register(quota, registration);
        conn.set_provisional(is_provisional);
        if let Some(session) = session {
            conn.cold().session = Some(session);
        }
        self.insert(conn);
        if let Some(limit) = surplus {
            self.count_dry(id, limit);
        }
        if is_provisional {
            self.note_provisional(id);
        }
        if listener.expects_proxy_header && !is_trusted {
            let fault = CloseReason::ProxyHeader(ProxyFault::Untrusted);
            return self.drop_connection(id, fault);
        }
        self.sync_interest(id);
        self.arm(id);
    }
}
