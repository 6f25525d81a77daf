//! Slow work on threads: the loop stays free, each client's answers stay in order, and reading from
//! a client pauses at 16 outstanding messages and resumes when 8 are left.
//!
//! ```sh
//! cargo run --example worker      # serves ws://127.0.0.1:9001/
//! ```

use std::error::Error;

use weir::prelude::*;
use weir::reactor::{Finished, Step, Task, WorkerSettings, Workers};

struct Checksums {
    workers: Workers<(ConnId, Vec<u8>), (ConnId, u64), ConnId>,
    throttle: Throttle,
}

impl Service for Checksums {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let task = Task::new(conn, (conn, message.as_bytes().to_vec())).in_order();
        if self.workers.try_put(task).is_ok() {
            self.throttle.start(cx, conn, 1, 0);
        } else {
            let _ = cx.send(conn, "busy");
        }
    }
    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.workers.take() {
            Some(Finished::Done((conn, sum))) => {
                let _ = cx.send(conn, &sum.to_string()); // `Gone` if the client has left
                self.throttle.finish(cx, conn, 1, 0);
            }
            Some(Finished::Lost(conn)) => cx.close(conn, CloseCode::INTERNAL_ERROR, "panicked"),
            None => return More::No,
        }
        More::Yes
    }
    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: CloseReason) {
        self.throttle.forget(conn);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let mut reactor = Reactor::new(Settings::default())?;
    let (id, settings) = (reactor.next_service_id(), WorkerSettings::new("checksums", 4, 1024));
    let workers = reactor.workers(id, settings, |(conn, bytes): (ConnId, Vec<u8>)| {
        Step::Done((conn, bytes.iter().map(|&byte| u64::from(byte)).sum())) // the slow part
    });
    reactor.add_service(Checksums { workers, throttle: Throttle::new(16, usize::MAX) })?;
    reactor.add_route("/", id, RouteSettings::default())?;
    println!("listening ws://{}/", reactor.listen(&ListenSettings::new(address.parse()?))?);
    Ok(reactor.run()?)
}
