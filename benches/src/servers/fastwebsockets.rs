//! fastwebsockets as in its examples: on tokio's current-thread runtime, one task per connection
//! for an echo, and one task for a fan-out, which writes to each subscriber in turn.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastwebsockets::{FragmentCollector, Frame, Payload};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::{Clients, Load, Server, Work, pairs};
use crate::codecs;

/// The runtime, and the sockets that no task owns.
pub struct Fastwebsockets {
    runtime: Runtime,
    sockets: Vec<FragmentCollector<TcpStream>>,
    echoes: Arc<Echoes>,
    load: Load,
}

/// Notifies the round of its last echo.
#[derive(Debug, Default)]
struct Echoes {
    missing: AtomicUsize,
    done: Notify,
}

impl Server for Fastwebsockets {
    const NAME: &'static str = "fastwebsockets";

    fn start(load: Load) -> io::Result<(Fastwebsockets, Clients)> {
        let (clients, sockets) = pairs(load.connections)?;
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let echoes = Arc::new(Echoes::default());
        let guard = runtime.enter();
        let adopt = |socket| TcpStream::from_std(socket).map(codecs::fastwebsockets);
        let mut sockets: Vec<_> = sockets.into_iter().map(adopt).collect::<io::Result<_>>()?;
        drop(guard);
        if load.work == Work::Echo {
            for socket in sockets.drain(..) {
                runtime.spawn(echo(socket, echoes.clone()));
            }
        }
        let clients = Clients::new(clients, &load, Fastwebsockets::answer_bytes(&load))?;
        Ok((Fastwebsockets { runtime, sockets, echoes, load }, clients))
    }

    fn serve(&mut self) {
        match self.load.work {
            Work::Echo => {
                self.echoes.missing.store(self.load.deliveries(), Ordering::Relaxed);
                self.runtime.block_on(self.echoes.done.notified());
            }
            Work::Fanout => self.runtime.block_on(fan_out(&mut self.sockets, self.load.depth)),
        }
    }
}

async fn echo(mut socket: FragmentCollector<TcpStream>, echoes: Arc<Echoes>) {
    while let Ok(frame) = socket.read_frame().await {
        if socket.write_frame(frame).await.is_err() {
            return;
        }
        if echoes.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            echoes.done.notify_one();
        }
    }
}

async fn fan_out(sockets: &mut [FragmentCollector<TcpStream>], count: usize) {
    for _ in 0..count {
        let frame = sockets[0].read_frame().await.unwrap();
        for socket in &mut *sockets {
            let payload = Payload::Borrowed(&frame.payload);
            socket.write_frame(Frame::new(true, frame.opcode, None, payload)).await.unwrap();
        }
    }
}
