//! `Context::charge`: messages that count as several.

use weir::protocol::Message;
use weir::reactor::settings::RouteSettings;
use weir::reactor::{ConnId, Context, Service};

use super::{numbered, only, pauses};
use crate::support::{ByHand, TEXT};

/// Charges this many tokens for each message, and returns it.
struct Costly(usize);

impl Service for Costly {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        cx.charge(conn, self.0);
        let _ = cx.send(conn, message);
    }
}

fn costly(tokens: usize, route: RouteSettings) -> ByHand {
    ByHand::new(Default::default(), |reactor| {
        let service = reactor.add_service(Costly(tokens)).unwrap();
        reactor.add_route("/", service, route).unwrap();
    })
}

/// Sends ten messages; returns how many are handled before reading pauses.
fn handled(server: &mut ByHand, limit: &str) -> u64 {
    let mut client = server.open("/");
    let before = pauses(server.reactor.metrics(), limit);
    let handled = server.reactor.metrics().messages_in;
    client.raw(&numbered(0..10));
    server.turn_until("reading pauses", |metrics| pauses(metrics, limit) > before);
    server.reactor.metrics().messages_in - handled
}

#[test]
fn a_charge_counts_at_once() {
    for (tokens, messages) in [(0, 8), (1, 4), (3, 2), (4, 2), (7, 1), (1_000_000, 1)] {
        let mut server = costly(tokens, RouteSettings::default().messages_rate(only(8)));
        assert_eq!(handled(&mut server, "messages"), messages, "{tokens} tokens");
    }
}

#[test]
fn a_charge_counts_for_the_address() {
    let route = RouteSettings::default().messages_rate_per_address(only(12));
    let mut server = costly(3, route);
    assert_eq!(handled(&mut server, "messages_per_address"), 3);
    assert_eq!(handled(&mut server, "messages_per_address"), 0);
}

#[test]
fn a_charge_without_a_rate_changes_nothing() {
    let mut server = costly(1000, RouteSettings::default());
    let mut client = server.open("/");
    client.raw(&numbered(0..10));
    server.turn_until("all are read", |metrics| metrics.messages_in == 10);
    server.turn_until_readable(&client.stream);
    for number in 0..10 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
}
