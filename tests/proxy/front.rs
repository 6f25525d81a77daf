//! The real binary as a proxy with one pool, and an admin address.

use std::net::SocketAddr;

use crate::binary::File;
use crate::support::{Admin, Client, Frame, Process, weir};

/// A `weir serve` with one pool and one proxy route at `/*`.
pub struct Front {
    pub process: Process,
    pub address: SocketAddr,
    pub admin: Admin,
    _file: File,
}

impl Front {
    /// A proxy for these upstreams; `pool` and `route` are further lines of the two tables.
    pub fn new(upstreams: &[String], pool: &str, route: &str) -> Front {
        Front::with(upstreams, pool, route, &[])
    }

    /// A proxy with further flags.
    pub fn with(upstreams: &[String], pool: &str, route: &str, flags: &[&str]) -> Front {
        let file = File::new(&format!(
            "[[pool]]\nname = 'nodes'\nupstreams = {upstreams:?}\n{pool}\n\
             [[route]]\npath = '/*'\nservice = 'proxy'\npool = 'nodes'\n{route}\n"
        ));
        let ours = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", file.path()];
        let process = Process::spawn(&mut weir(ours.iter().chain(flags)));
        let address = process.address();
        let admin = Admin::of(&process);
        Front { process, address, admin, _file: file }
    }

    /// An open tunnel.
    pub fn tunnel(&self) -> Client {
        Client::open(self.address, "/")
    }
}

/// The URL of an upstream at this address.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A `weir serve` with its echo at `/`, and its URL.
pub fn echo(flags: &[&str]) -> (Process, String) {
    let (process, address) = Process::serve(flags);
    (process, url(address))
}

/// The URL of a port at which nothing listens.
pub fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    url(listener.local_addr().unwrap())
}

/// The next message, of which weir may have made fragments: its opcode and payload.
pub fn message(client: &mut Client) -> (u8, Vec<u8>) {
    let Frame { mut fin, opcode, mut payload, .. } = client.frame();
    while !fin {
        let next = client.frame();
        assert_eq!(next.opcode, crate::support::CONTINUATION);
        payload.extend(next.payload);
        fin = next.fin;
    }
    (opcode, payload)
}
