//! The real binary as a relay, with its store in a directory of the test; and a client that speaks NIP-01.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::author::Author;
use crate::support::{Admin, CLOSE, Client, Process, TEXT, clean, weir};

/// A directory that is removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relay-{}-{count}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn events(&self) -> String {
        self.0.join("events").to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The command of the binary with these arguments, started by another command: the first part is its program
/// and first arguments; none of them start it directly.
pub fn weir_within<A: AsRef<OsStr>>(
    within: &[String],
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let command = weir(arguments);
    let Some((program, first)) = within.split_first() else {
        return command;
    };
    let mut outer = clean(Command::new(program), first);
    outer.arg(command.get_program()).args(command.get_args());
    outer
}

/// A relay as a process of its own.
pub struct Relay {
    pub process: Process,
    pub address: SocketAddr,
    pub admin: Admin,
    directory: Directory,
    settings: String,
    /// The command that starts the process: program and arguments before those of the binary.
    within: Vec<String>,
}

impl Relay {
    /// A relay with these lines in its `[[relay]]` table. `---` separates lines of the file before the table,
    /// and those of its route behind it: `head---table` or `head---table---route`.
    pub fn with(settings: &str) -> Relay {
        Relay::start(Directory::new(), settings)
    }

    /// A relay with the default settings, but without limits on rates, for tests that send much.
    pub fn new() -> Relay {
        Relay::with("events_rate = 'off'\nevents_rate_per_address = 'off'\nrequests_rate = 'off'")
    }

    pub fn start(directory: Directory, settings: &str) -> Relay {
        Relay::start_within(&[], directory, settings)
    }

    /// A relay that another command starts: `within` is its program and first arguments.
    pub fn start_within(within: &[String], directory: Directory, settings: &str) -> Relay {
        let file = directory.path().join("weir.toml");
        let parts: Vec<&str> = settings.split("---").collect();
        let (head, relay, route) = match parts[..] {
            [relay] => ("", relay, ""),
            [head, relay] => (head, relay, ""),
            [head, relay, route] => (head, relay, route),
            _ => panic!("{settings}"),
        };
        // The tests do not depend on the machine's disk.
        let room = if relay.contains("disk_free_min") { "" } else { "disk_free_min = 0" };
        let text = format!(
            "{head}\n[[relay]]\nname = 'main'\ndata_dir = {:?}\n{room}\n{relay}\n\
             [[route]]\npath = '/'\nservice = 'nostr'\nrelay = 'main'\n{route}\n",
            directory.events()
        );
        fs::write(&file, text).unwrap();
        let arguments = ["relay", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let file = ["--config", file.to_str().unwrap()];
        let process = Process::spawn(&mut weir_within(within, arguments.iter().chain(&file)));
        let address = process.address();
        let admin = Admin::of(&process);
        let (settings, within) = (settings.to_owned(), within.to_vec());
        Relay { process, address, admin, directory, settings, within }
    }

    /// Ends the process by SIGKILL, and starts another one on its directory.
    pub fn killed(self) -> Relay {
        self.killed_then(|_| ())
    }

    /// Ends the process by SIGKILL, and starts another one on its directory after this.
    pub fn killed_then(self, then: impl FnOnce(&Directory)) -> Relay {
        let Relay { process, directory, settings, within, .. } = self;
        drop(process);
        then(&directory);
        Relay::start_within(&within, directory, &settings)
    }

    /// Ends the process by SIGTERM, and starts another one on its directory.
    pub fn restarted(self) -> Relay {
        let Relay { process, directory, settings, within, .. } = self;
        process.stop();
        Relay::start_within(&within, directory, &settings)
    }

    /// Ends the process by SIGTERM; its directory stays.
    pub fn stopped(self) -> Directory {
        self.process.stop();
        self.directory
    }

    /// The file with its configuration.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("weir.toml")
    }

    /// The directory of its events.
    pub fn directory(&self) -> String {
        self.directory.events()
    }

    /// A client that has received its challenge.
    pub fn client(&self) -> NostrClient {
        NostrClient::open(self.address)
    }
}

/// A WebSocket to a relay.
pub struct NostrClient {
    pub client: Client,
    pub challenge: String,
}

impl NostrClient {
    /// Opens a WebSocket; the first message must be the challenge.
    pub fn open(address: SocketAddr) -> NostrClient {
        NostrClient::on(Client::open(address, "/"))
    }

    /// A client on an open WebSocket; the first message must be the challenge.
    pub fn on(client: Client) -> NostrClient {
        let mut client = NostrClient { client, challenge: String::new() };
        let challenge = client.expect("AUTH");
        client.challenge = challenge[1].as_str().unwrap().to_owned();
        client
    }

