//! Sign-outs while a gate decides: its verdict is older than the sign-out.

use std::cell::RefCell;
use std::rc::Rc;

use weir::protocol::handshake::Refusal;
use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{
    ConnId, Context, Gate, GateId, GateRequest, Identity, Service, ServiceId, TokenRequest, Verdict,
};

use crate::support::{ByHand, Client, upgrade};

/// A gate whose verdicts the test gives.
struct Held(Rc<RefCell<Vec<ConnId>>>);

impl Service for Held {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Gate for Held {
    fn on_gate(&mut self, _: &mut Context<'_>, conn: ConnId, _: &GateRequest<'_>) -> Verdict {
        self.0.borrow_mut().push(conn);
        Verdict::Later
    }

    fn on_token(&mut self, _: &mut Context<'_>, conn: ConnId, _: &TokenRequest<'_>) -> Verdict {
        self.0.borrow_mut().push(conn);
        Verdict::Later
    }
}

/// Keeps what the gate has decided on its tokens.
struct Presenter(Rc<RefCell<Vec<Result<(), Refusal>>>>);

impl Service for Presenter {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn methods(&self) -> &'static [&'static str] {
        &["GET"]
    }

    fn on_presented(&mut self, _: &mut Context<'_>, _: ConnId, outcome: Result<(), Refusal>) {
        self.0.borrow_mut().push(outcome);
    }
}

struct Loop {
    by_hand: ByHand,
    gate: GateId,
    service: ServiceId,
    /// Connections that the gate decides on.
    asked: Rc<RefCell<Vec<ConnId>>>,
    outcomes: Rc<RefCell<Vec<Result<(), Refusal>>>>,
}

impl Loop {
    fn new() -> Loop {
        let (asked, outcomes) = (Rc::default(), Rc::default());
        let mut ids = None;
        let by_hand = ByHand::new(Settings::default(), |reactor| {
            let held = Held(Rc::clone(&asked));
            let gate = reactor.add_gate(held, GateSettings::default()).unwrap();
            let service = reactor.add_service(Presenter(Rc::clone(&outcomes))).unwrap();
            reactor.add_route("/", service, RouteSettings::default().gate(gate)).unwrap();
            ids = Some((gate, service));
        });
        let (gate, service) = ids.unwrap();
        Loop { by_hand, gate, service, asked, outcomes }
    }

    /// A client whose request the gate decides on.
    fn request(&mut self, request: &str) -> (Client, ConnId) {
        let mut client = Client::tcp(self.by_hand.address);
        client.raw(request.as_bytes());
        (client, self.asked())
    }

    /// The next connection that the gate decides on.
    fn asked(&mut self) -> ConnId {
        let asked = Rc::clone(&self.asked);
        self.by_hand.turn_until("the gate is asked", |_| !asked.borrow().is_empty());
        self.asked.borrow_mut().remove(0)
    }

    fn pass(&mut self, conn: ConnId, subject: &str) {
        let identity = Box::new(Identity::new(subject).unwrap());
        let mut cx = self.by_hand.reactor.context(self.gate.service());
        cx.verdict(conn, Verdict::Pass(Some(identity)));
    }

    fn sign_out(&mut self, subject: &str) {
        let mut cx = self.by_hand.reactor.context(self.gate.service());
        cx.sign_out(self.gate, subject, CloseCode::FORBIDDEN);
    }

    /// The head of the response to a client.
    fn head(&mut self, client: &mut Client) -> String {
        self.by_hand.turn_until_readable(&client.stream);
        client.head()
    }
}

#[test]
fn a_verdict_on_a_request_from_before_the_sign_out_of_its_subject_does_not_pass() {
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    for (request, passed) in [(upgrade("/", ""), 101), (plain, 501)] {
        // The verdict may follow in the turn of the sign-out, before the gate is informed, or later.
        for turns in [0, 3] {
            let mut it = Loop::new();
            let (mut ann, conn) = it.request(&request);
            let (mut bob, other) = it.request(&request);
            it.sign_out("ann");
            for _ in 0..turns {
                it.by_hand.reactor.turn(Some(std::time::Duration::ZERO)).unwrap();
            }
            it.pass(conn, "ann");
            it.pass(other, "bob");
            let head = it.head(&mut ann);
            assert!(head.starts_with("HTTP/1.1 401 "), "after {turns} turns: {head}");
            let head = it.head(&mut bob);
            assert!(head.starts_with(&format!("HTTP/1.1 {passed} ")), "{head}");
            // A request after the sign-out is decided on by the gate alone.
            let (mut again, conn) = it.request(&request);
            it.pass(conn, "ann");
            let head = it.head(&mut again);
            assert!(head.starts_with(&format!("HTTP/1.1 {passed} ")), "{head}");
        }
    }
}

#[test]
fn a_token_in_a_message_from_before_the_sign_out_does_not_pass() {
    let mut it = Loop::new();
    let (mut client, conn) = it.request(&upgrade("/", ""));
    it.pass(conn, "guest");
    assert!(it.head(&mut client).starts_with("HTTP/1.1 101 "));
    for (signs_out, expected) in [(false, Ok(())), (true, Err(Refusal::Unauthorized))] {
        let mut cx = it.by_hand.reactor.context(it.service);
        cx.present(conn, "token").unwrap();
        assert_eq!(it.asked(), conn);
        if signs_out {
            it.sign_out("bob");
        }
        it.pass(conn, "bob");
        let outcomes = Rc::clone(&it.outcomes);
        it.by_hand.turn_until("the outcome", |_| !outcomes.borrow().is_empty());
        assert_eq!(it.outcomes.borrow_mut().pop(), Some(expected));
        // Back to an identity that is not signed out.
        let guest = Box::new(Identity::new("guest").unwrap());
        it.by_hand.reactor.context(it.service).set_identity(conn, guest).unwrap();
    }
}
