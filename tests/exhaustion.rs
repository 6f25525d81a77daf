//! No descriptor left: clients that are in stay, later ones are answered 503, operators are served, and it
//! passes.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use rlimit::Resource;

use crate::support::{Client, Process, TEXT, eventually, upgrade, weir};

/// Clients that get in before the limit falls, those that it leaves room for, and those beyond.
const EARLY: usize = 20;
const ROOM: usize = 10;
const SURPLUS: usize = 15;

/// Leaves a running process this many descriptors more than it has.
fn leave_descriptors(server: &Process, more: usize) {
    let pid = server.pid();
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let number = |entry: std::io::Result<fs::DirEntry>| -> u64 {
        entry.unwrap().file_name().to_str().unwrap().parse().unwrap()
    };
    let taken: Vec<u64> = numbers.map(number).collect();
    // The limit is on their numbers, and there may be gaps.
    let limit = (0..).filter(|number| !taken.contains(number)).nth(more).unwrap();
    rlimit::prlimit(pid.as_raw_nonzero().get(), Resource::NOFILE, Some((limit, limit)), None)
        .unwrap();
}

/// The status of the answer to an upgrade request; `None` if the stream ended without one.
fn answer(client: &mut Client) -> Option<String> {
    let mut head = [0; 12];
    match client.stream.read_exact(&mut head) {
        Ok(()) => Some(String::from_utf8(head[9..].to_vec()).unwrap()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("neither in nor out"),
        Err(_) => None,
    }
}

fn ask(address: SocketAddr) -> Client {
    let mut client = Client::tcp(address);
    client.raw(upgrade("/", "").as_bytes());
    client
}

#[test]
fn running_out_of_descriptors_passes() {
    let (server, address) = Process::serve(&[]);
    let mut clients: Vec<Client> = (0..EARLY).map(|_| Client::open(address, "/")).collect();
    leave_descriptors(&server, ROOM);

    // All of them wait in the kernel's queue when the server begins to run out.
    let late: Vec<Client> = (0..ROOM + SURPLUS).map(|_| ask(address)).collect();
    let (mut got_in, mut turned_away) = (0, 0);
    for mut client in late {
        match answer(&mut client).as_deref() {
            Some("101") => {
                // Through `head`, which takes the rest of the answer up to its empty line.
                client.head();
                clients.push(client);
                got_in += 1;
            }
            Some("503") | None => turned_away += 1,
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!((got_in, turned_away), (ROOM, SURPLUS));
    // Each client that was turned away began a rest.
    let log = server.log();
    assert_eq!(log.matches("accepting paused: Too many open files").count(), 1, "{log}");

    for client in &mut clients {
        client.text("still here");
        client.expect(TEXT, b"still here");
    }
    clients.truncate(EARLY);
    let mut again = Vec::new();
    eventually(
        || {
            let mut client = ask(address);
            if answer(&mut client).as_deref() == Some("101") {
                client.head();
                again.push(client);
            }
            again.len() == ROOM
        },
        "as many as have left get in",
    );
    for client in clients.iter_mut().chain(&mut again) {
        client.text("all is well");
        client.expect(TEXT, b"all is well");
    }
}

#[test]
fn an_operator_is_answered_without_a_free_descriptor() {
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let server = Process::spawn(&mut weir(ports));
    let address = server.address();
    let admin = server.line();
    let admin = admin.trim_start_matches("admin http://").trim_end_matches('/').parse().unwrap();
    leave_descriptors(&server, ROOM);
    let clients: Vec<Client> = (0..ROOM).map(|_| Client::open(address, "/")).collect();
    // These wait in the kernel's queue for the next descriptor that is free.
    let _late: Vec<Client> = (0..SURPLUS).map(|_| ask(address)).collect();
    for round in 0..5 {
        let mut operator = Client::tcp(admin);
        operator.raw(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let (head, _) = operator.answer();
        assert!(head.starts_with("HTTP/1.1 200 "), "{round}: {head}");
        operator.expect_end();
    }
    drop(clients);
}
