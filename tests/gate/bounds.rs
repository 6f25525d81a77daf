//! The verdicts of a gate that come at once are carried out in several turns.

use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::Refusal;
use weir::reactor::budget::DECISIONS_MIN;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Gate, GateRequest, More, Service, Verdict};
use weir::services::Echo;

use crate::support::{ByHand, Client, crowd, upgrade};

const CLIENTS: usize = 1200;

/// Refuses all requests in one call, when the last one has come.
struct AtOnce(Vec<ConnId>);

impl Service for AtOnce {
    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        for conn in self.0.drain(..) {
            cx.verdict(conn, Verdict::Refuse(Refusal::Forbidden, None));
        }
        More::No
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Gate for AtOnce {
    fn on_gate(&mut self, cx: &mut Context<'_>, conn: ConnId, _: &GateRequest<'_>) -> Verdict {
        self.0.push(conn);
        if self.0.len() == CLIENTS {
            cx.wake();
        }
        Verdict::Later
    }
}

/// Has mail in each turn, and always more.
struct Busy;

impl Service for Busy {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.wake();
    }

    fn on_mail(&mut self, _: &mut Context<'_>) -> More {
        More::Yes
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// The most verdicts that one turn carries out, beside this number of services with mail.
fn most_per_turn(busy: usize) -> usize {
    let settings = Settings::default().handshake_timeout(Duration::from_secs(200));
    let mut server = ByHand::new(settings, |reactor| {
        let gate = reactor.add_gate(AtOnce(Vec::new()), GateSettings::default()).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default().gate(gate)).unwrap();
        for _ in 0..busy {
            reactor.add_service(Busy).unwrap();
        }
    });
    let ask = |_| {
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", "").as_bytes());
        client
    };
    let clients: Vec<Client> = (0..CLIENTS).map(ask).collect();
    server.turn_until("the first is refused", |metrics| metrics.refused > 0);
    let (mut before, mut most) = (0, 0);
    while before < CLIENTS as u64 {
        let refused = server.reactor.metrics().refused;
        assert!(refused > before, "each turn makes progress, however much mail there is");
        (most, before) = (most.max(refused - before), refused);
        server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(server.reactor.metrics().phases_cut > 0);
    drop(clients);
    server.stop_clean();
    most as usize
}

#[test]
fn verdicts_of_one_call_are_carried_out_in_several_turns() {
    let _crowd = crowd();
    assert_eq!(most_per_turn(0), DECISIONS_MIN);
    // Their mail uses up the work of the phase.
    assert_eq!(most_per_turn(9), DECISIONS_MIN);
}
