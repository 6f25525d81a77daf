//! The reverse proxies: each on the servers' CPU, in front of weir's echo on the client's CPU.
//!
//! nginx and HAProxy are the system's packages with their default buffers, or with buffers of
//! 64 KiB; each runs as one process with one thread, without access logs.

use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use crate::Options;
use crate::server::{Process, START, Server, listening};

/// All proxies that can be started.
pub(crate) const PROXIES: [&str; 6] =
    ["bytes", "weir", "nginx", "nginx-64k", "haproxy", "haproxy-64k"];

/// The buffers of nginx-64k and haproxy-64k.
const BUFFER_BYTES: usize = 64 * 1024;

/// Maximum number of tunnels. Each needs two descriptors.
const TUNNELS_MAX: usize = 9_000;

/// Interval of checks whether a proxy listens.
const LOOK: Duration = Duration::from_millis(10);

/// The echo behind the proxies, and the folder with their configurations, which is removed at the
/// end.
#[derive(Debug)]
pub(crate) struct Backend {
    address: String,
    folder: PathBuf,
    _process: Process,
}

impl Backend {
    /// # Errors
    /// The echo does not start to listen, or the folder cannot be created.
    pub(crate) fn start(options: &Options) -> Result<Backend, Box<dyn Error>> {
        let mut command = Command::new(&options.weir);
        command.args(["--connections-max", "15000", "--log", "warn", "--listen", "127.0.0.1:0"]);
        command.args(["--pin", &options.client_cpu.to_string()]);
        let (process, url) = listening("the echo", &mut command)?;
        let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
        let folder = env::temp_dir().join(format!("weir-compare-{}", process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Backend { address, folder, _process: process })
    }

    /// Starts a proxy in front of the echo.
    ///
    /// # Errors
    /// The proxy is unknown, not installed, or does not start to listen.
    pub(crate) fn proxy(&self, name: &str, options: &Options) -> Result<Server, Box<dyn Error>> {
        let cpu = options.server_cpu.to_string();
        let pinned = ["--listen", "127.0.0.1:0", "--pin", &cpu];
        let buffer = name.ends_with("-64k").then_some(BUFFER_BYTES);
        match name {
            "bytes" => {
                let mut command = Command::new(env::current_exe()?.with_file_name(name));
                command.args(pinned).args(["--upstream", &self.address]);
                Server::listening(name, &mut command)
            }
            "weir" => {
                let file = self.write("weir.toml", &weir(&self.address))?;
                let mut command = Command::new(&options.weir);
                command.arg("--config").arg(file).args(pinned);
                Server::listening(name, &mut command)
            }
            "nginx" | "nginx-64k" => {
                let address = free_address()?;
                let text = nginx(address, &self.address, &self.folder, buffer);
                let file = self.write(&format!("{name}.conf"), &text)?;
                let mut command = on_cpu(&cpu, "nginx");
                command.arg("-p").arg(&self.folder).arg("-c").arg(file);
                started(name, address, command)
            }
            "haproxy" | "haproxy-64k" => {
                let address = free_address()?;
                let text = haproxy(address, &self.address, buffer);
                let file = self.write(&format!("{name}.cfg"), &text)?;
                let mut command = on_cpu(&cpu, "haproxy");
                command.arg("-db").arg("-f").arg(file);
                started(name, address, command)
            }
            _ => {
                Err(format!("unknown proxy {name}: expected one of {}", PROXIES.join(", ")).into())
            }
        }
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // What cannot be removed is left in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A command on one CPU, which ends with this process.
fn on_cpu(cpu: &str, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", cpu, program]);
    command
}

/// An address with a port that nothing listens on.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Starts a proxy that does not print its address, and waits until it listens.
fn started(
    name: &str,
    address: SocketAddr,
    mut command: Command,
) -> Result<Server, Box<dyn Error>> {
    let process = Process::spawn(name, &mut command)?;
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if start.elapsed() > START {
            return Err(format!("{name} did not start to listen").into());
        }
        thread::sleep(LOOK);
    }
    Ok(Server::new(name, &format!("ws://{address}/"), process))
}

fn weir(upstream: &str) -> String {
    format!(
        "connections_max = {TUNNELS_MAX}\n\
         log = \"warn\"\n\
         [[pool]]\n\
         name = \"echo\"\n\
         upstreams = [\"http://{upstream}\"]\n\
         [[route]]\n\
         path = \"/*\"\n\
         service = \"proxy\"\n\
         pool = \"echo\"\n"
    )
}

/// As Debian's nginx.conf, with the settings that its manual gives for WebSocket.
fn nginx(listen: SocketAddr, upstream: &str, folder: &Path, buffer: Option<usize>) -> String {
    let connections = 2 * TUNNELS_MAX;
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .collect();
    let buffers = buffer.map_or(String::new(), |bytes| {
        format!(
            "      proxy_buffer_size {bytes};\n      proxy_buffers 4 {bytes};\n      \
             proxy_busy_buffers_size {bytes};\n"
        )
    });
    format!(
        "daemon off;\n\
         master_process off;\n\
         worker_processes 1;\n\
         pid {folder}/nginx.pid;\n\
         error_log stderr error;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
         \x20 access_log off;\n\
         \x20 sendfile on;\n\
         \x20 tcp_nopush on;\n\
         {temporary}\
         \x20 server {{\n\
         \x20   listen {listen} backlog=4096;\n\
         \x20   location / {{\n\
         \x20     proxy_pass http://{upstream};\n\
         \x20     proxy_http_version 1.1;\n\
         \x20     proxy_set_header Upgrade $http_upgrade;\n\
         \x20     proxy_set_header Connection upgrade;\n\
         \x20     proxy_set_header Host $host;\n\
         {buffers}\
         \x20   }}\n\
         \x20 }}\n\
         }}\n"
    )
}

fn haproxy(listen: SocketAddr, upstream: &str, buffer: Option<usize>) -> String {
    let buffers = buffer.map_or(String::new(), |bytes| format!("  tune.bufsize {bytes}\n"));
    format!(
        "global\n\
         \x20 nbthread 1\n\
         \x20 maxconn {TUNNELS_MAX}\n\
         {buffers}\
         defaults\n\
         \x20 mode http\n\
         \x20 timeout connect 5s\n\
         \x20 timeout client 1m\n\
         \x20 timeout server 1m\n\
         \x20 timeout tunnel 1h\n\
         listen proxy\n\
         \x20 bind {listen} backlog 4096\n\
         \x20 server echo {upstream}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_64k_variants_set_buffers() {
        let listen = "127.0.0.1:1".parse().unwrap();
        let folder = Path::new("/tmp/x");
        assert!(!nginx(listen, "127.0.0.1:2", folder, None).contains("proxy_buffer"));
        let text = nginx(listen, "127.0.0.1:2", folder, Some(BUFFER_BYTES));
        assert!(text.contains("proxy_buffer_size 65536;"), "{text}");
        assert!(!haproxy(listen, "127.0.0.1:2", None).contains("bufsize"));
        let text = haproxy(listen, "127.0.0.1:2", Some(BUFFER_BYTES));
        assert!(text.contains("tune.bufsize 65536\n"), "{text}");
    }
}
