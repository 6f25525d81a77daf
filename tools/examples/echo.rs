//! Returns each message to its sender, without loss: while a client does not read, the loop does not
//! read from it.
//!
//! ```sh
//! cargo run --example echo        # serves ws://127.0.0.1:9001/
//! ```

use std::error::Error;

use weir::prelude::*;

struct Echo;

impl Service for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        if cx.send(conn, message) == SendOutcome::Congested {
            cx.pause(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.resume(conn);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let mut reactor = Reactor::new(Settings::default())?;
    let echo = reactor.add_service(Echo)?;
    reactor.add_route("/", echo, RouteSettings::default())?;
    println!("listening ws://{}/", reactor.listen(&ListenSettings::new(address.parse()?))?);
    Ok(reactor.run()?)
}
