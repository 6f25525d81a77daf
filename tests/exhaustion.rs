//! Out of file descriptors: open connections stay, new clients are answered 503, operators are served, and
//! clients are admitted again once descriptors are free.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use crate::support::{Client, Process, TEXT, eventually, upgrade, weir};

/// Clients admitted before the limit falls, clients within the limit, and clients beyond it.
const EARLY: usize = 20;
const ROOM: usize = 10;
const SURPLUS: usize = 15;

/// The status of the answer to an upgrade request; `None` if the stream ended without one.
fn answer(client: &mut Client) -> Option<String> {
    let mut head = [0; 12];
    match client.stream.read_exact(&mut head) {
        Ok(()) => Some(String::from_utf8(head[9..].to_vec()).unwrap()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer"),
        Err(_) => None,
    }
}

fn ask(address: SocketAddr) -> Client {
    let mut client = Client::tcp(address);
    client.raw(upgrade("/", "").as_bytes());
    client
}

#[test]
fn clients_are_admitted_again_after_descriptors_ran_out() {
    let (server, address) = Process::serve(&[]);
    let mut clients: Vec<Client> = (0..EARLY).map(|_| Client::open(address, "/")).collect();
    server.leave_descriptors(ROOM);

    // All of them wait in the kernel's queue when the server runs out.
    let late: Vec<Client> = (0..ROOM + SURPLUS).map(|_| ask(address)).collect();
    let (mut admitted, mut refused) = (0, 0);
    for mut client in late {
        match answer(&mut client).as_deref() {
            Some("101") => {
                // Through `head`, which takes the rest of the answer up to its empty line.
                client.head();
                clients.push(client);
                admitted += 1;
            }
            Some("503") | None => refused += 1,
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!((admitted, refused), (ROOM, SURPLUS));
    // Accepting paused after each refused client.
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
        "as many clients are admitted as have left",
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
    server.leave_descriptors(ROOM);
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
