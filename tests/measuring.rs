//! What the binary offers to those who measure it: a report of its turns, a CPU to stay on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, DEADLINE, TEXT, eventually};

/// The binary on a port of its own choice, with the lines of its log.
struct Weir {
    process: Child,
    log: Receiver<String>,
}

impl Weir {
    fn start(flags: &[&str]) -> Weir {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEIR_")) {
            command.env_remove(name);
        }
        command.args(["--listen", "127.0.0.1:0"]).args(flags).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (tell, log) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Weir { process, log }
    }

    /// A client of the echo.
    fn client(&mut self) -> Client {
        let mut line = String::new();
        BufReader::new(self.process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening ws://").unwrap().trim_end_matches('/');
        Client::open(address.parse().unwrap(), "/")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// The next line of the log with this in it, from there on.
    fn logged(&self, what: &str) -> String {
        loop {
            let line = self.log.recv_timeout(DEADLINE).expect(what);
            if let Some(at) = line.find(what) {
                return line[at..].to_owned();
            }
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually(|| self.process.try_wait().unwrap().is_some(), "the process ends");
        self.process.wait().unwrap().code()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn echo(client: &mut Client, messages: usize) {
    for _ in 0..messages {
        client.text("hello");
        client.expect(TEXT, b"hello");
    }
}

/// One number of a report.
fn value(report: &str, name: &str) -> f64 {
    let mut words = report.split(' ').filter_map(|word| word.split_once('='));
    let (_, value) = words.find(|(key, _)| *key == name).expect(name);
    value.parse().unwrap()
}

/// How many messages a report covers, out of the mean with its two decimals.
fn messages_in(report: &str) -> f64 {
    value(report, "messages_in_per_turn") * value(report, "turns")
}

#[test]
fn turn_stats_are_logged_on_sigusr1_and_at_the_end() {
    let mut weir = Weir::start(&["--turn-stats"]);
    let mut client = weir.client();
    echo(&mut client, 40);
    weir.signal(Signal::USR1);
    let report = weir.logged("turns: seconds=");
    assert!((messages_in(&report) - 40.0).abs() < 4.0, "{report}");
    assert!(value(&report, "turns") >= 40.0, "{report}");
    assert!(value(&report, "read_ns") > 0.0 && value(&report, "flush_ns") > 0.0, "{report}");
    assert!(value(&report, "longest_ns") > 0.0, "{report}");

    echo(&mut client, 10);
    drop(client);
    weir.signal(Signal::TERM);
    let report = weir.logged("turns: seconds=");
    assert!((messages_in(&report) - 10.0).abs() < 2.0, "{report}");
    assert_eq!(weir.exit_code(), Some(0));
}

#[test]
fn sigusr1_without_turn_stats_harms_nobody() {
    let mut weir = Weir::start(&[]);
    let mut client = weir.client();
    weir.signal(Signal::USR1);
    weir.logged("turn_stats is off");
    echo(&mut client, 1);
    drop(client);
    weir.signal(Signal::TERM);
    assert!(!weir.logged("stopped: ").contains("turns: seconds="));
    assert_eq!(weir.exit_code(), Some(0));
}

/// The CPUs that a process or thread may run on: `0-1`.
fn cpus_allowed(path: &str) -> String {
    let status = fs::read_to_string(format!("{path}/status")).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap().trim().to_owned()
}

#[test]
fn pin_keeps_every_thread_on_one_cpu() {
    let ours = cpus_allowed("/proc/self");
    let last = ours.rsplit([',', '-']).next().unwrap();
    let mut weir = Weir::start(&["--pin", last]);
    echo(&mut weir.client(), 1);
    let tasks = fs::read_dir(format!("/proc/{}/task", weir.process.id())).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    assert!(tasks.len() >= 2, "the loop and the signals");
    for task in tasks {
        assert_eq!(cpus_allowed(task.to_str().unwrap()), last);
    }
}

#[test]
fn a_cpu_that_is_not_there_is_an_error() {
    for cpu in ["1000", "100000"] {
        let mut weir = Weir::start(&["--pin", cpu]);
        let error = weir.logged("error: ");
        assert!(error.starts_with(&format!("error: pin to CPU {cpu}: ")), "{error}");
        assert_eq!(weir.exit_code(), Some(1));
    }
}
