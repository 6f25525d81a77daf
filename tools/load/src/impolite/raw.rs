//! A client that sends given bytes, and records the server's reaction.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::handshake::ClientRequest;
use weir::protocol::{FrameHeader, Opcode, Role};

/// Maximum size of a response head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a check for an answer takes.
const GLANCE: Duration = Duration::from_millis(1);

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Reset,
    StillOpen,
}

/// The server's reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The first line of an HTTP response.
    pub(super) status: Option<String>,
    /// The server's Close, with its code if it has one.
    pub(super) close: Option<Option<u16>>,
    pub(super) messages: u64,
    pub(super) end: End,
    /// Time from the violation to the server's last action.
    pub(super) after: Duration,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = &self.status {
            write!(f, "answered '{status}', ")?;
        }
        if self.messages > 0 {
            write!(f, "sent {} messages, ", self.messages)?;
        }
        match (self.close, self.end) {
            (Some(Some(code)), _) => write!(f, "closed with {code}")?,
            (Some(None), _) => f.write_str("closed without a code")?,
            (None, End::StillOpen) => f.write_str("kept the connection")?,
            (None, _) => f.write_str("did not close")?,
        }
        match self.end {
            End::Fin => f.write_str(", ended the stream"),
            End::Reset => f.write_str(", reset the connection"),
            End::StillOpen => Ok(()),
        }
    }
}

/// A connection and its received bytes.
#[derive(Debug)]
pub(super) struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
    is_open: bool,
    start: Instant,
    deadline: Instant,
}

impl Raw {
    /// Opens a TCP connection without sending anything.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> io::Result<Raw> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience))?;
        let start = Instant::now();
        Ok(Raw { stream, received: Vec::new(), is_open: false, start, deadline: start + patience })
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The server does not upgrade the connection.
    pub(super) fn open(
        address: SocketAddr,
        request: &ClientRequest,
        patience: Duration,
    ) -> io::Result<Raw> {
        let mut raw = Raw::connect(address, patience)?;
        let mut head = Vec::new();
        let expected = request.write(fastrand::u128(..).to_ne_bytes(), &mut head);
        raw.send(&head)?;
        while raw.head_len().is_none() {
            if raw.received.len() > HEAD_BYTES_MAX || raw.receive(raw.deadline)? == 0 {
                return Err(io::Error::other("no answer to the upgrade"));
            }
        }
        let len = raw.head_len().unwrap_or(0);
        expected.check(&raw.received[..len]).map_err(io::Error::other)?;
        raw.received.drain(..len);
        raw.is_open = true;
        raw.start = Instant::now();
        Ok(raw)
    }

    fn head_len(&self) -> Option<usize> {
        self.received.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
    }

    /// # Errors
    /// The server accepts no more bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends byte by byte until the server answers or the deadline passes.
    ///
    /// # Errors
    /// The server accepts no more bytes.
    pub(super) fn dribble(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            if self.is_answered() || Instant::now() >= self.deadline {
                return Ok(());
            }
            self.send(&[*byte])?;
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Whether the server has sent anything, or has ended the stream.
    pub(super) fn is_answered(&mut self) -> bool {
        match self.receive(Instant::now() + GLANCE) {
            Ok(_) => true,
            Err(error) => !is_timeout(&error) || !self.received.is_empty(),
        }
    }

    /// Receives more bytes before `until`; 0 at the end of the stream.
    fn receive(&mut self, until: Instant) -> io::Result<usize> {
        let wait = until.saturating_duration_since(Instant::now()).max(GLANCE);
        self.stream.set_read_timeout(Some(wait))?;
        let mut chunk = [0; 16 * 1024];
        let len = self.stream.read(&mut chunk)?;
        self.received.extend_from_slice(&chunk[..len]);
        Ok(len)
    }

    /// Waits until the server has sent a Close, or has ended the stream if `end_is_awaited`; at
    /// most until the deadline.
    pub(super) fn watch(mut self, end_is_awaited: bool) -> Seen {
        let (mut close, mut messages) = (None, 0);
        let mut after = Duration::ZERO;
        let end = loop {
            while let Some(event) = self.next_frame().filter(|_| close.is_none()) {
                match event {
                    Frame::Close(code) => close = Some(code),
                    Frame::Message => messages += 1,
                    Frame::Other => {}
                }
                after = self.start.elapsed();
            }
            if close.is_some() && !end_is_awaited {
                break End::StillOpen;
            }
            let end = match self.receive(self.deadline) {
                Ok(0) => End::Fin,
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => End::StillOpen,
                Err(_) => End::Reset,
            };
            after = self.start.elapsed();
            break end;
        };
        let line = || self.received.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let has_status = !self.is_open && !self.received.is_empty();
        let status = has_status.then(|| String::from_utf8_lossy(line()).into_owned());
        Seen { status, close, messages, end, after }
    }

    /// Removes the next complete frame from the received bytes.
    fn next_frame(&mut self) -> Option<Frame> {
        if !self.is_open {
            return None;
        }
        let (header, len) = FrameHeader::parse(&self.received, Role::Client, false).ok()??;
        let end = len.checked_add(usize::try_from(header.payload_len).ok()?)?;
        let payload = self.received.get(len..end)?;
        let frame = match (header.opcode, payload) {
            (Opcode::Close, [a, b, ..]) => Frame::Close(Some(u16::from_be_bytes([*a, *b]))),
            (Opcode::Close, _) => Frame::Close(None),
            (Opcode::Ping | Opcode::Pong, _) => Frame::Other,
            _ => Frame::Message,
        };
        self.received.drain(..end);
        Some(frame)
    }
}

/// A frame from the server, reduced to what is checked.
enum Frame {
    Close(Option<u16>),
    Message,
    Other,
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A masked frame with this first byte and up to 65,535 bytes of payload.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    const MASK: u8 = 0x80;
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => bytes.push(MASK | short),
        _ => {
            bytes.push(MASK | 126);
            bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}
