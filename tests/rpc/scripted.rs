//! The service on a real loop, with a backend whose answers the test sends.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{Context, MailReceiver, MailSender, Reactor};
use weir::services::rpc::{
    Backend, Call, Feeds, Network, Notice, Outcome, Progress, Rpc, RpcError, RpcSettings, Ticket,
};

use crate::support::{Client, DEADLINE, PING, PONG, Server, TEXT};

/// A task that the test sends to the backend.
pub type Mail = Box<dyn FnOnce() -> Notice + Send>;

/// Answers `now` with its parameters, `large` with a string of this many bytes, and `later` when the test
/// sends the answer. It has no other method.
pub struct Scripted {
    network: Network,
    sender: Sender<Report>,
    mail: Option<MailReceiver<Mail>>,
}

/// A report of the backend to the test.
pub enum Report {
    Started(MailSender<Mail>),
    Called(Ticket),
    /// Whether heads are subscribed to, and the number of filters.
    Feeds(bool, usize),
}

impl Backend for Scripted {
    fn network(&self) -> &Network {
        &self.network
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        let (sender, receiver) = cx.mailbox(1024);
        self.mail = Some(receiver);
        self.sender.send(Report::Started(sender)).unwrap();
    }

    fn call(
        &mut self,
        _: &mut Context<'_>,
        ticket: Ticket,
        call: &Call<'_>,
        result: &mut String,
    ) -> Result<Progress, RpcError> {
        match &*call.method {
            "now" => *result += call.params.map_or("null", RawValue::get),
            "large" => {
                let (bytes,): (usize,) = call.positional(1)?;
                *result += &format!("\"{}\"", "x".repeat(bytes));
            }
            "later" => {
                let _ = self.sender.send(Report::Called(ticket));
                return Ok(Progress::Later);
            }
            other => return Err(RpcError::unknown_method(other)),
        }
        Ok(Progress::Done)
    }

    fn receive(&mut self, _: &mut Context<'_>) -> Option<Notice> {
        self.mail.as_ref()?.try_recv().ok().map(|mail| mail())
    }

    fn on_feeds(&mut self, _: &mut Context<'_>, feeds: &Feeds) {
        let _ = self.sender.send(Report::Feeds(feeds.heads(), feeds.filters().count()));
    }
}

/// Adds a scripted backend at `/`.
pub fn serve(
    reactor: &mut Reactor,
    rpc: RpcSettings,
    route: RouteSettings,
    sender: Sender<Report>,
) {
    let network = Network { project: "test".into(), architecture: "evm", chain_id: 0x849 };
    let route = rpc.fit(route);
    let rpc = Rpc::new(Scripted { network, sender, mail: None }, rpc);
    let rpc = reactor.add_service(rpc).unwrap();
    reactor.add_route("/", rpc, route).unwrap();
}

/// A server with a scripted backend at `/`.
pub struct Stage {
    pub server: Server,
    pub reports: Receiver<Report>,
    mail: MailSender<Mail>,
}

impl Stage {
    pub fn new(settings: RpcSettings) -> Stage {
        Stage::with_route(settings, RouteSettings::default())
    }

    pub fn with_route(settings: RpcSettings, route: RouteSettings) -> Stage {
        Stage::with_loop(settings, route, Settings::default())
    }

    pub fn with_loop(rpc: RpcSettings, route: RouteSettings, settings: Settings) -> Stage {
        let (sender, receiver) = channel();
        let server = Server::start(settings, move |reactor| serve(reactor, rpc, route, sender));
        let Ok(Report::Started(mail)) = receiver.recv_timeout(DEADLINE) else {
            panic!("the first report is the start");
        };
        Stage { server, reports: receiver, mail }
    }

    pub fn client(&self) -> Client {
        Client::open(self.server.address, "/")
    }

    pub fn notify(&self, mail: impl FnOnce() -> Notice + Send + 'static) {
        assert!(self.mail.send(Box::new(mail)).is_ok(), "the backend runs");
    }

    pub fn answer(&self, ticket: Ticket, outcome: Outcome) {
        self.notify(move || Notice::Answer { tickets: vec![ticket], outcome });
    }

    /// The ticket of the next call to `later`.
    pub fn called(&self) -> Ticket {
        loop {
            if let Report::Called(ticket) = self.reports.recv_timeout(DEADLINE).expect("a call") {
                return ticket;
            }
        }
    }

    /// Waits for a change of the subscriptions.
    pub fn feeds(&self) -> (bool, usize) {
        loop {
            if let Report::Feeds(heads, filters) =
                self.reports.recv_timeout(DEADLINE).expect("feeds")
            {
                return (heads, filters);
            }
        }
    }
}

pub fn raw(json: &Value) -> Box<RawValue> {
    to_raw_value(json).unwrap()
}

/// The next message, which must be text. Answers the pings before it: a test that waits for long on a
/// busy machine gets some.
pub fn text(client: &mut Client) -> String {
    let mut frame = client.frame();
    while frame.opcode == PING {
        client.send(PONG, &frame.payload);
        frame = client.frame();
    }
    let payload = String::from_utf8(frame.payload).unwrap();
    assert_eq!(frame.opcode, TEXT, "{payload}");
    payload
}

pub fn json(client: &mut Client) -> Value {
    serde_json::from_str(&text(client)).unwrap()
}

/// Sends a call and returns its reply.
pub fn call(client: &mut Client, method: &str, params: &Value) -> Value {
    let call = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    client.text(&call.to_string());
    json(client)
}

/// Settings with small limits.
pub fn narrow() -> RpcSettings {
    RpcSettings::default()
        .subscriptions_per_connection_max(3)
        .subscriptions_max(5)
        .batch_items_max(4)
        .response_bytes_max(10_000)
        .depth_max(8)
        .calls_per_connection_max(4)
        .calls_max(6)
        .call_timeout(Duration::from_secs(30))
}
