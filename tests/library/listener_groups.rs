//! A listener serves only the routes of its own listener group.

use std::sync::mpsc::channel;

use weir::protocol::Message;
use weir::protocol::handshake::Response;
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, HttpRequest, Page, Service};
use weir::services::Echo;

use crate::support::{Client, DEADLINE, Server, upgrade};

/// Answers GET with its path and the value of `x`.
struct Status;

impl Service for Status {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    fn on_http(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let x = request.params.get("x").unwrap_or_default();
        Some(Response::text(200, format!("{} {x}", request.http.path())))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

#[test]
fn each_address_has_the_routes_of_its_listener_group() {
    let (sender, receiver) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/echo", echo, RouteSettings::default()).unwrap();
        reactor.add_page(
            "/page",
            Page { content_type: "text/plain", body: b"page", security_policy: "" },
        );
        let status = reactor.add_service(Status).unwrap();
        let route = RouteSettings::default().listener_group(1);
        reactor.add_route("/status/{x}", status, route).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let listen = ListenSettings::new(any).listener_group(1);
        sender.send(reactor.listen(&listen).unwrap()).unwrap();
    });
    let admin = receiver.recv_timeout(DEADLINE).unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");

    let mut client = Client::tcp(admin);
    for _ in 0..2 {
        client.raw(get("/status/7").as_bytes());
        assert_eq!(client.answer().1, b"/status/7 7");
    }
    let head = client.request(&get("/status/7").replace("GET", "HEAD"));
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 11\r\n"), "{head}");
    for (address, request, status) in [
        (admin, get("/page"), "404"),
        (admin, upgrade("/echo", ""), "404"),
        (server.address, get("/status/7"), "404"),
        (server.address, get("/page"), "200"),
        (server.address, upgrade("/echo", ""), "101"),
    ] {
        let head = Client::tcp(address).request(&request);
        assert_eq!(&head[9..12], status, "{request}");
    }
}
