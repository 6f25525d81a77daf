//! A server that answers as the hook of a test, and servers with that hook.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use weir::protocol::handshake::Response;
use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, GateId, HttpRequest, Service};
use weir::services::auth::{Hook, HookSettings};

use super::gated::{Seen, report, response, status_of};
use crate::support::{Client, DEADLINE, Server};

/// A hook that reports the head of each request and sends these bytes.
pub struct HookServer {
    pub url: String,
    pub heads: Receiver<String>,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
}

#[derive(Clone)]
pub enum Answer {
    Bytes(String),
    /// Nothing, and the connection stays open.
    Hang,
    /// The end of the connection.
    End,
    /// These bytes, when the test has come to the barrier, too.
    After(Arc<Barrier>, String),
}

pub fn ok(lines: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nok"))
}

pub fn refusing(status: &str, lines: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{lines}\r\n"))
}

impl HookServer {
    pub fn new(answer: Answer) -> HookServer {
        let answer = Arc::new(Mutex::new(answer));
        let answers = Arc::clone(&answer);
        HookServer::start(answer, move |_| answers.lock().unwrap().clone())
    }

    /// A hook whose answer depends on the head of the request.
    pub fn choosing(choose: impl Fn(&str) -> Answer + Send + Sync + 'static) -> HookServer {
        HookServer::start(Arc::new(Mutex::new(Answer::End)), choose)
    }

    fn start(
        answer: Arc<Mutex<Answer>>,
        choose: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> HookServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/check/secret", listener.local_addr().unwrap());
        let (sender, heads) = channel();
        let (asked, choose) = (Arc::new(AtomicUsize::new(0)), Arc::new(choose));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, count, choose) =
                    (sender.clone(), Arc::clone(&count), Arc::clone(&choose));
                thread::spawn(move || {
                    serve(stream, |head| {
                        count.fetch_add(1, Ordering::Relaxed);
                        let answer = choose(&head);
                        // The test may have ended.
                        let _ = sender.send(head);
                        answer
                    })
                });
            }
        });
        HookServer { url, heads, asked, answer }
    }

    pub fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn settings(&self) -> HookSettings {
        HookSettings::new(self.url.parse().unwrap())
    }
}

/// Answers each request of a connection.
pub fn serve(stream: TcpStream, answer: impl Fn(String) -> Answer) {
    let mut client = Client::over(stream);
    while let Some(head) = client.try_head() {
        match answer(head) {
            Answer::Bytes(bytes) => {
                if client.stream.write_all(bytes.as_bytes()).is_err() {
                    return;
                }
            }
            Answer::After(barrier, bytes) => {
                barrier.wait();
                client.raw(bytes.as_bytes());
            }
            // Until the other side gives up.
            Answer::Hang => drop(client.try_head()),
            Answer::End => return,
        }
    }
}

/// Signs the subject that the query names out.
struct SignOut(GateId);

impl Service for SignOut {
    fn methods(&self) -> &'static [&'static str] {
        &["GET"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        cx.sign_out(self.0, request.http.query().unwrap(), CloseCode::FORBIDDEN);
        Some(Response::text(200, "ok"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A server whose route `/` has this hook.
pub fn hooked(settings: HookSettings, route: RouteSettings) -> (Server, Receiver<Seen>) {
    hooked_loop(Settings::default(), settings, route)
}

pub fn hooked_loop(
    of_loop: Settings,
    settings: HookSettings,
    route: RouteSettings,
) -> (Server, Receiver<Seen>) {
    let (sender, receiver) = channel();
    let server = Server::start(of_loop, move |reactor| {
        let hook = Hook::new("hook", settings).unwrap();
        let gate = reactor.add_gate(hook, GateSettings::default()).unwrap();
        let (service, seen) = report();
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/*", service, route.gate(gate)).unwrap();
        reactor.add_route("/open", service, RouteSettings::default()).unwrap();
        let sign_out = reactor.add_service(SignOut(gate)).unwrap();
        reactor.add_route("/out", sign_out, RouteSettings::default()).unwrap();
        sender.send(seen).unwrap();
    });
    (server, receiver.recv_timeout(DEADLINE).unwrap())
}

pub fn status(server: &Server) -> u16 {
    status_of(&response(server, "/", ""))
}
