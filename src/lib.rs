//! weir is a WebSocket server for one core, and the library that it is made of.
//!
//! One poll loop owns a table of connections. Bytes are decoded where they were read; every queue is
//! bounded; a peer that does not read is felt by whoever writes to it, not by the process; one timer
//! wheel drives pings, deadlines and idle collection. What is said over the connections is the
//! business of services, which never see a socket.
//!
//! The [`guide`] explains how to configure, operate and embed it, page by page.
//!
//! # Three layers
//!
//! Each knows only those below it.
//!
//! - [`protocol`]: RFC 6455 without I/O. Bytes to events, messages to frames, heads to requests.
//!   Time and sockets do not exist there, so every test of it is exact.
//! - [`reactor`]: the loop. Its [turn](reactor) of eight phases is the architecture; its contract
//!   with you is the [`Service`](reactor::Service) trait and the
//!   [`Context`](reactor::Context) that handlers are lent.
//! - [`services`]: [`Echo`](services::Echo), [`Rooms`](services::Rooms), JSON-RPC
//!   ([`Rpc`](services::rpc::Rpc)) and what operators ask for ([`Admin`](services::admin::Admin)),
//!   written against that contract like yours would be.
//!
//! # A service
//!
//! Lines in, the same lines to everybody, a farewell to those who are left. `publish` encodes a
//! message once however many get it; the outcome of everything that is sent is a value, because a
//! peer may be slow, full or gone:
//!
//! ```no_run
//! use weir::protocol::Message;
//! use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
//! use weir::reactor::{CloseReason, ConnId, Context, PublishOptions, Reactor, Service, Target};
//!
//! struct Chat;
//!
//! impl Service for Chat {
//!     fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, message: Message<'_>) {
//!         let told = cx.publish(Target::All, message, PublishOptions::default());
//!         log::debug!("{} told, {} had no room", told.sent, told.refused);
//!     }
//!     fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
//!         let farewell = format!("somebody left: {why}");
//!         let _ = cx.publish(Target::All, &*farewell, PublishOptions::default());
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut reactor = Reactor::new(Settings::default())?;
//!     let chat = reactor.add_service(Chat)?;
//!     reactor.add_route("/chat", chat, RouteSettings::default())?;
//!     reactor.listen(&ListenSettings::new("127.0.0.1:9001".parse()?))?;
//!     reactor.run()?;
//!     Ok(())
//! }
//! ```
//!
//! # Work that takes its time
//!
//! A handler that waits makes everybody wait. What blocks (storage, names to resolve, signatures) is for
//! a thread: [`Context::mailbox`](reactor::Context::mailbox) makes the way back, and
//! [`on_mail`](reactor::Service::on_mail) reads it. A request can be put off until then
//! ([`Decision::Defer`](reactor::Decision::Defer)), and a client that speaks faster than it is served
//! can be made to wait ([`Context::pause`](reactor::Context::pause)). Connections that a service makes
//! itself ([`Context::connect`](reactor::Context::connect)) live on the same loop.
//!
//! # What a connection may cost
//!
//! An idle one owns no buffer: a slot in the table and a timer. One that is read from uses the loop's
//! scratch buffer; one that is in the middle of a message, or has not taken what it was sent, holds
//! that and no more than its [route](reactor::settings::RouteSettings) allows, and all together hold
//! no more than [the loop](reactor::settings::Settings) allows. Nothing is allocated from a number
//! that a peer has sent.
//!
//! # Features
//!
//! `default-features = false` leaves the loop, the protocol, and the services echo and rooms: about 27
//! crates. What is off costs no dependency, no memory and no instruction.
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | `wss://` listeners and connections by rustls: [`Reactor::set_tls`](reactor::Reactor::set_tls), [`TlsConnector`](reactor::TlsConnector) |
//! | `cert-info` | subjects of client certificates ([`TlsInfo`](reactor::TlsInfo)), and a check that our own are valid now; implies `tls` |
//! | `signals` | [`Reactor::obey`](reactor::Reactor::obey): signals as events of the loop |
//! | `metrics` | [`services::admin`]: `/metrics` for Prometheus, `/healthz`, `/readyz` |
//! | `rpc` | [`services::rpc`]: JSON-RPC and the gateway; implies `tls` |
//! | `node` | [`services::rpc::node`]: an embedded chain; implies `rpc` |
//! | `server` | all of these and the binary `weir`; the default |
//!
//! # How connections end
//!
//! Always for one [`CloseReason`](reactor::CloseReason): it is the line in the log, the code in the
//! Close frame and the argument of [`on_close`](reactor::Service::on_close). Our Close goes out
//! behind what was queued before; we read on until the peer has answered it, then shut our side and
//! wait a moment for the peer's, since a reset would eat the Close. A peer that does not read gets
//! its Close at the next frame boundary.

pub mod guide;
pub mod protocol;
pub mod reactor;
pub mod services;
