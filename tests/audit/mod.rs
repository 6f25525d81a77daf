//! The audit log of the real binary, and `weir audit`.

mod chain;
mod disk;
mod events;
mod identities;
mod observer;
mod rows;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::outcome;
use crate::nostr::relay::Directory;
use crate::support::{Admin, Client, Process, eventually, weir};

const KEY: &str = "0123456789abcdef0123456789abcdef\n";

/// A server with an audit log, in a directory of its own.
struct Audited {
    process: Process,
    address: SocketAddr,
    admin: Admin,
}

impl Audited {
    /// A server with its log in this directory, and these further flags.
    fn new(directory: &Directory, flags: &[&str]) -> Audited {
        let (log, key) = (log_of(directory), key_of(directory));
        let files = ["--audit", log.to_str().unwrap(), "--audit-key", key.to_str().unwrap()];
        Audited::with(&[&files[..], flags].concat())
    }

    fn with(flags: &[&str]) -> Audited {
        let ours = ["--levels=false", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Audited::of(Process::spawn(&mut weir(ours.iter().chain(flags))))
    }

    fn of(process: Process) -> Audited {
        let address = process.address();
        let admin = Admin::of(&process);
        Audited { process, address, admin }
    }

    /// Opens a WebSocket and closes it; waits for the lines of both events.
    fn visit(&self) {
        eventually(|| self.count("total") > 0, "the start is logged");
        let before = self.count("sequence");
        let mut client = Client::open(self.address, "/");
        client.close(1000, "");
        client.expect_close();
        client.expect_gone();
        drop(client);
        eventually(|| self.count("sequence") == before + 2, "both events are logged");
    }

    /// A metric of the audit log, by the end of its name.
    fn count(&self, name: &str) -> u64 {
        self.admin.metric(&format!("weir_audit_{name}"), &[]) as u64
    }

    /// Ends the server; returns its log on standard error.
    fn stop(self) -> String {
        self.process.stop()
    }
}

fn log_of(directory: &Directory) -> PathBuf {
    directory.path().join("audit.log")
}

/// The file with the key of the log.
fn key_of(directory: &Directory) -> PathBuf {
    let path = directory.path().join("audit.key");
    fs::write(&path, KEY).unwrap();
    path
}

/// The lines of a log, which must be JSON objects.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is complete");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The fields of a line, without those of every line: its time, its sequence and its HMAC.
fn fields(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().unwrap();
    for name in ["time", "sequence", "mac"] {
        assert!(fields.remove(name).is_some(), "{name} is missing: {fields:?}");
    }
    line
}

/// Exit code and standard output of `weir audit` for these files.
fn verify(directory: &Directory, logs: &[&Path]) -> (Option<i32>, String) {
    let key = key_of(directory);
    let mut command = weir(["audit", "--key"]);
    command.arg(key).args(logs);
    let (code, stdout, stderr) = outcome(command);
    assert_eq!(code == Some(1), stderr.starts_with("error: the log has "), "{stderr}");
    (code, stdout)
}

/// Expects that a log is valid; returns the last sequence that is printed.
fn expect_valid(directory: &Directory, logs: &[&Path]) -> u64 {
    let (code, stdout) = verify(directory, logs);
    assert_eq!(code, Some(0), "{stdout}");
    let (_, rest) = stdout.split_once(" to ").expect(&stdout);
    rest.split_once(',').expect(&stdout).0.parse().unwrap()
}
