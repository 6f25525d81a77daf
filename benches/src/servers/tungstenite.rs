//! tungstenite in the same poll loop as the [bare](super::bare) server, which favours it: no
//! executor, no read without data, and all answers of a connection in one write.

use std::io;

use mio::net::TcpStream;
use mio::{Events, Poll};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use super::bare::register;
use super::{Clients, Load, POLL_MAX, Server, Work, pairs, until};
use crate::codecs::tungstenite_config;

/// The poll and the sockets.
#[derive(Debug)]
pub struct Tungstenite {
    poll: Poll,
    events: Events,
    sockets: Vec<WebSocket<TcpStream>>,
    /// Messages that each connection must still send in this round.
    awaited: Vec<usize>,
    load: Load,
}

impl Server for Tungstenite {
    const NAME: &'static str = "tungstenite";

    fn start(load: Load) -> io::Result<(Tungstenite, Clients)> {
        let (clients, sockets) = pairs(load.connections)?;
        let (poll, sockets) = register(sockets)?;
        let config = Some(tungstenite_config());
        let adopt = |socket| WebSocket::from_raw_socket(socket, Role::Server, config);
        let server = Tungstenite {
            poll,
            events: Events::with_capacity(512),
            sockets: sockets.into_iter().map(adopt).collect(),
            awaited: vec![0; load.connections],
            load,
        };
        Ok((server, Clients::new(clients, &load, Tungstenite::answer_bytes(&load))?))
    }

    fn serve(&mut self) {
        let senders = if self.load.work == Work::Echo { self.sockets.len() } else { 1 };
        self.awaited[..senders].fill(self.load.depth);
        let mut missing = senders * self.load.depth;
        until(|| {
            self.poll.poll(&mut self.events, Some(POLL_MAX)).unwrap();
            for event in &self.events {
                let index = event.token().0;
                while self.awaited[index] > 0 {
                    match self.sockets[index].read() {
                        Ok(message) => answer(self.load.work, &mut self.sockets, index, message),
                        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                    self.awaited[index] -= 1;
                    missing -= 1;
                }
                if self.load.work == Work::Echo {
                    self.sockets[index].flush().unwrap();
                }
            }
            missing == 0
        });
        if self.load.work == Work::Fanout {
            for socket in &mut self.sockets {
                socket.flush().unwrap();
            }
        }
    }
}

fn answer(work: Work, sockets: &mut [WebSocket<TcpStream>], index: usize, message: Message) {
    match work {
        Work::Echo => sockets[index].write(message).unwrap(),
        Work::Fanout => {
            for socket in sockets {
                socket.write(message.clone()).unwrap();
            }
        }
    }
}
