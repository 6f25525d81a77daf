use super::*;
use crate::protocol::handshake::EMPTY_SLOTS;

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// From an untrusted client, without TLS.
fn origin() -> RequestOrigin<'static> {
    let address = IpAddr::from([192, 0, 2, 7]);
    RequestOrigin {
        peer: address,
        client: address,
        is_peer_trusted: false,
        is_secure: false,
        upstream: "10.0.0.9:9944",
        keep_alive: true,
        trace: None,
        identity: None,
    }
}

/// From the client 192.0.2.7, by a trusted proxy.
fn trusted() -> RequestOrigin<'static> {
    RequestOrigin { peer: IpAddr::from([10, 0, 0, 1]), is_peer_trusted: true, ..origin() }
}

fn off() -> RequestRules {
    RequestRules { forwarded: ForwardedMode::Off, ..RequestRules::default() }
}

fn rfc7239() -> RequestRules {
    RequestRules { forwarded: ForwardedMode::Rfc7239, ..RequestRules::default() }
}

fn written(
    head: &str,
    rules: &RequestRules,
    origin: &RequestOrigin<'_>,
) -> Result<String, Refusal> {
    let mut slots = EMPTY_SLOTS;
    let request = Request::parse(head.as_bytes(), &mut slots)?;
    let mut out = b"before".to_vec();
    let outcome = write_request(&request, rules, origin, &mut out);
    assert_eq!(check_request(&request).err(), outcome.err());
    let head = String::from_utf8(out.split_off(6)).unwrap();
    assert!(outcome.is_ok() || head.is_empty(), "written whole or not at all");
    outcome.map(|()| {
        // What is written is a valid head of the same method.
        let mut slots = EMPTY_SLOTS;
        let again = Request::parse(head.as_bytes(), &mut slots).unwrap();
        assert_eq!(again.method(), request.method());
        assert_eq!(again.body_framing(), request.body_framing());
        head
    })
}

/// The lines between the Host and the end, for a GET with these additional lines.
fn lines(extra: &str, rules: &RequestRules, origin: &RequestOrigin<'_>) -> String {
    let head = format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{extra}\r\n");
    let written = written(&head, rules, origin).unwrap();
    let rest = written.strip_prefix("GET /a HTTP/1.1\r\nHost: a.example\r\n").unwrap();
    rest.strip_suffix("\r\n").unwrap().to_owned()
}

fn refused(method: &str, target: &str, extra: &str) -> Option<Refusal> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n{extra}\r\n");
    written(&head, &off(), &origin()).err()
}

#[test]
fn a_plain_request_is_written_again() {
    let head = "POST /api/items?a=%2e&b=.. HTTP/1.1\r\nhost: a.example:80\r\nCOOKIE:  a=1 \r\n\
                Connection: keep-alive\r\nAccept: a\r\nContent-Length: 007\r\naccept: b\r\n\r\n";
    let expected = "POST /api/items?a=%2e&b=.. HTTP/1.1\r\nHost: a.example:80\r\nCOOKIE: a=1\r\n\
                    Accept: a\r\naccept: b\r\nX-Forwarded-For: 192.0.2.7\r\n\
                    X-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example:80\r\n\
                    X-Real-IP: 192.0.2.7\r\nContent-Length: 7\r\n\r\n";
    assert_eq!(written(head, &RequestRules::default(), &origin()).as_deref(), Ok(expected));
}

