//! A client that sends and receives bytes, requests and frames by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::{CLOSE, DEADLINE, Frame, TEXT, frame, header, upgrade};

/// A client that sends and receives bytes, requests and frames by hand, over TCP or another stream.
pub struct Client<S = TcpStream> {
    pub stream: S,
    /// Bytes received and not parsed yet.
    pending: Vec<u8>,
}

impl Client {
    /// A TCP connection on which nothing was sent yet.
    pub fn tcp(address: SocketAddr) -> Client {
        Client::on(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// An open WebSocket.
    pub fn open(address: SocketAddr, path: &str) -> Client {
        Client::tcp(address).upgraded(path)
    }

    /// An open WebSocket whose request had these additional header lines, each ended by CR LF; and the
    /// head of the response.
    pub fn open_with(address: SocketAddr, path: &str, lines: &str) -> (Client, String) {
        let mut client = Client::tcp(address);
        let head = client.request(&upgrade(path, lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, head)
    }

    /// A TCP connection from this local address.
    pub fn from(source: Ipv4Addr, address: SocketAddr) -> Client {
        let socket = socket_towards(address);
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Client::on(socket.into())
    }

    /// A TCP connection with a small receive buffer: output that the client does not read stays in the
    /// server's queue.
    pub fn narrow_tcp(address: SocketAddr) -> Client {
        let socket = socket_towards(address);
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Client::on(socket.into())
    }

    /// An open WebSocket with a small receive buffer.
    pub fn narrow(address: SocketAddr, path: &str) -> Client {
        Client::narrow_tcp(address).upgraded(path)
    }

    fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(stream)
    }

    /// A second handle of the socket, so that another thread can write while this one reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Sends a FIN: the client sends nothing more.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a stream that is already connected.
    pub fn over(stream: S) -> Client<S> {
        Client { stream, pending: Vec::new() }
    }

    /// Opens a WebSocket on the stream.
    pub fn upgraded(mut self, path: &str) -> Client<S> {
        let head = self.request(&upgrade(path, ""));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends a request and returns the head of the response.
    pub fn request(&mut self, request: &str) -> String {
        self.raw(request.as_bytes());
        self.head()
    }

    /// The head of the next HTTP response, with the empty line that ends it.
    pub fn head(&mut self) -> String {
        self.try_head().expect("a head before the end of the stream")
    }

    /// The next head of a request or a response; `None` if the stream ends before it does.
    pub fn try_head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.receive() {
                return None;
            }
        };
        Some(String::from_utf8(self.pending.drain(..end).collect()).unwrap())
    }

    /// Head and body of the next HTTP response.
    pub fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 "), "other bytes before the response: {head}");
        let len = header(&head, "Content-Length").expect("a length").parse().unwrap();
        let body = self.bytes(len);
        (head, body)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.pending.len() < len {
            assert!(self.receive(), "the stream ended after {} bytes", self.pending.len());
        }
        self.pending.drain(..len).collect()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&frame(true, opcode, payload));
    }

    pub fn text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.send(CLOSE, &payload);
    }

    /// The next frame, which must be well-formed, unmasked and in its shortest form.
    pub fn frame(&mut self) -> Frame {
        let head = self.bytes(2);
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        assert_eq!(head[0] & 0x30, 0, "RSV2 and RSV3 mean nothing");
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.bytes(8).try_into().unwrap()),
            short => u64::from(short),
        };
        let payload = self.bytes(len as usize);
        let (fin, compressed) = (head[0] & 0x80 != 0, head[0] & 0x40 != 0);
        Frame { fin, compressed, opcode: head[0] & 0x0F, payload }
    }

    /// The next frame, which must be this message.
    pub fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame();
        assert!(frame.fin && !frame.compressed);
        assert_eq!(frame.opcode, opcode, "{:?}", String::from_utf8_lossy(&frame.payload));
        assert!(frame.payload == payload, "{} bytes came back differently", payload.len());
    }

    /// Skips messages until a Close comes; returns its code (0 if empty) and reason.
    pub fn expect_close(&mut self) -> (u16, String) {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < DEADLINE, "frames, but no Close");
            let frame = self.frame();
            if frame.opcode == CLOSE {
                return match &frame.payload[..] {
                    [] => (0, String::new()),
                    [a, b, reason @ ..] => {
                        (u16::from_be_bytes([*a, *b]), String::from_utf8(reason.to_vec()).unwrap())
                    }
                    [_] => panic!("a Close with one byte"),
                };
            }
        }
    }

    /// Expects a FIN, and no byte before it.
    pub fn expect_end(&mut self) {
        assert!(self.pending.is_empty(), "{:?}", self.pending);
        assert!(!self.receive(), "{:?}", self.pending);
    }

    /// Expects the end of the stream, by FIN or RST; bytes before it are ignored.
    pub fn expect_gone(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("the connection is still open")
                }
                Err(_) => return,
            }
        }
    }

    /// Receives more bytes; returns false at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let read = loop {
            // A test that signals its own process interrupts reads of others.
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let len = read.expect("bytes, or the end, within the deadline");
        self.pending.extend_from_slice(&chunk[..len]);
        len > 0
    }
}

fn socket_towards(address: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap()
}
