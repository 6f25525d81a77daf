//! sockudo-ws as a stream and sink, its way to batch replies. Its pings are disabled, as in its own
//! benchmarks.

use std::error::Error;

use sockudo_ws::handshake::server_handshake;
use sockudo_ws::{Config, Message, WebSocketStream};
use tokio::net::TcpStream;
use weir_peers::relay::relay;
use weir_peers::rooms::Rooms;

fn main() -> Result<(), Box<dyn Error>> {
    let rooms = Rooms::default();
    weir_peers::serve(move |stream| session(stream, rooms.clone()))
}

async fn session(mut stream: TcpStream, rooms: Rooms<Message>) {
    let Ok(handshake) = server_handshake(&mut stream).await else {
        return;
    };
    let config = Config { auto_ping: false, idle_timeout: 0, ..Config::default() };
    let socket = WebSocketStream::server(stream, config);
    let data = |message: Message| (message.is_text() || message.is_binary()).then_some(message);
    relay(socket, rooms.join(&handshake.path), |item| item.map(data)).await;
}
