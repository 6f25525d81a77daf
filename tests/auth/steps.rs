//! Refreshes and sign-outs of a subject with many connections: some of them in each turn.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::budget::DECISIONS_MIN;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{Event, EventKind, GateId, Observer};
use weir::services::auth::settings::{Algorithm, KeySource};
use weir::services::auth::{Jwt, JwtSettings};
use weir::services::rooms::RoomSettings;
use weir::services::{Echo, Rooms};

use super::gated::{TestFile, hmac, status_of};
use super::tokens::{Ed25519, claims, hs256, jwks};
use crate::support::{ByHand, Client, TEXT, upgrade};

/// More than one turn refreshes.
const CONNECTIONS: usize = 300;
/// What one turn refreshes.
const PER_TURN: usize = 256;

#[derive(Default)]
struct Counts {
    refreshed: Cell<usize>,
    signed_out: Cell<usize>,
}

struct Counting(Rc<Counts>);

impl Observer for Counting {
    fn on_event(&mut self, event: &Event<'_>) {
        let count = match event.kind {
            EventKind::Refreshed => &self.0.refreshed,
            EventKind::SignedOut => &self.0.signed_out,
            _ => return,
        };
        count.set(count.get() + 1);
    }
}

/// A loop in which one subject has many connections.
struct Crowd {
    by_hand: ByHand,
    gate: GateId,
    counts: Rc<Counts>,
    clients: Vec<Client>,
}

impl Crowd {
    /// The route requires the role `user`.
    fn new() -> Crowd {
        let (settings, _file) = hmac();
        let settings = settings.claims(vec!["role".to_owned()]);
        let counts = Rc::<Counts>::default();
        let mut gate = None;
        let of_loop = Settings::default().connections_per_address(0);
        let mut by_hand = ByHand::new(of_loop, |reactor| {
            reactor.set_observer(Counting(Rc::clone(&counts)));
            let jwt = Jwt::new("users", &settings).unwrap();
            let id = reactor.add_gate(jwt, GateSettings::default()).unwrap();
            let echo = reactor.add_service(Echo).unwrap();
            let require = ["role=user".parse().unwrap()];
            let route = RouteSettings::default().gate(id).require(require.into());
            reactor.add_route("/", echo, route).unwrap();
            reactor.add_route("/refresh", id.service(), RouteSettings::default()).unwrap();
            gate = Some(id);
        });
        let lines = format!("Authorization: Bearer {}\r\n", token("user"));
        let clients = (1..=CONNECTIONS as u64).map(|number| {
            let mut client = Client::tcp(by_hand.address);
            client.raw(upgrade("/", &lines).as_bytes());
            by_hand.turn_until("a connection opens", |metrics| metrics.opened == number);
            assert_eq!(status_of(&client.head()), 101);
            client
        });
        let clients = clients.collect();
        Crowd { by_hand, gate: gate.unwrap(), counts, clients }
    }

    /// Sends a refresh to a token with this role from each of so many clients, and turns until the first
    /// connections are refreshed.
    fn refresh<const CLIENTS: usize>(&mut self, role: &str) -> [Client; CLIENTS] {
        let clients = self.asking(&token(role));
        let counts = Rc::clone(&self.counts);
        let started = || counts.refreshed.get() + counts.signed_out.get() > 0;
        self.by_hand.turn_until("the first turn of the refresh", |_| started());
        clients
    }

