//! The loop without TLS and compression: all else works, and secure listeners are refused.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::Reactor;
use super::api::context::Context;
use super::api::id::ConnId;
use super::api::service::Service;
use super::api::settings::{ListenSettings, RouteSettings, Settings};
use crate::protocol::{Encoder, Message};

const DEADLINE: Duration = Duration::from_secs(20);

struct Echo;

impl Service for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let _ = cx.send(conn, message);
    }
}

fn reactor() -> Reactor {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let service = reactor.add_service(Echo).unwrap();
    reactor.add_route("/", service, RouteSettings::default()).unwrap();
    reactor
}

/// Sends `frames` after an upgrade request that offers permessage-deflate. Returns the response
/// head, and the `len` bytes after it.
fn exchange(address: SocketAddr, frames: &[u8], len: usize) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(&[request.as_bytes(), frames].concat()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer).unwrap();
    (String::from_utf8(head).unwrap(), answer)
}

/// Runs a server while a client exchanges `frames` with it.
fn served(frames: Vec<u8>, len: usize) -> (String, Vec<u8>) {
    let mut reactor = reactor();
    let address = reactor.listen(&ListenSettings::new("127.0.0.1:0".parse().unwrap())).unwrap();
    reactor.start().unwrap();
    let client = thread::spawn(move || exchange(address, &frames, len));
    let started = Instant::now();
    while !client.is_finished() {
        assert!(started.elapsed() < DEADLINE);
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    client.join().unwrap()
}

#[test]
fn an_offer_of_deflate_is_ignored_and_messages_are_echoed() {
    let mut frame = Vec::new();
    Encoder::client(&mut frame, [1, 2, 3, 4]).message(Message::Text("hello"));
    let (head, answer) = served(frame, 7);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(!head.to_ascii_lowercase().contains("extensions"), "{head}");
    assert_eq!(answer, b"\x81\x05hello");
}

#[test]
fn a_compressed_frame_fails_the_connection() {
    // Masked text with RSV1: 1002 (RFC 6455, 5.2).
    let (_, answer) = served(vec![0xC1, 0x81, 0, 0, 0, 0, b'a'], 4);
    assert_eq!((answer[0], &answer[2..]), (0x88, &1002_u16.to_be_bytes()[..]));
}

#[test]
fn a_secure_listener_is_refused() {
    let mut reactor = reactor();
    let listen = ListenSettings::new("127.0.0.1:0".parse().unwrap()).secure(true);
    let error = reactor.listen(&listen).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("`tls`"), "{error}");
}

#[test]
fn disabled_features_take_no_bytes() {
    assert_eq!(size_of::<Option<super::parts::tls::SessionBox>>(), 0);
    assert_eq!(size_of::<Option<super::conn::windows::WindowsBox>>(), 0);
    assert_eq!(size_of::<Option<super::conn::windows::Unfinished>>(), 0);
    assert_eq!(size_of::<super::parts::tls::Tls>(), 0);
    assert_eq!(size_of::<super::parts::deflate::Deflate>(), 0);
}
