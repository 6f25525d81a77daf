//! The compared decoders: each reads [`Pieces`] until a message is complete, and lends it.
//!
//! Each is configured as a server that accepts 1 MiB. weir reads as its reactor does: into a
//! scratch buffer of the loop's size, or into the decoder's buffer while a large frame is in
//! flight.

use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use fastwebsockets::{FragmentCollector, Frame};
use tungstenite::protocol::WebSocketConfig;
use weir::protocol::{Decoder, Event, Message, Role, Spares};
use weir::reactor::budget::READ_BYTES;

use crate::MESSAGE_BYTES_MAX;
use crate::pieces::Pieces;

/// Reads messages from an in-memory stream.
pub trait Codec {
    /// Reads the next message and passes it to `show`.
    fn next(&mut self, show: impl FnOnce(&[u8]));
}

/// weir's decoder.
#[derive(Debug)]
pub struct Weir {
    decoder: Decoder,
    spares: Spares,
    scratch: Box<[u8]>,
    stream: Pieces,
}

impl Weir {
    /// A decoder at the start of the stream.
    pub fn new(stream: Pieces) -> Weir {
        Weir {
            decoder: Decoder::new(Role::Server),
            spares: Spares::default(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            stream,
        }
    }
}

impl Codec for Weir {
    fn next(&mut self, show: impl FnOnce(&[u8])) {
        loop {
            let event = if let Some(room) = self.decoder.room() {
                let len = self.stream.read(room).unwrap();
                self.decoder.decode_filled(len).unwrap()
            } else {
                let len = self.stream.read(&mut self.scratch).unwrap();
                let read = &mut self.scratch[..len];
                let step = self.decoder.decode(read, MESSAGE_BYTES_MAX, &mut self.spares).unwrap();
                assert_eq!(step.consumed, len);
                step.event
            };
            if let Some(Event::Message(Message::Text(text))) = event {
                show(text.as_bytes());
                return self.decoder.release(&mut self.spares);
            }
        }
    }
}

/// The configuration of tungstenite in all benchmarks.
pub fn tungstenite_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// tungstenite's `WebSocket`.
#[derive(Debug)]
pub struct Tungstenite(tungstenite::WebSocket<Pieces>);

impl Tungstenite {
    /// A socket at the start of the stream.
    pub fn new(stream: Pieces) -> Tungstenite {
        let role = tungstenite::protocol::Role::Server;
        let config = Some(tungstenite_config());
        Tungstenite(tungstenite::WebSocket::from_raw_socket(stream, role, config))
    }
}

impl Codec for Tungstenite {
    fn next(&mut self, show: impl FnOnce(&[u8])) {
        match self.0.read().unwrap() {
            tungstenite::Message::Text(text) => show(text.as_bytes()),
            other => panic!("{other}"),
        }
    }
}

/// A `WebSocket` of fastwebsockets as in its examples: with a fragment collector.
pub fn fastwebsockets<S>(stream: S) -> FragmentCollector<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let role = fastwebsockets::Role::Server;
    let mut socket = fastwebsockets::WebSocket::after_handshake(stream, role);
    socket.set_max_message_size(MESSAGE_BYTES_MAX);
    FragmentCollector::new(socket)
}

/// fastwebsockets' collector, polled without a runtime: an in-memory stream is always ready.
pub struct Fastwebsockets(FragmentCollector<Pieces>);

impl Fastwebsockets {
    /// A collector at the start of the stream.
    pub fn new(stream: Pieces) -> Fastwebsockets {
        Fastwebsockets(fastwebsockets(stream))
    }
}

impl Codec for Fastwebsockets {
    fn next(&mut self, show: impl FnOnce(&[u8])) {
        let read = pin!(self.0.read_frame());
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Frame { payload, .. })) => show(&payload),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => panic!("a stream in memory is always ready"),
        }
    }
}
