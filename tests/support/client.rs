//! A client that does what it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::{CLOSE, DEADLINE, Frame, TEXT, frame, header, upgrade};

/// A client that does what it is told, over TCP or whatever lies on it.
pub struct Client<S = TcpStream> {
    pub stream: S,
    /// Bytes received and not looked at yet.
    pending: Vec<u8>,
}

impl Client {
    /// A connection on which nothing was sent yet.
    pub fn tcp(address: SocketAddr) -> Client {
        Client::on(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// An open WebSocket.
    pub fn open(address: SocketAddr, path: &str) -> Client {
        Client::tcp(address).upgraded(path)
    }

    /// An open WebSocket whose request had further header lines, each ended by CR LF, and the head of
    /// its answer.
    pub fn open_with(address: SocketAddr, path: &str, lines: &str) -> (Client, String) {
        let mut client = Client::tcp(address);
        let head = client.request(&upgrade(path, lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, head)
    }

    /// A connection from this address of the machine.
    pub fn from(source: Ipv4Addr, address: SocketAddr) -> Client {
        let socket = socket_towards(address);
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Client::on(socket.into())
    }

    /// A connection whose kernel holds little for it: what it does not read stays with the server.
    pub fn narrow_tcp(address: SocketAddr) -> Client {
        let socket = socket_towards(address);
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Client::on(socket.into())
    }

    /// The same as an open WebSocket.
    pub fn narrow(address: SocketAddr, path: &str) -> Client {
        Client::narrow_tcp(address).upgraded(path)
    }

    fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(stream)
    }

    /// A second hand on the same connection, for another thread: one writes while the other reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a stream that is set up already.
    pub fn over(stream: S) -> Client<S> {
        Client { stream, pending: Vec::new() }
    }

    /// The same as an open WebSocket.
    pub fn upgraded(mut self, path: &str) -> Client<S> {
        let head = self.request(&upgrade(path, ""));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends a request and returns the head of the answer.
    pub fn request(&mut self, request: &str) -> String {
        self.raw(request.as_bytes());
        self.head()
    }

    /// The head of an HTTP answer, with the empty line that ends it.
    pub fn head(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.receive(), "the stream ended within a head");
        };
        String::from_utf8(self.pending.drain(..end).collect()).unwrap()
    }

    /// The next HTTP answer: its head and its body.
    pub fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 "), "more was sent before: {head}");
        let len = header(&head, "Content-Length").expect("a length").parse().unwrap();
        let body = self.bytes(len);
        (head, body)
    }

    /// Exactly so many bytes.
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

    /// The server has ended the stream, in good order.
    pub fn expect_end(&mut self) {
        assert!(self.pending.is_empty(), "{:?}", self.pending);
        assert!(!self.receive(), "{:?}", self.pending);
    }

    /// The stream has ended, no matter how.
    pub fn expect_gone(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it lives on"),
                Err(_) => return,
            }
        }
    }

    /// Receives more; whether there was more.
    fn receive(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let len = self.stream.read(&mut chunk).expect("bytes, or the end, within the deadline");
        self.pending.extend_from_slice(&chunk[..len]);
        len > 0
    }
}

fn socket_towards(address: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap()
}
