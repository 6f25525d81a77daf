//! `requests_per_address`: the rate of upgrades and HTTP requests of one address.

use weir::protocol::Message;
use weir::protocol::handshake::{Refusal, Response};
use weir::reactor::settings::{Rate, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, HttpRequest, Service};

use crate::handshake::expect_refusal;
use crate::support::{Client, Server, header, upgrade};

/// Answers GET and POST with the length of the body, and accepts every upgrade.
pub struct Lengths;

impl Service for Lengths {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "POST"]
    }

    fn on_http(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        Some(Response::text(200, request.body.len().to_string()))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";

/// One token in 1,000 s: none returns during a test.
fn slow(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: 0.001, burst })
}

/// [`Lengths`] at `/`, limited to two requests, and at `/free`.
fn limited(settings: Settings) -> Server {
    Server::start(settings, |reactor| {
        let service = reactor.add_service(Lengths).unwrap();
        let two = RouteSettings::default().requests_per_address(slow(2));
        reactor.add_route("/", service, two).unwrap();
        reactor.add_route("/free", service, RouteSettings::default()).unwrap();
    })
}

/// Sends a request, and expects the refusal by the rate with its `Retry-After`.
fn expect_limited(client: &mut Client, request: &str) {
    client.raw(request.as_bytes());
    let head = expect_refusal(client, Refusal::Requests);
    let seconds: u64 = header(&head, "Retry-After").expect("Retry-After").parse().unwrap();
    assert!((900..=1000).contains(&seconds), "{head}");
}

#[test]
fn upgrades_and_http_requests_share_a_rate_per_address() {
    let server = limited(Settings::default());
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = Client::tcp(server.address);
    assert!(first.request(get).starts_with("HTTP/1.1 200 "));
    let second = Client::open(server.address, "/");
    for request in [get, &upgrade("/", ""), POST] {
        expect_limited(&mut Client::tcp(server.address), request);
    }
    // Another route, and another address.
    Client::open(server.address, "/free");
    let mut other = Client::from([127, 0, 0, 2].into(), server.address);
    assert!(other.request(get).starts_with("HTTP/1.1 200 "));
    drop((first, second, other));
    let metrics = server.stop();
    assert_eq!(metrics.refusals["requests"], 3);
    assert_eq!((metrics.rate_entries_now, metrics.rate_overflows), (2, 0));
}

#[test]
fn a_body_that_arrives_in_parts_takes_one_token() {
    let server = limited(Settings::default());
    let mut client = Client::tcp(server.address);
    for _ in 0..2 {
        client.raw(POST.as_bytes());
        for byte in b"12345" {
            client.raw(&[*byte]);
        }
        assert_eq!(client.answer().1, b"5");
    }
    expect_limited(&mut client, POST);
}

#[test]
fn exempt_addresses_have_no_rate_of_requests() {
    let exempt = vec!["127.0.0.0/8".parse().unwrap()];
    let server = limited(Settings::default().exempt(exempt));
    for _ in 0..5 {
        Client::open(server.address, "/");
    }
}
