//! How the process ends: in good order by the first signal, at once by the second.

use std::process::ExitStatus;

use super::Running;
use crate::support::{Client, TEXT};

#[test]
fn either_signal_sends_1001_and_ends_with_0() {
    for signal in ["-TERM", "-INT"] {
        let (mut running, address) = Running::serve(&[]);
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
        assert_eq!(running.wait().code(), Some(0), "{signal}");
        let stderr = running.stderr();
        assert!(stderr.contains("shutting down: 2 connections"), "{stderr}");
        assert!(stderr.contains("stopped: "), "{stderr}");
    }
}

#[test]
fn a_signal_right_after_the_line_is_obeyed() {
    for _ in 0..5 {
        let (running, _) = Running::serve(&[]);
        running.stop();
    }
}

#[test]
fn the_second_signal_ends_at_once_with_1() {
    for (first, second) in [("-TERM", "-TERM"), ("-INT", "-TERM"), ("-TERM", "-INT")] {
        let forever = ["--close-timeout", "1h", "--drain-timeout", "1h"];
        let (mut running, address) = Running::serve(&forever);
        let mut client = Client::open(address, "/");
        running.signal(first);
        // It has been told, and does not answer.
        assert_eq!(client.expect_close().0, 1001);
        assert!(running.child.try_wait().unwrap().is_none(), "it waits for the answer");
        running.signal(second);
        assert_eq!(running.wait().code(), Some(1), "{first}, {second}");
        client.expect_gone();
    }
}

#[test]
fn who_does_not_answer_is_not_waited_for_beyond_the_deadline() {
    for deadline in ["--close-timeout", "--drain-timeout"] {
        let (mut running, address) = Running::serve(&[deadline, "300ms"]);
        let mut client = Client::open(address, "/");
        running.signal("-TERM");
        assert_eq!(client.expect_close().0, 1001);
        assert_eq!(running.wait().code(), Some(0), "{deadline}");
    }
}

#[test]
fn the_port_is_free_while_the_last_clients_are_waited_for() {
    let (mut running, address) = Running::serve(&["--close-timeout", "1h"]);
    let mut client = Client::open(address, "/");
    running.signal("-TERM");
    assert_eq!(client.expect_close().0, 1001);
    let listen = address.to_string();
    let next = Running::spawn(&mut super::weir(["--listen", &listen]));
    assert_eq!(next.address(), address);
    client.close(1001, "");
    let ended: ExitStatus = running.wait();
    assert_eq!(ended.code(), Some(0));
    next.stop();
}
