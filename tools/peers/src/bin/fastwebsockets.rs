//! fastwebsockets as in its own benchmark: hyper's handshake, whole messages, one write per
//! message.

use std::error::Error;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError,
};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use weir_peers::rooms::{Inbox, Member, Rooms};

type Data = (OpCode, Bytes);

fn main() -> Result<(), Box<dyn Error>> {
    let rooms = Rooms::default();
    weir_peers::serve(move |stream| session(stream, rooms.clone()))
}

async fn session(stream: TcpStream, rooms: Rooms<Data>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let rooms = rooms.clone();
        async move {
            let (response, socket) = upgrade(&mut request)?;
            let member = rooms.join(request.uri().path());
            tokio::spawn(unconstrained(async move {
                // An error only ends this connection.
                let _ = match member {
                    None => echo(socket).await,
                    Some((member, inbox)) => relay(socket, member, inbox).await,
                };
            }));
            Ok::<_, WebSocketError>(response)
        }
    });
    // An error only ends this connection.
    let _ =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn echo(socket: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn relay(
    socket: UpgradeFut,
    member: Member<Data>,
    mut inbox: Inbox<Data>,
) -> Result<(), WebSocketError> {
    let (reader, mut writer) = socket.await?.split(tokio::io::split);
    let mut reader = FragmentCollectorRead::new(reader);
    tokio::spawn(unconstrained(async move {
        while let Some((opcode, payload)) = inbox.recv().await {
            writer.write_frame(Frame::new(true, opcode, None, Payload::Borrowed(&payload))).await?;
        }
        Ok::<_, WebSocketError>(())
    }));
    loop {
        // Pings are not answered: the load client needs no pongs.
        let frame = reader.read_frame(&mut |_| async { Ok::<_, WebSocketError>(()) }).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                member.publish(&(frame.opcode, Bytes::copy_from_slice(&frame.payload)));
            }
            _ => {}
        }
    }
}
