//! SIGHUP and SIGUSR1 never end a server, with or without anything to reload or report.

use rustix::process::{Pid, Signal};

use crate::support::{Client, PING, PONG, Process, eventually, weir};

const SIGHUP: u32 = 1;

/// A node on free ports, with a directory below the target directory.
fn node(name: &str) -> Process {
    let directory =
        format!("{}/signals-{}-{name}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let flags = ["node", "--rpc-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0"];
    Process::spawn(&mut weir(flags.into_iter().chain(["--data-dir", &directory])))
}

fn serve() -> Process {
    Process::spawn(&mut weir(["--listen", "127.0.0.1:0"]))
}

/// Whether the process has a handler for SIGHUP (proc_pid_status(5)).
fn catches_hangups(pid: Pid) -> bool {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (SIGHUP - 1) != 0)
}

#[test]
fn sighup_without_certificates_is_logged_and_ends_nothing() {
    for mut running in [serve(), node("logged")] {
        let address = running.address();
        let mut client = Client::open(address, "/");
        for _ in 0..2 {
            running.signal(Signal::HUP);
            running.logged("(SIGHUP)");
            running.logged("nothing to reload: no listener uses TLS");
        }
        running.signal(Signal::USR1);
        running.logged("turn_stats is off");
        client.send(PING, b"alive");
        client.expect(PONG, b"alive");
        drop(client);
        running.stop();
    }
}

#[test]
fn sighup_during_the_start_does_not_end_the_process() {
    for start in [serve, || node("early")] {
        for _ in 0..5 {
            let running = start();
            // As soon as the handler is installed, long before the first listener.
            eventually(|| catches_hangups(running.pid()), "SIGHUP is caught");
            running.signal(Signal::HUP);
            running.signal(Signal::USR1);
            let address = running.address();
            Client::open(address, "/");
            running.stop();
        }
    }
}

#[test]
fn sighup_during_a_drain_does_not_end_it() {
    let (mut running, address) = Process::serve(&[]);
    let mut client = Client::open(address, "/");
    running.signal(Signal::TERM);
    assert_eq!(client.expect_close().0, 1001);
    running.signal(Signal::HUP);
    running.logged("nothing to reload");
    client.close(1001, "");
    client.expect_end();
    assert_eq!(running.wait(), Some(0));
}
