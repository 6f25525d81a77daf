//! A service that a test controls: it reports its events, runs closures of the test in its handlers, and
//! runs tasks that the test sends, on the loop's thread.

use std::cell::OnceCell;
use std::sync::mpsc::{Receiver, Sender, channel};

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Context, Decision, MailReceiver, MailSender, More, Reactor, RouteId,
    Service, UpgradeRequest,
};

use crate::support::{Client, DEADLINE, Server};

/// An event that a [`Puppet`] reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    Opened(ConnId),
    Connected(ConnId),
    Text(ConnId, String),
    Binary(ConnId, Vec<u8>),
    Drained(ConnId),
    Closed(ConnId, CloseReason),
    Empty(String),
    Timer(u64),
}

type Task = Box<dyn FnOnce(&mut Context<'_>) + Send>;
type OnRequest = Box<dyn FnMut(&mut Context<'_>, ConnId, &UpgradeRequest<'_>) -> Decision + Send>;
type OnConn = Box<dyn FnMut(&mut Context<'_>, ConnId) + Send>;
type OnMessage = Box<dyn FnMut(&mut Context<'_>, ConnId, Message<'_>) + Send>;
type OnTimer = Box<dyn FnMut(&mut Context<'_>, u64) + Send>;
type OnEmpty = Box<dyn FnMut(&mut Context<'_>, &str) + Send>;

/// The service. Each handler reports its event, then calls the closure in its field, which does nothing
/// by default.
pub struct Puppet {
    pub protocols: &'static [&'static str],
    pub on_request: OnRequest,
    pub on_open: OnConn,
    pub on_message: OnMessage,
    pub on_drain: OnConn,
    pub on_close: OnConn,
    pub on_empty: OnEmpty,
    pub on_timer: OnTimer,
    sender: Sender<Report>,
    lend: Sender<MailSender<Task>>,
    tasks: Option<MailReceiver<Task>>,
}

/// The test's side: receives reports and sends tasks.
pub struct Strings {
    reports: Receiver<Report>,
    lent: Receiver<MailSender<Task>>,
    mail: OnceCell<MailSender<Task>>,
}

impl Puppet {
    pub fn new() -> (Puppet, Strings) {
        let (sender, receiver) = channel();
        let (lend, lent) = channel();
        let puppet = Puppet {
            protocols: &[],
            on_request: Box::new(|_, _, request| Decision::Accept(request.accept())),
            on_open: Box::new(|_, _| {}),
            on_message: Box::new(|_, _, _| {}),
            on_drain: Box::new(|_, _| {}),
            on_close: Box::new(|_, _| {}),
            on_empty: Box::new(|_, _| {}),
            on_timer: Box::new(|_, _| {}),
            sender,
            lend,
            tasks: None,
        };
        (puppet, Strings { reports: receiver, lent, mail: OnceCell::new() })
    }

    /// A server with this service alone, at `/`.
    pub fn serve(self, settings: Settings, route: RouteSettings) -> Server {
        Server::start(settings, move |reactor| self.place(reactor, "/", route))
    }

    /// A server with this service alone, at `/`, with default settings.
    pub fn serve_plain(self) -> Server {
        self.serve(Settings::default(), RouteSettings::default())
    }

    pub fn place(self, reactor: &mut Reactor, path: &str, route: RouteSettings) {
        let service = reactor.add_service(self).unwrap();
        reactor.add_route(path, service, route).unwrap();
    }

    /// A server with this service at `/`, and its route for outbound connections.
    pub fn serve_and_connect(self, settings: Settings) -> (Server, RouteId) {
        let (sender, receiver) = channel();
        let server = Server::start(settings, move |reactor| {
            let service = reactor.add_service(self).unwrap();
            reactor.add_route("/", service, RouteSettings::default()).unwrap();
            sender.send(reactor.add_outbound(service, RouteSettings::default()).unwrap()).unwrap();
        });
        (server, receiver.recv_timeout(DEADLINE).unwrap())
    }

    fn report(&self, report: Report) {
        // A test that needs no more reports has dropped the receiver.
        let _ = self.sender.send(report);
    }
}

impl Strings {
    /// Runs `task` on the loop and waits for its result.
    pub fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Context<'_>) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = channel();
        self.post(move |cx| drop(sender.send(task(cx))));
        receiver.recv_timeout(DEADLINE).expect("the task runs")
    }

    /// Sends `task` to the loop, without waiting for its end.
    pub fn post(&self, task: impl FnOnce(&mut Context<'_>) + Send + 'static) {
        let lent = || self.lent.recv_timeout(DEADLINE).expect("the loop starts");
        let mail = self.mail.get_or_init(lent);
        assert!(mail.send(Box::new(task)).is_ok(), "the loop runs");
    }

    pub fn next(&self) -> Report {
        self.reports.recv_timeout(DEADLINE).expect("an event is reported")
    }

    /// Waits for a connection to open; events before that are skipped.
    pub fn opened(&self) -> ConnId {
        loop {
            if let Report::Opened(conn) = self.next() {
                return conn;
            }
        }
    }

    /// Waits for a connection to end; returns the reason. Events before that are skipped.
    pub fn closed(&self) -> (ConnId, CloseReason) {
        loop {
            if let Report::Closed(conn, why) = self.next() {
                return (conn, why);
            }
        }
    }

    /// Expects no unread report up to the loop's current turn.
    pub fn expect_no_report(&self) {
        self.run(|_| ());
        assert_eq!(self.reports.try_iter().collect::<Vec<_>>(), []);
    }

    /// The reports so far that were not read yet.
    pub fn so_far(&self) -> impl Iterator<Item = Report> {
        self.reports.try_iter()
    }

    /// All reports until the loop has ended.
    pub fn rest(self) -> Vec<Report> {
        self.reports.iter().collect()
    }

    /// An open client, and its connection's id.
    pub fn client(&self, server: &Server, path: &str) -> (Client, ConnId) {
        (Client::open(server.address, path), self.opened())
    }
}

impl Service for Puppet {
    fn protocols(&self) -> &[&str] {
        self.protocols
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(64);
        self.tasks = Some(receiver);
        let _ = self.lend.send(sender);
    }

    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        (self.on_request)(cx, conn, request)
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.report(Report::Opened(conn));
        (self.on_open)(cx, conn);
    }

    fn on_connect(&mut self, _: &mut Context<'_>, upstream: ConnId) {
        self.report(Report::Connected(upstream));
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.report(match message {
            Message::Text(text) => Report::Text(conn, text.to_owned()),
            Message::Binary(bytes) => Report::Binary(conn, bytes.to_vec()),
        });
        (self.on_message)(cx, conn, message);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.report(Report::Drained(conn));
        (self.on_drain)(cx, conn);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.report(Report::Closed(conn, why));
        (self.on_close)(cx, conn);
    }

    fn on_empty(&mut self, cx: &mut Context<'_>, topic: &str) {
        self.report(Report::Empty(topic.to_owned()));
        (self.on_empty)(cx, topic);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        self.report(Report::Timer(key));
        (self.on_timer)(cx, key);
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.tasks.as_ref().map(MailReceiver::try_recv) {
            Some(Ok(task)) => {
                task(cx);
                More::Yes
            }
            _ => More::No,
        }
    }
}
