//! The floor: the system calls of an edge-triggered poll loop without WebSocket.
//!
//! An echo returns the received bytes, still masked; a fan-out sends frames that were encoded in
//! advance.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use weir::protocol::{Message, SharedFrame};

use super::{Clients, Load, POLL_MAX, Server, Work, pairs, until};

/// The poll, the sockets and one buffer.
#[derive(Debug)]
pub struct Bare {
    poll: Poll,
    events: Events,
    sockets: Vec<TcpStream>,
    scratch: Vec<u8>,
    /// The message of a fan-out.
    shared: Vec<u8>,
    request_bytes: usize,
    load: Load,
}

impl Server for Bare {
    const NAME: &'static str = "bare";

    fn start(load: Load) -> io::Result<(Bare, Clients)> {
        let (clients, sockets) = pairs(load.connections)?;
        let clients = Clients::new(clients, &load, Bare::answer_bytes(&load))?;
        let (poll, sockets) = register(sockets)?;
        let payload = vec![b'x'; load.payload_bytes];
        let frame = SharedFrame::message(Message::Binary(&payload));
        let bare = Bare {
            poll,
            events: Events::with_capacity(512),
            sockets,
            scratch: vec![0; 256 * 1024],
            shared: frame.as_bytes().repeat(load.depth),
            request_bytes: clients.request.len(),
            load,
        };
        Ok((bare, clients))
    }

    fn serve(&mut self) {
        let senders = if self.load.work == Work::Echo { self.sockets.len() } else { 1 };
        let mut missing = senders * self.request_bytes;
        until(|| {
            self.poll.poll(&mut self.events, Some(POLL_MAX)).unwrap();
            for event in &self.events {
                let socket = &mut self.sockets[event.token().0];
                let len = match socket.read(&mut self.scratch) {
                    Ok(len) => len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(error) => panic!("{error}"),
                };
                missing -= len;
                if self.load.work == Work::Echo && len > 0 {
                    socket.write_all(&self.scratch[..len]).unwrap();
                }
            }
            missing == 0
        });
        if self.load.work == Work::Fanout {
            for socket in &mut self.sockets {
                socket.write_all(&self.shared).unwrap();
            }
        }
    }

    fn answer_bytes(load: &Load) -> usize {
        let frame = weir::protocol::frame_bytes(load.payload_bytes);
        if load.work == Work::Echo { frame + crate::input::KEY.len() } else { frame }
    }
}

/// A poll that reports when each of these sockets is readable.
pub(super) fn register(sockets: Vec<std::net::TcpStream>) -> io::Result<(Poll, Vec<TcpStream>)> {
    let poll = Poll::new()?;
    let mut sockets: Vec<_> = sockets.into_iter().map(TcpStream::from_std).collect();
    for (index, socket) in sockets.iter_mut().enumerate() {
        poll.registry().register(socket, Token(index), Interest::READABLE)?;
    }
    Ok((poll, sockets))
}
