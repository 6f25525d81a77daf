//! Where requests have their token, and that nothing behind the gate sees it.

use weir::services::auth::settings::TokenPlace;

use super::gated::{challenge, gated, hmac, response, status_of};
use super::tokens::{claims, hs256, valid};
use crate::support::{Client, DEADLINE, header, upgrade};

fn places(names: &str) -> Vec<TokenPlace> {
    names.split(' ').map(|name| name.parse().unwrap()).collect()
}

const ALL: &str = "header cookie:session query:token protocol";

#[test]
fn a_token_admits_from_each_place_and_is_overwritten() {
    let (settings, _file) = hmac();
    let (server, seen) = gated(settings.token_from(places(ALL)));
    let token = hs256(&claims("ann", r#","role":"admin""#));
    let stars = "*".repeat(token.len());
    let signature = token.rsplit_once('.').unwrap().1;
    for (target, lines) in [
        ("/", format!("Authorization: bearer {token}\r\n")),
        ("/", format!("Cookie: a=b; session={token}; c=d\r\n")),
        (&*format!("/?a=b&token={token}&c=d"), String::new()),
        ("/", format!("Sec-WebSocket-Protocol: x, weir.token.{token}\r\n")),
    ] {
        let head = response(&server, target, &lines);
        assert_eq!(status_of(&head), 101, "{head}");
        assert!(!head.contains(signature), "{head}");
        let seen = seen.recv_timeout(DEADLINE).unwrap();
        assert_eq!(seen.identity.unwrap().0, "ann");
        let sent = upgrade(target, &lines);
        assert_eq!(seen.head, sent.replace(&token, &stars), "only the token is overwritten");
    }
    // All places at once: the first counts, and none is left.
    let other = valid("bob");
    let lines = format!("Authorization: Bearer {token}\r\nCookie: session={other}\r\n");
    let head = response(&server, &format!("/?token={other}"), &lines);
    assert_eq!(status_of(&head), 101);
    let seen = seen.recv_timeout(DEADLINE).unwrap();
    assert_eq!(seen.identity.unwrap().0, "ann");
    assert!(!seen.head.contains(signature) && !seen.head.contains(&other), "{}", seen.head);
}

#[test]
fn plain_requests_pass_the_same_gate() {
    let (settings, _file) = hmac();
    let (server, seen) = gated(settings);
    let mut client = Client::tcp(server.address);
    for subject in ["ann", "bob"] {
        let token = valid(subject);
        let get = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        client.raw(get.as_bytes());
        let (head, _) = client.answer();
        assert_eq!(status_of(&head), 200, "{head}");
        let seen = seen.recv_timeout(DEADLINE).unwrap();
        assert_eq!(seen.identity.unwrap().0, subject, "two users on one connection");
        assert!(!seen.head.contains(&token));
    }
    client.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, _) = client.answer();
    assert_eq!((status_of(&head), challenge(&head)), (401, Some("Bearer")));
}

#[test]
fn requests_without_a_token_or_with_two_are_refused() {
    let (settings, _file) = hmac();
    let (server, seen) = gated(settings.token_from(places("header query:token")));
    let token = valid("ann");
    let missing = [
        ("/", String::new()),
        ("/?token=", "Authorization: Basic YTpi\r\n".to_owned()),
        ("/", format!("Cookie: session={token}\r\n")),
        ("/", format!("Sec-WebSocket-Protocol: weir.token.{token}\r\n")),
    ];
    for (target, lines) in &missing {
        let head = response(&server, target, lines);
        assert_eq!((status_of(&head), challenge(&head)), (401, Some("Bearer")), "{lines}");
    }
    let twice = format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n");
    for (target, lines) in [("/", &*twice), (&*format!("/?token={token}&token={token}"), "")] {
        let head = response(&server, target, lines);
        let expected = (400, Some("Bearer error=\"invalid_request\""));
        assert_eq!((status_of(&head), challenge(&head)), expected);
        assert_eq!(header(&head, "X-WebSocket-Error"), Some("bad request"));
    }
    assert!(seen.try_recv().is_err(), "the service saw a request");
}

/// Upstreams that verify the token themselves.
#[test]
fn a_token_may_stay_in_header_and_cookie() {
    let (settings, _file) = hmac();
    let settings = settings.token_from(places("header cookie:session")).forward_token(true);
    let (server, seen) = gated(settings);
    let token = valid("ann");
    let head = response(&server, "/", &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(status_of(&head), 101);
    assert!(seen.recv_timeout(DEADLINE).unwrap().head.contains(&token));
}

/// Browsers fail if a subprotocol was offered and none is selected (RFC 6455, 4.1, is stricter than its
/// clients: the others do not care).
#[test]
fn the_subprotocol_of_tokens_is_selected_and_the_token_is_not() {
    let (settings, _file) = hmac();
    let (server, _seen) = gated(settings.token_from(places("protocol")));
    let offer = |offered: &str| {
        let lines = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let head = response(&server, "/", &lines);
        assert_eq!(status_of(&head), 101, "{head}");
        header(&head, "Sec-WebSocket-Protocol").map(str::to_owned)
    };
    let token = valid("ann");
    assert_eq!(offer(&format!("weir.token, weir.token.{token}")).as_deref(), Some("weir.token"));
    assert_eq!(offer(&format!("weir.token.{token}, x, weir.token")).as_deref(), Some("weir.token"));
    assert_eq!(offer(&format!("weir.token.{token}")), None);
}
