//! Load levels: how they rise and fall, and what they do to connections of each priority.
//!
//! Most tests raise the level by memory: one connection of high priority holds as much as the test says.

mod admin;
mod admission;
mod cgroup;
mod effects;
mod lateness;
mod operating;
mod order;
mod reads;
mod reserve;
mod shedding;
mod sleeping;

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::Response;
use weir::reactor::settings::{ListenSettings, MemoryMax, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, HttpRequest, Level, Priority, Reactor, Service};

use crate::support::{ByHand, Client, TEXT, any};

/// Bytes that all connections share: half of `buffered_max`.
const SHARED_BYTES: usize = 16 * 1024 * 1024;

/// Settings whose level follows the buffered bytes alone, however busy the machine is.
pub fn by_memory() -> Settings {
    Settings::default()
        .levels(true)
        .delay_elevated(Duration::from_secs(3600))
        .delay_critical(Duration::from_secs(7200))
        .memory_max(MemoryMax::Off)
        .buffered_bytes_max(2 * SHARED_BYTES)
}

/// What a [`Holding`] service reports.
pub struct Reports {
    pub levels: Receiver<Level>,
    pub ends: Receiver<CloseReason>,
}

/// A service that holds as many bytes for a connection as its last message says, and answers each message.
/// It reports load levels, and the ends of its connections. It is busy for connections that sent "busy", and
/// blocks the loop for as many milliseconds as "sleep MS" says.
pub struct Holding {
    levels: Sender<Level>,
    ends: Sender<CloseReason>,
    busy: HashSet<ConnId>,
}

impl Holding {
    pub fn new() -> (Holding, Reports) {
        let ((levels, seen_levels), (ends, seen_ends)) = (channel(), channel());
        let reports = Reports { levels: seen_levels, ends: seen_ends };
        (Holding { levels, ends, busy: HashSet::new() }, reports)
    }
}

impl Service for Holding {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let text = std::str::from_utf8(message.as_bytes()).unwrap();
        if let Ok(bytes) = text.parse() {
            assert!(cx.hold(conn, bytes));
        }
        if text == "busy" {
            self.busy.insert(conn);
        }
        if let Some(millis) = text.strip_prefix("sleep ") {
            thread::sleep(Duration::from_millis(millis.parse().unwrap()));
        }
        let _ = cx.send(conn, message);
    }

    fn methods(&self) -> &'static [&'static str] {
        &["GET"]
    }

    fn on_http(&mut self, _: &mut Context<'_>, _: ConnId, _: &HttpRequest<'_>) -> Option<Response> {
        Some(Response::text(200, "held"))
    }

    fn is_busy(&self, conn: ConnId) -> bool {
        self.busy.contains(&conn)
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        // The receiver may have gone.
        let _ = self.ends.send(why);
    }

    fn on_load_level(&mut self, _: &mut Context<'_>, level: Level) {
        // The receiver may have gone.
        let _ = self.levels.send(level);
    }
}

/// A server that is turned by hand, with a route of each priority (`/low`, ..) to a [`Holding`] service,
/// and a connection that can raise its level.
pub struct Loaded {
    pub server: ByHand,
    pub reports: Reports,
    ballast: Client,
}

impl Loaded {
    pub fn new(settings: Settings, route: &RouteSettings) -> Loaded {
        Loaded::listening(ListenSettings::new(any()), settings, route, |_| {})
    }

    pub fn listening(
        listen: ListenSettings,
        settings: Settings,
        route: &RouteSettings,
        build: impl FnOnce(&mut Reactor),
    ) -> Loaded {
        let (service, reports) = Holding::new();
        let mut server = ByHand::with_levels(listen, settings, |reactor| {
            build(reactor);
            let service = reactor.add_service(service).unwrap();
            for priority in Priority::ALL {
                let route = route.clone().priority(priority);
                reactor.add_route(&format!("/{priority}"), service, route).unwrap();
            }
        });
        let plain = server.listen_plain();
        let ballast = server.open_at(plain, "/high");
        Loaded { server, reports, ballast }
    }

    /// Changes what is held, and turns until the level follows.
    pub fn become_loaded(&mut self, level: Level) {
        let part = [0.0, 0.87, 0.95][level as usize];
        self.hold((SHARED_BYTES as f64 * part) as usize);
        let what = format!("the level is {level}");
        self.server.turn_until(&what, |metrics| metrics.level_now == level as u64);
    }

    fn hold(&mut self, bytes: usize) {
        say(&mut self.server, &mut self.ballast, &bytes.to_string());
    }
}

/// Sends a text, and expects it back.
pub fn say(server: &mut ByHand, client: &mut Client, text: &str) {
    client.text(text);
    server.turn_until_readable(&client.stream);
    client.expect(TEXT, text.as_bytes());
}
