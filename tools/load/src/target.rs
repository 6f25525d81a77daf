//! The target: a `ws://` or `wss://` URL, and optionally its process id.
//!
//! `ws[s]://HOST[:PORT][/PATH][=PID]`. The `=PID` at the end is only recognized in a URL without a
//! query, which may end in the same way; use `--pid` with queries. Names are resolved here, before
//! any loop runs.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// The ports of `ws` and `wss` (RFC 6455, 3).
const PORT_DEFAULT: u16 = 80;
const SECURE_PORT_DEFAULT: u16 = 443;
/// Maximum number of a host's addresses that are tried.
const ADDRESSES_MAX: usize = 16;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URL without the process id.
    pub(crate) url: String,
    /// Whether the URL is wss://.
    pub(crate) is_secure: bool,
    /// Host and port as in the URL.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) pid: Option<i32>,
}

impl Target {
    /// The first address of the host that accepts connections within `patience`. A single address
    /// is not tested; if none of several accepts, the first one is returned.
    ///
    /// # Errors
    /// The name has no address.
    pub(crate) fn reach(&self, patience: Duration) -> io::Result<SocketAddr> {
        let addresses = self.resolve()?;
        let reachable = first_reachable(&addresses, patience);
        let address = reachable.or_else(|| addresses.first().copied());
        address.ok_or_else(|| io::Error::other("the name has no address"))
    }

    /// All addresses of the host, up to a limit.
    fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses = match self.split_port() {
            (_, Some(_)) => self.host.to_socket_addrs()?,
            (host, None) => {
                let port = if self.is_secure { SECURE_PORT_DEFAULT } else { PORT_DEFAULT };
                format!("{host}:{port}").to_socket_addrs()?
            }
        };
        Ok(addresses.take(ADDRESSES_MAX).collect())
    }

    /// The name that the certificate must match: the host as a name or an address.
    pub(crate) fn server_name(&self) -> &str {
        let (host, _) = self.split_port();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn split_port(&self) -> (&str, Option<&str>) {
        match self.host.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                (host, Some(port))
            }
            _ => (&self.host, None),
        }
    }
}

fn first_reachable(addresses: &[SocketAddr], patience: Duration) -> Option<SocketAddr> {
    let takes = |address: &&SocketAddr| TcpStream::connect_timeout(address, patience).is_ok();
    if addresses.len() > 1 { addresses.iter().find(takes).copied() } else { None }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (is_secure, rest) = match text.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            _ => return Err("expected a URL such as ws://127.0.0.1:9001/".to_owned()),
        };
        let (rest, pid) = match rest.rsplit_once('=') {
            Some((rest, pid)) if !rest.contains('?') => (rest, Some(parse_pid(pid)?)),
            _ => (rest, None),
        };
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if host.is_empty() || host.contains('@') {
            return Err("expected a host without a user".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let scheme = if is_secure { "wss" } else { "ws" };
        let url = format!("{scheme}://{host}{path}");
        Ok(Target { url, is_secure, host: host.to_owned(), path, pid })
    }
}

fn parse_pid(text: &str) -> Result<i32, String> {
    let pid = text.parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| format!("'{text}' is not a process id"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn target(text: &str) -> (String, String, Option<i32>) {
        let target: Target = text.parse().unwrap();
        (target.host, target.path, target.pid)
    }

    fn parts(host: &str, path: &str, pid: Option<i32>) -> (String, String, Option<i32>) {
        (host.to_owned(), path.to_owned(), pid)
    }

    #[test]
    fn urls_have_host_path_and_process() {
        assert_eq!(target("ws://a"), parts("a", "/", None));
        assert_eq!(target("ws://a:1/b/c"), parts("a:1", "/b/c", None));
        assert_eq!(target("ws://[::1]:9/=42"), parts("[::1]:9", "/", Some(42)));
        assert_eq!(target("ws://a:1=42"), parts("a:1", "/", Some(42)));
        assert_eq!(target("ws://a/b?c=42"), parts("a", "/b?c=42", None));
        assert_eq!(target("ws://a?c=42"), parts("a", "/?c=42", None));
        assert_eq!("ws://a:1=42".parse::<Target>().unwrap().url, "ws://a:1/");
    }

    #[test]
    fn malformed_urls_are_rejected() {
        for text in
            ["", "a:1", "http://a", "wsss://a", "ws://", "ws:///x", "ws://u@a/", "ws://a/=x"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_resolve_with_and_without_a_port() {
        let resolve = |text: &str| {
            let target: Target = text.parse().unwrap();
            target.reach(Duration::from_secs(1)).unwrap().to_string()
        };
        assert_eq!(resolve("ws://127.0.0.1"), "127.0.0.1:80");
        assert_eq!(resolve("ws://127.0.0.1:9001/"), "127.0.0.1:9001");
        assert_eq!(resolve("ws://[::1]"), "[::1]:80");
        assert_eq!(resolve("ws://[::1]:9"), "[::1]:9");
        assert_eq!(resolve("wss://[::1]"), "[::1]:443");
        assert_eq!(resolve("wss://127.0.0.1:9/x=42"), "127.0.0.1:9");
    }

    #[test]
    fn the_first_address_that_takes_connections_is_used() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (bind(), bind());
        let open = [one.local_addr().unwrap(), other.local_addr().unwrap()];
        let closed = bind().local_addr().unwrap();
        let reached =
            |addresses: &[SocketAddr]| first_reachable(addresses, Duration::from_secs(20));
        assert_eq!(reached(&[closed, open[0], open[1]]), Some(open[0]));
        assert_eq!(reached(&[open[1], open[0]]), Some(open[1]));
        assert_eq!(reached(&[closed, closed]), None);
        let target = format!("ws://{closed}").parse::<Target>().unwrap();
        assert_eq!(target.reach(Duration::from_secs(1)).unwrap(), closed, "nothing else to try");
    }

    #[test]
    fn the_server_name_has_no_port() {
        let name = |text: &str| text.parse::<Target>().unwrap().server_name().to_owned();
        assert_eq!(name("wss://example.org:9001/x"), "example.org");
        assert_eq!(name("wss://example.org"), "example.org");
        assert_eq!(name("wss://[::1]:9001/"), "::1");
        assert_eq!(name("wss://[::1]"), "::1");
        assert_eq!("wss://a:1=42".parse::<Target>().unwrap().url, "wss://a:1/");
    }
}
