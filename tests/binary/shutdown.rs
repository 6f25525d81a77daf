//! Shutdown by signals: the first starts a drain, the second ends the process at once.

use rustix::process::Signal;

use crate::support::{Client, Process, TEXT, weir};

#[test]
fn either_signal_sends_1001_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut running, address) = Process::serve(&[]);
        let mut clients = [Client::open(address, "/"), Client::open(address, "/rooms/r")];
        clients[0].text("last words");
        clients[0].expect(TEXT, b"last words");
        running.signal(signal);
        for client in &mut clients {
            assert_eq!(client.expect_close(), (1001, "server going down".to_owned()));
            client.close(1001, "");
            client.expect_end();
        }
        drop(clients);
        assert_eq!(running.wait(), Some(0), "{signal:?}");
        let stderr = running.whole_log();
        assert!(stderr.contains("shutting down: 2 connections"), "{stderr}");
        assert!(stderr.contains("stopped: "), "{stderr}");
    }
}

#[test]
fn a_signal_right_after_the_listener_line_shuts_down() {
    for _ in 0..5 {
        Process::serve(&[]).0.stop();
    }
}

#[test]
fn the_second_signal_ends_at_once_with_1() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)]
    {
        let forever = ["--close-timeout", "1h", "--drain-timeout", "1h"];
        let (mut running, address) = Process::serve(&forever);
        let mut client = Client::open(address, "/");
        running.signal(first);
        // The client received the Close, and does not answer.
        assert_eq!(client.expect_close().0, 1001);
        assert!(running.is_running(), "the server waits for the answer");
        running.signal(second);
        assert_eq!(running.wait(), Some(1), "{first:?}, {second:?}");
        client.expect_gone();
    }
}

#[test]
fn the_drain_timeout_ends_connections_that_do_not_answer() {
    for deadline in ["--close-timeout", "--drain-timeout"] {
        let (mut running, address) = Process::serve(&[deadline, "300ms"]);
        let mut client = Client::open(address, "/");
        running.signal(Signal::TERM);
        assert_eq!(client.expect_close().0, 1001);
        assert_eq!(running.wait(), Some(0), "{deadline}");
    }
}

#[test]
fn the_port_is_free_during_a_drain() {
    let (mut running, address) = Process::serve(&["--close-timeout", "1h"]);
    let mut client = Client::open(address, "/");
    running.signal(Signal::TERM);
    assert_eq!(client.expect_close().0, 1001);
    let listen = address.to_string();
    let next = Process::spawn(&mut weir(["--listen", &listen]));
    assert_eq!(next.address(), address);
    client.close(1001, "");
    assert_eq!(running.wait(), Some(0));
    next.stop();
}
