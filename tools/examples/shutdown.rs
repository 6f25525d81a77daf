//! A graceful shutdown: SIGINT and SIGTERM stop new connections, pending answers are still sent, and
//! each client gets Close 1001. Then `run` returns.
//!
//! ```sh
//! cargo run --example shutdown    # serves ws://127.0.0.1:9001/, until Ctrl-C
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use weir::prelude::*;
use weir::reactor::SignalAction;

/// Answers each message after a second, one at a time for each client.
#[derive(Default)]
struct Slow {
    pending: VecDeque<ConnId>,
}

impl Service for Slow {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
        if cx.schedule(Duration::from_secs(1), 0).is_some() {
            self.pending.push_back(conn);
            cx.pause(conn);
            let _ = cx.send(conn, "working");
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _key: u64) {
        // Equal delays end in the order in which they started.
        if let Some(conn) = self.pending.pop_front() {
            let _ = cx.send(conn, "done");
            cx.resume(conn);
        }
    }

    /// A shutdown waits for busy connections, up to half of `drain_timeout`.
    fn is_busy(&self, conn: ConnId) -> bool {
        self.pending.contains(&conn)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let mut reactor = Reactor::new(Settings::default())?;
    let actions = [libc::SIGINT, libc::SIGTERM].map(|signal| (signal, SignalAction::Shutdown));
    reactor.handle_signals(&actions)?;
    let slow = reactor.add_service(Slow::default())?;
    reactor.add_route("/", slow, RouteSettings::default())?;
    let address = reactor.listen(&ListenSettings::new(address.parse()?))?;
    println!("listening ws://{address}/");
    reactor.run()?;
    println!("stopped");
    Ok(())
}
