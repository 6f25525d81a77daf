//! A measured server: one that is started and ended here, or one that is already running.

use std::env;
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::Options;

/// All servers that can be started.
pub(crate) const PEERS: [&str; 7] =
    ["weir", "floor", "tungstenite", "fastwebsockets", "sockudo-ws", "yawc", "ws"];

/// How long a server may take until it prints its address.
pub(crate) const START: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) url: String,
    pid: u32,
    /// Set if the server was started here; dropping it ends the process.
    _process: Option<Process>,
}

/// Ends the process when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Result<Process, Box<dyn Error>> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Process(command.spawn().map_err(|error| format!("{name}: {error}"))?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// # Errors
    /// The peer is unknown, or does not start to listen.
    pub(crate) fn start(name: &str, options: &Options) -> Result<Server, Box<dyn Error>> {
        let mut command = match name {
            "weir" => {
                let mut command = Command::new(&options.weir);
                command.args(["--connections-max", "15000", "--log", "warn"]);
                command
            }
            "ws" => {
                let mut command = Command::new("node");
                command.arg(&options.ws);
                command
            }
            peer if PEERS.contains(&peer) => Command::new(env::current_exe()?.with_file_name(peer)),
            _ => {
                return Err(
                    format!("unknown peer {name}: expected one of {}", PEERS.join(", ")).into()
                );
            }
        };
        command.args(["--listen", "127.0.0.1:0", "--pin", &options.server_cpu.to_string()]);
        Server::listening(name, &mut command)
    }

    /// Starts a server that prints its address.
    ///
    /// # Errors
    /// It does not start to listen.
    pub(crate) fn listening(name: &str, command: &mut Command) -> Result<Server, Box<dyn Error>> {
        let (process, url) = listening(name, command)?;
        Ok(Server::new(name, &url, process))
    }

    pub(crate) fn new(name: &str, url: &str, process: Process) -> Server {
        let pid = process.0.id();
        Server { name: name.to_owned(), url: url.to_owned(), pid, _process: Some(process) }
    }

    /// The target in the load client's notation.
    pub(crate) fn target(&self) -> String {
        format!("{}={}", self.url, self.pid)
    }
}

/// Starts a process, and waits for the URL that it prints.
///
/// # Errors
/// It does not start to listen.
pub(crate) fn listening(
    name: &str,
    command: &mut Command,
) -> Result<(Process, String), Box<dyn Error>> {
    let mut process = Process::spawn(name, command)?;
    let stdout = process.0.stdout.take().ok_or("no standard output")?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // There is no receiver after the first line.
        lines.for_each(|line| drop(sender.send(line)));
    });
    let line =
        receiver.recv_timeout(START).map_err(|_| format!("{name} did not start to listen"))?;
    let url = line.strip_prefix("listening ").ok_or_else(|| format!("{name}: {line}"))?;
    Ok((process, url.to_owned()))
}

/// A server that is already running.
#[derive(Debug, Clone)]
pub(crate) struct Also {
    name: String,
    url: String,
    pid: u32,
}

impl FromStr for Also {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Also, Self::Err> {
        const FORM: &str = "expected NAME=URL=PID, as in uws=ws://127.0.0.1:9203/=4242";
        let (name, target) = text.split_once('=').ok_or(FORM)?;
        let (url, pid) = target.rsplit_once('=').ok_or(FORM)?;
        match pid.parse() {
            Ok(pid) if url.starts_with("ws://") => {
                Ok(Also { name: name.to_owned(), url: url.to_owned(), pid })
            }
            _ => Err(FORM),
        }
    }
}

impl From<&Also> for Server {
    fn from(also: &Also) -> Server {
        let Also { name, url, pid } = also.clone();
        Server { name, url, pid, _process: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_servers_have_name_url_and_process_id() {
        let also: Also = "uws=ws://127.0.0.1:9203/=42".parse().unwrap();
        assert_eq!((&*also.name, &*also.url, also.pid), ("uws", "ws://127.0.0.1:9203/", 42));
        assert_eq!(Server::from(&also).target(), "ws://127.0.0.1:9203/=42");
        for wrong in ["", "uws", "uws=ws://a/", "uws=http://a/=1", "uws=ws://a/=x"] {
            assert!(wrong.parse::<Also>().is_err(), "{wrong}");
        }
    }
}
