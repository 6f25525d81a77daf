//! A chat whose clients need a token, which is checked before the upgrade. Each message is sent to all
//! clients with the name of its user.
//!
//! ```sh
//! cargo run --example chat        # serves ws://127.0.0.1:9001/?token=TOKEN, TOKEN as in USERS
//! ```

use std::error::Error;

use weir::prelude::*;

/// Tokens and names. A real service verifies a signed token, or asks its session store.
const USERS: [(&str, &str); 2] = [("51f2a7c0", "alice"), ("9be4d318", "bob")];

/// The name of each client's user.
struct Chat(ConnMap<&'static str>);

impl Service for Chat {
    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        // Browsers cannot set an Authorization header here. The log omits the query.
        let token = request.http.query_value("token").unwrap_or_default();
        let Some((_, name)) = USERS.into_iter().find(|(known, _)| *known == token) else {
            return Decision::Respond(Response::text(401, "a token is required\n"));
        };
        self.0.insert(cx, conn, name);
        Decision::Accept(request.accept())
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        if let (Some(name), Message::Text(text)) = (self.0.get(conn), message) {
            let text = format!("{name}: {text}");
            let _ = cx.publish(Target::All, &text, PublishOptions::default());
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _: CloseReason) {
        if let Some(name) = self.0.remove(conn) {
            let text = format!("{name} left");
            let _ = cx.publish(Target::All, &text, PublishOptions::default());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let mut reactor = Reactor::new(Settings::default())?;
    let chat = reactor.add_service(Chat(ConnMap::new()))?;
    reactor.add_route("/", chat, RouteSettings::default())?;
    println!("listening ws://{}/", reactor.listen(&ListenSettings::new(address.parse()?))?);
    Ok(reactor.run()?)
}
