//! Limits of requests that wait for a hook: their number, their bytes, their time, and what a turn does
//! about them. In order of events on the loop, never by time.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::budget::{HEAD_WORK, MAIL_WORK};
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Decision, Service, UpgradeRequest};
use weir::services::Echo;
use weir::services::auth::{AuthCounts, AuthOutcome, Hook, HookSettings};

use super::gated::{response, status_of};
use super::hook_server::{Answer, HookServer, hooked, ok};
use crate::support::{ByHand, Client, crowd, expect_spread_retry, upgrade};

/// Longer than any test: no request is refused because of it.
const NEVER: Duration = Duration::from_secs(100);

/// A loop that a test turns, with an echo behind this hook.
fn by_hand(settings: HookSettings) -> (ByHand, Rc<AuthCounts>) {
    let hook = Hook::new("hook", settings).unwrap();
    let counts = hook.counts();
    let server = ByHand::new(Settings::default().handshake_timeout(2 * NEVER), |reactor| {
        let gate = reactor.add_gate(hook, GateSettings::default()).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default().gate(gate)).unwrap();
    });
    (server, counts)
}

/// Clients that have sent an upgrade each, with these header lines.
fn asking(server: &ByHand, count: usize, lines: &str) -> Vec<Client> {
    let ask = |_| {
        let mut client = Client::tcp(server.address);
        client.raw(upgrade("/", lines).as_bytes());
        client
    };
    (0..count).map(ask).collect()
}

/// The heads of the responses that have arrived.
fn answered(clients: &mut Vec<Client>) -> Vec<String> {
    let has_answer = |client: &mut Client| {
        client.stream.set_nonblocking(true).unwrap();
        let has_answer = client.stream.peek(&mut [0]).is_ok();
        client.stream.set_nonblocking(false).unwrap();
        has_answer
    };
    clients.extract_if(.., has_answer).map(|mut client| client.head()).collect()
}

#[test]
fn requests_beyond_the_queue_are_refused_at_once() {
    let _crowd = crowd();
    let hook = HookServer::new(Answer::Hang);
    let (mut server, counts) = by_hand(hook.settings().timeout(NEVER).concurrency(1));
    // One is sent, and 1,024 wait.
    let mut clients = asking(&server, 1025 + 3, "");
    server.turn_until("three are refused", |metrics| metrics.refused == 3);
    assert_eq!(counts.outcome(AuthOutcome::HookFull), 3);
    assert_eq!(counts.outcome(AuthOutcome::HookFailed), 0, "no other request has an answer");
    let heads = answered(&mut clients);
    assert_eq!(heads.len(), 3);
    for head in heads {
        assert_eq!(status_of(&head), 503, "{head}");
        expect_spread_retry(&head);
    }
}

#[test]
fn requests_beyond_the_bytes_of_the_queue_are_refused_at_once() {
    const CLIENTS: usize = 400;
    const COOKIE: usize = 14 * 1024;
    let _crowd = crowd();
    let hook = HookServer::new(Answer::Hang);
    let (mut server, counts) = by_hand(hook.settings().timeout(NEVER).concurrency(1));
    let lines = format!("Cookie: {}\r\n", "c".repeat(COOKIE));
    let clients = asking(&server, CLIENTS, &lines);
    let all = (CLIENTS * upgrade("/", &lines).len()) as u64;
    server.turn_until("all have asked", |metrics| metrics.bytes_read >= all);
    let waiting = CLIENTS - counts.outcome(AuthOutcome::HookFull) as usize;
    assert!((200..=4 * 1024 * 1024 / COOKIE).contains(&waiting), "{waiting} requests wait");
    drop(clients);
}

/// Otherwise 300 such requests would use up the bytes of the queue.
#[test]
fn requests_that_were_answered_hold_no_bytes_of_the_queue() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    let (server, _seen) = hooked(hook.settings(), RouteSettings::default());
    let lines = format!("Cookie: {}\r\n", "c".repeat(14 * 1024));
    for _ in 0..350 {
        assert_eq!(status_of(&response(&server, "/", &lines)), 101);
    }
}

/// Notes how many requests have failed when its timer fires.
struct Marker {
    counts: Rc<AuthCounts>,
    delay: Duration,
    failed: Rc<Cell<Option<u64>>>,
}

impl Service for Marker {
    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        cx.schedule(self.delay, 0).unwrap();
        Decision::Accept(request.accept())
    }

    fn on_timer(&mut self, _: &mut Context<'_>, _: u64) {
        self.failed.set(Some(self.counts.outcome(AuthOutcome::HookFailed)));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A timer that is set after the request, for little more than the timeout of the hook, fires after the
/// refusal.
#[test]
fn a_hook_without_an_answer_refuses_within_its_timeout() {
    let timeout = Duration::from_millis(500);
    for answer in [Answer::Hang, Answer::Bytes("HTTP/1.1 200 OK\r\nX-Weir".to_owned())] {
        let server = HookServer::new(answer);
        let hook = Hook::new("hook", server.settings().timeout(timeout)).unwrap();
        let (counts, failed) = (hook.counts(), Rc::new(Cell::default()));
        // Above the tick of the loop's timers.
        let delay = timeout + Duration::from_millis(300);
        let marker = Marker { counts, delay, failed: Rc::clone(&failed) };
        let mut by_hand = ByHand::new(Settings::default(), |reactor| {
            let gate = reactor.add_gate(hook, GateSettings::default()).unwrap();
            let marker = reactor.add_service(marker).unwrap();
            reactor.add_route("/", marker, RouteSettings::default().gate(gate)).unwrap();
            reactor.add_route("/mark", marker, RouteSettings::default()).unwrap();
        });
        let mut waiting = asking(&by_hand, 1, "");
        by_hand.turn_until("the hook is asked", |_| server.asked() == 1);
        let _marking = by_hand.open("/mark");
        by_hand.turn_until("the timer fires", |_| failed.get().is_some());
        assert_eq!(failed.get(), Some(1));
        by_hand.turn_until_readable(&waiting[0].stream);
        assert_eq!(status_of(&waiting[0].head()), 503);
    }
}

/// The time of all passes at once, and each turn refuses some.
#[test]
fn refusals_of_a_dead_hook_are_bounded_per_turn() {
    const CLIENTS: u64 = 1000;
    let _crowd = crowd();
    let hook = HookServer::new(Answer::Hang);
    let (mut server, counts) = by_hand(hook.settings().timeout(Duration::from_secs(2)));
    let clients = asking(&server, CLIENTS as usize, "");
    let all = CLIENTS * upgrade("/", "").len() as u64;
    server.turn_until("all are read", |metrics| metrics.bytes_read >= all);
    // Above 0 on a busy machine.
    let (mut before, mut most) = (server.reactor.metrics().refused, 0);
    // No turn looks at the clock meanwhile.
    thread::sleep(Duration::from_secs(2));
    while before < CLIENTS {
        server.turn_until("some are refused", |metrics| metrics.refused > before);
        let refused = server.reactor.metrics().refused;
        (most, before) = (most.max(refused - before), refused);
    }
    assert_eq!(counts.outcome(AuthOutcome::HookFailed), CLIENTS);
    assert!(most <= (MAIL_WORK / HEAD_WORK) as u64, "{most} in a turn");
    drop(clients);
    server.stop_clean();
}
