//! RFC 8725 and its companions: tokens that must be refused, and why the metric says so.

use std::sync::mpsc::channel;
use std::time::Duration;

use ring::hmac;
use weir::reactor::settings::{GateSettings, Rate, RouteSettings, Settings};
use weir::services::Echo;
use weir::services::auth::settings::Audience;
use weir::services::auth::{AuthOutcome, Jwt};

use super::gated::{
    challenge, gated, gated_route, hmac as hmac_settings, response, status, status_of,
};
use super::tokens::{base64, claims, hs256, now, signed, valid};
use crate::support::{ByHand, Client, header, upgrade};

/// Each attack with the outcome that counts it.
fn attacks() -> Vec<(&'static str, String, AuthOutcome)> {
    use AuthOutcome::*;
    let good = claims("ann", "");
    let unsigned = |header: &str| format!("{}.{}.", base64(header), base64(&good));
    let by_secret = |secret: &[u8]| {
        let message = format!("{}.{}", base64(r#"{"alg":"HS256"}"#), base64(&good));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{message}.{}", base64(hmac::sign(&key, message.as_bytes())))
    };
    let token = valid("ann");
    let (message, signature) = token.rsplit_once('.').unwrap();
    vec![
        ("3.1: none", unsigned(r#"{"alg":"none"}"#), Algorithm),
        ("3.1: None", unsigned(r#"{"alg":"NonE"}"#), Algorithm),
        ("3.1: an algorithm that is not listed", signed(r#"{"alg":"HS384"}"#, &good), Algorithm),
        ("3.1: another kind", signed(r#"{"alg":"RS256"}"#, &good), Algorithm),
        ("3.1: lower case", signed(r#"{"alg":"hs256"}"#, &good), Algorithm),
        ("3.3: no signature", unsigned(r#"{"alg":"HS256"}"#), Signature),
        ("3.5: an empty secret", by_secret(b""), Signature),
        ("3.5: another secret", by_secret(b"another secret, longer than 32 bytes"), Signature),
        (
            "a changed claim",
            format!("{}.{signature}", {
                let (header, _) = message.split_once('.').unwrap();
                format!("{header}.{}", base64(claims("root", "")))
            }),
            Signature,
        ),
        ("3.8: a kid with a path", signed(r#"{"alg":"HS256","kid":"../../dev/null"}"#, &good), Ok),
        (
            "3.10: jku",
            by_secret(b"jku").replacen(
                &base64(r#"{"alg":"HS256"}"#),
                &base64(r#"{"alg":"HS256","jku":"http://127.0.0.1:1/"}"#),
                1,
            ),
            Signature,
        ),
        ("crit", signed(r#"{"alg":"HS256","crit":["exp"]}"#, &good), Malformed),
        ("crit b64", signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &good), Malformed),
        ("b64", signed(r#"{"alg":"HS256","b64":false}"#, &good), Malformed),
        ("two algorithms", signed(r#"{"alg":"none","alg":"HS256"}"#, &good), Malformed),
        ("two subjects", hs256(&claims("ann", r#","sub":"root""#)), Malformed),
        ("two ends", hs256(&claims("ann", r#","exp":9999999999"#)), Malformed),
        ("one part", "abc".to_owned(), Malformed),
        ("two parts", message.to_owned(), Malformed),
        ("four parts", format!("{token}.{signature}"), Malformed),
        ("five parts, as a JWE", format!("{token}.a.b"), Malformed),
        ("padding", format!("{token}="), Malformed),
        ("the other base64", format!("{message}.+/+/"), Malformed),
        ("not UTF-8", format!("{}.{}.{signature}", base64(b"\xff"), base64(&good)), Malformed),
        ("no end", hs256(r#"{"sub":"ann"}"#), Malformed),
        ("an end as text", hs256(r#"{"sub":"ann","exp":"9999999999"}"#), Malformed),
        ("no subject", hs256(&claims("", "")), Malformed),
        ("a subject with a line", hs256(&claims("a\\r\\nX: y", "")), Malformed),
        ("expired", hs256(&format!(r#"{{"sub":"a","exp":{}}}"#, now() - 60)), Expired),
        ("not yet", hs256(&claims("ann", &format!(r#","nbf":{}"#, now() + 60))), Early),
        ("issued later", hs256(&claims("ann", &format!(r#","iat":{}"#, now() + 60))), Early),
        // RFC 7519, 4.1.3: it names an audience, and weir is not told that it is one.
        ("3.9: for others", hs256(&claims("ann", r#","aud":"others""#)), Audience),
    ]
}

#[test]
fn forged_tokens_are_refused_and_counted_by_their_reason() {
    let (settings, _file) = hmac_settings();
    let gate = Jwt::new("users", &settings).unwrap();
    let counts = gate.counts();
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let gate = reactor.add_gate(gate, GateSettings::default()).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default().gate(gate)).unwrap();
    });
    for (what, token, outcome) in attacks() {
        let before = counts.outcome(outcome);
        let mut client = Client::tcp(server.address);
        let lines = format!("Authorization: Bearer {token}\r\n");
        client.raw(upgrade("/", &lines).as_bytes());
        server.turn_until_readable(&client.stream);
        let head = client.head();
        let status = if outcome == AuthOutcome::Ok { 101 } else { 401 };
        assert_eq!(status_of(&head), status, "{what}: {head}");
        assert_eq!(counts.outcome(outcome), before + 1, "{what}: counted as another outcome");
        if status == 401 {
            // The client does not learn why.
            assert_eq!(challenge(&head), Some("Bearer error=\"invalid_token\""), "{what}");
            assert_eq!(header(&head, "X-WebSocket-Error"), Some("unauthorized"), "{what}");
        }
    }
}

/// A head of 1 MB is refused before anybody looks for a token in it, a token of 10 KiB by its gate.
#[test]
fn long_tokens_are_refused() {
    let (settings, _file) = hmac_settings();
    let (server, seen) = gated(settings);
    let long = |len: usize| hs256(&claims("ann", &format!(r#","x":"{}""#, "y".repeat(len))));
    assert_eq!(status(&server, &long(5_000)), 101);
    assert_eq!(status(&server, &long(7_000)), 401);
    let mut client = Client::tcp(server.address);
    let head = upgrade("/", &format!("Authorization: Bearer {}\r\n", "a".repeat(1 << 20)));
    // The server closes before all of it was sent.
    let _ = std::io::Write::write_all(&mut client.stream, head.as_bytes());
    drop(client);
    assert!(seen.recv_timeout(Duration::from_secs(20)).is_ok());
    assert!(seen.try_recv().is_err(), "only the valid one was admitted");
}

#[test]
fn audience_and_issuer_must_be_named() {
    let (settings, _file) = hmac_settings();
    let ours = Audience::OneOf(vec!["chat".to_owned()]);
    let (server, _seen) = gated(settings.audience(ours).issuer("https://id.example".to_owned()));
    let both = r#","aud":["x","chat"],"iss":"https://id.example""#;
    for (more, expected) in [
        (both, 101),
        (r#","aud":"chat""#, 401),
        (r#","iss":"https://id.example""#, 401),
        (r#","aud":"x","iss":"https://id.example""#, 401),
        (r#","aud":"chat","iss":"https://evil.example""#, 401),
    ] {
        assert_eq!(status(&server, &hs256(&claims("ann", more))), expected, "{more}");
    }
}

#[test]
fn claims_become_metadata_that_routes_require() {
    let (settings, _file) = hmac_settings();
    let settings = settings.claims(vec!["role".to_owned(), "level".to_owned()]);
    let require = ["role=admin", "level=3"].map(|text| text.parse().unwrap());
    let route = RouteSettings::default().require(require.into());
    let (server, seen) = gated_route(settings, route);
    let admin = hs256(&claims("ann", r#","role":["user","admin"],"level":3"#));
    assert_eq!(status(&server, &admin), 101);
    let expected = [("role", "user"), ("role", "admin"), ("level", "3")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(seen.recv().unwrap().identity.unwrap(), ("ann".to_owned(), expected.to_vec()));
    for more in [r#","role":"admin","level":4"#, r#","role":"Admin","level":3"#, ""] {
        let token = hs256(&claims("ann", more));
        let head = response(&server, "/", &format!("Authorization: Bearer {token}\r\n"));
        let expected = (403, Some("Bearer error=\"insufficient_scope\""));
        assert_eq!((status_of(&head), challenge(&head)), expected, "{more}");
    }
    // A list of anything else is no metadata.
    assert_eq!(status(&server, &hs256(&claims("ann", r#","role":[1]"#))), 401);
}

/// Loopback is exempt; a trusted proxy states the address of each client.
#[test]
fn forged_tokens_of_an_address_are_refused_without_a_check() {
    let (settings, _file) = hmac_settings();
    let settings = settings.failures_per_address(Rate { per_second: 0.1, burst: 3 });
    let (sender, receiver) = channel();
    let trusting = Settings::default().trusted_proxies(vec!["127.0.0.1".parse().unwrap()]);
    let server = crate::support::Server::start(trusting, move |reactor| {
        sender.send(super::gated::add(reactor, &settings, RouteSettings::default())).unwrap();
    });
    let _seen = receiver.recv().unwrap();
    let ask = |client: &str, token: &str| {
        let lines = format!("X-Forwarded-For: {client}\r\nAuthorization: Bearer {token}\r\n");
        response(&server, "/", &lines)
    };
    let known = valid("ann");
    assert_eq!(status_of(&ask("192.0.2.1", &known)), 101);
    // Tokens that were valid once do not count.
    let expired = hs256(&format!(r#"{{"sub":"a","exp":{}}}"#, now() - 60));
    (0..5).for_each(|_| assert_eq!(status_of(&ask("192.0.2.1", &expired)), 401));
    (0..3).for_each(|_| assert_eq!(status_of(&ask("192.0.2.1", "forged")), 401));
    let head = ask("192.0.2.1", &valid("bob"));
    assert_eq!(status_of(&head), 429, "no token of it is checked now: {head}");
    let seconds: u64 = header(&head, "Retry-After").unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{head}");
    assert_eq!(status_of(&ask("192.0.2.1", &known)), 101, "it is known to be valid");
    assert_eq!(status_of(&ask("192.0.2.2", &valid("bob"))), 101, "another address");
    for _ in 0..10 {
        assert_eq!(status_of(&response(&server, "/", "Authorization: Bearer x\r\n")), 401);
    }
}
