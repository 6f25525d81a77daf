//! The binary as an operator sees it: output, signals, exit codes.

mod admin;
mod advice;
mod log;
mod process;
mod settings;
mod shutdown;
mod signals;
mod stopped;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Client, Process};

/// Exit code, stdout and stderr of a run that ends by itself.
pub fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let mut process = Process::spawn(&mut command);
    let code = process.wait();
    let stdout = process.rest().iter().map(|line| line.to_owned() + "\n").collect();
    (code, stdout, process.whole_log())
}

/// The admin address, from the line that a server prints after its listeners.
fn admin_address(server: &Process) -> SocketAddr {
    let line = server.line();
    let address = line.strip_prefix("admin http://").expect(&line);
    address.trim_end_matches('/').parse().unwrap()
}

/// The value of a metric that has no labels.
fn metric(admin: SocketAddr, name: &str) -> u64 {
    let mut client = Client::tcp(admin);
    client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let text = String::from_utf8(client.answer().1).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(found, _)| *found == name).expect(name);
    value.parse::<f64>().unwrap() as u64
}

/// A file that is removed when dropped.
pub struct File(PathBuf);

impl File {
    pub fn new(text: &str) -> File {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-{count}.toml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        File(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
