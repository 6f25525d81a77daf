//! Nodes as processes, and directories that are removed after the test.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::support::{Client, DEADLINE, Process, eventually, weir};

/// A directory that is removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-node-{}-{count}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A copy of the directory.
    pub fn copy(&self) -> Directory {
        let copy = Directory::new();
        std::fs::create_dir_all(copy.path()).unwrap();
        for entry in std::fs::read_dir(&self.0).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A loopback address for this test alone. A port of it stays free after a node has ended, since no other
/// socket uses the address.
pub fn own_address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{count}:0", 1 + (pid >> 8) % 254, pid % 256)
}

/// A node; killed when dropped.
pub struct Node {
    pub rpc: SocketAddr,
    pub health: SocketAddr,
    process: Process,
}

/// `weir node` with these flags, on ports that the system chooses unless the flags say otherwise.
pub fn command(directory: &Directory, flags: &[&str]) -> Command {
    // A busy machine would raise the load level.
    let mut command = weir(["node", "--levels=false", "--data-dir"]);
    command.arg(directory.path());
    for (flag, value) in [("--rpc-addr", "127.0.0.1:0"), ("--health-addr", "127.0.0.1:0")] {
        if !flags.contains(&flag) {
            command.args([flag, value]);
        }
    }
    command.args(flags);
    command
}

/// Exit code, lines of standard output, and standard error of a process that ends by itself.
pub fn end_of(mut command: Command) -> (Option<i32>, Vec<String>, String) {
    let mut process = Process::spawn(&mut command);
    (process.wait(), process.rest(), process.whole_log())
}

impl Node {
    pub fn start(directory: &Directory, flags: &[&str]) -> Node {
        Node::spawn(&mut command(directory, flags))
    }

    /// A node started by this [command](command).
    pub fn spawn(command: &mut Command) -> Node {
        let process = Process::spawn(command);
        let address = |expected: &str| {
            let (scheme, address) = process.listener();
            assert_eq!(scheme, expected);
            address
        };
        Node { rpc: address("ws"), health: address("http"), process }
    }

    /// A leader that makes blocks only on demand.
    pub fn leader(directory: &Directory) -> Node {
        Node::start(directory, &["--block-time", "off"])
    }

    /// A leader that makes blocks only on demand, at this address.
    pub fn leader_at(directory: &Directory, address: &str) -> Node {
        Node::start(directory, &["--block-time", "off", "--rpc-addr", address])
    }

    pub fn follower(directory: &Directory, leader: SocketAddr) -> Node {
        let url = format!("http://{leader}");
        Node::start(directory, &["--role", "follower", "--follow-rpc", &url])
    }

    /// The P2P address, from the third line of standard output.
    pub fn p2p(&self) -> SocketAddr {
        let line = self.process.line();
        let url = line.strip_prefix("p2p ws://").expect(&line);
        url.strip_suffix("/p2p").expect(&line).parse().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::open(self.rpc, "/")
    }

    /// One call by HTTP POST.
    pub fn call(&self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let call = call.to_string();
        let mut client = Client::tcp(self.rpc);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            call.len()
        );
        client.raw((head + &call).as_bytes());
        serde_json::from_slice(&client.answer().1).unwrap()
    }

    /// The result of a call that must succeed.
    pub fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params);
        assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
        answer["result"].clone()
    }

    /// Status and JSON body of a GET at the health address.
    pub fn asked(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.answer(path);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Status and body of a GET at the health address.
    pub fn answer(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect_timeout(&self.health, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Waits until its head is at `head`.
    pub fn reach(&self, head: u64) {
        eventually(|| self.asked("/healthz").1["head"].as_u64() >= Some(head), "it catches up");
    }

    /// Ends the process by SIGKILL, and waits for its end.
    pub fn kill(self) {
        drop(self.process);
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for a log line that contains this text.
    pub fn logged(&mut self, what: &str) -> String {
        self.process.logged(what)
    }

    /// Its exit code and its log.
    pub fn end(&mut self) -> (Option<i32>, String) {
        (self.process.wait(), self.process.whole_log())
    }
}
