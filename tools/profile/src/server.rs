//! A server under observation: started by itself or under a tool, told to report or to stop, and
//! ended with its owner.

use std::error::Error;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take for anything; under callgrind everything takes fifty times as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Room for the largest crowd of all loads.
const CONNECTIONS_MAX: &str = "12000";

#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
    log: Receiver<String>,
}

impl Server {
    /// Starts `weir`, by the words of `tool` if there are any; these must leave it the process that
    /// is started.
    ///
    /// # Errors
    /// It does not come to listen.
    pub(crate) fn start(
        weir: &Path,
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
        command.args(["--pin", &cpu.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().map_err(|error| format!("{:?}: {error}", words[0]))?;
        let (_, silent) = channel();
        let mut server = Server { process, url: String::new(), log: silent };
        let stdout = lines(server.process.stdout.take().ok_or("no standard output")?);
        server.log = lines(server.process.stderr.take().ok_or("no standard error")?);
        let line = stdout.recv_timeout(PATIENCE).map_err(|_| "the server does not listen")?;
        server.url = line.strip_prefix("listening ").ok_or("no address")?.to_owned();
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The report of the turns since the last one.
    pub(crate) fn turns(&self) -> Result<String, Box<dyn Error>> {
        kill_process(Pid::from_child(&self.process), Signal::USR1)?;
        self.logged("turns: ")
    }

    /// Ends the server in good order; what it had counted, as `name=value` words.
    pub(crate) fn stop(mut self) -> Result<String, Box<dyn Error>> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let counts = self.logged("stopped: ")?;
        self.process.wait()?;
        Ok(counts)
    }

    /// What follows `what` in the next line of the log with it.
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
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lines of a pipe, read for as long as it is open.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Read on though nobody listens, or the writer would block.
            let _ = tell.send(line);
        }
    });
    lines
}

/// One of the server's `name=value` words.
pub(crate) fn word(line: &str, name: &str) -> Option<f64> {
    let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
    words.find(|(key, _)| *key == name)?.1.parse().ok()
}
