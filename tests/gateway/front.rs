//! The real binary as a gateway, with default limits and an admin address.

use std::net::SocketAddr;
use std::process::Command;

use crate::binary::File;
use crate::support::{Admin, Client, Process, weir};

use super::node::PATH;

/// A `weir serve` for one network.
pub struct Front {
    pub process: Process,
    pub address: SocketAddr,
    admin: Admin,
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
        let admin = Admin::of(&process);
        Front { process, address, admin, _file: file }
    }

    pub fn client(&self) -> Client {
        Client::open(self.address, PATH)
    }

    /// See [`Admin::metric`].
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.admin.metric(name, labels)
    }

    /// See [`Admin::await_metric`].
    pub fn await_metric(&self, name: &str, labels: &[&str], value: f64) {
        self.admin.await_metric(name, labels, value);
    }

    /// Waits until no client, subscription or pending call is left.
    pub fn await_no_client(&self) {
        for name in ["connections", "subscriptions", "feeds", "pending_calls"] {
            self.await_metric(&format!("weir_rpc_{name}"), &[], 0.0);
        }
    }
}
