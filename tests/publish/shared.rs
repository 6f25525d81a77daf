//! Bytes that are queued for many connections are in memory once, and counted once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir::protocol::handshake::Response;
use weir::protocol::{Message, Piece};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Decision, Service, Target, UpgradeRequest};

use super::batches::{by_hand, clients};
use super::selection::report;
use crate::support::{BINARY, ByHand, Client, upgrade};

const LONG: Duration = Duration::from_secs(3600);

/// Records requests and answers none.
struct Deferring(Rc<RefCell<Vec<ConnId>>>);

impl Service for Deferring {
    fn on_request(&mut self, _: &mut Context<'_>, id: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        self.0.borrow_mut().push(id);
        Decision::Defer
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

#[test]
fn a_piece_of_many_responses_is_counted_once() {
    const CLIENTS: usize = 20;
    const LEN: usize = 5_000_000;
    let asked = Rc::new(RefCell::new(Vec::new()));
    let mut added = None;
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Deferring(Rc::clone(&asked))).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        added = Some(service);
    });
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::tcp(server.address)).collect();
    clients.iter_mut().for_each(|client| client.raw(upgrade("/", "").as_bytes()));
    server.turn_until("all requests are read", |_| asked.borrow().len() == CLIENTS);
    let shared: Arc<[u8]> = vec![b'x'; LEN].into();
    let mut cx = server.reactor.context(added.unwrap());
    for id in asked.take() {
        let pieces: Vec<Piece> = vec![Arc::clone(&shared).into(), vec![b'.'].into()];
        cx.respond(id, Response::new(200, "text/plain", pieces));
    }
    server.turn_until("all are answered", |metrics| metrics.http_answered == CLIENTS as u64);
    // One write has taken a part of it for each connection.
    let held = server.reactor.metrics().buffered_now as usize;
    assert!((LEN..LEN + CLIENTS * 1024).contains(&held), "{held} bytes held");
    drop(clients);
    server.stop_clean();
}

#[test]
fn a_large_frame_in_many_outboxes_is_counted_once() {
    const MEMBERS: usize = 100;
    const LEN: usize = 60_000;
    // Less than one copy for each of them.
    let settings = Settings::default().buffered_bytes_max(2 << 20);
    let route = RouteSettings::default().outbox_grace(LONG);
    let (mut server, service) = by_hand(settings, route);
    let (mut clients, ids) = clients(&mut server, service, MEMBERS);
    let mut cx = server.reactor.context(service);
    for &id in &ids {
        cx.subscribe(id, "t").unwrap();
    }
    for count in 1..=4 {
        let payload = [b'0' + count; LEN];
        let published = cx.publish(Target::Topic("t"), &payload[..], Default::default());
        assert_eq!(published, report(MEMBERS, 0, 0));
        let held = cx.metrics().buffered_now as usize;
        let frames = usize::from(count) * (LEN + 4);
        assert!((frames..frames + MEMBERS * 512).contains(&held), "{held} bytes for {frames}");
    }
    server.turn_until("all is written", |metrics| metrics.buffered_now == 0);
    for client in &mut clients {
        (1..=4).for_each(|count| client.expect(BINARY, &[b'0' + count; LEN]));
    }
}
