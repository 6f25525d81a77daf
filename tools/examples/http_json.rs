//! JSON over HTTP beside a WebSocket on one path: POST publishes a notice to all WebSocket clients, GET
//! returns how many there are.
//!
//! ```sh
//! cargo run --example http_json   # then: curl -d '{"text":"hi"}' http://127.0.0.1:9001/notices
//! ```

use std::error::Error;

use serde_json::{Value, json};
use weir::prelude::*;

struct Notices;

fn respond(status: u16, value: &Value) -> Response {
    Response::new(status, "application/json", value.to_string().into_bytes())
}

impl Service for Notices {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "POST"]
    }

    /// The body is complete, and no longer than the route's `message_bytes_max`.
    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        if request.http.method() == "GET" {
            return Some(respond(200, &json!({ "clients": cx.connections().count() })));
        }
        let body = serde_json::from_slice::<Value>(request.body).unwrap_or_default();
        let Some(text) = body["text"].as_str() else {
            return Some(respond(
                400,
                &json!({ "error": "an object with a string \"text\" is expected" }),
            ));
        };
        let published = cx.publish(Target::All, text, PublishOptions::default());
        Some(respond(200, &json!({ "sent": published.sent, "refused": published.refused })))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".to_owned());
    let mut reactor = Reactor::new(Settings::default())?;
    let notices = reactor.add_service(Notices)?;
    reactor.add_route("/notices", notices, RouteSettings::default())?;
    println!("listening ws://{}/", reactor.listen(&ListenSettings::new(address.parse()?))?);
    Ok(reactor.run()?)
}
