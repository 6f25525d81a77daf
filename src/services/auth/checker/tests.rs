use std::net::Ipv4Addr;

use super::super::settings::Audience;
use super::super::testing::Signer;
use super::*;
use crate::protocol::Message;
use crate::reactor::settings::{Rate, Settings};
use crate::reactor::{ConnId, Reactor, Service, ServiceId};

const NOW: f64 = 1_800_000_000.0;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Lends its loop to a checker that a test calls itself.
struct Nobody;

impl Service for Nobody {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A checker of tokens for `chat`, with the keys of its signer. Its loop does not turn, so that all checks
/// are of one turn.
struct Checking {
    signer: Signer,
    checker: Checker,
    reactor: Reactor,
    service: ServiceId,
}

impl Checking {
    fn new() -> Checking {
        let signer = Signer::new();
        let settings = JwtSettings::new(vec![Algorithm::EdDsa])
            .audience(Audience::OneOf(vec!["chat".to_owned()]))
            .issuer("id".to_owned())
            .claims(vec!["role".to_owned()])
            .failures_per_address(Rate { per_second: 0.1, burst: 3 });
        let counts = Rc::new(AuthCounts::new("users"));
        let mut checker = Checker::new(&settings, KeySet::default(), counts);
        checker.set_keys(KeySet::parse(signer.jwks("").as_bytes()).unwrap());
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = reactor.add_service(Nobody).unwrap();
        Checking { signer, checker, reactor, service }
    }

    fn sign(&self, claims: &str) -> String {
        self.signer.token(Algorithm::EdDsa, r#"{"alg":"EdDSA","kid":"ed"}"#, claims)
    }

    /// A token of a subject that ends at this time, with further claims.
    fn token(&self, exp: f64, more: &str) -> String {
        self.sign(&format!(r#"{{"sub":"ann","aud":"chat","iss":"id","exp":{exp}{more}}}"#))
    }

    fn check_at(&mut self, unix_now: f64, token: &str) -> Checked {
        self.checker.check_at(&self.reactor.context(self.service), unix_now, token, CLIENT)
    }

    fn is_valid_at(&mut self, unix_now: f64, token: &str) -> bool {
        matches!(self.check_at(unix_now, token), Checked::Valid(_))
    }

    fn signatures(&self) -> u64 {
        self.checker.counts.cache_misses.get()
    }
}

/// Otherwise one old token could be sent again and again for 50 to 100 µs each, and would use up the
/// signatures of each turn.
#[test]
fn tokens_that_are_refused_for_their_claims_cost_no_signature() {
    let mut checking = Checking::new();
    let until = NOW + 60.0;
    let roles = format!(r#","role":["{}"]"#, ["x"; 100].join("\",\""));
    let claims = |text: &str| text.replace("EXP", &until.to_string());
    let refused = [
        (checking.token(NOW - 60.0, ""), TokenError::Expired),
        (checking.token(until, &format!(r#","nbf":{until}"#)), TokenError::Early),
        (
            checking.sign(&claims(r#"{"sub":"a","aud":"x","iss":"id","exp":EXP}"#)),
            TokenError::Audience,
        ),
        (
            checking.sign(&claims(r#"{"sub":"a","aud":"chat","iss":"x","exp":EXP}"#)),
            TokenError::Issuer,
        ),
        (
            checking.token(until, &roles),
            TokenError::Claims("the claims exceed the limits of metadata"),
        ),
    ];
    for (token, error) in &refused {
        for _ in 0..2 * SIGNATURES_PER_TURN {
            assert_eq!(checking.check_at(NOW, token), Checked::Invalid(*error));
        }
    }
    assert_eq!(checking.signatures(), 0);
    // Honest clients behind the same address may send them: a valid token is still checked.
    let valid = checking.token(until, "");
    assert!(checking.is_valid_at(NOW, &valid));
    let forged = valid.replace('.', ".e30.");
    for _ in 0..3 {
        assert!(matches!(
            checking.check_at(NOW, &forged),
            Checked::Invalid(TokenError::Malformed(_))
        ));
    }
    let other = checking.token(until, r#","jti":"2""#);
    assert!(matches!(checking.check_at(NOW, &other), Checked::Limited(_)), "forgeries count");
}

#[test]
fn a_known_token_ends_once_and_costs_no_further_signature() {
    let mut checking = Checking::new();
    let token = checking.token(NOW + 60.0, "");
    // Until its end and the leeway of 5 s.
    for later in [0.0, 1.0, 60.0, 64.5] {
        assert!(checking.is_valid_at(NOW + later, &token), "{later} s later");
    }
    for later in [65.0, 65.0, 66.0, 1e6] {
        let checked = checking.check_at(NOW + later, &token);
        assert_eq!(checked, Checked::Invalid(TokenError::Expired), "{later} s later");
    }
    assert_eq!(checking.signatures(), 1);
}

#[test]
fn a_known_token_of_a_signed_out_subject_costs_no_further_signature() {
    let mut checking = Checking::new();
    let token = checking.token(NOW + 60.0, &format!(r#","iat":{NOW}"#));
    assert!(checking.is_valid_at(NOW, &token));
    checking.checker.signed_out.add("ann", NOW);
    for _ in 0..3 {
        assert_eq!(checking.check_at(NOW, &token), Checked::Invalid(TokenError::SignedOut));
    }
    assert_eq!(checking.signatures(), 1);
}

#[test]
fn a_signed_out_subject_shows_only_with_a_valid_signature() {
    let mut checking = Checking::new();
    let token = |sub: &str, id: u32| {
        let claims =
            format!(r#""aud":"chat","iss":"id","exp":{},"iat":{NOW},"jti":{id}"#, NOW + 60.0);
        checking.sign(&format!(r#"{{"sub":"{sub}",{claims}}}"#))
    };
    let unknown = token("ann", 0);
    let (_, other_signature) = unknown.rsplit_once('.').unwrap();
    let forged: Vec<String> = [("bob", 1), ("ann", 2), ("ann", 3)]
        .map(|(sub, id)| {
            format!("{}.{other_signature}", token(sub, id).rsplit_once('.').unwrap().0)
        })
        .into();
    checking.checker.signed_out.add("ann", NOW);
    for _ in 0..3 {
        assert_eq!(checking.check_at(NOW, &unknown), Checked::Invalid(TokenError::SignedOut));
    }
    assert_eq!(checking.signatures(), 1, "it is known after the first time");
    for token in &forged {
        assert_eq!(checking.check_at(NOW, token), Checked::Invalid(TokenError::Signature));
    }
    assert!(matches!(checking.check_at(NOW, &forged[1]), Checked::Limited(_)), "all have counted");
}

/// The wall clock counts at each use. Only a step forward ends a known token.
#[test]
fn known_tokens_follow_the_wall_clock() {
    let mut checking = Checking::new();
    let [first, second] = ["1", "2"]
        .map(|id| checking.token(NOW + 60.0, &format!(r#","jti":"{id}","nbf":{NOW},"iat":{NOW}"#)));
    assert!(checking.is_valid_at(NOW, &first));
    assert!(checking.is_valid_at(NOW - 3600.0, &first), "the clock was set back");
    let checked = checking.check_at(NOW - 3600.0, &second);
    assert_eq!(checked, Checked::Invalid(TokenError::Early), "it was not known before");
    let checked = checking.check_at(NOW + 3600.0, &first);
    assert_eq!(checked, Checked::Invalid(TokenError::Expired), "the clock was set forward");
    assert!(checking.is_valid_at(NOW, &first), "by mistake");
    assert_eq!(checking.signatures(), 2);
}
