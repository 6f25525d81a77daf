//! The floor: what echo costs a server that does nothing but receive and send.
//!
//! One thread, epoll, edge-triggered, on mio: its poll is the system call and its sockets are std's,
//! so there is nothing between this and the kernel, and no unsafe code. A reply is its frame without
//! the masking key: the header moves up by four bytes, the payload goes back as it came, masked, and
//! no byte of it is touched. Rooms do unmask, once for each message published: that is not what a
//! delivery costs. Believes what clients say, and bounds nothing.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::ops::Range;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use weir_peers::Options;

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
/// What one read takes: weir's own measure.
const READ_BYTES: usize = 256 * 1024;
/// The longest header of a client's frame.
const HEADER_BYTES_MAX: usize = 14;
const KEY_BYTES: usize = 4;
const CLOSE: u8 = 0x88;

struct Connection {
    socket: TcpStream,
    state: State,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

enum State {
    /// The head of the request so far.
    Handshake(Vec<u8>),
    Open(Frames),
}

/// Where in its frames a connection is.
#[derive(Default)]
struct Frames {
    /// A header that has not come whole.
    header: Vec<u8>,
    /// Bytes of payload that are still to come, and their key from here on.
    rest: usize,
    key: [u8; KEY_BYTES],
    /// The room to relay to; none: echo.
    room: Option<String>,
    is_closed: bool,
}

struct Floor {
    connections: Slab<Connection>,
    rooms: HashMap<String, Vec<usize>>,
    buffer: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut listener = TcpListener::from_std(Options::listen()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor =
        Floor { connections: Slab::new(), rooms: HashMap::new(), buffer: vec![0; READ_BYTES] };
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, poll.registry())?,
                Token(id) if floor.serve(id, poll.registry()).is_err() => floor.drop(id),
                _ => {}
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, registry: &Registry) -> io::Result<()> {
        loop {
            let mut socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            registry.register(&mut socket, Token(entry.key()), Interest::READABLE)?;
            let state = State::Handshake(Vec::new());
            entry.insert(Connection { socket, state, unsent: Vec::new() });
        }
    }

    /// Reads until a read was short, which is all there was. An error ends the connection.
    fn serve(&mut self, id: usize, registry: &Registry) -> io::Result<()> {
        loop {
            let Some(connection) = self.connections.get_mut(id) else {
                return Ok(());
            };
            connection.flush(registry, id)?;
            let carried = connection.carry(&mut self.buffer);
            let end = match connection.socket.read(&mut self.buffer[carried..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => carried + len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.keep(&self.buffer[..carried]);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            self.receive(id, end, registry)?;
            if end < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes what stands in the buffer up to `end`.
    fn receive(&mut self, id: usize, end: usize, registry: &Registry) -> io::Result<()> {
        let connection = &mut self.connections[id];
        let State::Open(frames) = &mut connection.state else {
            return self.upgrade(id, end, registry);
        };
        let reply = frames.strip(&mut self.buffer, end);
        let is_closed = frames.is_closed;
        let Some(room) = &frames.room else {
            connection.send(&self.buffer[reply], registry, id)?;
            return if is_closed { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) };
        };
        if is_closed {
            connection.send(&[CLOSE, 0], registry, id)?;
            return Err(ErrorKind::ConnectionAborted.into());
        }
        for member in self.rooms.get(room).into_iter().flatten().filter(|member| **member != id) {
            // Who has failed is dropped when its own event says so.
            let _ = self.connections[*member].send(&self.buffer[reply.clone()], registry, *member);
        }
        Ok(())
    }

    fn upgrade(&mut self, id: usize, end: usize, registry: &Registry) -> io::Result<()> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&self.buffer[..end]) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                self.connections[id].keep(&self.buffer[..end]);
                return Ok(());
            }
            Err(_) => return Err(ErrorKind::InvalidData.into()),
        }
        let is_key =
            |header: &&httparse::Header| header.name.eq_ignore_ascii_case("sec-websocket-key");
        let key = request.headers.iter().find(is_key).ok_or(ErrorKind::InvalidData)?.value;
        let room = request.path.and_then(|path| path.strip_prefix("/rooms/")).map(str::to_owned);
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key)
        );
        if let Some(room) = &room {
            self.rooms.entry(room.clone()).or_default().push(id);
        }
        let connection = &mut self.connections[id];
        connection.state = State::Open(Frames { room, ..Frames::default() });
        connection.send(response.as_bytes(), registry, id)
    }

    fn drop(&mut self, id: usize) {
        if let State::Open(Frames { room: Some(room), .. }) = self.connections.remove(id).state
            && let Some(members) = self.rooms.get_mut(&room)
        {
            members.retain(|member| *member != id);
        }
    }
}

impl Connection {
    /// Puts what was kept of the last read to the front of the buffer; returns its length.
    fn carry(&mut self, buffer: &mut [u8]) -> usize {
        let kept = match &mut self.state {
            State::Handshake(head) => head,
            State::Open(frames) => &mut frames.header,
        };
        buffer[..kept.len()].copy_from_slice(kept);
        let len = kept.len();
        kept.clear();
        len
    }

