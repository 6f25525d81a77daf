//! The real binary as a process that is killed at the end of its test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rlimit::Resource;
use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, eventually};

/// The command of the binary with these arguments, without its variables in the environment.
pub fn weir<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_weir")), arguments)
}

/// Prepares another command in the same way.
pub fn clean<A: AsRef<OsStr>>(
    mut command: Command,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let is_check = command.get_args().next().is_some_and(|first| first == "check");
    if !is_check {
        // A busy machine would raise the load level. Tests of levels pass `--levels`.
        command.env("WEIR_LEVELS", "false");
    }
    command
}

/// A process of the binary, killed when dropped.
pub struct Process {
    child: Child,
    /// The lines of its standard output.
    stdout: Receiver<String>,
    /// Its standard error until [`Process::read_log`] is called.
    stderr: Option<ChildStderr>,
    /// What was read from its standard error.
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// How far [`Process::logged`] has searched the log.
    looked: usize,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Process {
        let mut process = Process::spawn_unread(command);
        process.read_log();
        process
    }

    /// Starts a process whose standard error is not read.
    pub fn spawn_unread(command: &mut Command) -> Process {
        let mut child = command.spawn().unwrap();
        let (sender, stdout) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stderr = child.stderr.take();
        Process { child, stdout, stderr, log: Arc::default(), reader: None, looked: 0 }
    }

    /// Reads its standard error from here on.
    pub fn read_log(&mut self) {
        let lines = BufReader::new(self.stderr.take().unwrap()).lines();
        let log = Arc::clone(&self.log);
        self.reader = Some(thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *log.lock().unwrap() += &(line + "\n");
            }
        }));
    }

    /// A server on a free port of 127.0.0.1, with these additional arguments.
    pub fn serve(arguments: &[&str]) -> (Process, SocketAddr) {
        let process =
            Process::spawn(&mut weir(["--listen", "127.0.0.1:0"].iter().chain(arguments)));
        let address = process.address();
        (process, address)
    }

    /// The next line of its standard output.
    pub fn line(&self) -> String {
        self.stdout.recv_timeout(DEADLINE).expect("a line on stdout")
    }

    /// All further lines of its standard output, up to its end.
    pub fn rest(&self) -> Vec<String> {
        self.stdout.iter().collect()
    }

    /// Scheme and address in the next line, which must name a listener.
    pub fn listener(&self) -> (String, SocketAddr) {
        let line = self.line();
        let url = line.strip_prefix("listening ").expect(&line);
        let (scheme, address) = url.split_once("://").expect(&line);
        (scheme.to_owned(), address.strip_suffix('/').expect(&line).parse().unwrap())
    }

    /// The address in the next line, which must name a plaintext listener.
    pub fn address(&self) -> SocketAddr {
        let (scheme, address) = self.listener();
        assert_eq!(scheme, "ws");
        address
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sets its descriptor limit so that it can open this many more.
    pub fn leave_descriptors(&self, more: usize) {
        let pid = self.pid();
        let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let number = |entry: std::io::Result<fs::DirEntry>| -> u64 {
            entry.unwrap().file_name().to_str().unwrap().parse().unwrap()
        };
        let taken: Vec<u64> = numbers.map(number).collect();
        // The limit applies to descriptor numbers, in which there may be gaps.
        let limit = (0..).filter(|number| !taken.contains(number)).nth(more).unwrap();
        rlimit::prlimit(pid.as_raw_nonzero().get(), Resource::NOFILE, Some((limit, limit)), None)
            .unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process ends by itself; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        eventually(|| !self.is_running(), "the process ends");
        self.child.wait().unwrap().code()
    }

    /// What the process has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line that contains this text, after the one that the last call found; returns the
    /// rest of the line from the text on.
    pub fn logged(&mut self, what: &str) -> String {
        let mut found = String::new();
        let (log, looked) = (Arc::clone(&self.log), &mut self.looked);
        let mut look = || {
            let log = log.lock().unwrap();
            let Some(at) = log[*looked..].find(what).map(|at| *looked + at) else {
                return false;
            };
            let len = log[at..].find('\n').unwrap();
            found = log[at..][..len].to_owned();
            *looked = at + len;
            true
        };
        eventually(&mut look, what);
        found
    }

    /// The whole log of a process that has ended.
    pub fn whole_log(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    /// Ends the process by SIGTERM; returns its log.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert_eq!(self.wait(), Some(0));
        self.whole_log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
