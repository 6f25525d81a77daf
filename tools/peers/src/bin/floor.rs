//! The floor: the cost of an echo in a server that only receives and sends.
//!
//! One thread, edge-triggered epoll by mio, sockets from std: nothing is between it and the kernel,
//! and there is no unsafe code. A reply is the received frame without its masking key: the header
//! moves by four bytes, and the payload is returned masked, untouched. Rooms unmask each published
//! message once, which does not count as the cost of a delivery. It trusts its clients and has no
//! limits.

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
/// Bytes of one read: the same as weir's.
const READ_BYTES: usize = 256 * 1024;
/// The longest header of a client's frame.
const HEADER_BYTES_MAX: usize = 14;
const KEY_BYTES: usize = 4;
const CLOSE: u8 = 0x88;

struct Connection {
    socket: TcpStream,
    state: State,
    /// Output that the kernel did not accept.
    unsent: Vec<u8>,
}

enum State {
    /// The part of the request head received so far.
    Handshake(Vec<u8>),
    Open(Frames),
}

/// The position of a connection in its frames.
#[derive(Default)]
struct Frames {
    /// An incomplete header.
    header: Vec<u8>,
    /// Remaining payload bytes, and the masking key rotated to them.
    rest: usize,
    key: [u8; KEY_BYTES],
    /// The room to relay to; `None`: echo.
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

    /// Reads until a read is short. An error ends the connection.
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

    /// Handles the buffer's bytes up to `end`.
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
            // A failed member is dropped at its own event.
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
    /// Copies bytes kept from the last read to the front of the buffer; returns their length.
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
    /// Removes the masking keys from the frames in `buffer[..end]`, and in a room unmasks the
    /// payloads; returns the range of the replies. Only frames after the first are moved.
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

/// The lengths of a frame's header without the key, and of its payload, if header and key are
/// complete.
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

    /// The replies if `input` is received in parts of `piece` bytes.
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
    fn rooms_receive_unmasked_messages() {
        let payload: Vec<u8> = (0..200).collect();
        let masked: Vec<u8> = payload.iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b).collect();
        let input = [frame(&masked, true), frame(&masked, true)].concat();
        let output = [frame(&payload, false), frame(&payload, false)].concat();
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
