//! `Context::charge`: messages that count as several.

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Metrics, Service};
use weir::services::Rooms;
use weir::services::rooms::RoomSettings;
use weir::services::rpc::{MethodCosts, RpcSettings};

use super::{numbered, only, pauses};
use crate::rpc::scripted::serve;
use crate::support::{ByHand, TEXT, crowd, frame};

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

/// Sends this message ten times to JSON-RPC with 8 tokens and a cost of 3 for `now`; returns how often
/// it is handled before reading pauses.
fn calls_handled(message: &str) -> u64 {
    let mut server = ByHand::new(Default::default(), |reactor| {
        let (sender, reports) = std::sync::mpsc::channel();
        let costs = MethodCosts::new([("now", 2), ("later", 9), ("now", 3)]);
        let rpc = RpcSettings::default().costs(costs);
        serve(reactor, rpc, RouteSettings::default().messages_rate(only(8)), sender);
        // The backend reports that it has started.
        reports.try_iter().for_each(drop);
        std::mem::forget(reports);
    });
    let mut client = server.open("/");
    let before = server.reactor.metrics().messages_in;
    client.raw(&frame(true, TEXT, message.as_bytes()).repeat(10));
    let throttled = |metrics: &Metrics| pauses(metrics, "messages") > 0;
    server.turn_until("reading pauses", throttled);
    server.reactor.metrics().messages_in - before
}

#[test]
fn each_call_counts_by_its_method_also_in_a_batch() {
    let call = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
    assert_eq!(calls_handled(&call("unknown")), 8, "others count as one");
    assert_eq!(calls_handled(&call("now")), 3, "2 tokens were left for the third");
    assert_eq!(calls_handled(&call("later")), 1);
    assert_eq!(calls_handled(&format!("[{},{}]", call("now"), call("unknown"))), 2);
    assert_eq!(calls_handled(&format!("[{0},{0},{0},{0}]", call("unknown"))), 2);
    assert_eq!(calls_handled("no call"), 8);
    assert_eq!(calls_handled("[1,2,3]"), 3, "invalid items count, too");
}

#[test]
fn a_message_to_a_large_room_counts_as_several() {
    let _crowd = crowd();
    let route = RouteSettings::default().messages_rate(only(8));
    let mut server = ByHand::new(Settings::default().connections_max(2000), |reactor| {
        let rooms = reactor.add_service(Rooms::new(RoomSettings::default())).unwrap();
        reactor.add_route("/{name}", rooms, route).unwrap();
    });
    let mut small = server.open("/small");
    let mut members: Vec<_> = (0..1000).map(|_| server.open("/large")).collect();
    for (client, messages) in [(&mut small, 8), (&mut members[0], 4)] {
        let before = pauses(server.reactor.metrics(), "messages");
        let handled = server.reactor.metrics().messages_in;
        client.raw(&numbered(0..10));
        server.turn_until("reading pauses", |metrics| pauses(metrics, "messages") > before);
        assert_eq!(server.reactor.metrics().messages_in - handled, messages);
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
