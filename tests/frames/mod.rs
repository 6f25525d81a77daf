//! Output that is made elsewhere: batches of frames from other threads, and messages with shared
//! tails.

use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{DeflateMode, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, RouteId, Service, ServiceId};

use crate::deflate::{Peer, lines};
use crate::support::{ByHand, Client, header, upgrade};

mod batches;
mod tails;

const LONG: Duration = Duration::from_secs(3600);
/// The offer of a client that accepts context takeover.
const WIDE: &str = "permessage-deflate; client_max_window_bits";
/// The offer of a client whose window has 512 bytes.
const NARROW: &str = "permessage-deflate; server_max_window_bits=9";

/// A service that sends nothing by itself.
struct Silent;

impl Service for Silent {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A reactor with a silent service at `/`.
struct Stage {
    server: ByHand,
    service: ServiceId,
    route: RouteId,
}

impl Stage {
    fn new(settings: Settings, route: RouteSettings) -> Stage {
        let mut added = None;
        let server = ByHand::new(settings, |reactor| {
            let service = reactor.add_service(Silent).unwrap();
            added = Some((service, reactor.add_route("/", service, route).unwrap()));
        });
        let (service, route) = added.unwrap();
        Stage { server, service, route }
    }

    fn compressing(mode: DeflateMode) -> Stage {
        Stage::new(Settings::default(), RouteSettings::default().deflate(mode))
    }

    fn cx(&mut self) -> Context<'_> {
        self.server.reactor.context(self.service)
    }

    /// The id of the newest open connection.
    fn newest(&mut self) -> ConnId {
        self.cx().connections().max_by_key(|id| id.serial()).unwrap()
    }

    /// A client without compression.
    fn plain(&mut self) -> (Client, ConnId) {
        let client = self.server.open("/");
        let id = self.newest();
        (client, id)
    }

    /// A client that offers compression.
    fn peer(&mut self, offer: &str) -> (Peer, ConnId) {
        let opened = self.server.reactor.metrics().opened;
        let mut client = Client::tcp(self.server.address);
        client.raw(upgrade("/", &lines(offer)).as_bytes());
        self.server.turn_until("a connection opens", |metrics| metrics.opened > opened);
        let head = client.head();
        let answer = header(&head, "Sec-WebSocket-Extensions").expect("an agreement").to_owned();
        let id = self.newest();
        (Peer::on(client, &answer), id)
    }

    fn write_all(&mut self) {
        self.server.turn_until("all is written", |metrics| metrics.buffered_now == 0);
    }

    /// Ends the clients; nothing may be held for them.
    fn stop<C>(self, clients: C) -> weir::reactor::Metrics {
        drop(clients);
        let metrics = self.server.stop_clean();
        assert_eq!((metrics.deflate_windows_now, metrics.deflate_windows_reserved_now), (0, 0));
        metrics
    }
}

/// A kilobyte of JSON, a little different for each index.
fn json(index: usize) -> Vec<u8> {
    crate::deflate::json(index)
}
