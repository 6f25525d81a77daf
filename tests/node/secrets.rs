//! Keys in upstream URLs: the whole output of a gateway and of a follower is searched for the key.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use super::process::{Directory, Node};
use crate::binary::File;
use crate::rpc::scripted::call;
use crate::support::{Client, Process, eventually, weir};

/// The key in each URL's path or query.
const KEY: &str = "sEcReT0123456789";
const PATH: &str = "/main/evm/2121";
/// The log of libraries, too: lines of the HTTP client contain whole URLs.
const LOG: &str = "trace,mio=trace,rustls=trace,ureq=trace,ureq_proto=trace";

/// A gateway, and its output.
struct Gateway {
    process: Process,
    file: File,
    public: SocketAddr,
    admin: SocketAddr,
    printed: String,
}

impl Gateway {
    /// A gateway for these upstreams, for clients at `/{project}/evm/2121`.
    fn start(project: &str, upstreams: &[String]) -> Gateway {
        let text = format!(
            "admin = '127.0.0.1:0'\nlisten = '127.0.0.1:0'\nlog = '{LOG}'\n\
             [[network]]\nproject = '{project}'\nchain_id = 2121\ncall_timeout = '2s'\n\
             upstreams = {upstreams:?}\n"
        );
        let file = File::new(&text);
        let process = Process::spawn(&mut weir(["--config", file.path()]));
        let public = process.address();
        let line = process.line();
        let admin = line.strip_prefix("admin http://").expect(&line).trim_end_matches('/');
        let admin = admin.parse().unwrap();
        Gateway { process, file, public, admin, printed: line }
    }

    /// The metrics, which count as output, too.
    fn metrics(&mut self) -> String {
        let mut client = Client::tcp(self.admin);
        client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
        let (head, body) = client.answer();
        let text = String::from_utf8(body).unwrap();
        self.printed += &format!("{head}{text}");
        text
    }

    fn call(&mut self, method: &str) -> String {
        let mut client = Client::open(self.public, PATH);
        let answer = call(&mut client, method, &json!([])).to_string();
        self.printed += &answer;
        answer
    }

    /// Its whole output, with that of `weir check`.
    fn stop(self) -> String {
        let mut check = Process::spawn(&mut weir(["check", "--config", self.file.path()]));
        assert_eq!(check.wait(), Some(0));
        let effective = check.rest().join("\n");
        self.printed + &effective + &check.whole_log() + &self.process.stop()
    }
}

/// URLs of every scheme at one address, each with the key.
fn urls(address: SocketAddr, schemes: &[&str]) -> Vec<String> {
    let url = |scheme: &&str| format!("{scheme}://{address}/?token={KEY}");
    schemes.iter().map(url).collect()
}

fn has_no_key(printed: &str) {
    if let Some(at) = printed.find(KEY) {
        let line = printed[..at].rfind('\n').map_or(0, |at| at + 1);
        panic!("{}", &printed[line..at + KEY.len()]);
    }
}

#[test]
fn keys_of_upstreams_that_work_are_not_printed() {
    for scheme in ["http", "ws"] {
        let directory = Directory::new();
        let leader = Node::leader(&directory);
        // The path of the upstream gateway is the key of this one.
        let provider = Gateway::start(KEY, &[format!("http://{}", leader.rpc)]);
        let at = provider.public;
        let urls = ["", "?x"].map(|query| format!("{scheme}://{at}/{KEY}/evm/2121{query}"));
        let mut gateway = Gateway::start("main", &urls);
        let ready = format!("upstream=\"{scheme}://{at}/..#2\"}} 1.0");
        eventually(|| gateway.metrics().contains(&ready), "the upstreams are ready");
        assert!(gateway.call("eth_blockNumber").contains("\"0x0\""));
        let mut client = Client::open(gateway.public, PATH);
        let reply = call(&mut client, "eth_subscribe", &json!(["newHeads"]));
        assert!(reply["result"].is_string(), "{reply}");
        leader.result("weir_mine", json!([]));
        client.frame();
        drop(client);
        let printed = gateway.stop();
        // The output is complete: it names the upstreams, and the log has every level.
        assert!(printed.contains(&format!("{scheme}://{at}/..#1")), "{printed}");
        assert!(printed.contains("TRACE") && printed.contains("stopped: "), "{printed}");
        has_no_key(&printed);
    }
}

#[test]
fn keys_of_upstreams_that_fail_are_not_printed() {
    // A port whose connections are not accepted, and one without a listener.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = Directory::new();
    let leader = Node::leader(&directory);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let schemes = ["http", "https", "ws", "wss"];
    let mut all = urls(closed, &schemes);
    // This port has no TLS, and does not serve this path.
    all.extend(urls(leader.rpc, &["https", "wss"]));
    all.extend(["http", "ws"].map(|scheme| format!("{scheme}://{}/{KEY}", leader.rpc)));
    all.extend(urls(silent.local_addr().unwrap(), &schemes));
    all.push(format!("ws://name.invalid/{KEY}"));
    let mut gateway = Gateway::start("main", &all);
    assert!(gateway.call("eth_blockNumber").contains("error"));
    for lost in [closed, leader.rpc] {
        gateway.process.logged(&format!("upstream ws://{lost}/.. cannot be reached"));
    }
    gateway.metrics();
    has_no_key(&gateway.stop());
}

#[test]
fn the_key_of_a_leader_is_not_printed() {
    let (of_leader, of_follower) = (Directory::new(), Directory::new());
    let leader = Node::leader(&of_leader);
    let url = format!("http://{}/?{KEY}", leader.rpc);
    let flags = ["--role", "follower", "--follow-rpc", &url, "--log", LOG, "--drain-timeout", "1s"];
    let mut follower = Node::start(&of_follower, &flags);
    leader.result("weir_mine", json!([]));
    follower.reach(1);
    let mut printed = follower.answer("/metrics").1 + &follower.answer("/readyz").1;
    leader.kill();
    printed += &follower.logged("not following http://");
    printed += &follower.call("eth_gasPrice", json!([])).to_string();
    printed += &follower.call("eth_getBalance", json!(["0x0", "latest"])).to_string();
    follower.signal(rustix::process::Signal::TERM);
    let (code, log) = follower.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("DEBUG"), "{log}");
    has_no_key(&(printed + &log));
}
