//! A reactor that runs on a thread.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use weir::reactor::settings::{ListenSettings, RouteSettings, Settings, TlsSettings};
use weir::reactor::{Handle, Metrics, Reactor, Service};

use super::{DEADLINE, Seen, Watched, any, eventually};

/// A reactor that runs on a thread. Dropping it shuts the reactor down and waits for its end.
pub struct Server {
    pub address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<Metrics>>,
}

impl Server {
    /// A reactor that `build` adds services to, listening on a port of 127.0.0.1.
    pub fn start(settings: Settings, build: impl FnOnce(&mut Reactor) + Send + 'static) -> Server {
        Server::listening(ListenSettings::new(any()), settings, build)
    }

    /// A reactor with a TLS listener.
    pub fn secure(
        tls: TlsSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor) + Send + 'static,
    ) -> Server {
        Server::listening(ListenSettings::new(any()).secure(true), settings, |reactor| {
            reactor.set_tls(tls).unwrap();
            build(reactor);
        })
    }

    /// A reactor with this listener, and without load levels.
    pub fn listening(
        listen: ListenSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor) + Send + 'static,
    ) -> Server {
        // A busy machine would raise them.
        Server::with_levels(listen, settings.levels(false), build)
    }

    /// A reactor with this listener, and load levels as in these settings.
    pub fn with_levels(
        listen: ListenSettings,
        settings: Settings,
        build: impl FnOnce(&mut Reactor) + Send + 'static,
    ) -> Server {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new(settings).unwrap();
            build(&mut reactor);
            let address = reactor.listen(&listen).unwrap();
            sender.send((address, reactor.handle())).unwrap();
            reactor.run().unwrap();
            reactor.metrics().clone()
        });
        let (address, handle) = receiver.recv_timeout(DEADLINE).unwrap();
        Server { address, handle, thread: Some(thread) }
    }

    /// A [`Watched`] echo at `/`.
    pub fn watched(settings: Settings, route: RouteSettings) -> (Server, Receiver<Seen>) {
        let (service, seen) = Watched::echo();
        let server = Server::start(settings, move |reactor| {
            let service = reactor.add_service(service).unwrap();
            reactor.add_route("/", service, route).unwrap();
        });
        (server, seen)
    }

    /// Starts the shutdown, without waiting for its end.
    pub fn shutdown(&self) {
        self.handle.shutdown();
    }

    /// The number of its connections.
    pub fn connections(&self) -> usize {
        self.handle.connections()
    }

    /// Shuts down and returns the metrics.
    pub fn stop(mut self) -> Metrics {
        self.handle.shutdown();
        self.join()
    }

    /// Shuts down and returns the metrics. Nothing may be left that counts connections, memory, windows,
    /// identities or pauses.
    pub fn stop_clean(self) -> Metrics {
        let metrics = self.stop();
        expect_nothing_left(&metrics);
        metrics
    }

    /// Waits for the end of a shutdown that was started before.
    pub fn join(&mut self) -> Metrics {
        let thread = self.thread.take().unwrap();
        eventually(|| thread.is_finished(), "the reactor ends");
        thread.join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
        if self.thread.is_some() && !thread::panicking() {
            self.join();
        }
    }
}

/// Expects that each gauge has returned to 0. The load level depends on the machine, and a bucket of an
/// address stays until it is full.
pub fn expect_nothing_left(metrics: &Metrics) {
    let stays = |name: &str| matches!(name, "level_now" | "rate_entries_now");
    let gauges = metrics.iter().filter(|metric| metric.name.ends_with("_now"));
    let left: Vec<_> = gauges
        .filter(|gauge| gauge.value > 0 && !stays(gauge.name))
        .map(|gauge| gauge.name)
        .collect();
    assert!(left.is_empty(), "{left:?} left over: {metrics}");
}

/// A server with one service at `/`.
pub fn serving(settings: Settings, service: impl Service + Send + 'static) -> Server {
    Server::start(settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    })
}