#[test]
fn an_upstream_gets_the_identity_instead_of_the_credentials() {
    let identity = IdentityHeaders::new("ann", Some(9), [("role", "admin")]);
    let known = RequestOrigin { identity: Some(&identity), ..origin() };
    let own = "X-Weir-User: ann\r\nX-Weir-Expires: 9\r\nX-Weir-Meta-role: admin\r\n";
    let used = "*".repeat(64);
    let received = format!(
        "Authorization: Bearer {used}\r\nCookie: a=1; t={used}\r\nx-weir-user: root\r\n\
         X_Weir_Meta_role: root\r\n"
    );
    assert_eq!(lines(&received, &off(), &known), format!("Cookie: a=1\r\n{own}"));
    let changes = HeaderChanges::new([("x-weir-user", "fixed")], ["X-Weir-Expires"]).unwrap();
    let expected = "X-Weir-Meta-role: admin\r\nx-weir-user: fixed\r\n";
    assert_eq!(lines("", &RequestRules { changes, ..off() }, &known), expected);
    let head = format!("GET /a?t={used}&b=2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let written = written(&head, &off(), &known).unwrap();
    assert!(written.starts_with("GET /a?b=2 HTTP/1.1\r\n"), "{written}");
}

#[test]
fn an_upstream_gets_one_traceparent() {
    let kept = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = RequestOrigin { trace: TraceParent::parse(kept), ..origin() };
    let own = format!("traceparent: {kept}\r\n");
    let state = "tracestate: a=1\r\nTraceState: b=2\r\n";
    let later = format!("TraceParent: cc{}\r\n", &kept[2..]);
    let other = own.replace("4bf9", "4bf8");
    for (received, sent) in [
        (format!("{own}{state}"), format!("{state}{own}")),
        (format!("{later}{state}"), format!("{state}{own}")),
        (format!("{own}{own}{state}"), own.clone()),
        (format!("trace_parent: x\r\n{state}"), format!("trace_parent: x\r\n{own}")),
        (format!("traceparent: 00\r\n{state}"), own.clone()),
        (format!("{other}{state}"), own.clone()),
        (state.to_owned(), own.clone()),
    ] {
        assert_eq!(lines(&received, &off(), &traced), sent, "{received}");
        assert_eq!(lines(&received, &off(), &origin()), received, "as received");
    }
    let changes = HeaderChanges::new([], ["Traceparent"]).unwrap();
    let removing = RequestRules { changes, ..off() };
    assert_eq!(lines(&own, &removing, &traced), "");
}

#[test]
fn an_upgrade_keeps_the_fields_of_its_handshake() {
    let extra = "Sec-WebSocket-Protocol: a, b\r\nsec-websocket-extensions: x; y=1\r\n\
                 Origin: http://a\r\n";
    let head = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}{extra}\r\n");
    let expected = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(written(&head, &off(), &origin()), Ok(expected.clone()));
    let close = RequestOrigin { keep_alive: false, ..origin() };
    assert_eq!(written(&head, &off(), &close), Ok(expected));
}

#[test]
fn invalid_upgrades_are_refused() {
    assert_eq!(refused("GET", "/", "Upgrade: websocket\r\n"), Some(Refusal::ConnectionToken));
    assert_eq!(refused("POST", "/", UPGRADE), Some(Refusal::Method));
    let body = format!("{UPGRADE}Content-Length: 5\r\n");
    assert_eq!(refused("GET", "/", &body), Some(Refusal::Body));
    let chunked = format!("{UPGRADE}Transfer-Encoding: chunked\r\n");
    assert_eq!(refused("GET", "/", &chunked), Some(Refusal::Body));
}

#[test]
fn only_an_upgrade_to_websocket_is_forwarded() {
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(lines(h2c, &off(), &origin()), "");
    let unnamed = "Connection: Upgrade\r\nUpgrade: h2c, TLS/1.0\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(lines(unnamed, &off(), &origin()), "");
    let both = UPGRADE.replace(": WebSocket", ": h2c, websocket");
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{both}\r\n");
    let head = written(&head, &off(), &origin()).unwrap();
    assert!(head.contains("\r\nUpgrade: websocket\r\n") && !head.contains("h2c"), "{head}");
}

