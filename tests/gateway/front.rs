//! The real binary as a gateway, with default limits and an admin address.

use std::net::SocketAddr;
use std::process::Command;

use crate::binary::File;
use crate::support::{Client, Process, eventually, weir};

use super::node::PATH;

/// A `weir serve` for one network.
pub struct Front {
    pub process: Process,
    pub address: SocketAddr,
    admin: SocketAddr,
    _file: File,
}

impl Front {
    /// A gateway for these upstreams; `settings` are lines of the network's table, `flags` the server's.
    pub fn new(upstreams: &[String], settings: &str, flags: &[&str]) -> Front {
        Front::with(upstreams, settings, flags, |_| {})
    }

    /// A gateway with further changes to the command, such as variables.
    pub fn with(
        upstreams: &[String],
        settings: &str,
        flags: &[&str],
        edit: impl FnOnce(&mut Command),
    ) -> Front {
        let network = "[[network]]\nproject = 'main'\nchain_id = 0x849\n";
        let file = File::new(&format!("{network}upstreams = {upstreams:?}\n{settings}"));
        let ours = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", file.path()];
        let mut command = weir(ours.iter().chain(flags));
        edit(&mut command);
        let process = Process::spawn(&mut command);
        let address = process.address();
        let line = process.line();
        let admin = line.strip_prefix("admin http://").expect(&line).trim_end_matches('/');
        let admin = admin.parse().unwrap();
        Front { process, address, admin, _file: file }
    }

    pub fn client(&self) -> Client {
        Client::open(self.address, PATH)
    }

    /// The sum of a metric's samples with all of these labels, such as `code="-32005"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let mut client = Client::tcp(self.admin);
        client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
        let (_, body) = client.answer();
        let text = String::from_utf8(body).unwrap();
        let is_meant = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        let samples: Vec<&str> = text.lines().filter(is_meant).collect();
        assert!(!samples.is_empty(), "{name} {labels:?} is not in\n{text}");
        samples.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Waits until a metric has this value.
    pub fn await_metric(&self, name: &str, labels: &[&str], value: f64) {
        eventually(|| self.metric(name, labels) == value, &format!("{name} {labels:?} is {value}"));
    }

    /// Waits until no client, subscription or pending call is left.
    pub fn await_no_client(&self) {
        for name in ["connections", "subscriptions", "feeds", "pending_calls"] {
            self.await_metric(&format!("weir_rpc_{name}"), &[], 0.0);
        }
    }
}
