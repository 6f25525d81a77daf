//! The examples in `tools/examples`, each run as a program and used as its text says.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::{Client, Process, TEXT, any, clean, header, upgrade};

/// For a build of all examples; `cargo test` has built them before it runs the tests.
const BUILD_DEADLINE: Duration = Duration::from_secs(300);

/// Lines of an example.
const LINES_MAX: usize = 59;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the built examples. Runs cargo, since `cargo test --test weir` does not build them and
/// would leave those of an earlier build. It builds the whole workspace's, as `cargo test --workspace`
/// did: with the features of weir alone, cargo would build dependencies again.
fn built() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref().unwrap()
}

fn build() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_BIN_EXE_weir")).parent().unwrap();
    let profile = folder.file_name().unwrap().to_str().unwrap();
    let profile = if profile == "debug" { "dev" } else { profile };
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--workspace", "--examples", "--offline", "--locked", "--quiet"]);
    command.args(["--profile", profile, "--target-dir"]).arg(folder.parent().unwrap());
    let mut cargo = command.current_dir(root()).stdin(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    loop {
        match cargo.try_wait().unwrap() {
            Some(status) if status.success() => return Ok(folder.join("examples")),
            Some(status) => return Err(format!("cargo build --examples: {status}")),
            None if started.elapsed() < BUILD_DEADLINE => thread::sleep(Duration::from_millis(20)),
            None => {
                cargo.kill().unwrap();
                return Err(format!("the examples are not built within {BUILD_DEADLINE:?}"));
            }
        }
    }
}

fn run(name: &str, argument: &str) -> Process {
    Process::spawn(&mut clean(Command::new(built().join(name)), [argument]))
}

/// A running example that listens on a free port.
fn serve(name: &str) -> (Process, SocketAddr) {
    let process = run(name, "127.0.0.1:0");
    let address = process.address();
    (process, address)
}

/// The names of all examples, by their files.
fn names() -> Vec<String> {
    let files = fs::read_dir(root().join("tools/examples")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".rs").expect(&name).to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn each_example_is_short_and_says_how_it_is_run() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let examples = manifest["example"].as_array().unwrap();
    let listed: Vec<&str> = examples.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(listed, names(), "Cargo.toml lists the examples in order");
    let guide = include_str!("../src/guide/embedding.md");
    let pages = include_str!("../src/guide/mod.rs");
    for (name, example) in names().iter().zip(examples) {
        let path = format!("tools/examples/{name}.rs");
        assert_eq!(example["path"].as_str(), Some(&*path));
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path}: {lines} lines");
        assert!(text.starts_with("//! "), "{path}");
        assert!(text.contains(&format!("//! cargo run --example {name} ")), "{path}: the command");
        assert!(guide.contains(&format!("\n| [`{name}`] | ")), "the guide names {name}");
        assert!(pages.contains(&format!("/// [`{name}`]: examples::{name}\n")), "a link to {name}");
        assert!(pages.contains(&format!("include_str!(\"../../{path}\")")), "the text of {path}");
    }
}

#[test]
fn echo_returns_each_message() {
    let (_process, address) = serve("echo");
    let mut client = Client::open(address, "/");
    for text in ["hello", "", "again"] {
        client.text(text);
        client.expect(TEXT, text.as_bytes());
    }
}

#[test]
fn chat_needs_a_token_and_names_its_users() {
    let (_process, address) = serve("chat");
    for path in ["/", "/?token=", "/?token=51f2a7c1", "/?name=alice"] {
        let mut client = Client::tcp(address);
        client.raw(upgrade(path, "").as_bytes());
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 401 "), "{path}: {head}");
        assert_eq!(body, b"a token is required\n");
    }
    let mut alice = Client::open(address, "/?token=51f2a7c0");
    let mut bob = Client::open(address, "/?token=9be4d318");
    for (sender, text) in [(&mut alice, "hi"), (&mut bob, "hi, alice")] {
        sender.text(text);
    }
    let mut heard: Vec<Vec<u8>> = (0..2).map(|_| alice.frame().payload).collect();
    heard.sort();
    assert_eq!(heard, [&b"alice: hi"[..], b"bob: hi, alice"]);
    for client in [&mut alice, &mut bob] {
        client.text("bye");
    }
    drop(bob);
    while alice.frame().payload != b"bob left" {}
}

