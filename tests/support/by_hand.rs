//! A reactor that the test turns itself, on the test's own thread.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use weir::reactor::settings::{ListenSettings, Settings};
use weir::reactor::{Metrics, Reactor};

use super::server::expect_nothing_left;
use super::{Client, DEADLINE, any, upgrade};

/// A reactor that the test turns by calls of `turn`. Between two turns only the test acts, however busy
/// the machine is.
pub struct ByHand {
    pub reactor: Reactor,
    pub address: SocketAddr,
}

impl ByHand {
    pub fn new(settings: Settings, build: impl FnOnce(&mut Reactor)) -> ByHand {
        ByHand::listening(ListenSettings::new(any()), settings, build)
    }

    /// A reactor with a TLS listener; `build` must set the certificates.
    pub fn secure(settings: Settings, build: impl FnOnce(&mut Reactor)) -> ByHand {
        ByHand::listening(ListenSettings::new(any()).secure(true), settings, build)
    }

    /// A reactor with this listener, and without load levels.
    pub fn listening(
        listen: ListenSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor),
    ) -> ByHand {
        // A busy machine would raise them.
        ByHand::with_levels(listen, settings.levels(false), build)
    }

    /// A reactor with this listener, and load levels as in these settings.
    pub fn with_levels(
        listen: ListenSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor),
    ) -> ByHand {
        let mut reactor = Reactor::new(settings).unwrap();
        build(&mut reactor);
        let address = reactor.listen(&listen).unwrap();
        reactor.start().unwrap();
        ByHand { reactor, address }
    }

    /// Adds a plaintext listener, and returns its address.
    pub fn listen_plain(&mut self) -> SocketAddr {
        self.reactor.listen(&ListenSettings::new(any())).unwrap()
    }

    /// Turns until the client's `stream` has bytes to read.
    pub fn turn_until_readable(&mut self, stream: &TcpStream) {
        let started = Instant::now();
        stream.set_nonblocking(true).unwrap();
        while stream.peek(&mut [0]).is_err() {
            assert!(started.elapsed() < DEADLINE, "nothing to read within {DEADLINE:?}");
            self.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        stream.set_nonblocking(false).unwrap();
    }

    /// Turns until the metrics fulfil the condition; returns the number of turns.
    pub fn turn_until(&mut self, what: &str, condition: impl Fn(&Metrics) -> bool) -> u64 {
        let before = self.reactor.metrics().turns;
        let started = Instant::now();
        while !condition(self.reactor.metrics()) {
            assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
            self.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        self.reactor.metrics().turns - before
    }

    /// An open WebSocket.
    pub fn open(&mut self, path: &str) -> Client {
        self.open_at(self.address, path)
    }

    /// An open WebSocket at another listener.
    pub fn open_at(&mut self, address: SocketAddr, path: &str) -> Client {
        let opened = self.reactor.metrics().opened;
        let mut client = Client::tcp(address);
        client.raw(upgrade(path, "").as_bytes());
        self.turn_until("a connection opens", |metrics| metrics.opened > opened);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client
    }

    /// Turns until all connections have ended, whose clients must be gone. Nothing may be left of them.
    pub fn stop_clean(mut self) -> Metrics {
        self.turn_until("all connections end", |metrics| metrics.connections_now == 0);
        let metrics = self.reactor.metrics().clone();
        expect_nothing_left(&metrics);
        metrics
    }
}
