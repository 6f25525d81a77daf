//! What levels do besides admission and reads: compression, grace time, and calls of services.

use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{DeflateMode, ListenSettings, RouteSettings};
use weir::reactor::{ConnId, Context, Level, Priority, Service};
use weir::services::Rooms;
use weir::services::rooms::RoomSettings;

use super::{Loaded, SHARED_BYTES, by_memory};
use crate::support::{ByHand, Client, any, upgrade};

#[test]
fn services_get_each_level_once() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    for level in [Level::Elevated, Level::Critical, Level::Elevated, Level::Normal] {
        loaded.become_loaded(level);
        let turns = loaded.server.reactor.metrics().turns;
        loaded.server.turn_until("further samples", |metrics| metrics.turns > turns + 40);
        assert_eq!(loaded.reports.levels.try_iter().collect::<Vec<_>>(), [level]);
    }
}

/// Together they have 21 MB. At a critical load, rooms keep 16 MiB.
#[test]
fn a_critical_load_drops_the_histories_of_rooms() {
    const ROOMS: usize = 350;
    let (listen, route) = (ListenSettings::new(any()), RouteSettings::default());
    let mut loaded = Loaded::listening(listen, by_memory(), &route, |reactor| {
        let rooms = reactor.add_service(Rooms::new(RoomSettings::default())).unwrap();
        let route = RouteSettings::default().priority(Priority::High);
        reactor.add_route("/rooms/{name}", rooms, route).unwrap();
    });
    for room in 0..ROOMS {
        let mut client = loaded.server.open(&format!("/rooms/{room}"));
        client.text(&"x".repeat(60_000));
        let read = loaded.server.reactor.metrics().messages_in + 1;
        loaded.server.turn_until("it is read", |metrics| metrics.messages_in == read);
    }
    loaded.become_loaded(Level::Critical);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("rooms are dropped", |metrics| metrics.turns > turns + 20);
    let has_history = |room: usize| {
        let mut client = loaded.server.open(&format!("/rooms/{room}?history=1&self=1"));
        client.text("new");
        loaded.server.turn_until_readable(&client.stream);
        client.frame().payload != b"new"
    };
    assert_eq!([0, ROOMS - 1].map(has_history), [false, true]);
}

/// They say nothing about the work of the loop.
#[test]
fn many_connections_alone_are_reported_to_no_service() {
    let settings = by_memory().connections_max(10).reserve_percent(0);
    let mut loaded = Loaded::new(settings, &RouteSettings::default());
    let _clients: Vec<Client> = (0..7).map(|_| loaded.server.open("/normal")).collect();
    loaded.server.turn_until("the level", |metrics| metrics.level_now == 1);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("further samples", |metrics| metrics.turns > turns + 40);
    assert_eq!(loaded.reports.levels.try_iter().count(), 0);
}

#[test]
fn without_levels_the_load_is_only_measured() {
    let settings = by_memory().levels(false);
    let mut loaded = Loaded::new(settings, &RouteSettings::default());
    loaded.hold(SHARED_BYTES / 100 * 95);
    loaded.server.turn_until("turns for two seconds", |metrics| metrics.turns > 150);
    let (service, _levels) = super::Holding::new();
    let id = loaded.server.reactor.add_service(service).unwrap();
    let load = loaded.server.reactor.context(id).load();
    assert_eq!(load.level, Level::Normal);
    let memory = load.resources.iter().find(|load| load.resource.name() == "memory").unwrap();
    assert!(memory.pressure.unwrap() > 1.1, "{load:?}");
    assert!(loaded.reports.levels.try_iter().next().is_none());
}

/// The extensions that the response to an upgrade of a client with context takeover names.
fn extensions(server: &mut ByHand, path: &str) -> String {
    let mut client = Client::tcp(server.address);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    client.raw(upgrade(path, offer).as_bytes());
    server.turn_until_readable(&client.stream);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    crate::support::header(&head, "Sec-WebSocket-Extensions").unwrap().to_owned()
}

#[test]
fn an_elevated_load_gives_no_connection_windows_of_its_own() {
    let route = RouteSettings::default().deflate(DeflateMode::Dedicated);
    let mut loaded = Loaded::new(by_memory(), &route);
    let without = "server_no_context_takeover";
    assert!(!extensions(&mut loaded.server, "/high").contains(without));
    loaded.become_loaded(Level::Elevated);
    assert!(extensions(&mut loaded.server, "/high").contains(without));
}

