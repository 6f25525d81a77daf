//! weir inside a tokio program: the loop runs on a thread of its own. Messages go to tokio by a bounded
//! channel that the loop never waits for; answers come back by a `Handle`, whose queue is bounded, too.
//!
//! ```sh
//! cargo run --example tokio       # serves ws://127.0.0.1:9001/, until Ctrl-C
//! ```

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use weir::prelude::*;

struct Bridge(mpsc::Sender<(ConnId, String)>);

impl Service for Bridge {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        if let Message::Text(text) = message
            && self.0.try_send((conn, text.to_owned())).is_err()
        {
            let _ = cx.send(conn, "busy");
        }
    }
}

fn run(
    address: &str,
    bridge: Bridge,
    started: oneshot::Sender<Handle>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut reactor = Reactor::new(Settings::default())?;
    let bridge = reactor.add_service(bridge)?;
    reactor.add_route("/", bridge, RouteSettings::default())?;
    let address = reactor.listen(&ListenSettings::new(address.parse()?))?;
    println!("listening ws://{address}/");
    let _ = started.send(reactor.handle());
    Ok(reactor.run()?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let (sender, mut messages) = mpsc::channel(1024);
    let (started, handle) = oneshot::channel();
    let reactor = std::thread::spawn(move || run(&address, Bridge(sender), started));
    if let Ok(handle) = handle.await {
        let answer = async {
            while let Some((conn, text)) = messages.recv().await {
                tokio::time::sleep(Duration::from_millis(10)).await; // a database, an HTTP client
                let _ = handle.try_send(conn, &format!("tokio got {text}"));
            }
        };
        tokio::select! { () = answer => {}, _ = tokio::signal::ctrl_c() => handle.shutdown() }
    }
    reactor.join().map_err(|_| io::Error::other("the reactor's thread panicked"))?
}
