//! yawc behind hyper as in its documentation, without compression.

use std::convert::Infallible;
use std::error::Error;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use weir_peers::relay::relay;
use weir_peers::rooms::Rooms;
use yawc::{Frame, HttpWebSocket, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let rooms = Rooms::default();
    weir_peers::serve(move |stream| session(stream, rooms.clone()))
}

async fn session(stream: TcpStream, rooms: Rooms<Frame>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let rooms = rooms.clone();
        async move {
            let options = Options::default().without_compression();
            let (response, socket) = HttpWebSocket::upgrade_with_options(&mut request, options)?;
            let member = rooms.join(request.uri().path());
            tokio::spawn(unconstrained(async move {
                if let Ok(socket) = socket.await {
                    relay(socket, member, data).await;
                }
            }));
            Ok::<_, yawc::WebSocketError>(response)
        }
    });
    // An error only ends this connection.
    let _ =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// Errors end the stream without a report.
fn data(frame: Frame) -> Result<Option<Frame>, Infallible> {
    Ok((!frame.opcode().is_control()).then_some(frame))
}
