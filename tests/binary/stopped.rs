//! A process that is stopped (SIGSTOP) while deadlines pass: what its peers do meanwhile counts.
//!
//! Each test first waits until the server has started the deadline. A stop that came earlier would hide
//! the fault: the server would then start the deadline after SIGCONT.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::{admin_address, metric};
use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, PING, PONG, Process, TEXT, crowd, eventually, frame,
    upgrade,
};

/// Longer than the deadlines of the servers, which are two seconds.
const STOPPED: Duration = Duration::from_millis(2_500);

/// A server with an admin address, and both addresses.
fn serve(flag: &[&str]) -> (Process, SocketAddr, SocketAddr) {
    let arguments = [&["--admin=127.0.0.1:0"], flag].concat();
    let (process, address) = Process::serve(&arguments);
    let admin = admin_address(&process);
    (process, address, admin)
}

/// Answers pings on many connections until it is asked for them.
struct Answering {
    thread: thread::JoinHandle<Vec<Client>>,
    ends: Arc<AtomicBool>,
}

impl Answering {
    fn start(mut clients: Vec<Client>) -> Answering {
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                for index in readable(&clients) {
                    let client = &mut clients[index];
                    let ping = client.frame();
                    assert_eq!(ping.opcode, PING, "a client lost its connection: {ping:?}");
                    client.send(PONG, &ping.payload);
                }
            }
            clients
        });
        Answering { thread, ends }
    }

    fn end(self) -> Vec<Client> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The clients that have something to read, after at most 20 ms.
fn readable(clients: &[Client]) -> Vec<usize> {
    let mut polled: Vec<PollFd<'_>> =
        clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)).collect();
    let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    poll(&mut polled, Some(&wait)).unwrap();
    let is_ready = |(_, it): &(usize, &PollFd<'_>)| it.revents().contains(PollFlags::IN);
    polled.iter().enumerate().filter(is_ready).map(|(index, _)| index).collect()
}

/// A number of the environment, for a larger run.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |value| value.parse().unwrap())
}

/// Peers that answer each ping at once, except while the process is stopped for longer than the timeout.
/// A few have a ping before the stop, and their pongs are lost.
#[test]
fn a_stop_ends_no_connection() {
    let connections = number("STOPPED_CONNECTIONS", 500);
    let stopped = Duration::from_secs(number("STOPPED_SECONDS", 5));
    let _descriptors = crowd();
    let (mut process, address, admin) = serve(&[
        "--levels",
        "--delay-elevated=1h",
        "--delay-critical=2h",
        "--memory-max=off",
        "--ping-interval=4s",
        "--pong-timeout=3s",
        "--pong-misses-max=1",
        "--log-access",
    ]);
    // Each answers while the others are opened.
    let mut answering: Vec<Answering> = Vec::new();
    let mut left = connections;
    while left > 0 {
        let some = left.min(100);
        let clients = (0..some).map(|_| Client::open(address, "/")).collect();
        answering.push(Answering::start(clients));
        left -= some;
    }
    eventually(|| metric(admin, "weir_pongs_matched_total") >= connections, "pongs arrive");
    let mut losing: Vec<Client> = (0..LOSING).map(|_| Client::open(address, "/")).collect();
    for client in &mut losing {
        assert_eq!(client.frame().opcode, PING);
    }
    while_stopped_for(stopped, &process, || {});
    answering.push(Answering::start(losing));
    let matched = metric(admin, "weir_pongs_matched_total");
    let all = matched + connections + LOSING;
    eventually(|| metric(admin, "weir_pongs_matched_total") >= all, "each answers again");
    assert_eq!(metric(admin, "weir_pongs_missed_total"), 0);
    let mut clients: Vec<Client> = answering.into_iter().flat_map(Answering::end).collect();
    assert_eq!(clients.len() as u64, connections + LOSING);
    assert!(process.is_running() && !process.log().contains("ended:"), "{}", process.log());
    clients.clear();
    process.stop();
}

/// Stops the process, has the peer act, and lets the process run again after all deadlines have passed.
///
/// The process is stopped in its poll, which returns EINTR then. Stopped elsewhere, it would poll again
/// before it looks at a deadline.
fn while_stopped(process: &Process, act: impl FnOnce()) {
    while_stopped_for(STOPPED, process, act);
}

fn while_stopped_for(stopped: Duration, process: &Process, act: impl FnOnce()) {
    let stat = format!("/proc/{}/stat", process.pid().as_raw_nonzero());
    let is_in_state = |state: char| {
        let stat = fs::read_to_string(&stat).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with(state)
    };
    eventually(|| is_in_state('S'), "the process sleeps in its poll");
    process.signal(Signal::STOP);
    eventually(|| is_in_state('T'), "the process is stopped");
    act();
    // Only time can be waited for: a stopped process does nothing.
    thread::sleep(stopped);
    process.signal(Signal::CONT);
}

/// Few, so that all are pinged within a timeout.
const LOSING: u64 = 20;

/// For each test.
const ROUNDS: u64 = 2;

#[test]
fn a_request_that_arrived_while_the_process_was_stopped_is_answered() {
    let (process, address, admin) = serve(&["--handshake-timeout=2s"]);
    let request = upgrade("/", "");
    let (first, second) = request.split_at(request.len() / 2);
    for _ in 0..ROUNDS {
        let mut client = Client::tcp(address);
        client.raw(first.as_bytes());
        eventually(|| metric(admin, "weir_buffered_bytes") > 0, "the server holds the first half");
        while_stopped(&process, || client.raw(second.as_bytes()));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        drop(client);
        eventually(|| metric(admin, "weir_buffered_bytes") == 0, "the server holds nothing");
    }
    process.stop();
}

#[test]
fn a_fragment_that_arrived_while_the_process_was_stopped_ends_its_message() {
    let (process, address, admin) = serve(&["--fragment-timeout=2s"]);
    for round in 1..=ROUNDS {
        let mut client = Client::open(address, "/");
        client.raw(&frame(false, TEXT, b"one, "));
        let received = || metric(admin, "weir_received_fragments_total");
        eventually(|| received() == round, "the server has the first fragment");
        while_stopped(&process, || client.raw(&frame(true, CONTINUATION, b"two")));
        client.expect(TEXT, b"one, two");
    }
    process.stop();
}

#[test]
fn a_pong_that_arrived_while_the_process_was_stopped_counts() {
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
fn a_close_that_arrived_while_the_process_was_stopped_ends_the_close_handshake() {
    let (process, address) = Process::serve(&["--idle-timeout=500ms", "--close-timeout=2s"]);
    for _ in 0..ROUNDS {
        let mut client = Client::open(address, "/");
        let close = client.frame();
        assert_eq!(close.opcode, CLOSE);
        while_stopped(&process, || client.send(CLOSE, &close.payload));
        client.expect_end();
    }
    let log = process.stop();
    assert!(log.contains("stopped: ") && !log.contains("close_timeouts="), "{log}");
}

/// The peer reads nothing until the server is blocked, and then reads everything.
#[test]
fn bytes_that_a_peer_read_while_the_process_was_stopped_count_as_progress() {
    const MESSAGE: &[u8] = &[7; 60_000];
    let (process, address) = Process::serve(&["--write-timeout=2s"]);
    for _ in 0..ROUNDS {
        let mut client = Client::narrow(address, "/");
        let message = frame(true, BINARY, MESSAGE);
        client.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // Until the server, which cannot write, no longer reads.
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