    /// Clients that have sent a refresh with this token each.
    fn asking<const CLIENTS: usize>(&mut self, token: &str) -> [Client; CLIENTS] {
        let accepted = self.by_hand.reactor.metrics().accepted + CLIENTS as u64;
        let mut clients = [(); CLIENTS].map(|()| Client::tcp(self.by_hand.address));
        self.by_hand.turn_until("the clients are accepted", |metrics| metrics.accepted == accepted);
        let head = format!("POST /refresh HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}");
        for client in &mut clients {
            client.raw(format!("{head}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        }
        clients
    }

    fn turn(&mut self) {
        self.by_hand.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn token(role: &str) -> String {
    hs256(&claims("ann", &format!(r#","role":"{role}","sid":"1""#)))
}

fn has_response(client: &Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let has_response = client.stream.peek(&mut [0]).is_ok();
    client.stream.set_nonblocking(false).unwrap();
    has_response
}

#[test]
fn a_refresh_changes_a_bounded_number_of_connections_in_each_turn() {
    let _crowd = crate::support::crowd();
    let mut it = Crowd::new();
    for _ in 0..2 {
        it.counts.refreshed.set(0);
        let [mut client] = it.refresh("user");
        assert_eq!(it.counts.refreshed.get(), PER_TURN);
        assert!(!has_response(&client), "the response follows when all are refreshed");
        it.turn();
        assert_eq!(it.counts.refreshed.get(), CONNECTIONS);
        it.by_hand.turn_until_readable(&client.stream);
        assert_eq!(status_of(&client.head()), 204);
    }
}

#[test]
fn a_refresh_that_is_not_enough_closes_a_bounded_number_of_connections_in_each_turn() {
    let _crowd = crate::support::crowd();
    let mut it = Crowd::new();
    let [mut client] = it.refresh("guest");
    assert_eq!((it.counts.refreshed.get(), it.counts.signed_out.get()), (0, PER_TURN));
    it.turn();
    assert_eq!(it.counts.signed_out.get(), CONNECTIONS);
    it.by_hand.turn_until_readable(&client.stream);
    assert_eq!(status_of(&client.head()), 204);
    let codes = it.clients.iter_mut().map(|client| client.expect_close().0);
    let mut by_code = HashMap::new();
    codes.for_each(|code| *by_code.entry(code).or_insert(0) += 1);
    assert_eq!(by_code, HashMap::from([(3003, CONNECTIONS)]));
}

/// Each looks at all connections of the subject.
#[test]
fn refreshes_of_sessions_without_connections_are_bounded_per_turn() {
    const CLIENTS: usize = 100;
    const VISITS_PER_TURN: usize = 16 * 1024;
    let _crowd = crate::support::crowd();
    let mut it = Crowd::new();
    let token = hs256(&claims("ann", r#","role":"user","sid":"2""#));
    let mut clients = it.asking::<CLIENTS>(&token);
    it.by_hand.turn_until_readable(&clients[0].stream);
    let first = clients.iter().filter(|client| has_response(client)).count();
    assert_eq!(first, VISITS_PER_TURN.div_ceil(CONNECTIONS));
    for client in &mut clients {
        it.by_hand.turn_until_readable(&client.stream);
        assert_eq!(status_of(&client.head()), 204);
    }
    assert_eq!(it.counts.refreshed.get(), 0);
}

#[test]
fn a_sign_out_ends_a_refresh_of_its_subject() {
    let _crowd = crate::support::crowd();
    let mut it = Crowd::new();
    let [mut first, mut second] = it.refresh("user");
    let mut cx = it.by_hand.reactor.context(it.gate.service());
    assert_eq!(cx.sign_out(it.gate, "ann", CloseCode::FORBIDDEN), CONNECTIONS);
    // The next turn ends the first one and starts the second one, before it informs the gate.
    for (client, status) in [(&mut first, 204), (&mut second, 401)] {
        it.by_hand.turn_until_readable(&client.stream);
        assert_eq!(status_of(&client.head()), status);
    }
    assert_eq!(it.counts.signed_out.get(), CONNECTIONS);
}

/// The new tokens of so many members that the first turn checks; the next turns check the others.
fn tokens_of_first_turn(
    settings: &JwtSettings,
    members: u64,
    sign: impl Fn(&str) -> String,
) -> usize {
    let counts = Rc::<Counts>::default();
    let of_loop = Settings::default().connections_per_address(0);
    let mut by_hand = ByHand::new(of_loop, |reactor| {
        reactor.set_observer(Counting(Rc::clone(&counts)));
        let jwt = Jwt::new("users", settings).unwrap();
        let gate = reactor.add_gate(jwt, GateSettings::default()).unwrap();
        let rooms = reactor.add_service(Rooms::new(RoomSettings::default())).unwrap();
        reactor.add_route("/{name}", rooms, RouteSettings::default().gate(gate)).unwrap();
    });
    let token = |of: &str, number| sign(&claims(&format!("{of}-{number}"), ""));
    let clients = (1..=members).map(|number| {
        let mut client = Client::tcp(by_hand.address);
        let token = token("old", number);
        let protocol = "Sec-WebSocket-Protocol: weir.rooms";
        let lines = format!("Authorization: Bearer {token}\r\n{protocol}\r\n");
        client.raw(upgrade("/lobby", &lines).as_bytes());
        by_hand.turn_until("a member joins", |metrics| metrics.opened == number);
        assert_eq!(status_of(&client.head()), 101);
        client
    });
    let mut clients: Vec<Client> = clients.collect();
    for (client, number) in clients.iter_mut().zip(1..) {
        client.text(&format!(r#"{{"refresh":"{}"}}"#, token("new", number)));
    }
    let refreshed = || counts.refreshed.get();
    by_hand.turn_until("the first turn", |_| refreshed() > 0);
    let first = refreshed();
    by_hand.turn_until("the next turns", |_| refreshed() == members as usize);
    for client in &mut clients {
        by_hand.turn_until_readable(&client.stream);
        client.expect(TEXT, br#"{"refreshed":true,"id":""}"#);
    }
    first
}

#[test]
fn tokens_in_messages_share_the_signatures_of_a_turn() {
    const SIGNATURES_PER_TURN: usize = 16;
    let key = Ed25519::new("a");
    let file = TestFile::new(jwks(&[&key]));
    let keys = KeySource::File(file.0.clone());
    let settings = JwtSettings::new(vec![Algorithm::EdDsa]).keys(keys);
    let first = tokens_of_first_turn(&settings, 20, |claims| key.token(claims));
    assert_eq!(first, SIGNATURES_PER_TURN);
}

/// An HMAC costs little, but reading a token does not.
#[test]
fn tokens_in_messages_are_bounded_per_turn() {
    let _crowd = crate::support::crowd();
    let (settings, _file) = hmac();
    assert_eq!(tokens_of_first_turn(&settings, 100, hs256), DECISIONS_MIN);
}
