//! A full disk: events are refused, reads go on, and when there is room again writes go on without a
//! restart. No acknowledged event is lost.
//!
//! Once the disk is a tmpfs of 64 MiB in a mount namespace. Where users may not create one, that test
//! prints `SKIPPED` and ends. The other test runs everywhere: RLIMIT_FSIZE makes the same writes fail.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::author::{Author, id, now};
use super::commands::result;
use super::relay::{Directory, NostrClient, Relay, weir_within};
use crate::support::{Client, Process, clean, eventually, eventually_within};

const SETTINGS: &str = "disk_free_min = 0\nevents_rate = 'off'\nevents_rate_per_address = 'off'\n\
                        requests_rate = 'off'";
/// Bytes of the content of an event.
const CONTENT_BYTES: usize = 64 * 1024;
/// The store is opened again 10 s after it failed, and 20 s after that.
const REOPENED: Duration = Duration::from_secs(60);
/// Events that no disk of the tests has room for.
const EVENTS_MAX: u64 = 2_000;

/// Events of random content, since the store compresses.
fn large_events(start: u64) -> impl Iterator<Item = Value> {
    let (author, mut random) = (Author::new(1), StdRng::seed_from_u64(7));
    (0..EVENTS_MAX).map(move |number| {
        let mut content = vec![0; CONTENT_BYTES / 2];
        random.fill_bytes(&mut content);
        author.event_at(start + number, 1, json!([]), &hex::encode(content))
    })
}

fn readiness(relay: &Relay) -> (u16, String) {
    let mut client = Client::tcp(relay.admin.address());
    client.raw(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n");
    let (head, body) = client.answer();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, String::from_utf8(body).unwrap())
}

/// Publishes until the relay refuses an event; returns the acknowledged ones.
fn fill(client: &mut NostrClient, start: u64) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    for event in large_events(start) {
        let (accepted, text) = client.publish(&event);
        if !accepted {
            assert!(text.starts_with("error: "), "{text}");
            return acknowledged;
        }
        acknowledged.push(event);
    }
    panic!("the disk does not become full");
}

/// Asserts that a relay serves these events, which are in the order of their times.
fn expect_served(client: &mut NostrClient, events: &[Value]) {
    let ids: Vec<&str> = events.iter().map(id).collect();
    let mut found = client.find(json!({"ids": ids}));
    found.reverse();
    assert_eq!(found, events);
}

/// The disk becomes full while events are published; `make_room` ends that. Returns the directory of the
/// relay, which has ended.
fn check(mut relay: Relay, fill_up: impl Fn(&Relay), make_room: impl Fn(&Relay)) -> Directory {
    let (mut client, mut reader) = (relay.client(), relay.client());
    let before = Author::new(2).note("before");
    client.accept(&before);
    fill_up(&relay);
    let start = now() - 2 * EVENTS_MAX;
    let mut acknowledged = fill(&mut client, start);
    eventually(|| readiness(&relay).0 == 503, "the relay is not ready");
    let (_, reason) = readiness(&relay);
    assert!(reason.starts_with("relay main: the store cannot be written"), "{reason}");
    // Reads go on, writes fail one by one, the connection stays.
    expect_served(&mut reader, &acknowledged[..acknowledged.len().min(20)]);
    let refused = Author::new(2).note("refused");
    for _ in 0..3 {
        let (accepted, text) = client.publish(&refused);
        assert_eq!((accepted, &*text), (false, "error: the store cannot be written"));
    }
    make_room(&relay);
    eventually_within(REOPENED, || readiness(&relay).0 == 200, "the relay is ready again");
    for number in 0..20 {
        let event = Author::new(2).event_at(now(), 1, json!([]), &format!("after {number}"));
        client.accept(&event);
        acknowledged.push(event);
    }
    client.publish(&refused);
    acknowledged.push(before);
    expect_stored(&mut reader, &acknowledged);
    relay = relay.killed();
    expect_stored(&mut relay.client(), &acknowledged);
    println!("{} acknowledged events", acknowledged.len());
    relay.stopped()
}

fn expect_stored(client: &mut NostrClient, events: &[Value]) {
    for events in events.chunks(20) {
        let ids: Vec<&str> = events.iter().map(id).collect();
        assert_eq!(client.find(json!({"ids": ids})).len(), ids.len(), "events are missing");
    }
}

/// A tmpfs in a mount namespace, over a directory. Both last as long as this.
struct Tmpfs {
    holder: Process,
    path: PathBuf,
}

impl Tmpfs {
    fn mount(directory: &Directory) -> Tmpfs {
        let path = PathBuf::from(directory.events());
        fs::create_dir(&path).unwrap();
        let script = "mount -t tmpfs -o size=64m tmpfs \"$1\" && echo mounted && exec sleep 600";
        let mut command = clean(Command::new("unshare"), ["-r", "-m", "sh", "-c", script, "sh"]);
        let holder = Process::spawn(command.arg(&path));
        assert_eq!(holder.line(), "mounted");
        Tmpfs { holder, path }
    }

    /// The command that starts another one in the namespaces.
    fn enter(&self) -> Vec<String> {
        let pid = self.holder.pid().to_string();
        let enter = ["nsenter", "--target", &pid, "--user", "--preserve-credentials", "--mount"];
        enter.map(str::to_owned).into()
    }

    /// A file of the tmpfs, as the test reaches it.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.path.strip_prefix("/").unwrap()).join(name)
    }
}

#[test]
fn a_full_tmpfs_recovers_without_a_restart() {
    let mut may_unshare = Command::new("unshare");
    let outcome = may_unshare.args(["-r", "-m", "true"]).stderr(Stdio::null()).status();
    if !outcome.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this user may not create a mount namespace (unshare -rm)");
        return;
    }
    let directory = Directory::new();
    let tmpfs = Tmpfs::mount(&directory);
    let relay = Relay::start_within(&tmpfs.enter(), directory, SETTINGS);
    let filler = tmpfs.file("filler");
    let directory = check(
        relay,
        |_| fs::write(&filler, vec![1; 24 << 20]).unwrap(),
        |_| fs::remove_file(&filler).unwrap(),
    );
    let check = ["relay", "check", "--verify", "--data-dir", &directory.events()];
    let output = weir_within(&tmpfs.enter(), check).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_relay_whose_files_cannot_grow_recovers_without_a_restart() {
    // A write beyond the limit is to fail with EFBIG, not to end the process.
    let ignore = ["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#].map(str::to_owned);
    let relay = Relay::start_within(&ignore, Directory::new(), SETTINGS);
    let limit = |relay: &Relay, bytes: Option<u64>| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(relay.process.pid()), Resource::Fsize, limit).unwrap();
    };
    let full = |relay: &Relay| limit(relay, Some(256 * 1024));
    let directory = check(relay, full, |relay| limit(relay, None));
    result(&directory, &["check", "--verify"]);
}
