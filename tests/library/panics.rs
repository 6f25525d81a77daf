//! A panic in a handler ends at most one connection; the loop, the service and other connections continue.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use weir::protocol::Message;
use weir::protocol::handshake::Accept;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Context, MailReceiver, MailSender, More, Reactor, SendOutcome, Service,
};
use weir::services::admin::{Admin, READY};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{BINARY, Client, DEADLINE, Server, TEXT, eventually, upgrade};

/// A panic without a message on stderr.
fn panic() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// Expects that the loop still serves, and has counted `panics`.
fn expect_alive(server: &Server, strings: &Strings, panics: u64) {
    let (mut client, id) = strings.client(server, "/");
    strings.run(move |cx| assert_eq!(cx.send(id, "alive"), SendOutcome::Queued));
    client.expect(TEXT, b"alive");
    assert_eq!(strings.run(|cx| cx.metrics().panics), panics);
}

#[test]
fn a_panic_in_on_request_is_answered_500() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_request = Box::new(|_, _, request| match request.http.query() {
        Some(_) => panic(),
        None => weir::reactor::Decision::Accept(Accept::new()),
    });
    let server = puppet.serve_plain();
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/?panic", ""));
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    expect_alive(&server, &strings, 1);
}

#[test]
fn a_panic_in_a_handler_of_a_connection_closes_it_with_1011() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_open = Box::new(|cx, id| {
        if cx.connections().count() == 2 {
            let _ = cx.send(id, "sent before");
            panic();
        }
    });
    puppet.on_message = Box::new(|_, _, message| {
        if message.as_bytes() == b"panic" {
            panic();
        }
    });
    let server = puppet.serve_plain();
    let (mut bystander, bystander_id) = strings.client(&server, "/");
    let (mut client, id) = strings.client(&server, "/");
    client.expect(TEXT, b"sent before");
    assert_eq!(client.expect_close(), (1011, "internal error".to_owned()));
    client.close(1011, "");
    client.expect_end();
    drop(client);
    assert_eq!(strings.next(), Report::Closed(id, CloseReason::ServicePanicked));

    bystander.text("panic");
    bystander.text("not delivered");
    assert_eq!(bystander.expect_close(), (1011, "internal error".to_owned()));
    drop(bystander);
    assert_eq!(strings.next(), Report::Text(bystander_id, "panic".to_owned()));
    assert_eq!(strings.next(), Report::Closed(bystander_id, CloseReason::ServicePanicked));
    expect_alive(&server, &strings, 2);
}

#[test]
fn a_panic_in_on_drain_closes_the_connection_with_1011() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_drain = Box::new(|_, _| panic());
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    let large = vec![1; 300 * 1024];
    let outcome = strings.run(move |cx| cx.send(id, Message::Binary(&large)));
    assert_eq!(outcome, SendOutcome::Congested);
    assert_eq!(client.frame().payload.len(), 300 * 1024);
    assert_eq!(client.expect_close(), (1011, "internal error".to_owned()));
    drop(client);
    assert_eq!(strings.next(), Report::Drained(id));
    assert_eq!(strings.next(), Report::Closed(id, CloseReason::ServicePanicked));
    expect_alive(&server, &strings, 1);
}

#[test]
fn a_panic_in_on_close_or_on_empty_frees_the_connection() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_close = Box::new(|_, _| panic());
    puppet.on_empty = Box::new(|_, _| panic());
    let server = puppet.serve_plain();
    let (client, id) = strings.client(&server, "/");
    strings.run(move |cx| cx.subscribe(id, "t")).unwrap();
    drop(client);
    assert!(matches!(strings.next(), Report::Closed(..)));
    assert_eq!(strings.next(), Report::Empty("t".to_owned()));
    assert!(strings.run(move |cx| cx.record(id).is_none()));
    expect_alive(&server, &strings, 2);
    assert_eq!(server.stop().connections_now, 0);
}

#[test]
fn a_panic_in_on_timer_or_on_mail_closes_no_connection() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_timer = Box::new(|_, _| panic());
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    assert!(strings.run(|cx| cx.schedule(std::time::Duration::ZERO, 1)).is_some());
    assert_eq!(strings.next(), Report::Timer(1));
    strings.post(|_| panic());
    expect_alive(&server, &strings, 2);
    client.send(BINARY, b"still");
    loop {
        match strings.next() {
            Report::Binary(from, bytes) => break assert_eq!((from, &*bytes), (id, &b"still"[..])),
            other => assert!(matches!(other, Report::Opened(_) | Report::Closed(..)), "{other:?}"),
        }
    }
}

/// Panics in `on_mail` without taking the mail, until the test ends that.
struct Stubborn {
    panics: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    lend: Sender<MailSender<()>>,
    mail: Option<MailReceiver<()>>,
}

impl Service for Stubborn {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, mail) = cx.mailbox(8);
        self.mail = Some(mail);
        self.lend.send(sender).unwrap();
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, _: &mut Context<'_>) -> More {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.panics.load(Ordering::SeqCst) {
            panic();
        }
        match self.mail.as_ref().and_then(|mail| mail.try_recv().ok()) {
            Some(()) => More::Yes,
            None => More::No,
        }
    }
}

#[test]
fn a_panic_in_on_mail_pauses_the_service_and_readiness_names_it() {
    let (panics, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (lend, lent) = channel();
    let service = Stubborn { panics: panics.clone(), calls: calls.clone(), lend, mail: None };
    let (puppet, strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        reactor.add_service(service).unwrap();
        let admin = reactor.add_service(Admin::new(Vec::new())).unwrap();
        reactor.add_route(READY, admin, RouteSettings::default()).unwrap();
        puppet.place(reactor, "/", RouteSettings::default());
    });
    let readiness = || {
        let mut client = Client::tcp(server.address);
        client.raw(format!("GET {READY} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let (head, body) = client.answer();
        (head[9..12].to_owned(), String::from_utf8(body).unwrap())
    };
    assert_eq!(readiness(), ("200".to_owned(), "ready\n".to_owned()));
    let mail = lent.recv_timeout(DEADLINE).unwrap();
    mail.send(()).unwrap();
    eventually(|| calls.load(Ordering::SeqCst) > 0, "it is called");
    let (status, text) = readiness();
    assert_eq!(status, "503");
    assert!(text.contains("service 0") && text.contains("Stubborn"), "{text}");
    // Many turns, each with new mail, but calls only at the end of a pause.
    for _ in 0..100 {
        let _ = mail.try_send(());
        strings.run(|_| ());
    }
    let counted = calls.clone();
    let counts = move |cx: &mut Context<'_>| {
        (cx.metrics().mail_pauses as usize, counted.load(Ordering::SeqCst))
    };
    let (pauses, called) = strings.run(counts);
    assert!(pauses < 10, "{pauses}");
    assert_eq!(called, pauses);
    panics.store(false, Ordering::SeqCst);
    eventually(|| readiness().0 == "200", "it is called again");
    // The mail is still there.
    assert!(calls.load(Ordering::SeqCst) > pauses + 1);
}

#[test]
fn a_panic_in_on_start_is_an_error_of_run() {
    struct Stillborn;
    impl Service for Stillborn {
        fn on_start(&mut self, _: &mut Context<'_>) {
            panic();
        }
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    reactor.add_service(Stillborn).unwrap();
    let error = reactor.run().unwrap_err().to_string();
    assert!(error.contains("service 0") && error.contains("panicked in on_start"), "{error}");
}
