//! tokio-tungstenite. It zeroes its read buffer for each read, so it is faster with 8 KiB than with
//! the default of 128 KiB.

use std::error::Error;

use tokio::net::TcpStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use weir_peers::relay::relay;
use weir_peers::rooms::Rooms;

const READ_BUFFER_BYTES: usize = 8 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let rooms = Rooms::default();
    weir_peers::serve(move |stream| session(stream, rooms.clone()))
}

async fn session(stream: TcpStream, rooms: Rooms<Message>) {
    let mut path = String::new();
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let note_path = |request: &Request, response: Response| {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async_with_config(stream, note_path, Some(config)).await else {
        return;
    };
    let data = |message: Message| (message.is_text() || message.is_binary()).then_some(message);
    relay(socket, rooms.join(&path), |item| item.map(data)).await;
}
