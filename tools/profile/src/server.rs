//! A profiled server: starts it directly or under a tool, requests reports, and stops it. Dropping
//! it ends the process.

use std::error::Error;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Deadline for any reaction of a server; under callgrind everything takes 50 times as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Enough for the most connections of any load.
const CONNECTIONS_MAX: &str = "12000";

#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
    log: Receiver<String>,
}

impl Server {
    /// Starts `weir` with these further arguments, under `tool` if that is not empty; the started
    /// process must still be the server itself.
    ///
    /// # Errors
    /// The server does not start to listen.
    pub(crate) fn start(
        weir: &Path,
        arguments: &[OsString],
        cpu: usize,
        tool: &[OsString],
    ) -> Result<Server, Box<dyn Error>> {
        let words: Vec<OsString> = tool.iter().cloned().chain([weir.into()]).collect();
        let mut command = Command::new(&words[0]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(name);
            }
        }
        command.args(&words[1..]).args(["--listen", "127.0.0.1:0", "--turn-stats"]);
        command.args(["--connections-max", CONNECTIONS_MAX]);
        command.args(["--pin", &cpu.to_string()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().map_err(|error| format!("{:?}: {error}", words[0]))?;
        let (_, silent) = channel();
        let mut server = Server { process, url: String::new(), log: silent };
        let stdout = lines(server.process.stdout.take().ok_or("no standard output")?);
        server.log = lines(server.process.stderr.take().ok_or("no standard error")?);
        let line =
            stdout.recv_timeout(PATIENCE).map_err(|_| "the server did not start to listen")?;
        server.url = line.strip_prefix("listening ").ok_or("no address")?.to_owned();
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The report of the turns since the previous one.
    pub(crate) fn turns(&self) -> Result<String, Box<dyn Error>> {
        kill_process(Pid::from_child(&self.process), Signal::USR1)?;
        self.logged("turns: ")
    }

    /// Stops the server gracefully; returns its final metrics as `name=value` words.
    pub(crate) fn stop(mut self) -> Result<String, Box<dyn Error>> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let counts = self.logged("stopped: ")?;
        self.process.wait()?;
        Ok(counts)
    }

    /// The rest of the next log line that contains `what`, after it.
    fn logged(&self, what: &str) -> Result<String, Box<dyn Error>> {
        loop {
            let line = self.log.recv_timeout(PATIENCE).map_err(|_| format!("no {what:?}"))?;
            if let Some((_, rest)) = line.split_once(what) {
                return Ok(rest.to_owned());
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lines of a pipe until it is closed.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Keep reading without a receiver, or the writer would block.
            let _ = sender.send(line);
        }
    });
    lines
}

/// The value of one of the server's `name=value` words.
pub(crate) fn word(line: &str, name: &str) -> Option<f64> {
    let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
    words.find(|(key, _)| *key == name)?.1.parse().ok()
}
