//! The real binary with a configuration file that a test changes.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;

use crate::binary::File;
use crate::support::{Admin, Client, Process, TEXT, weir};

/// A `weir serve` with an admin address.
pub struct Running {
    pub process: Process,
    pub address: SocketAddr,
    pub admin: Admin,
    file: File,
}

impl Running {
    pub fn new(text: &str) -> Running {
        let file = File::new(text);
        let flags = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", file.path()];
        let process = Process::spawn(&mut weir(flags));
        let address = process.address();
        let admin = Admin::of(&process);
        Running { process, address, admin, file }
    }

    /// Changes the file and sends SIGHUP.
    pub fn change(&self, text: &str) {
        fs::write(self.file.path(), text).unwrap();
        self.process.signal(Signal::HUP);
    }

    /// Reloads a valid file that has no effect on the proxy.
    pub fn reload(&mut self, text: &str) {
        self.change(text);
        self.process.logged("configuration reloaded");
    }

    /// Reloads a valid file, until the proxy has its pools and routes.
    pub fn reload_proxy(&mut self, text: &str) {
        self.change(text);
        self.process.logged("proxy reloaded");
    }

    pub fn tunnel(&self, path: &str) -> Client {
        Client::open(self.address, path)
    }
}

/// A pool with these upstreams and further lines.
pub fn pool(name: &str, upstreams: &[&str], lines: &str) -> String {
    format!("[[pool]]\nname = '{name}'\nupstreams = {upstreams:?}\n{lines}\n")
}

/// A route of the proxy with further lines.
pub fn route(path: &str, pool: &str, lines: &str) -> String {
    format!("[[route]]\npath = '{path}'\nservice = 'proxy'\npool = '{pool}'\n{lines}\n")
}

pub fn expect_echo(client: &mut Client, text: &str) {
    client.text(text);
    client.expect(TEXT, text.as_bytes());
}
