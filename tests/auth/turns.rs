//! Signatures are bounded per turn; tokens that are put off get their verdicts in the next turns.

use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::services::Echo;
use weir::services::auth::settings::{Algorithm, KeySource};
use weir::services::auth::{AuthOutcome, Jwt, JwtSettings};

use super::gated::{TestFile, status_of};
use super::tokens::{Ed25519, claims, jwks};
use crate::support::{ByHand, Client, upgrade};

const CLIENTS: u64 = 50;
/// As in `services::auth::checker`.
const SIGNATURES_PER_TURN: u64 = 16;

#[test]
fn tokens_beyond_the_signatures_of_a_turn_are_checked_in_the_next() {
    let key = Ed25519::new("a");
    let file = TestFile::new(jwks(&[&key]));
    let settings = JwtSettings::new(vec![Algorithm::EdDsa]).keys(KeySource::File(file.0.clone()));
    let gate = Jwt::new("users", &settings).unwrap();
    let counts = gate.counts();
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let gate = reactor.add_gate(gate, GateSettings::default()).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default().gate(gate)).unwrap();
    });
    let connect = |_| Client::tcp(server.address);
    let mut clients: Vec<Client> = (0..CLIENTS).map(connect).collect();
    server.turn_until("all are accepted", |metrics| metrics.connections_now == CLIENTS);
    for (subject, client) in clients.iter_mut().enumerate() {
        let token = key.token(&claims(&subject.to_string(), ""));
        client.raw(upgrade("/", &format!("Authorization: Bearer {token}\r\n")).as_bytes());
    }
    let (mut passed, mut turns) = (0, 0);
    while passed < CLIENTS {
        server.turn_until("a turn admits some", |_| counts.outcome(AuthOutcome::Ok) > passed);
        let now = counts.outcome(AuthOutcome::Ok);
        assert!(now - passed <= SIGNATURES_PER_TURN, "{} in a turn", now - passed);
        (passed, turns) = (now, turns + 1);
    }
    assert!(turns >= CLIENTS.div_ceil(SIGNATURES_PER_TURN), "{turns} turns");
    server.turn_until("all are open", |metrics| metrics.opened == CLIENTS);
    for client in &mut clients {
        assert_eq!(status_of(&client.head()), 101);
    }
    drop(clients);
    server.stop_clean();
}