#[test]
fn headers_of_the_client_connection_are_removed() {
    let extra = "Connection: close, X-Hop\r\nConnection: x-other,, x-missing\r\nX-Hop: a\r\n\
                 X-OTHER: b\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: a\r\n\
                 Proxy-Connection: keep-alive\r\nProxy-Authorization: a\r\nProxy-Anything: a\r\n\
                 Transfer_Encoding: chunked\r\nContent_Length: 5\r\nUpgrade: a\r\n\
                 X-Hope: stays\r\nProxy: stays\r\n";
    assert_eq!(lines(extra, &off(), &origin()), "X-Hope: stays\r\nProxy: stays\r\n");
}

#[test]
fn connection_must_not_name_headers_that_must_be_forwarded() {
    for name in ["Host", "content-length", "Sec-WebSocket-Key", "sec-websocket-anything"] {
        let extra = format!("Connection: close\r\nConnection: a , {name}\r\n");
        assert_eq!(refused("GET", "/", &extra), Some(Refusal::Nominated), "{name}");
    }
    let items = |count: usize| format!("Connection: a{}\r\n", ",a".repeat(count - 1));
    assert_eq!(refused("GET", "/", &items(64)), None);
    assert_eq!(refused("GET", "/", &items(65)), Some(Refusal::Nominated));
}

#[test]
fn the_host_follows_its_rule() {
    let host = |rule: HostRule, head: &str| {
        let rules = RequestRules { host: rule, ..off() };
        let written = written(head, &rules, &origin()).unwrap();
        let line = written.lines().nth(1).unwrap().to_owned();
        assert_eq!(written.matches("ost: ").count(), 1, "{written}");
        line.strip_prefix("Host: ").unwrap().to_owned()
    };
    let head = "GET / HTTP/1.1\r\nX: y\r\nHost: A.example:81\r\n\r\n";
    assert_eq!(host(HostRule::Keep, head), "A.example:81");
    assert_eq!(host(HostRule::Upstream, head), "10.0.0.9:9944");
    let name = HostRule::Name(HostName::new("b.example").unwrap());
    assert_eq!(host(name, head), "b.example");
    for name in ["", "a b", "a\r\nX: y", "a/b", "u@a"] {
        assert_eq!(HostName::new(name), Err(FieldError::Host), "{name:?}");
    }
    assert_eq!(host(HostRule::Keep, "GET / HTTP/1.0\r\n\r\n"), "10.0.0.9:9944");
    assert_eq!(host(HostRule::Keep, "GET http://b.example/ HTTP/1.0\r\n\r\n"), "b.example");
}

#[test]
fn targets_are_sent_in_origin_form() {
    let line = |target: &str, strip_segments: usize| {
        let rules = RequestRules { strip_segments, ..off() };
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let written = written(&head, &rules, &origin()).unwrap();
        let target = written.strip_prefix("GET ").unwrap().split(' ').next().unwrap();
        target.to_owned()
    };
    for (target, count, expected) in [
        ("/", 0, "/"),
        ("/a/b?c=/d", 0, "/a/b?c=/d"),
        ("/a/b?c=/d", 1, "/b?c=/d"),
        ("/a?c", 1, "/?c"),
        ("/a/", 1, "/"),
        ("/a?", 0, "/a?"),
        ("http://a.example", 0, "/"),
        ("HTTP://A.EXAMPLE?b", 0, "/?b"),
        ("wss://a.example/a/b?c", 1, "/b?c"),
        ("/a%20b/%c3%A9", 0, "/a%20b/%C3%A9"),
        ("/%61%2fb/%7Ec?%64", 1, "/~c?%64"),
    ] {
        assert_eq!(line(target, count), expected, "{target} without {count}");
    }
}

