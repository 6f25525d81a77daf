//! A pool whose upstream has a DNS name, the addresses of which change.
//!
//! The name stands in a hosts file of the test, which the process sees as `/etc/hosts` in a mount
//! namespace of its own. Where users may not create namespaces, the test says so and ends.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::scripted::{Scripted, switching};
use crate::binary::File;
use crate::support::{Admin, Client, Process, TEXT, clean, eventually};

const NAME: &str = "upstream.weir.test";

/// Mounts the hosts file given as the first argument, and becomes the rest of them.
const MOUNT: &str = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

/// The command that runs another one in namespaces of its own.
fn unshare(arguments: &[&str]) -> Command {
    clean(Command::new("unshare"), ["-r", "-m"].iter().chain(arguments))
}

fn may_unshare() -> bool {
    let hosts = File::new("127.0.0.1 localhost\n");
    let mut command = unshare(&["sh", "-c", MOUNT, "sh", hosts.path(), "true"]);
    let outcome = command.stderr(Stdio::null()).status();
    outcome.is_ok_and(|status| status.success())
}

/// An upstream at this address that sends `tag` to each client, then returns its frames of 1 byte.
fn tagged(listener: TcpListener, tag: u8) -> Scripted {
    Scripted::on(listener, move |client, _| {
        client.raw(switching("").as_bytes());
        client.raw(&[0x81, 1, tag]);
        // Frames of a client are masked: a header of 6 bytes, and the payload.
        let mut frame = [0; 7];
        while client.stream.read_exact(&mut frame).is_ok() {
            client.raw(&[0x81, 1, frame[6] ^ frame[2]]);
        }
    })
}

/// The state of each address of the name, as in `/status`.
fn states(admin: &Admin) -> Vec<(String, String)> {
    let mut client = Client::tcp(admin.address());
    let host = admin.address();
    let request = format!("GET /status?format=json HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.raw(request.as_bytes());
    let status: Value = serde_json::from_slice(&client.answer().1).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let upstreams = status["pools"][0]["upstreams"].as_array().unwrap();
    let state = |upstream: &Value| {
        let name = text(&upstream["name"]);
        let (_, address) = name.split_once('/').unwrap();
        (address.to_owned(), text(&upstream["state"]))
    };
    upstreams.iter().map(state).collect()
}

#[test]
fn new_tunnels_follow_a_name_to_its_new_address_and_old_ones_stay() {
    if !may_unshare() {
        eprintln!("SKIPPED: this user may not create a mount namespace (unshare -rm)");
        return;
    }
    let [old, new] = ["127.0.0.2", "127.0.0.3"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let listener = TcpListener::bind((old, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _first = tagged(listener, b'1');
    let _second = tagged(TcpListener::bind((new, port)).unwrap(), b'2');

    let hosts = File::new(&format!("127.0.0.1 localhost\n{old} {NAME}\n"));
    let config = File::new(&format!(
        "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n\
         [[pool]]\nname = 'nodes'\nupstreams = ['http://{NAME}:{port}']\n\
         resolve_interval = '100ms'\n\
         [[route]]\npath = '/*'\nservice = 'proxy'\npool = 'nodes'\n"
    ));
    let binary = env!("CARGO_BIN_EXE_weir");
    let serve = ["sh", "-c", MOUNT, "sh", hosts.path(), binary, "--config", config.path()];
    let process = Process::spawn(&mut unshare(&serve));
    let address: SocketAddr = process.address();
    let admin = Admin::of(&process);

    let is = |expected: &[(IpAddr, &str)]| {
        let expected: Vec<_> =
            expected.iter().map(|(ip, state)| (ip.to_string(), (*state).to_owned())).collect();
        let mut found = states(&admin);
        found.sort();
        found == expected
    };
    eventually(|| is(&[(old, "up")]), "the name has its first address");
    let mut before = Client::open(address, "/");
    before.expect(TEXT, b"1");

    fs::write(hosts.path(), format!("127.0.0.1 localhost\n{new} {NAME}\n")).unwrap();
    eventually(|| is(&[(old, "unlisted"), (new, "up")]), "the name has its second address");
    let mut after = Client::open(address, "/");
    after.expect(TEXT, b"2");
    for (client, text) in [(&mut before, "a"), (&mut after, "b")] {
        client.text(text);
        client.expect(TEXT, text.as_bytes());
    }
    drop(before);
    eventually(|| is(&[(new, "up")]), "the first address is forgotten with its last tunnel");
    after.text("c");
    after.expect(TEXT, b"c");
}
