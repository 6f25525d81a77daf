//! Tokens that come in messages of open connections.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use weir::protocol::handshake::Refusal;
use weir::reactor::CloseReason;
use weir::reactor::budget::PRESENTED_BYTES_MAX;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};

use super::{Noted, Scripted, gated, next_after_asked};
use crate::puppet::Puppet;
use crate::support::{Client, Server, TEXT, frame};

fn start() -> (Server, Receiver<Noted>) {
    gated(Settings::default(), GateSettings::default(), RouteSettings::default())
}

fn open(server: &Server, token: &str) -> Client {
    Client::open_with(server.address, "/", &format!("X-Token: {token}\r\n")).0
}

fn ask(client: &mut Client, text: &str) -> String {
    client.text(text);
    let answer = client.frame();
    assert_eq!(answer.opcode, TEXT);
    String::from_utf8(answer.payload).unwrap()
}

#[test]
fn a_token_that_passes_replaces_the_identity() {
    let (server, noted) = start();
    let mut client = open(&server, "ann;exp=60000");
    for (token, subject) in
        [("ann;exp=60000", "ann"), ("later bob", "bob"), ("carl;role=x", "carl")]
    {
        assert_eq!(ask(&mut client, &format!("present {token}")), "Ok(())", "{token}");
        assert_eq!(ask(&mut client, "who"), subject);
        assert_eq!(ask(&mut client, &format!("count {subject}")), "1");
        let reported = loop {
            if let Noted::Identity(subject) = next_after_asked(&noted) {
                break subject;
            }
        };
        assert_eq!(reported, subject);
    }
    // The connection with the identity of a gate that has passed none.
    let mut client = open(&server, "none");
    assert_eq!(ask(&mut client, "present dan"), "Ok(())");
    assert_eq!(ask(&mut client, "who"), "dan");
    drop(client);
    server.stop_clean();
}

#[test]
fn an_identity_that_is_replaced_several_times_in_a_turn_is_reported_once() {
    let (server, noted) = start();
    let mut client = open(&server, "ann");
    let texts = ["be bob", "be carl", "be dan"];
    client.raw(&texts.map(|text| frame(true, TEXT, text.as_bytes())).concat());
    for _ in texts {
        assert_eq!(client.frame().payload, b"Ok(())");
    }
    assert_eq!(ask(&mut client, "who"), "dan");
    drop(client);
    server.stop_clean();
    let mut subjects = Vec::new();
    while let Ok(note) = noted.try_recv() {
        if let Noted::Identity(subject) = note {
            subjects.push(subject);
        }
    }
    assert_eq!(subjects, ["dan"]);
}

#[test]
fn a_token_that_is_refused_changes_nothing() {
    let gate = GateSettings::default().connections_per_subject(1);
    let (server, _noted) = gated(Settings::default(), gate, RouteSettings::default());
    let mut client = open(&server, "ann");
    let _other = open(&server, "bob");
    for (token, refusal) in [
        ("forbid", Refusal::Forbidden),
        ("later refused", Refusal::Forbidden),
        ("missing", Refusal::NotFound),
        ("none", Refusal::Unauthorized),
        ("panic", Refusal::Internal),
        ("bob", Refusal::SubjectFull),
    ] {
        let answer = ask(&mut client, &format!("present {token}"));
        assert_eq!(answer, format!("{:?}", Err::<(), _>(refusal)), "{token}");
        assert_eq!(ask(&mut client, "who"), "ann");
    }
    let long = "x".repeat(PRESENTED_BYTES_MAX + 1);
    assert_eq!(ask(&mut client, &format!("present {long}")), "TooLong");
}

#[test]
fn a_connection_has_one_token_at_a_time_and_is_served_meanwhile() {
    let (server, noted) = start();
    let mut client = open(&server, "ann");
    client.text("present silent");
    assert_eq!(ask(&mut client, "present bob"), "Pending");
    assert_eq!(ask(&mut client, "who"), "ann");
    client.close(1000, "");
    client.expect_close();
    drop(client);
    loop {
        if let Noted::GateClosed(why) = next_after_asked(&noted) {
            assert!(matches!(why, CloseReason::PeerClosed(_)), "{why:?}");
            break;
        }
    }
}

#[test]
fn a_gate_that_does_not_decide_costs_the_token_the_handshake_timeout() {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(300));
    let (server, noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let mut client = open(&server, "ann");
    for _ in 0..2 {
        assert_eq!(ask(&mut client, "present silent"), "Err(GateTimeout)");
        loop {
            if let Noted::GateClosed(why) = next_after_asked(&noted) {
                assert_eq!(why, CloseReason::Refused(Refusal::GateTimeout));
                break;
            }
        }
    }
    assert_eq!(ask(&mut client, "present bob"), "Ok(())");
}

#[test]
fn a_token_that_does_not_meet_what_the_route_requires_closes_the_connection() {
    let route = RouteSettings::default().require(["role=admin".parse().unwrap()].into());
    let (server, _noted) = gated(Settings::default(), GateSettings::default(), route);
    let mut client = open(&server, "ann;role=admin");
    assert_eq!(ask(&mut client, "present ann;role=admin;role=more"), "Ok(())");
    client.text("present later ann");
    let close = client.frame();
    assert_eq!(&close.payload[..], b"\x0b\xbbsigned out", "and no answer before it");
}

#[test]
fn a_route_without_a_gate_takes_no_token() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (_client, id) = strings.client(&server, "/");
    let outcome = strings.run(move |cx| cx.present(id, "ann"));
    assert_eq!(outcome, Err(weir::reactor::PresentError::NoGate));
}

/// A gate without a method for tokens refuses them.
#[test]
fn a_gate_takes_no_tokens_unless_it_says_so() {
    struct Plain(Scripted);
    impl weir::reactor::Service for Plain {
        fn on_message(
            &mut self,
            _: &mut weir::reactor::Context<'_>,
            _: weir::reactor::ConnId,
            _: weir::protocol::Message<'_>,
        ) {
        }
    }
    impl weir::reactor::Gate for Plain {
        fn on_gate(
            &mut self,
            cx: &mut weir::reactor::Context<'_>,
            conn: weir::reactor::ConnId,
            request: &weir::reactor::GateRequest<'_>,
        ) -> weir::reactor::Verdict {
            self.0.on_gate(cx, conn, request)
        }
    }
    let (notes, _noted) = std::sync::mpsc::channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let gate = Plain(Scripted { notes: notes.clone(), later: Vec::new() });
        let gate = reactor.add_gate(gate, GateSettings::default()).unwrap();
        let service = reactor.add_service(super::Behind { notes, gate }).unwrap();
        reactor.add_route("/", service, RouteSettings::default().gate(gate)).unwrap();
    });
    let mut client = open(&server, "ann");
    assert_eq!(ask(&mut client, "present ann"), "Err(Forbidden)");
}