#[test]
fn other_authorities_dot_segments_and_connect_are_refused() {
    for target in ["http://b.example/", "http://a.example:80/", "http://a.example.b/"] {
        assert_eq!(refused("GET", target, ""), Some(Refusal::Target), "{target}");
    }
    for target in
        ["/public/../admin", "/public/%2E%2e/admin", "/public/..%2fadmin", "/a/%5c..", "/./a"]
    {
        assert_eq!(refused("GET", target, ""), Some(Refusal::DotSegment), "{target}");
        let absolute = format!("http://a.example{target}");
        assert_eq!(refused("GET", &absolute, ""), Some(Refusal::DotSegment), "{absolute}");
    }
    for target in ["/", "a.example:443"] {
        assert_eq!(refused("CONNECT", target, ""), Some(Refusal::Target), "{target}");
    }
    assert_eq!(refused("OPTIONS", "*", ""), Some(Refusal::Target));
    assert_eq!(refused("GET", "/a%00b", ""), Some(Refusal::AmbiguousPath));
    assert_eq!(refused("GET", "/?a=/../b%00", ""), None);
}

#[test]
fn the_body_has_one_framing() {
    let chunked = "transfer-encoding: Chunked\r\n";
    assert_eq!(lines(chunked, &off(), &origin()), "Transfer-Encoding: chunked\r\n");
    assert_eq!(lines("Content-Length: 0\r\n", &off(), &origin()), "Content-Length: 0\r\n");
    assert_eq!(lines("", &off(), &origin()), "");
    assert_eq!(refused("GET", "/", "Transfer-Encoding: gzip\r\n"), Some(Refusal::TransferCoding));
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(refused("POST", "/", both), Some(Refusal::BodyLength));
}

#[test]
fn expectations_are_forwarded_with_a_body_only() {
    let expect = "Expect: 100-continue\r\n";
    let with_body = format!("{expect}Content-Length: 5\r\n");
    assert_eq!(lines(&with_body, &off(), &origin()), with_body);
    assert_eq!(lines(expect, &off(), &origin()), "");
    assert_eq!(lines("Expect: other\r\n", &off(), &origin()), "Expect: other\r\n");
    let old = "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let expected = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(written(old, &off(), &origin()).as_deref(), Ok(expected));
}

#[test]
fn connections_that_are_not_reused_are_closed() {
    let close = RequestOrigin { keep_alive: false, ..origin() };
    assert_eq!(lines("Connection: keep-alive\r\n", &off(), &close), "Connection: close\r\n");
    assert_eq!(lines("Connection: close\r\n", &off(), &origin()), "");
}

#[test]
fn headers_of_weir_are_not_accepted_from_clients() {
    let extra =
        "X-Weir-User: admin\r\nx-weir-meta-a: b\r\nX_Weir_User: admin\r\nX-Weird: stays\r\n";
    for origin in [origin(), trusted()] {
        assert_eq!(lines(extra, &off(), &origin), "X-Weird: stays\r\n");
    }
}

#[test]
fn set_and_removed_headers_come_last() {
    let set =
        [("X-Forwarded-Proto", "wss"), ("Accept", "a"), ("X-Weir-User", "b"), ("accept", "c")];
    let changes = HeaderChanges::new(set, ["cookie", "x-real-ip", "x-forwarded-host"]).unwrap();
    let rules = RequestRules { changes, ..RequestRules::default() };
    let extra = "Cookie: a\r\nACCEPT: z\r\nCookies: b\r\nX-Weir-User: c\r\n";
    let expected = "Cookies: b\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: wss\r\n\
                    Accept: a\r\nX-Weir-User: b\r\naccept: c\r\n";
    assert_eq!(lines(extra, &rules, &origin()), expected);
    let changes = HeaderChanges::new([], ["Forwarded", "X-Forwarded-For"]).unwrap();
    let rules = RequestRules { changes, ..rfc7239() };
    assert_eq!(lines("Forwarded: for=1.1.1.1\r\n", &rules, &trusted()), "");
}

#[test]
fn authenticated_connections_are_found() {
    let binds = |extra: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
        let mut slots = EMPTY_SLOTS;
        binds_connection(&Request::parse(head.as_bytes(), &mut slots).unwrap())
    };
    assert!(binds("Authorization: NTLM TlRM\r\n") && binds("authorization: negotiate YII\r\n"));
    assert!(!binds("Authorization: Basic NTLM\r\n") && !binds(""));
}