#[test]
fn ticker_sends_each_second() {
    let (_process, address) = serve("ticker");
    let mut clients = [Client::open(address, "/"), Client::open(address, "/")];
    let tick = |client: &mut Client| {
        let payload = client.frame().payload;
        let text = String::from_utf8(payload).unwrap();
        text.strip_prefix("tick ").expect(&text).parse::<u64>().unwrap()
    };
    for client in &mut clients {
        let first = tick(client);
        assert_eq!(tick(client), first + 1);
    }
}

#[test]
fn worker_answers_in_order() {
    let (_process, address) = serve("worker");
    let mut client = Client::open(address, "/");
    // More than the throttle lets a client have in work.
    for count in 0..50 {
        client.text(&"a".repeat(count));
    }
    for count in 0..50 {
        client.expect(TEXT, (count * u64::from(b'a')).to_string().as_bytes());
    }
}

#[test]
fn http_json_publishes_what_is_posted() {
    let (_process, address) = serve("http_json");
    let mut http = Client::tcp(address);
    let mut request = |method: &str, body: &str| -> (String, Value) {
        let len = body.len();
        let head =
            format!("{method} /notices HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n");
        http.raw(format!("{head}{body}").as_bytes());
        let (head, body) = http.answer();
        assert_eq!(header(&head, "Content-Type"), Some("application/json"));
        (head, serde_json::from_slice(&body).unwrap())
    };
    assert_eq!(request("GET", "").1, json!({ "clients": 0 }));
    let mut client = Client::open(address, "/notices");
    assert_eq!(request("GET", "").1, json!({ "clients": 1 }));
    let (head, answer) = request("POST", r#"{"text":"dinner"}"#);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(answer, json!({ "sent": 1, "refused": 0 }));
    client.expect(TEXT, b"dinner");
    for body in ["", "dinner", r#"{"text":1}"#] {
        assert!(request("POST", body).0.starts_with("HTTP/1.1 400 "), "{body}");
    }
}

#[test]
fn client_talks_to_the_echo() {
    let (_echo, address) = serve("echo");
    let mut client = run("client", &address.to_string());
    assert_eq!(client.line(), r#"received Text("hello")"#);
    assert!(client.line().starts_with("ended: "));
    assert_eq!(client.wait(), Some(0));
}

#[test]
fn client_ends_without_a_server() {
    // Bound, so that no other test gets its port, but not listening.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&any().into()).unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap();
    let mut client = run("client", &address.to_string());
    assert!(client.line().starts_with("ended: "));
    assert_eq!(client.wait(), Some(0));
}

#[test]
fn tokio_answers_and_stops_the_loop() {
    let (mut process, address) = serve("tokio");
    let mut clients = [Client::open(address, "/"), Client::open(address, "/")];
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| client.text("hello"));
        clients.iter_mut().for_each(|client| client.expect(TEXT, b"tokio got hello"));
    }
    process.signal(Signal::INT);
    for client in &mut clients {
        assert_eq!(client.expect_close().0, 1001);
    }
    drop(clients);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn shutdown_sends_pending_answers_first() {
    for signal in [Signal::INT, Signal::TERM] {
        let (mut process, address) = serve("shutdown");
        let (mut busy, mut idle) = (Client::open(address, "/"), Client::open(address, "/"));
        busy.text("work");
        busy.expect(TEXT, b"working");
        process.signal(signal);
        assert_eq!(idle.expect_close().0, 1001);
        busy.expect(TEXT, b"done");
        assert_eq!(busy.expect_close().0, 1001);
        drop((busy, idle));
        assert_eq!(process.wait(), Some(0));
        assert_eq!(process.line(), "stopped");
    }
}
