//! Many identities that expire at the same time: how many a turn ends, and when, by the loop's own clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::budget::TIMERS;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{
    ConnId, Context, Event, EventKind, Gate, GateRequest, Identity, Observer, Service, Verdict,
};

use crate::support::{ByHand, Client, crowd};

/// The time that one slot of the timer wheel covers.
const TICK: Duration = Duration::from_millis(128);

/// More than a turn ends, less than two do.
const MANY: usize = TIMERS * 3 / 2;

/// Timers of the loop itself that may fire in the same turn.
const OF_LOOP: usize = 4;

/// A gate that passes everything, and the service behind it, which notes its connections.
struct Open {
    conns: Rc<RefCell<Vec<ConnId>>>,
}

impl Service for Open {
    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.conns.borrow_mut().push(conn);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Gate for Open {
    fn on_gate(&mut self, _: &mut Context<'_>, _: ConnId, _: &GateRequest<'_>) -> Verdict {
        Verdict::Pass(None)
    }
}

/// Counts identities that have expired.
struct Expired(Rc<Cell<usize>>);

impl Observer for Expired {
    fn on_event(&mut self, event: &Event<'_>) {
        self.0.set(self.0.get() + usize::from(event.kind == EventKind::Expired));
    }
}

#[test]
fn a_turn_ends_at_most_2_048_identities_never_early_and_at_most_a_tick_late() {
    let _crowd = crowd();
    let (conns, expired) = (Rc::<RefCell<Vec<ConnId>>>::default(), Rc::<Cell<usize>>::default());
    let mut service = None;
    let settings = Settings::default().connections_per_address(0).heartbeat(None);
    let mut server = ByHand::new(settings, |reactor| {
        let open = Open { conns: Rc::clone(&conns) };
        let gate = reactor.add_gate(open, GateSettings::default()).unwrap();
        let route = RouteSettings::default().gate(gate);
        reactor.add_route("/", gate.service(), route).unwrap();
        reactor.set_observer(Expired(Rc::clone(&expired)));
        service = Some(gate.service());
    });
    let service = service.unwrap();
    let mut clients: Vec<Client> = (0..MANY).map(|_| server.open("/")).collect();
    let expires = server.reactor.context(service).now() + Duration::from_secs(2);
    for &conn in conns.borrow().iter() {
        let mut identity = Identity::new("ann").unwrap();
        identity.expires = Some(expires);
        server.reactor.context(service).set_identity(conn, Box::new(identity)).unwrap();
    }
    let mut of_turns = Vec::new();
    while expired.get() < MANY {
        let before = expired.get();
        server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let now = server.reactor.context(service).now();
        let ended = expired.get() - before;
        assert!(ended == 0 || now >= expires, "{ended} ended early");
        assert!(now.since(expires) < 20 * Duration::from_secs(1), "{before} of {MANY} have ended");
        // After a late turn, timers wait for input once.
        let is_held = server.reactor.metrics().timers_held > 0;
        if now >= expires + TICK && !is_held {
            let due = TIMERS.min(MANY - before);
            assert!(
                ended + OF_LOOP >= due,
                "{ended} of {due} ended in the first turn after a tick"
            );
        }
        if ended > 0 {
            of_turns.push(ended);
        }
    }
    assert!(of_turns.iter().all(|ended| *ended <= TIMERS), "{of_turns:?}");
    let most = of_turns.iter().max().unwrap();
    assert!(most + OF_LOOP >= TIMERS, "the limit was not reached: {of_turns:?}");
    for client in &mut clients {
        server.turn_until_readable(&client.stream);
        assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    }
}
