//! Pages of other origins: which may read answers to POST (Fetch standard, "CORS protocol").

use serde_json::json;
use weir::reactor::settings::RouteSettings;

use super::http::{LATER, NOW, post};
use super::scripted::{Stage, narrow, raw};
use crate::support::{Client, header, upgrade};

const LISTED: &str = "Origin: https://app.example\r\n";
const OTHER: &str = "Origin: https://evil.example\r\n";

/// A service with these origins, which accepts requests without Origin, too.
fn stage(origins: &[&str]) -> Stage {
    let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    let route = RouteSettings::default().origins(origins).require_origin(false);
    Stage::with_route(narrow(), route)
}

fn head(stage: &Stage, request: &str) -> String {
    Client::tcp(stage.server.address).request(request)
}

fn preflight(origin: &str, method: &str) -> String {
    format!(
        "OPTIONS / HTTP/1.1\r\nHost: localhost\r\n{origin}Access-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: content-type\r\n\r\n"
    )
}

/// The lines of a head that concern other origins.
fn cors(head: &str) -> Vec<&str> {
    let is_cors = |line: &&str| line.starts_with("Access-Control-") || line.starts_with("Vary:");
    head.lines().filter(is_cors).collect()
}

const READABLE: [&str; 2] = ["Vary: Origin", "Access-Control-Allow-Origin: https://app.example"];

#[test]
fn only_a_listed_origin_may_read_answers() {
    let stage = stage(&["https://app.example", "https://other.example"]);
    for (body, lines, status) in [
        (NOW, LISTED, "200"),
        (r#"{"jsonrpc":"2.0","method":"now"}"#, LISTED, "204"),
        ("not JSON", LISTED, "200"),
    ] {
        let head = head(&stage, &post(body, lines));
        assert_eq!((&head[9..12], &cors(&head)[..]), (status, &READABLE[..]), "{body}");
    }
    let wrong_type = post(NOW, LISTED).replace("application/json", "text/plain");
    let answer = head(&stage, &wrong_type);
    assert_eq!((&answer[9..12], &cors(&answer)[..]), ("415", &READABLE[..]));

    let without = head(&stage, &post(NOW, ""));
    assert_eq!((&without[9..12], &cors(&without)[..]), ("200", &["Vary: Origin"][..]));
    let refused = head(&stage, &post(NOW, OTHER));
    assert_eq!((&refused[9..12], cors(&refused)), ("403", Vec::new()));

    let statuses =
        [LISTED, OTHER, ""].map(|lines| head(&stage, &upgrade("/", lines))[9..12].to_owned());
    assert_eq!(statuses, ["101", "403", "101"]);
}

#[test]
fn a_listed_origin_may_read_a_late_answer() {
    let stage = stage(&["https://app.example"]);
    let mut client = Client::tcp(stage.server.address);
    client.raw((post(LATER, LISTED) + &post(NOW, "")).as_bytes());
    let ticket = stage.called();
    stage.answer(ticket, Ok(raw(&json!("at last"))));
    assert_eq!(cors(&client.answer().0), READABLE);
    assert_eq!(cors(&client.answer().0), ["Vary: Origin"], "the next request has no origin");
}

#[test]
fn a_preflight_request_of_a_listed_origin_is_granted() {
    let stage = stage(&["https://app.example"]);
    let granted = head(&stage, &preflight(LISTED, "POST"));
    assert!(granted.starts_with("HTTP/1.1 204 "), "{granted}");
    assert_eq!(header(&granted, "Allow"), Some("GET, POST, OPTIONS"));
    let more = [
        "Access-Control-Allow-Methods: POST",
        "Access-Control-Allow-Headers: Content-Type",
        "Access-Control-Max-Age: 600",
    ];
    assert_eq!(cors(&granted), [&READABLE[..], &more].concat());
    for (origin, method) in
        [(OTHER, "POST"), ("Origin: null\r\n", "POST"), ("", "POST"), (LISTED, "PUT")]
    {
        let head = head(&stage, &preflight(origin, method));
        assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
        assert!(!head.contains("Access-Control-"), "{origin}{method}: {head}");
    }
}

#[test]
fn without_a_list_no_origin_may_read_answers() {
    let stage = stage(&[]);
    for request in [post(NOW, LISTED), post(NOW, ""), preflight(LISTED, "POST")] {
        let head = head(&stage, &request);
        assert!(head.starts_with("HTTP/1.1 20"), "{head}");
        assert_eq!(cors(&head), Vec::<&str>::new());
    }
}
