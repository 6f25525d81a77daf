//! Measuring: samples of messages, reports of turns, and pinning to a CPU.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use weir::reactor::Metrics;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::Echo;

use crate::support::{BINARY, ByHand, Client, Process, TEXT, frame, weir};

fn echo(client: &mut Client, messages: usize) {
    for _ in 0..messages {
        client.text("hello");
        client.expect(TEXT, b"hello");
    }
}

#[test]
fn one_of_256_messages_is_sampled() {
    const LARGE: usize = 100_000;
    let began = Instant::now();
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
    });
    let mut client = server.open("/");
    let large = frame(true, BINARY, &vec![0; LARGE]);
    // The rest is read into the assembly buffer, which has room for all of it.
    let (first, rest) = large.split_at(LARGE * 6 / 10);
    let head = server.reactor.metrics().bytes_read;
    client.raw(first);
    server.turn_until("most is read", |m| m.bytes_read - head == first.len() as u64);
    client.raw(rest);
    server.turn_until("the rest is", |m| m.messages_in == 1);
    for count in 1..Metrics::SAMPLED {
        client.text("hello");
        server.turn_until("one more", |m| m.messages_in == count + 1);
    }
    client.raw(&frame(true, TEXT, b"hello").repeat(20));
    server.turn_until("a sample and others", |m| m.messages_in == Metrics::SAMPLED + 20);
    drop(client);
    let metrics = server.stop_clean();
    let sizes = &metrics.messages_sized;
    assert_eq!((sizes.total(), sizes.sum()), (2, LARGE as u64 + 5));
    assert_eq!(sizes.buckets().find(|(_, count)| *count > 0), Some((Some(16), 1)));
    // At least both parts of the large message.
    let decodes = metrics.decodes_took.total();
    assert!((3..10).contains(&decodes), "{decodes} were timed");
    assert!(metrics.decodes_took.sum() < began.elapsed());
}

/// The value of one field of a report.
fn value(report: &str, name: &str) -> f64 {
    let mut words = report.split(' ').filter_map(|word| word.split_once('='));
    let (_, value) = words.find(|(key, _)| *key == name).expect(name);
    value.parse().unwrap()
}

/// The number of messages in a report, calculated from the mean, which has two decimals.
fn messages_in(report: &str) -> f64 {
    value(report, "messages_in_per_turn") * value(report, "turns")
}

#[test]
fn turn_stats_are_logged_on_sigusr1_and_at_the_end() {
    let (mut weir, address) = Process::serve(&["--turn-stats"]);
    let mut client = Client::open(address, "/");
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
    assert_eq!(weir.wait(), Some(0));
}

#[test]
fn sigusr1_without_turn_stats_is_logged() {
    let (mut weir, address) = Process::serve(&[]);
    let mut client = Client::open(address, "/");
    weir.signal(Signal::USR1);
    weir.logged("turn_stats is off");
    echo(&mut client, 1);
    drop(client);
    weir.signal(Signal::TERM);
    assert!(!weir.logged("stopped: ").contains("turns: seconds="));
    assert_eq!(weir.wait(), Some(0));
}

/// The CPUs that a process or thread may run on: `0-1`.
fn cpus_allowed(path: &str) -> String {
    let status = fs::read_to_string(format!("{path}/status")).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap().trim().to_owned()
}

#[test]
fn pin_keeps_the_one_thread_on_one_cpu() {
    let ours = cpus_allowed("/proc/self");
    let last = ours.rsplit([',', '-']).next().unwrap();
    let (weir, address) = Process::serve(&["--pin", last]);
    echo(&mut Client::open(address, "/"), 1);
    let tasks = fs::read_dir(format!("/proc/{}/task", weir.pid())).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    // A second thread would make each system call of the loop slower.
    assert_eq!(tasks.len(), 1, "the process has one thread");
    assert_eq!(cpus_allowed(tasks[0].to_str().unwrap()), last);
}

#[test]
fn pinning_to_a_missing_cpu_is_an_error() {
    for cpu in ["1000", "100000"] {
        let mut weir = Process::spawn(&mut weir(["--listen", "127.0.0.1:0", "--pin", cpu]));
        let error = weir.logged("error: ");
        assert!(error.starts_with(&format!("error: pin to CPU {cpu}: ")), "{error}");
        assert_eq!(weir.wait(), Some(1));
    }
}