/// The route keeps unused windows for an hour.
#[test]
fn an_elevated_load_frees_windows_that_are_not_in_use() {
    let route = RouteSettings::default()
        .deflate(DeflateMode::Dedicated)
        .deflate_idle(Duration::from_secs(3600));
    let mut loaded = Loaded::new(by_memory(), &route);
    let mut client = Client::tcp(loaded.server.address);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    client.raw(upgrade("/high", offer).as_bytes());
    loaded.server.turn_until_readable(&client.stream);
    assert!(client.head().contains("permessage-deflate"));
    client.text(&"again and ".repeat(100));
    loaded.server.turn_until_readable(&client.stream);
    assert!(loaded.server.reactor.metrics().deflate_windows_now > 0);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("more than a second", |metrics| metrics.turns > turns + 60);
    assert_eq!(loaded.server.reactor.metrics().deflate_windows_freed, 0);
    loaded.become_loaded(Level::Elevated);
    loaded.server.turn_until("it is freed", |metrics| metrics.deflate_windows_freed == 1);
    assert_eq!(loaded.server.reactor.metrics().deflate_windows_now, 0);
}

/// Answers each message with a long text.
struct Verbose;

impl Service for Verbose {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
        let _ = cx.send(conn, &*"again and ".repeat(1000));
    }
}

/// With these thresholds, any turn is too long.
#[test]
fn messages_are_sent_uncompressed_while_the_delay_is_critical() {
    let build = |thresholds: [u64; 2]| {
        let [elevated, critical] = thresholds.map(Duration::from_nanos);
        let settings = by_memory().delay_elevated(elevated).delay_critical(critical);
        ByHand::with_levels(ListenSettings::new(any()), settings, |reactor| {
            let service = reactor.add_service(Verbose).unwrap();
            let route = RouteSettings::default().priority(Priority::High);
            reactor.add_route("/", service, route).unwrap();
        })
    };
    for (thresholds, is_compressed) in [([1, 2], false), ([1, 3_600_000_000_000], true)] {
        let mut server = build(thresholds);
        let level = if is_compressed { Level::Elevated } else { Level::Critical };
        server.turn_until("the level", |metrics| metrics.level_now == level as u64);
        let mut client = Client::tcp(server.address);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        client.raw(upgrade("/", offer).as_bytes());
        server.turn_until_readable(&client.stream);
        assert!(client.head().contains("permessage-deflate"));
        client.text("something long, please");
        server.turn_until_readable(&client.stream);
        assert_eq!(server.reactor.metrics().messages_deflated, u64::from(is_compressed));
    }
}

/// The route allows a congested connection 44 s: half of it is more than the deadline of this test.
#[test]
fn a_critical_load_quarters_the_grace_time() {
    let route = RouteSettings::default()
        .outbox_soft_bytes(100_000)
        .outbox_hard_bytes(8 << 20)
        .write_timeout(Duration::from_secs(60))
        .outbox_grace(Duration::from_secs(44));
    let mut loaded = Loaded::new(by_memory().shed_max_percent(0), &route);
    loaded.become_loaded(Level::Critical);
    let mut client = Client::narrow_tcp(loaded.server.address);
    client.raw(upgrade("/high", "").as_bytes());
    let opened = loaded.server.reactor.metrics().opened;
    loaded.server.turn_until("it is open", |metrics| metrics.opened > opened);
    // Its answers are not read.
    let message = "x".repeat(60_000);
    let before = loaded.server.reactor.metrics().clone();
    let mut sent = 0;
    // More than the soft limit is left behind what the kernel takes.
    while loaded.server.reactor.metrics().buffered_now < before.buffered_now + 300_000 {
        client.text(&message);
        sent += 1;
        let read = before.messages_in + sent;
        loaded.server.turn_until("it is read", |metrics| metrics.messages_in >= read);
        assert!(sent < 1000, "the kernel takes everything");
    }
    loaded.server.turn_until("it is closed", |metrics| metrics.ended_slow == 1);
}
