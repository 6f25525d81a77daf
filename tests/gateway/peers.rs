//! Upstreams that send messages and bodies of the test, valid or not.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;

use serde_json::Value;
use weir::protocol::Message;
use weir::reactor::settings::Settings;
use weir::reactor::{ConnId, Context};

use super::node::HOST;
use crate::support::{Client, Seen, Server, Watched, header, serving};

/// Stands for the id of the request in the text of an answer.
pub const ID: &str = "$ID";

/// The answer to a request: `template` with the request's id.
fn filled(template: &str, request: &Value) -> String {
    template.replace(ID, &request["id"].to_string())
}

/// A valid answer with this result.
pub fn result(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{ID},"result":{result}}}"#)
}

/// A valid answer with this error code.
pub fn error(code: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{ID},"error":{{"code":{code},"message":"as sent"}}}}"#)
}

/// An upstream by WebSocket. It sends each element of a call's parameters as a message of its own, and
/// answers a call without parameters with `"plain"`. It answers `eth_getHeld` with the next call.
pub struct Socket {
    server: Server,
    pub seen: Receiver<Seen>,
}

impl Socket {
    pub fn new() -> Socket {
        let mut held: Option<Value> = None;
        let (watched, seen) = Watched::new(move |cx, conn, message| {
            let request: Value = serde_json::from_slice(message.as_bytes()).unwrap();
            if request["method"] == "eth_getHeld" {
                held = Some(request);
                return;
            }
            match request["params"].as_array() {
                Some(texts) if !texts.is_empty() => {
                    texts.iter().for_each(|text| send(cx, conn, text, &request));
                }
                _ => send(cx, conn, &result(r#""plain""#).into(), &request),
            }
            if let Some(held) = held.take() {
                send(cx, conn, &result(r#""held""#).into(), &held);
            }
        });
        Socket { server: serving(Settings::default(), watched), seen }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/", self.server.address)
    }

    /// Waits for a request that contains this text.
    pub fn await_call(&self, what: &str) {
        let is_meant = |seen: &Seen| matches!(seen, Seen::Message(_, text) if String::from_utf8_lossy(text).contains(what));
        while !is_meant(&self.seen.recv_timeout(crate::support::DEADLINE).expect(what)) {}
    }
}

/// Sends a text, or an array of bytes as a binary message.
fn send(cx: &mut Context<'_>, conn: ConnId, message: &Value, request: &Value) {
    let outcome = match message {
        Value::String(text) => cx.send(conn, filled(text, request).as_str()),
        bytes => {
            let bytes: Vec<u8> = serde_json::from_value(bytes.clone()).unwrap();
            cx.send(conn, Message::Binary(&bytes))
        }
    };
    let _ = outcome;
}

/// An upstream by HTTP that answers every request with this status and body.
pub struct Posted {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Posted {
    pub fn new(status: &str, body: &str) -> Posted {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::<AtomicUsize>::default();
        let (count, head, body) =
            (Arc::clone(&requests), format!("HTTP/1.1 {status}\r\n"), body.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut peer = Client::over(stream.unwrap());
                let request = peer.head();
                let length = header(&request, "Content-Length").unwrap().parse().unwrap();
                let request = serde_json::from_slice(&peer.bytes(length)).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let body = filled(&body, &request);
                let length = body.len();
                let answer =
                    format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                peer.raw(answer.as_bytes());
            }
        });
        Posted { url, requests }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Number of requests that it has answered.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
