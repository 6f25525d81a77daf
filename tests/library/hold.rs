//! Memory that a service holds for its connections counts towards the memory limit of the loop.

use weir::reactor::budget::HOLD_BYTES_MAX;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{Client, Server};

const KIB: usize = 1024;

/// A server with half of this memory for any connection, and two open clients.
fn open(buffered_bytes_max: usize) -> (Server, Strings, [(Client, ConnId); 2]) {
    let (puppet, strings) = Puppet::new();
    let settings = Settings::default().connections_max(8).outbound_max(2);
    let settings = settings.buffered_bytes_max(buffered_bytes_max).heartbeat(None);
    let server = puppet.serve(settings, RouteSettings::default());
    let open = |strings: &Strings| {
        let client = Client::open(server.address, "/");
        match strings.next() {
            Report::Opened(id) => (client, id),
            other => panic!("{other:?}"),
        }
    };
    let clients = [open(&strings), open(&strings)];
    (server, strings, clients)
}

fn held(cx: &mut Context<'_>) -> u64 {
    cx.metrics().buffered_now
}

#[test]
fn held_bytes_count_until_they_are_released_or_their_connection_ends() {
    let (server, strings, [(first, a), (second, b)]) = open(1000 * KIB);
    strings.run(move |cx| {
        let before = held(cx);
        for (conn, bytes, expected) in
            [(a, 1000, 1000), (b, 500, 1500), (a, 1000, 1500), (a, 10, 510), (b, 0, 10), (b, 7, 17)]
        {
            assert!(cx.hold(conn, bytes), "{bytes}");
            assert_eq!(held(cx) - before, expected, "{bytes}");
        }
    });
    drop(first);
    assert!(matches!(strings.next(), Report::Closed(id, _) if id == a));
    strings.run(move |cx| {
        assert!(!cx.hold(a, 1) && !cx.hold(a, 0), "it has ended");
        cx.set_metadata(b, "name", "b").unwrap();
        cx.remove_metadata(b, "name");
        assert!(held(cx) >= 7, "labels are freed only if nothing is held");
        cx.abort(b);
        assert!(!cx.hold(b, 8), "it has been aborted");
    });
    drop(second);
    server.stop_clean();
}

#[test]
fn more_than_the_memory_limit_is_not_held() {
    let (_server, strings, [(_first, a), (_second, b)]) = open(1000 * KIB);
    strings.run(move |cx| {
        // Half of the memory for all, and a tenth of the other half for each.
        assert!(cx.hold(a, 499 * KIB));
        assert!(!cx.hold(a, 501 * KIB) && !cx.hold(a, HOLD_BYTES_MAX + 1));
        assert!(held(cx) >= 499 * KIB as u64, "the last number stays");
        assert!(cx.hold(b, 50 * KIB), "its share");
        assert!(!cx.hold(b, 51 * KIB));
        assert_eq!(cx.metrics().buffered_refused, 3);
        assert!(cx.hold(a, 0) && cx.hold(b, 51 * KIB), "released bytes are available");
    });
    let (_server, strings, [(_first, a), _]) = open(8 << 30);
    strings.run(move |cx| {
        assert!(cx.hold(a, HOLD_BYTES_MAX) && !cx.hold(a, HOLD_BYTES_MAX + 1));
    });
}
