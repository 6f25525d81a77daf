//! A process that is stopped while deadlines pass: what its peers do within that time counts.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, PING, PONG, Process, TEXT, eventually, frame, upgrade,
};

/// Longer than the deadlines of the servers, which are two seconds.
const STOPPED: Duration = Duration::from_millis(2_500);

/// The peer acts while the process is stopped, and all deadlines pass before it goes on.
fn while_stopped(process: &Process, act: impl FnOnce()) {
    process.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", process.pid().as_raw_nonzero());
    let is_stopped = || {
        let stat = fs::read_to_string(&stat).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    eventually(is_stopped, "the process is stopped");
    act();
    // Nothing but the time itself is waited for.
    thread::sleep(STOPPED);
    process.signal(Signal::CONT);
}

/// Eight rounds in all, two for each of these.
const ROUNDS: usize = 2;

#[test]
fn a_request_that_came_while_the_process_was_stopped_is_answered() {
    let (process, address) = Process::serve(&["--handshake-timeout=2s"]);
    let request = upgrade("/", "");
    let (first, second) = request.split_at(request.len() / 2);
    for _ in 0..ROUNDS {
        let mut client = Client::tcp(address);
        client.raw(first.as_bytes());
        while_stopped(&process, || client.raw(second.as_bytes()));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }
    process.stop();
}

#[test]
fn a_fragment_that_came_while_the_process_was_stopped_ends_its_message() {
    let (process, address) = Process::serve(&["--fragment-timeout=2s"]);
    for _ in 0..ROUNDS {
        let mut client = Client::open(address, "/");
        client.raw(&frame(false, TEXT, b"one, "));
        while_stopped(&process, || client.raw(&frame(true, CONTINUATION, b"two")));
        client.expect(TEXT, b"one, two");
    }
    process.stop();
}

#[test]
fn a_pong_that_came_while_the_process_was_stopped_counts() {
    let (process, address) =
        Process::serve(&["--ping-interval=3s", "--pong-timeout=2s", "--pong-misses-max=1"]);
    for _ in 0..ROUNDS {
        let mut client = Client::open(address, "/");
        let ping = client.frame();
        assert_eq!(ping.opcode, PING);
        while_stopped(&process, || client.send(PONG, &ping.payload));
        client.text("still here");
        client.expect(TEXT, b"still here");
    }
    process.stop();
}

#[test]
fn a_close_that_came_while_the_process_was_stopped_ends_in_good_order() {
    let (process, address) = Process::serve(&["--idle-timeout=500ms", "--close-timeout=2s"]);
    for _ in 0..ROUNDS {
        let mut client = Client::open(address, "/");
        let close = client.frame();
        assert_eq!(close.opcode, CLOSE);
        while_stopped(&process, || client.send(CLOSE, &close.payload));
        client.expect_end();
    }
    process.stop();
}

/// The peer has read nothing for a while, so that the server waits to write, and then reads all.
#[test]
fn what_a_peer_read_while_the_process_was_stopped_counts() {
    const MESSAGE: &[u8] = &[7; 60_000];
    let (process, address) = Process::serve(&["--write-timeout=2s"]);
    for _ in 0..ROUNDS {
        let mut client = Client::narrow(address, "/");
        let message = frame(true, BINARY, MESSAGE);
        client.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // Until the server, which cannot write, does not read any more.
        let (mut messages, mut sent) = (0, 0);
        loop {
            match client.stream.write(&message[sent..]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
            if sent == message.len() {
                (messages, sent) = (messages + 1, 0);
            }
        }
        while_stopped(&process, || client.expect(BINARY, MESSAGE));
        client.stream.set_write_timeout(None).unwrap();
        let mut writer = client.writer();
        let rest = message[sent..].to_vec();
        let writing = thread::spawn(move || writer.write_all(&rest).unwrap());
        for _ in 0..messages {
            client.expect(BINARY, MESSAGE);
        }
        writing.join().unwrap();
    }
    process.stop();
}
