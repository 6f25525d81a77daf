//! What the admin address shows of each level: whether the server is ready, and counts of shedding.

use std::net::SocketAddr;
use std::thread;

use weir::reactor::settings::{ListenSettings, RouteSettings};
use weir::services::admin::{Admin, METRICS, READY};

use super::{Loaded, SHARED_BYTES, by_memory, say};
use crate::support::{Client, any};

/// A server, and its admin address.
fn operated() -> (Loaded, SocketAddr) {
    let listen = ListenSettings::new(any());
    let mut loaded = Loaded::listening(listen, by_memory(), &RouteSettings::default(), |reactor| {
        let admin = reactor.add_service(Admin::new(Vec::new())).unwrap();
        let route = RouteSettings::default().listener_group(1);
        for path in [METRICS, READY] {
            reactor.add_route(path, admin, route.clone()).unwrap();
        }
    });
    let listen = ListenSettings::new(any()).listener_group(1).for_operators(true);
    let admin = loaded.server.reactor.listen(&listen).unwrap();
    (loaded, admin)
}

/// Status and body of the response at a path.
fn get(loaded: &mut Loaded, admin: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::tcp(admin);
    client.raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let reader = thread::spawn(move || client.answer());
    loaded.server.turn_until("the response is read", |_| reader.is_finished());
    let (head, body) = reader.join().unwrap();
    (head[9..12].to_owned(), String::from_utf8(body).unwrap())
}

/// Connections that were closed because of the load, and futile rounds.
fn shed(loaded: &mut Loaded, admin: SocketAddr) -> [String; 2] {
    let (_, metrics) = get(loaded, admin, METRICS);
    ["weir_shed_total ", "weir_shed_futile_total "].map(|name| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.expect(&metrics).to_owned()
    })
}

fn hold(loaded: &mut Loaded, part: f64) {
    loaded.hold((SHARED_BYTES as f64 * part) as usize);
}

#[test]
fn a_critical_server_is_not_ready_and_shedding_is_counted() {
    let (mut loaded, admin) = operated();
    let mut low = loaded.server.open("/low");
    let third = (SHARED_BYTES / 10 * 3).to_string();
    say(&mut loaded.server, &mut low, &third);
    assert_eq!(get(&mut loaded, admin, READY).0, "200");

    hold(&mut loaded, 0.57);
    loaded.server.turn_until("elevated", |metrics| metrics.level_now == 1);
    assert_eq!(get(&mut loaded, admin, READY).0, "200");
    assert_eq!(shed(&mut loaded, admin), ["0", "0"]);

    hold(&mut loaded, 0.65);
    loaded.server.turn_until("critical", |metrics| metrics.level_now == 2);
    let ready = get(&mut loaded, admin, READY);
    assert_eq!(ready, ("503".to_owned(), "the load is critical\n".to_owned()));
    loaded.server.turn_until_readable(&low.stream);
    assert_eq!(low.expect_close().0, 1013);
    drop(low);
    loaded.server.turn_until("it has ended", |metrics| metrics.ended_overloaded == 1);
    // What is left does not fall.
    hold(&mut loaded, 0.95);
    loaded.server.turn_until("shedding stops", |metrics| metrics.shed_futile == 1);
    assert_eq!(shed(&mut loaded, admin), ["1", "1"]);
}
