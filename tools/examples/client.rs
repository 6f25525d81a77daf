//! An outbound connection: sends one message to a server, prints the answer and ends.
//!
//! ```sh
//! cargo run --example echo &
//! cargo run --example client      # connects to ws://127.0.0.1:9001/
//! ```

use std::error::Error;
use std::net::SocketAddr;

use weir::prelude::*;

struct Hello {
    server: SocketAddr,
    request: ClientRequest,
    route: RouteId,
    handle: Handle,
}

impl Service for Hello {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        // The outcome is reported by `on_open` or `on_close`.
        if let Err(error) = cx.connect(Connect::to(self.server), self.route, &self.request) {
            println!("no connection: {error}");
            self.handle.shutdown();
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = cx.send(conn, "hello");
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        println!("received {message:?}");
        cx.close(conn, CloseCode::NORMAL, "");
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        println!("ended: {why}");
        self.handle.shutdown();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let request = ClientRequest::new(&server, "/")?;
    let mut reactor = Reactor::new(Settings::default())?;
    let route = reactor.add_outbound(reactor.next_service_id(), RouteSettings::default())?;
    let handle = reactor.handle();
    reactor.add_service(Hello { server: server.parse()?, request, route, handle })?;
    reactor.run()?;
    Ok(())
}
