//! A relay whose answers a test decides: for what real relays do rarely.

use std::net::SocketAddr;

use ::negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};
use weir::protocol::Message;
use weir::reactor::settings::Settings;
use weir::reactor::{ConnId, Context, Service};

use super::author::id;
use crate::support::{Server, serving};

/// What a relay sends after a message.
type Script = Box<dyn FnMut(&Value) -> Vec<Value> + Send>;

/// A relay that knows negentropy, and takes the rest of its answers from a script.
pub struct Scripted {
    list: NegentropyStorageVector,
    script: Script,
}

impl Scripted {
    /// A relay whose negentropy lists these events.
    pub fn start(
        listed: &[&Value],
        script: impl FnMut(&Value) -> Vec<Value> + Send + 'static,
    ) -> Server {
        let mut list = NegentropyStorageVector::new();
        for event in listed {
            let bytes: [u8; 32] = hex::decode(id(event)).unwrap().try_into().unwrap();
            let time = event["created_at"].as_u64().unwrap();
            list.insert(time, Id::from_byte_array(bytes)).unwrap();
        }
        list.seal().unwrap();
        serving(Settings::default(), Scripted { list, script: Box::new(script) })
    }

    fn answers(&mut self, message: &Value) -> Vec<Value> {
        let at = match message[0].as_str() {
            Some("NEG-OPEN") => 3,
            Some("NEG-MSG") => 2,
            _ => return (self.script)(message),
        };
        let query = hex::decode(message[at].as_str().unwrap()).unwrap();
        let reply = Negentropy::borrowed(&self.list, 0).unwrap().reconcile(&query).unwrap();
        vec![json!(["NEG-MSG", message[1], hex::encode(reply)])]
    }
}

impl Service for Scripted {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let message: Value = serde_json::from_slice(message.as_bytes()).unwrap();
        for answer in self.answers(&message) {
            match answer {
                Value::Null => cx.abort(conn),
                answer => {
                    let _ = cx.send(conn, &answer.to_string());
                }
            }
        }
    }
}

/// The URL of a relay.
pub fn url(address: SocketAddr) -> String {
    format!("ws://{address}/")
}
