//! weir is a WebSocket server for one core, and the library that it is made of.
//!
//! One poll loop owns a table of connections. Bytes are decoded in the read buffer; every queue is
//! bounded; a peer that reads slowly affects only the service that writes to it; one timer wheel
//! drives pings, deadlines and idle cleanup. Services handle the messages and never see a socket.
//!
//! The [`guide`] explains how to configure, operate and embed it, page by page.
//!
//! # Four layers
//!
//! Each layer knows only the layers below it.
//!
//! - [`protocol`]: RFC 6455 without I/O: bytes to events, messages to frames, heads to requests. It
//!   has neither clock nor sockets, so its tests are deterministic.
//! - [`reactor`]: the loop. Its [turn](reactor) has eight phases; its interface for services is the
//!   [`Service`](reactor::Service) trait and the [`Context`](reactor::Context) that is passed to
//!   handlers. Inside it the state of connections (`conn`) imports none of the effects on it
//!   (`effects`), and both use parts that know no connection (`parts`).
//! - [`upstream`]: clients of the servers that services connect to, by HTTP or WebSocket: URLs, name
//!   resolution, TLS roots, circuit breaker.
//! - [`services`]: [`Echo`](services::Echo), [`Rooms`](services::Rooms), JSON-RPC
//!   ([`Rpc`](services::rpc::Rpc)) and metrics and health for operators
//!   ([`Admin`](services::admin::Admin)), written against that interface as your service would be.
//!
//! # A service
//!
//! This service sends each message to all clients, and announces clients that leave. `publish`
//! encodes a message once for all receivers. Every send returns its outcome, because a peer may be
//! slow, full or closed:
//!
//! ```no_run
//! use weir::prelude::*;
//!
//! struct Chat;
//!
//! impl Service for Chat {
//!     fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, message: Message<'_>) {
//!         let outcome = cx.publish(Target::All, message, PublishOptions::default());
//!         println!("{} received it, {} had no room", outcome.sent, outcome.refused);
//!     }
//!     fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
//!         let notice = format!("a client left: {why}");
//!         let _ = cx.publish(Target::All, &notice, PublishOptions::default());
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut reactor = Reactor::new(Settings::default())?;
//!     let chat = reactor.add_service(Chat)?;
//!     reactor.add_route("/chat", chat, RouteSettings::default())?;
//!     let address = reactor.listen(&ListenSettings::new("127.0.0.1:9001".parse()?))?;
//!     println!("listening ws://{address}/chat");
//!     reactor.run()?;
//!     Ok(())
//! }
//! ```
//!
//! # Slow work
//!
//! A handler that blocks delays all connections. Do blocking work (storage, name resolution,
//! signatures) on a thread: [`Workers`](reactor::Workers) are a bounded pool of threads, whose
//! results [`on_mail`](reactor::Service::on_mail) receives; a thread of your own returns them by a
//! [mailbox](reactor::Context::mailbox), or sends them itself by a [`Handle`](reactor::Handle). A
//! request can be deferred until the result is available
//! ([`Decision::Defer`](reactor::Decision::Defer)), and a [`Throttle`](reactor::Throttle) stops
//! reading from a client with too much work outstanding. Connections that a service opens itself
//! ([`Context::connect`](reactor::Context::connect)) run on the same loop.
//!
//! # What a connection costs
//!
//! An idle connection owns no buffer: only a slot in the table and a timer. Reads go into the
//! loop's scratch buffer. A connection with an unfinished message or queued output holds just that,
//! up to the limits of its [route](reactor::settings::RouteSettings). All connections together stay
//! within the limits of the [loop](reactor::settings::Settings). Nothing is allocated from a number
//! that a peer sent.
//!
//! # Features
//!
//! `default-features = false` leaves the loop, the protocol, and the services echo and rooms: 25
//! crates. What is off costs no dependency, no memory and no instruction.
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | `wss://` listeners and connections by rustls: [`Reactor::set_tls`](reactor::Reactor::set_tls), [`TlsConnector`](reactor::TlsConnector) |
//! | `cert-info` | subjects of client certificates ([`TlsInfo`](reactor::TlsInfo)), and a check that our own are valid now; implies `tls` |
//! | `deflate` | permessage-deflate (RFC 7692) on the loop, and its codec in [`protocol::deflate`] |
//! | `signals` | [`Reactor::handle_signals`](reactor::Reactor::handle_signals): signals as events of the loop |
//! | `metrics` | [`services::admin`]: `/metrics` for Prometheus, `/healthz`, `/readyz` |
//! | `auth` | [`services::auth`]: gates that verify tokens or ask an HTTP hook; implies `tls` |
//! | `rpc` | [`services::rpc`]: JSON-RPC and the gateway, with [`upstream`]; implies `tls` |
//! | `node` | [`services::rpc::node`]: an embedded chain; implies `rpc` |
//! | `nostr` | [`services::nostr`]: a Nostr relay with an embedded store |
//! | `proxy` | [`services::proxy`]: tunnels and HTTP to upstream servers, with [`upstream`]; implies `tls` |
//! | `server` | all of these and the binary `weir`; the default |
//!
//! # How connections end
//!
//! Every end has one [`CloseReason`](reactor::CloseReason): the line in the log (of normal ends only
//! with `log_access`), the code in the Close frame and the argument of
//! [`on_close`](reactor::Service::on_close).
//!
//! Our Close is sent after all queued output. Reading continues until the peer has answered it; then
//! our side is shut down, and we wait 1 s for the peer's, since a reset would discard the Close.
//! After a protocol error, and where memory is short, input is discarded at once, and we wait for
//! the peer's end up to the close timeout. A peer that does not read gets its Close at the next
//! frame boundary.

pub mod guide;
pub mod prelude;
pub mod protocol;
pub mod reactor;
pub mod services;
#[cfg(any(feature = "auth", feature = "proxy", feature = "rpc"))]
pub mod upstream;
