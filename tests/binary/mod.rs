//! The binary, from outside: what it prints, what it obeys, and how it ends.

mod admin;
mod process;
mod settings;
mod shutdown;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use crate::support::{DEADLINE, eventually};

/// The binary with these arguments, and none of its variables in the environment.
fn weir<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_weir")), arguments)
}

fn clean<A: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = A>) -> Command {
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end, which must come by itself.
fn run(mut command: Command) -> Output {
    let mut running = Running::spawn(&mut command);
    let status = running.wait();
    let stdout = running.stdout.iter().fold(String::new(), |all, line| all + &line + "\n");
    let stderr = running.stderr();
    Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
}

/// Code, stdout and stderr of a run with these arguments.
fn outcome(command: Command) -> (Option<i32>, String, String) {
    let output = run(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A process that is ended with its test.
struct Running {
    child: Child,
    /// The lines of its standard output; closed with it.
    stdout: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    fn spawn(command: &mut Command) -> Running {
        let mut child = command.spawn().unwrap();
        let (tell, stdout) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut pipe = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        });
        Running { child, stdout, stderr: Some(stderr) }
    }

    /// A server on one port of 127.0.0.1, with these arguments besides.
    fn serve(arguments: &[&str]) -> (Running, SocketAddr) {
        let running =
            Running::spawn(&mut weir(["--listen", "127.0.0.1:0"].iter().chain(arguments)));
        let address = running.address();
        (running, address)
    }

    /// The address in the next line that says where it listens.
    fn address(&self) -> SocketAddr {
        let line = self.stdout.recv_timeout(DEADLINE).expect("it listens");
        let address = line.strip_prefix("listening ws://").and_then(|rest| rest.strip_suffix('/'));
        address.expect(&line).parse().unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually(
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
            "the process ends",
        );
        status.unwrap()
    }

    /// All that it has written there, once it has ended.
    fn stderr(&mut self) -> String {
        self.stderr.take().unwrap().join().unwrap()
    }

    /// Ends it by SIGTERM; returns what it said on stderr.
    fn stop(mut self) -> String {
        self.signal("-TERM");
        assert_eq!(self.wait().code(), Some(0));
        self.stderr()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that goes with its test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-{count}.toml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
