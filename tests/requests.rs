//! HTTP requests: pages, methods, header fields, and several requests on one connection.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir::protocol::Message;
use weir::protocol::handshake::{Refusal, Response};
use weir::reactor::budget::HTTP_REQUESTS_MAX;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context, HttpRequest, Page, Reactor, Service};
use weir::services::TRY_IT_PAGE;

use crate::support::{
    Client, DEADLINE, Server, TEXT, Watched, eventually, expect_spread_retry, header, upgrade,
};

/// More bytes than the kernel's buffers hold at any size.
const LARGE: usize = 12 * 1024 * 1024;

const POLICY: &str = "default-src 'none'";

/// Answers POST and DELETE with the path, and refuses `/named/full`, both in a later turn.
struct Named;

impl Service for Named {
    fn methods(&self) -> &'static [&'static str] {
        &["POST", "DELETE"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        if request.params.get("x") == Some("full") {
            cx.refuse(conn, Refusal::RouteFull);
            return None;
        }
        Some(Response::text(200, request.http.path().to_owned()))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// An echo at `/` with a page, more pages, and `/count`, which replies with the number of responses.
fn with_pages() -> Server {
    let settings = Settings::default().handshake_timeout(10 * DEADLINE);
    Server::start(settings, |reactor: &mut Reactor| {
        let (echo, _) = Watched::echo();
        let (count, _) = Watched::new(|cx, conn, _| {
            let count = cx.metrics().http_answered.to_string();
            let _ = cx.send(conn, &*count);
        });
        for (path, service) in [("/", echo), ("/count", count)] {
            let service = reactor.add_service(service).unwrap();
            reactor.add_route(path, service, RouteSettings::default()).unwrap();
        }
        let named = reactor.add_service(Named).unwrap();
        reactor.add_route("/named/{x}", named, RouteSettings::default()).unwrap();
        let large = Box::leak(vec![b'x'; LARGE].into_boxed_slice());
        for (path, body) in [("/", &b"<p>root"[..]), ("/one", b"1"), ("/large", large)] {
            reactor
                .add_page(path, Page { content_type: "text/html", body, security_policy: POLICY });
        }
    })
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}

#[test]
fn pages_are_sent_in_order_on_one_connection_and_an_upgrade_may_follow() {
    let server = with_pages();
    let mut client = Client::tcp(server.address);
    let head_of = get("/one", "").replace("GET", "HEAD");
    let all = [get("/one", ""), head_of, get("/?query", ""), upgrade("/", "")].concat();
    client.raw(all.as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(header(&head, "Connection"), Some("keep-alive"));
    assert_eq!(header(&head, "Content-Type"), Some("text/html"));
    assert_eq!(body, b"1");
    let head = client.head();
    assert_eq!(header(&head, "Content-Length"), Some("1"), "HEAD has the length of GET");
    assert_eq!(client.answer().1, b"<p>root");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.text("hello");
    client.expect(TEXT, b"hello");
    drop(client);
    assert_eq!(server.stop().http_answered, 3);
}

/// RFC 9110, 7.6.1 and 7.8: Connection names a field that is missing, so no upgrade is requested.
#[test]
fn connection_upgrade_without_upgrade_is_an_ordinary_request() {
    let server = with_pages();
    let mut client = Client::tcp(server.address);
    for lines in ["Connection: upgrade\r\n", "Connection: Upgrade\r\nUpgrade:\r\n"] {
        client.raw(get("/", lines).as_bytes());
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, b"<p>root");
    }
}

#[test]
fn upgrade_is_a_list_and_websocket_with_a_version_is_refused() {
    let server = with_pages();
    let answer = |request: String| Client::tcp(server.address).request(&request)[9..12].to_owned();
    let listing = |list: &str| upgrade("/", "").replace("Upgrade: websocket", list);
    assert_eq!(answer(listing("Upgrade: h2c, WebSocket")), "101");
    assert_eq!(answer(listing("Upgrade: websocket/13")), "400");
    assert_eq!(answer(get("/", "Connection: upgrade\r\nUpgrade: websocket/13\r\n")), "400");
    assert_eq!(answer(upgrade("/", "Sec-WebSocket-Protocol: chat,\r\n")), "101");
}

/// Java's HttpClient offers it with each request.
#[test]
fn an_offer_of_http_2_is_ignored() {
    let server = with_pages();
    let mut client = Client::tcp(server.address);
    let lines =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    client.raw(get("/one", lines).repeat(2).as_bytes());
    for _ in 0..2 {
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!((header(&head, "Upgrade"), &body[..]), (None, &b"1"[..]));
    }
}

#[test]
fn a_refused_head_request_is_answered_without_a_body() {
    let server = with_pages();
    for (path, status) in [("/nowhere", "404"), ("/count", "426")] {
        let mut client = Client::tcp(server.address);
        let head = client.request(&get(path, "").replace("GET", "HEAD"));
        assert_eq!(&head[9..12], status);
        assert_ne!(header(&head, "Content-Length"), Some("0"));
        client.expect_end();
    }
}

#[test]
fn connection_close_and_http_1_0_end_the_connection() {
    let server = with_pages();
    let old = "GET /one HTTP/1.0\r\n\r\n".to_owned();
    for request in [get("/one", "Connection: close\r\n"), old] {
        let mut client = Client::tcp(server.address);
        client.raw(request.as_bytes());
        client.raw(get("/one", "").as_bytes());
        let (head, body) = client.answer();
        assert_eq!((header(&head, "Connection"), &body[..]), (Some("close"), &b"1"[..]));
        client.expect_end();
    }
    let mut client = Client::tcp(server.address);
    client.raw(b"GET /one HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(header(&client.answer().0, "Connection"), Some("keep-alive"));
    client.raw(get("/one", "").as_bytes());
    client.answer();
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.http_answered, metrics.ended_otherwise), (4, 2));
}

#[test]
fn the_number_of_requests_per_connection_is_limited() {
    let server = with_pages();
    let mut client = Client::tcp(server.address);
    let count = usize::from(HTTP_REQUESTS_MAX);
    client.raw(get("/one", "").repeat(count + 1).as_bytes());
    for answered in 1..=count {
        let (head, _) = client.answer();
        let expected = if answered < count { "keep-alive" } else { "close" };
        assert_eq!(header(&head, "Connection"), Some(expected), "after {answered}");
    }
    client.expect_end();
}

/// Otherwise a client could request responses that it never reads.
#[test]
fn a_request_is_read_only_after_the_previous_response_is_written() {
    let server = with_pages();
    let mut probe = Client::open(server.address, "/count");
    let mut answered = || {
        probe.text("?");
        String::from_utf8(probe.frame().payload).unwrap()
    };
    let mut client = Client::narrow_tcp(server.address);
    client.raw(get("/large", "").repeat(3).as_bytes());
    eventually(|| answered() == "1", "the first request is answered");
    for _ in 0..20 {
        assert_eq!(answered(), "1");
    }
    for _ in 0..3 {
        assert_eq!(client.answer().1.len(), LARGE);
    }
    assert_eq!(answered(), "3");
}

#[test]
fn a_page_is_sent_to_a_client_that_has_sent_a_fin() {
    let server = with_pages();
    let mut client = Client::narrow_tcp(server.address);
    client.raw(get("/large", "Connection: close\r\n").as_bytes());
    client.finish();
    assert_eq!(client.answer().1.len(), LARGE);
    client.expect_end();
}

/// Sends a request on a new connection; returns the head of the response.
fn head_of(server: &Server, method: &str, path: &str) -> String {
    Client::tcp(server.address).request(&get(path, "").replacen("GET", method, 1))
}

#[test]
fn allow_lists_the_methods_of_the_path() {
    let server = with_pages();
    for (path, allowed) in [
        ("/", "GET, HEAD, OPTIONS"),
        ("/one", "GET, HEAD, OPTIONS"),
        ("/count", "GET, OPTIONS"),
        ("/named/a", "GET, POST, DELETE, OPTIONS"),
    ] {
        for method in ["PUT", "PATCH", "get", "TRACE"] {
            let head = head_of(&server, method, path);
            assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
            assert_eq!(header(&head, "Allow"), Some(allowed), "{method} {path}");
        }
        let head = head_of(&server, "OPTIONS", path);
        assert!(head.starts_with("HTTP/1.1 204 "), "{path}: {head}");
        assert_eq!(header(&head, "Allow"), Some(allowed), "{path}");
        assert_eq!(header(&head, "Content-Length"), None);
        for method in allowed.split(", ") {
            let head = head_of(&server, method, path);
            assert!(!head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
        }
    }
    let posted = upgrade("/named/a", "").replacen("GET", "PUT", 1);
    let head = Client::tcp(server.address).request(&posted);
    assert_eq!(header(&head, "Allow"), Some("GET, POST, DELETE, OPTIONS"), "{head}");
}

#[test]
fn an_unknown_path_is_answered_404_for_every_method() {
    let server = with_pages();
    for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS", "x"] {
        let head = head_of(&server, method, "/nope");
        assert!(head.starts_with("HTTP/1.1 404 "), "{method}: {head}");
        assert_eq!(header(&head, "Allow"), None);
    }
    let posted = upgrade("/nope", "").replacen("GET", "POST", 1);
    assert!(Client::tcp(server.address).request(&posted).starts_with("HTTP/1.1 404 "));
}

#[test]
fn options_keeps_the_connection_and_has_no_body() {
    let server = with_pages();
    let mut client = Client::tcp(server.address);
    let options = get("/one", "").replacen("GET", "OPTIONS", 1);
    client.raw((options.repeat(2) + &get("/one", "")).as_bytes());
    for _ in 0..2 {
        let head = client.head();
        assert_eq!(header(&head, "Connection"), Some("keep-alive"), "{head}");
    }
    assert_eq!(client.answer().1, b"1");
    let with_body = options.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx");
    assert!(client.request(&with_body).starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_late_refusal_is_counted_under_its_reason() {
    let server = with_pages();
    let mut client = Client::tcp(server.address);
    let head = client.request(&get("/named/full", "").replacen("GET", "POST", 1));
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    expect_spread_retry(&head);
    drop(client);
    let metrics = server.stop_clean();
    assert_eq!((metrics.refused, metrics.http_answered), (1, 0));
    assert_eq!(metrics.refusals.get("route_full"), Some(&1));
}

/// RFC 9110, 6.6.1 and 5.6.7.
#[test]
fn responses_have_a_date_and_the_101_has_none() {
    let server = with_pages();
    let before = SystemTime::now() - Duration::from_secs(1);
    let requests = [
        ("GET", "/"),
        ("HEAD", "/one"),
        ("POST", "/named/a"),
        ("OPTIONS", "/"),
        ("PUT", "/"),
        ("GET", "/nope"),
    ];
    let mut heads: Vec<String> =
        requests.map(|(method, path)| head_of(&server, method, path)).into();
    heads.push(Client::tcp(server.address).request("\x16"));
    for head in heads {
        let date = header(&head, "Date").unwrap_or_else(|| panic!("{head}"));
        let time = httpdate::parse_http_date(date).unwrap();
        assert!(before <= time && time <= SystemTime::now(), "{date}");
        assert_eq!(httpdate::fmt_http_date(time), date, "an IMF-fixdate");
        assert_eq!(head.matches("Date: ").count(), 1, "{head}");
    }
    let head = Client::tcp(server.address).request(&upgrade("/", ""));
    assert_eq!(header(&head, "Date"), None, "{head}");
}

#[test]
fn pages_have_a_security_policy_and_nosniff() {
    let server = with_pages();
    for method in ["GET", "HEAD"] {
        let head = head_of(&server, method, "/one");
        assert_eq!(header(&head, "Content-Security-Policy"), Some(POLICY), "{head}");
        assert_eq!(header(&head, "X-Content-Type-Options"), Some("nosniff"));
    }
    let head = head_of(&server, "GET", "/nope");
    assert_eq!(header(&head, "Content-Security-Policy"), None);
}

/// A change to the page's script or style needs a new hash in the policy; the message of this test has it.
#[test]
fn the_policy_of_the_page_has_the_hashes_of_its_script_and_style() {
    let page = std::str::from_utf8(TRY_IT_PAGE.body).unwrap();
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let sha256 = suite.tls13().unwrap().common.hash_provider;
    for tag in ["script", "style"] {
        let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
        let (inline, rest) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(!rest.contains(&format!("<{tag}")), "one {tag}");
        let hash = STANDARD.encode(sha256.hash(inline.as_bytes()).as_ref());
        let source = format!("{tag}-src 'sha256-{hash}';");
        assert!(TRY_IT_PAGE.security_policy.contains(&source), "the policy lacks {source}");
    }
    assert!(!page.contains("style=") && !page.contains("onclick="), "an attribute is not hashed");
}