    /// Opens a WebSocket with a small receive buffer.
    pub fn narrow(address: SocketAddr) -> NostrClient {
        NostrClient::on(Client::narrow(address, "/"))
    }

    /// Opens a WebSocket to a relay that sends no challenge.
    pub fn unchallenged(address: SocketAddr) -> NostrClient {
        NostrClient { client: Client::open(address, "/"), challenge: String::new() }
    }

    pub fn send(&mut self, message: &Value) {
        self.client.text(&message.to_string());
    }

    /// The next message.
    pub fn receive(&mut self) -> Value {
        let frame = self.client.frame();
        let text = String::from_utf8_lossy(&frame.payload).into_owned();
        assert!(frame.fin && frame.opcode == TEXT, "opcode {}: {text}", frame.opcode);
        serde_json::from_str(&text).expect(&text)
    }

    /// The next message, which must have this verb.
    pub fn expect(&mut self, verb: &str) -> Value {
        let message = self.receive();
        assert_eq!(message[0], verb, "{message}");
        message
    }

    /// Sends an event; returns the last two elements of its OK.
    pub fn publish(&mut self, event: &Value) -> (bool, String) {
        self.send(&json!(["EVENT", event]));
        self.ok(event["id"].as_str().unwrap())
    }

    /// Sends an event that must be accepted without a remark.
    pub fn accept(&mut self, event: &Value) {
        assert_eq!(self.publish(event), (true, String::new()), "{event}");
    }

    /// The next message, which must be the OK of this event.
    pub fn ok(&mut self, id: &str) -> (bool, String) {
        let ok = self.expect("OK");
        assert_eq!(ok[1], id, "{ok}");
        (ok[2].as_bool().unwrap(), ok[3].as_str().unwrap().to_owned())
    }

    /// Opens a subscription; returns its stored events.
    pub fn request(&mut self, id: &str, filters: &[Value]) -> Vec<Value> {
        let mut message = vec![json!("REQ"), json!(id)];
        message.extend_from_slice(filters);
        self.send(&Value::Array(message));
        self.stored(id)
    }

    /// The events up to EOSE.
    pub fn stored(&mut self, id: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let mut message = self.receive();
            assert_eq!(message[1], id, "{message}");
            match message[0].as_str().unwrap() {
                "EVENT" => events.push(message[2].take()),
                "EOSE" => return events,
                _ => panic!("{message}"),
            }
        }
    }

    /// The stored events that match, by a subscription that is closed again.
    pub fn find(&mut self, filter: Value) -> Vec<Value> {
        let events = self.request("find", &[filter]);
        self.send(&json!(["CLOSE", "find"]));
        events
    }

    /// The next message, which must be a live event of this subscription.
    pub fn live(&mut self, id: &str) -> Value {
        let mut message = self.expect("EVENT");
        assert_eq!(message[1], id, "{message}");
        message[2].take()
    }

    /// The next message, which must be CLOSED; returns its text.
    pub fn closed(&mut self, id: &str) -> String {
        let message = self.expect("CLOSED");
        assert_eq!(message[1], id, "{message}");
        message[2].as_str().unwrap().to_owned()
    }

    /// The text of the next message, which must be a NOTICE.
    pub fn notice(&mut self) -> String {
        self.expect("NOTICE")[1].as_str().unwrap().to_owned()
    }

    /// Sends a text; returns the answer.
    pub fn ask(&mut self, text: &str) -> Value {
        self.client.text(text);
        self.receive()
    }

    /// Authenticates as this author, naming the relay by its address.
    pub fn authenticate(&mut self, author: &Author) -> (bool, String) {
        let url = format!("ws://{}/", self.client.stream.peer_addr().unwrap());
        let event = self.auth_event(author, &url);
        self.send(&json!(["AUTH", event]));
        self.ok(event["id"].as_str().unwrap())
    }

    /// The event of an AUTH.
    pub fn auth_event(&self, author: &Author, url: &str) -> Value {
        author.event(22242, json!([["relay", url], ["challenge", self.challenge]]), "")
    }

    /// Asserts that nothing comes before the answer to this request.
    pub fn expect_silence(&mut self) {
        let answer = self.ask(r#"["REQ","silence",{"limit":0}]"#);
        assert_eq!(answer[0], "EOSE", "{answer}");
        assert_eq!(answer[1], "silence", "{answer}");
        self.send(&json!(["CLOSE", "silence"]));
    }

    /// The code and reason of the Close, after any messages.
    pub fn expect_close(&mut self) -> (u16, String) {
        self.client.expect_close()
    }

    /// Closes the connection.
    pub fn leave(mut self) {
        self.client.close(1000, "");
        while self.client.frame().opcode != CLOSE {}
    }
}
