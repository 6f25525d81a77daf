//! A loop for tests of its effects: open connections, and a clock that only the test moves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::protocol::Message;
use crate::reactor::Reactor;
use crate::reactor::api::context::Context;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::priority::Priority;
use crate::reactor::api::service::Service;
use crate::reactor::api::settings::{ListenSettings, MemoryMax, RouteSettings, Settings};
use crate::reactor::conn::connection::Connection;
use crate::reactor::core::Core;

/// Bytes that all connections share: half of `buffered_bytes_max`.
const SHARED_BYTES: usize = 16 * 1024 * 1024;

/// A service that only tests act for.
struct Quiet;

impl Service for Quiet {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A loop whose level follows the buffered bytes alone, with a route of each priority (`/low`, ..). It
/// turns only while a connection opens.
pub(super) struct Rig {
    pub(super) reactor: Reactor,
    service: ServiceId,
    address: SocketAddr,
    clients: Vec<(ConnId, TcpStream)>,
}

impl Rig {
    pub(super) fn new(route: &RouteSettings) -> Rig {
        let settings = Settings::default()
            .delay_elevated(Duration::from_secs(3600))
            .delay_critical(Duration::from_secs(7200))
            .memory_max(MemoryMax::Off)
            .buffered_bytes_max(2 * SHARED_BYTES);
        let mut reactor = Reactor::new(settings).unwrap();
        let service = reactor.add_service(Quiet).unwrap();
        for priority in Priority::ALL {
            let route = route.clone().priority(priority);
            reactor.add_route(&format!("/{priority}"), service, route).unwrap();
        }
        let listen = ListenSettings::new(([127, 0, 0, 1], 0).into());
        let address = reactor.listen(&listen).unwrap();
        reactor.start().unwrap();
        Rig { reactor, service, address, clients: Vec::new() }
    }

    /// Opens a WebSocket; in order, they have the first slots of the table.
    pub(super) fn open(&mut self, path: &str) -> ConnId {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        let opened = self.reactor.metrics().opened;
        for _ in 0..1000 {
            if self.reactor.metrics().opened > opened && self.core().queues.is_idle() {
                break;
            }
            self.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            received.extend(byte);
        }
        assert!(received.starts_with(b"HTTP/1.1 101 "));
        let known = |id: ConnId| self.clients.iter().any(|(other, _)| *other == id);
        let id = self.reactor.core.conns.iter().map(|(id, _)| id).find(|id| !known(*id)).unwrap();
        self.clients.push((id, client));
        id
    }

    pub(super) fn core(&mut self) -> &mut Core {
        &mut self.reactor.core
    }

    pub(super) fn conn(&mut self, id: ConnId) -> &mut Connection {
        self.reactor.core.conns.get_mut(id).unwrap()
    }

    /// Moves the clock.
    pub(super) fn pass(&mut self, time: Duration) {
        self.reactor.core.now = self.reactor.core.now + time;
    }

    /// Queues a text.
    pub(super) fn send(&mut self, id: ConnId, text: &str) {
        let _ = Context::new(&mut self.reactor.core, self.service).send(id, text);
    }

    /// Holds this part of the memory for a connection, and nothing else.
    pub(super) fn hold(&mut self, id: ConnId, part: f64) {
        let bytes = (SHARED_BYTES as f64 * part) as usize;
        assert!(Context::new(&mut self.reactor.core, self.service).hold(id, bytes));
    }

    /// The next bytes that a client receives.
    pub(super) fn received(&mut self, id: ConnId, len: usize) -> Vec<u8> {
        let (_, client) = self.clients.iter_mut().find(|(other, _)| *other == id).unwrap();
        let mut bytes = vec![0; len];
        client.read_exact(&mut bytes).unwrap();
        bytes
    }
}
