//! Upstreams that do what a test says.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use weir::protocol::handshake::accept_key;

use super::front::url;
use crate::support::{Client, DEADLINE, KEY, eventually};

/// An upstream that records the head of each request and runs a script on its connection.
pub struct Scripted {
    pub address: SocketAddr,
    heads: Receiver<String>,
}

impl Scripted {
    /// Runs `script` after each request, with its connection and its head.
    pub fn new(script: impl Fn(&mut Client, &str) + Send + Sync + Clone + 'static) -> Scripted {
        Scripted::serving(move |client, head, _| script(client, head))
    }

    /// The same on a listener of the test.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&mut Client, &str) + Send + Sync + Clone + 'static,
    ) -> Scripted {
        Scripted::serving_on(listener, move |client, head, _| script(client, head))
    }

    /// Runs `script` after the first request of each connection; it reports further heads itself.
    fn serving(
        script: impl Fn(&mut Client, &str, &dyn Fn(String)) + Send + Sync + Clone + 'static,
    ) -> Scripted {
        Scripted::serving_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    fn serving_on(
        listener: TcpListener,
        script: impl Fn(&mut Client, &str, &dyn Fn(String)) + Send + Sync + Clone + 'static,
    ) -> Scripted {
        let address = listener.local_addr().unwrap();
        let (sender, heads) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, sender) = (script.clone(), sender.clone());
                thread::spawn(move || serve(stream, &script, |head| drop(sender.send(head))));
            }
        });
        Scripted { address, heads }
    }

    /// Runs `script` after each request on each connection, until the client closes it.
    pub fn persistent(
        script: impl Fn(&mut Client, &str) + Send + Sync + Clone + 'static,
    ) -> Scripted {
        Scripted::persistent_with(|| {}, script)
    }

    /// The same; calls `connected` for each connection with a request.
    pub fn persistent_with(
        connected: impl Fn() + Send + Sync + Clone + 'static,
        script: impl Fn(&mut Client, &str) + Send + Sync + Clone + 'static,
    ) -> Scripted {
        Scripted::serving(move |client, first, report| {
            connected();
            script(client, first);
            while let Some(head) = client.try_head() {
                report(head.clone());
                script(client, &head);
            }
        })
    }

    /// Sends this response to each request, and closes the connection.
    pub fn answering(response: &'static str) -> Scripted {
        Scripted::new(move |client, _| client.raw(response.as_bytes()))
    }

    /// Accepts each upgrade, with these further header lines, and echoes nothing.
    pub fn accepting(lines: &'static str) -> Scripted {
        Scripted::new(move |client, _| {
            client.raw(switching(lines).as_bytes());
            client.expect_gone();
        })
    }

    pub fn url(&self) -> String {
        url(self.address)
    }

    /// The head of the next request.
    pub fn head(&self) -> String {
        self.heads.recv_timeout(DEADLINE).expect("a request arrives at the upstream")
    }

    /// Whether a request has arrived since the last call.
    pub fn has_request(&self) -> bool {
        self.heads.try_recv().is_ok()
    }

    /// Asserts that no request has arrived that was not looked at.
    pub fn expect_no_request(&self) {
        assert_eq!(self.heads.try_recv().ok(), None);
    }
}

/// An upstream whose checks at `/health` a test can let fail, and whose tunnels it can end without a
/// Close.
pub struct Moody {
    upstream: Scripted,
    is_healthy: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Moody {
    pub fn new() -> Moody {
        let is_healthy = Arc::new(AtomicBool::new(true));
        let is_over = Arc::<AtomicBool>::default();
        let (healthy, over) = (Arc::clone(&is_healthy), Arc::clone(&is_over));
        let upstream = Scripted::new(move |client, head| {
            if head.starts_with("GET /health ") {
                let status = if healthy.load(Relaxed) { "200 OK" } else { "500 Ill" };
                return client.raw(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
            }
            client.raw(switching("").as_bytes());
            eventually(|| over.load(Relaxed), "the test ends the tunnels");
        });
        Moody { upstream, is_healthy, is_over }
    }

    pub fn url(&self) -> String {
        self.upstream.url()
    }

    pub fn fall_ill(&self) {
        self.is_healthy.store(false, Relaxed);
    }

    pub fn end_tunnels(&self) {
        self.is_over.store(true, Relaxed);
    }
}

fn serve(
    stream: TcpStream,
    script: &impl Fn(&mut Client, &str, &dyn Fn(String)),
    report: impl Fn(String),
) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::over(stream);
    // A connection on which no request comes, such as that of a check, is left to itself.
    let Some(head) = client.try_head() else {
        return;
    };
    report(head.clone());
    script(&mut client, &head, &report);
}

/// The 101 for a request with the [`KEY`] of all tests.
pub fn switching(lines: &str) -> String {
    let accept = accept_key(KEY.as_bytes());
    let accept = str::from_utf8(&accept).unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}