    fn keep(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Handshake(head) => head.extend_from_slice(bytes),
            State::Open(frames) => frames.header.extend_from_slice(bytes),
        }
    }

    fn send(&mut self, bytes: &[u8], registry: &Registry, id: usize) -> io::Result<()> {
        let sent = match &self.unsent[..] {
            [] => match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                result => result?,
            },
            _ => 0,
        };
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
            let both = Interest::READABLE | Interest::WRITABLE;
            registry.reregister(&mut self.socket, Token(id), both)?;
        }
        Ok(())
    }

    fn flush(&mut self, registry: &Registry, id: usize) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = mem::take(&mut self.unsent);
        self.send(&unsent, registry, id)?;
        if self.unsent.is_empty() {
            registry.reregister(&mut self.socket, Token(id), Interest::READABLE)?;
        }
        Ok(())
    }
}

impl Frames {
    /// Takes the masking keys out of the frames in `buffer[..end]`, and in a room their mask off the
    /// payloads; returns where the replies lie. Only frames behind the first are moved.
    fn strip(&mut self, buffer: &mut [u8], end: usize) -> Range<usize> {
        let start = if self.rest > 0 { 0 } else { KEY_BYTES.min(end) };
        let (mut from, mut to) = (0, start);
        loop {
            let len = self.rest.min(end - from);
            if self.room.is_some() {
                let bytes = buffer[from..from + len].iter_mut().zip(self.key.iter().cycle());
                bytes.for_each(|(byte, key)| *byte ^= key);
                self.key.rotate_left(len % KEY_BYTES);
            }
            if from != to {
                buffer.copy_within(from..from + len, to);
            }
            (from, to, self.rest) = (from + len, to + len, self.rest - len);
            let Some((header, payload)) = header(&buffer[from..end]) else {
                self.header.extend_from_slice(&buffer[from..end]);
                return start..to;
            };
            self.key.copy_from_slice(&buffer[from + header..from + header + KEY_BYTES]);
            buffer[from + 1] &= 0x7F;
            if buffer[from] == CLOSE {
                self.is_closed = true;
                (buffer[to], buffer[to + 1]) = (CLOSE, 0);
                return start..to + 2;
            }
            buffer.copy_within(from..from + header, to);
            (from, to, self.rest) = (from + header + KEY_BYTES, to + header, payload);
        }
    }
}

/// The lengths of a frame's header without the key, and of its payload, if the header is there with
/// its key.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, payload) = match *bytes {
        [_, len, ..] if len & 0x7F < 126 => (2, usize::from(len & 0x7F)),
        [_, len, a, b, ..] if len & 0x7F == 126 => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, _, a, b, c, d, e, f, g, h, ..] => {
            (10, usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).ok()?)
        }
        _ => return None,
    };
    (bytes.len() >= header + KEY_BYTES).then_some((header, payload))
}

const _: () = assert!(READ_BYTES > 2 * HEADER_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn frame(payload: &[u8], masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut bytes = match payload.len() {
            len @ 0..126 => vec![0x82, bit | len as u8],
            len => [&[0x82, bit | 126][..], &(len as u16).to_be_bytes()].concat(),
        };
        if masked {
            bytes.extend(KEY);
        }
        bytes.extend(payload);
        bytes
    }

    /// What comes back if `input` is received in pieces of so many bytes.
    fn replies(frames: &mut Frames, input: &[u8], piece: usize) -> Vec<u8> {
        let mut replies = Vec::new();
        for piece in input.chunks(piece) {
            let mut buffer = mem::take(&mut frames.header);
            buffer.extend(piece);
            let end = buffer.len();
            buffer.resize(end + KEY_BYTES, 0);
            let reply = frames.strip(&mut buffer, end);
            replies.extend_from_slice(&buffer[reply]);
        }
        replies
    }

    #[test]
    fn replies_are_the_frames_without_their_keys() {
        let payloads = [&b"hello"[..], b"", &[7; 300], b"x"];
        let input: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload, true)).collect();
        let output: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload, false)).collect();
        for piece in 1..=input.len() {
            assert_eq!(replies(&mut Frames::default(), &input, piece), output, "{piece}");
        }
    }

    #[test]
    fn rooms_hear_what_was_said() {
        let said: Vec<u8> = (0..200).collect();
        let masked: Vec<u8> = said.iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b).collect();
        let input = [frame(&masked, true), frame(&masked, true)].concat();
        let output = [frame(&said, false), frame(&said, false)].concat();
        for piece in 1..=input.len() {
            let mut frames = Frames { room: Some(String::new()), ..Frames::default() };
            assert_eq!(replies(&mut frames, &input, piece), output, "{piece}");
        }
    }

    #[test]
    fn a_close_is_answered_by_an_empty_one() {
        let mut input = frame(b"hello", true);
        input.extend([CLOSE, 0x82, 9, 9, 9, 9, 1, 2]);
        let mut frames = Frames::default();
        assert_eq!(
            replies(&mut frames, &input, 100),
            [&frame(b"hello", false)[..], &[CLOSE, 0]].concat()
        );
        assert!(frames.is_closed);
    }
}
