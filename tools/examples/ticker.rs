//! Sends a message to all clients each second: an interval timer and a publication.
//!
//! ```sh
//! cargo run --example ticker      # serves ws://127.0.0.1:9001/
//! ```

use std::error::Error;
use std::time::Duration;

use weir::prelude::*;

#[derive(Default)]
struct Ticker {
    ticks: u64,
}

impl Service for Ticker {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.schedule_every(Duration::from_secs(1), 0).expect("a loop has room for one timer");
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _key: u64) {
        self.ticks += 1;
        let text = format!("tick {}", self.ticks);
        // Encoded once. A slow client loses ticks or is closed, as its route says.
        let _ = cx.publish(Target::All, &text, PublishOptions::default());
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let mut reactor = Reactor::new(Settings::default())?;
    let ticker = reactor.add_service(Ticker::default())?;
    reactor.add_route("/", ticker, RouteSettings::default())?;
    println!("listening ws://{}/", reactor.listen(&ListenSettings::new(address.parse()?))?);
    Ok(reactor.run()?)
}
