//! The sign-out of subjects on the admin address.

use std::net::SocketAddr;
use std::sync::mpsc::channel;

use weir::reactor::settings::{GateSettings, ListenSettings, RouteSettings, Settings};
use weir::services::admin::{SIGN_OUT, SignOut};

use super::{Behind, Scripted};
use crate::support::{Client, DEADLINE, Server, any};

/// A gate `users`, an echo-like service at `/`, and the sign-out on a listener for operators.
fn start() -> (Server, SocketAddr) {
    let (sender, receiver) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let (notes, noted) = channel();
        std::mem::forget(noted);
        let scripted = Scripted { notes: notes.clone(), later: Vec::new() };
        let gate = reactor.add_gate(scripted, GateSettings::default()).unwrap();
        let service = reactor.add_service(Behind { notes, gate }).unwrap();
        reactor.add_route("/", service, RouteSettings::default().gate(gate)).unwrap();
        let sign_out = reactor.add_service(SignOut::new(vec![("users".into(), gate)])).unwrap();
        let route = RouteSettings::default().listener_group(1);
        reactor.add_route(SIGN_OUT, sign_out, route).unwrap();
        let listen = ListenSettings::new(any()).listener_group(1).for_operators(true);
        sender.send(reactor.listen(&listen).unwrap()).unwrap();
    });
    (server, receiver.recv_timeout(DEADLINE).unwrap())
}

/// Status and body of the response to a DELETE.
fn delete(admin: SocketAddr, path: &str, lines: &str) -> (String, String) {
    let mut client = Client::tcp(admin);
    client.raw(format!("DELETE {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
    let (head, body) = client.answer();
    (head[9..12].to_owned(), String::from_utf8(body).unwrap())
}

#[test]
fn an_operator_signs_a_subject_out() {
    let (server, admin) = start();
    let open = |token: &str| Client::open_with(server.address, "/", token).0;
    let mut all = [open("X-Token: a/b c\r\n"), open("X-Token: a/b c\r\n")];
    let closed = delete(admin, "/auth/users/users/a%2Fb%20c", "");
    assert_eq!(closed, ("202".into(), "{\"closed\":2}\n".into()));
    for client in &mut all {
        assert_eq!(client.expect_close(), (3003, "signed out".into()));
    }
    for code in [1000, 1008, 3000, 4100, 4999] {
        let mut client = open("X-Token: ann\r\n");
        let closed = delete(admin, &format!("/auth/users/users/ann?code={code}"), "");
        assert_eq!(closed, ("202".into(), "{\"closed\":1}\n".into()));
        assert_eq!(client.expect_close(), (code, "signed out".into()));
    }
    for (path, status) in [
        ("/auth/other/users/ann", "404"),
        ("/auth/users/users/ann?code=1001", "400"),
        ("/auth/users/users/ann?code=1011", "400"),
        ("/auth/users/users/ann?code=2999", "400"),
        ("/auth/users/users/ann?code=5000", "400"),
        ("/auth/users/users/ann?code=x", "400"),
        ("/auth/users/users/ann", "202"),
    ] {
        assert_eq!(delete(admin, path, "").0, status, "{path}");
    }
}

#[test]
fn a_page_in_an_operators_browser_cannot_sign_anyone_out() {
    let (server, admin) = start();
    let mut client = Client::open_with(server.address, "/", "X-Token: ann\r\n").0;
    for origin in ["https://evil.example", "null", "http://127.0.0.1"] {
        let lines = format!("Origin: {origin}\r\n");
        let refused = delete(admin, "/auth/users/users/ann", &lines);
        assert_eq!(refused, ("403".into(), "forbidden".into()));
    }
    client.text("who");
    client.expect(crate::support::TEXT, b"ann");
    let metrics = server.stop();
    assert_eq!(metrics.refusals["origin"], 3);
}
