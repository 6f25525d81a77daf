//! weir: a whole reactor, driven turn by turn.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use weir::protocol::Message;
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, PublishOptions, Reactor, Service, Target};
use weir::services::Echo;

use super::{Clients, DESCRIPTORS, Load, POLL_MAX, Server, Work, until};
use crate::MESSAGE_BYTES_MAX;

/// The reactor, and the bytes that it must write per round.
#[derive(Debug)]
pub struct Weir {
    reactor: Reactor,
    round_bytes: u64,
}

/// Publishes every message to all connections.
struct Relay;

const TOPIC: &str = "all";

impl Service for Relay {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = cx.subscribe(conn, TOPIC);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, message: Message<'_>) {
        let _ = cx.publish(Target::Topic(TOPIC), message, PublishOptions::default());
    }
}

impl Server for Weir {
    const NAME: &'static str = "weir";

    fn start(load: Load) -> io::Result<(Weir, Clients)> {
        rlimit::increase_nofile_limit(DESCRIPTORS)?;
        let mut reactor = Reactor::new(Settings::default())?;
        let service = match load.work {
            Work::Echo => reactor.add_service(Echo)?,
            Work::Fanout => reactor.add_service(Relay)?,
        };
        let route = RouteSettings::default().message_bytes_max(MESSAGE_BYTES_MAX);
        reactor.add_route("/", service, route).map_err(io::Error::other)?;
        let any = "127.0.0.1:0".parse().map_err(io::Error::other)?;
        let address = reactor.listen(&ListenSettings::new(any))?;
        reactor.start().unwrap();
        let open = |_| {
            let client = TcpStream::connect(address)?;
            upgrade(&mut reactor, &client)?;
            Ok(client)
        };
        let streams = (0..load.connections).map(open).collect::<io::Result<_>>()?;
        let answer_bytes = Weir::answer_bytes(&load);
        let clients = Clients::new(streams, &load, answer_bytes)?;
        Ok((Weir { reactor, round_bytes: (load.deliveries() * answer_bytes) as u64 }, clients))
    }

    fn serve(&mut self) {
        let end = self.reactor.metrics().bytes_written + self.round_bytes;
        until(|| {
            self.reactor.turn(Some(POLL_MAX)).unwrap();
            self.reactor.metrics().bytes_written == end
        });
    }
}

/// Sends the upgrade, runs turns, and reads the answer, which has no frame after it.
fn upgrade(reactor: &mut Reactor, mut client: &TcpStream) -> io::Result<()> {
    let written = reactor.metrics().bytes_written;
    client.write_all(
        b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    until(|| {
        reactor.turn(Some(POLL_MAX)).unwrap();
        reactor.metrics().bytes_written > written
    });
    let mut head = vec![0; (reactor.metrics().bytes_written - written) as usize];
    client.read_exact(&mut head)?;
    assert!(head.starts_with(b"HTTP/1.1 101 ") && head.ends_with(b"\r\n\r\n"));
    Ok(())
}
