//! The guide: how to configure, operate and embed weir, and how it works.
//!
//! Each page is a module without items. `weir help TOPIC` prints the same text, and `weir help` lists
//! the topics. This module holds documentation only: no code is allowed here.
//!
//! | page | for |
//! |---|---|
//! | [`services`] | the paths, the services behind them, the route file |
//! | [`settings`] | flags, environment variables, the file, `weir check` |
//! | [`operating`] | start and stop, log, metrics, health checks, a reverse proxy in front |
//! | [`admission`] | gates, identities, refusals that a browser can read |
//! | [`limits`] | each limit, its default, and what happens when it is reached |
//! | [`tls`] | `wss://` listeners, client certificates, reload |
//! | [`compression`] | permessage-deflate: modes, memory, when to switch it off |
//! | [`proxy`] | WebSockets and HTTP to upstream pools: choice, health, DNS names |
//! | [`gateway`] | JSON-RPC to the upstreams of an Ethereum network |
//! | [`relay`] | `weir relay`, a Nostr relay: events, requests, authentication, operation |
//! | [`chain`] | `weir node`, an embedded development chain |
//! | [`embedding`] | weir as a library: services, handlers, threads |
//! | [`architecture`] | layers, the turn of the loop, which file owns what |
//! | [`troubleshooting`] | from a symptom to its cause |

#[doc = include_str!("services.md")]
pub mod services {}

#[doc = include_str!("settings.md")]
pub mod settings {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[doc = include_str!("admission.md")]
pub mod admission {}

#[doc = include_str!("limits.md")]
///
/// [`budget`]: crate::reactor::budget
/// [`Context::subscribe`]: crate::reactor::Context::subscribe
pub mod limits {}

#[doc = include_str!("tls.md")]
///
/// [`UpgradeRequest::tls`]: crate::reactor::UpgradeRequest::tls
pub mod tls {}

#[doc = include_str!("compression.md")]
pub mod compression {}

#[doc = include_str!("proxy.md")]
pub mod proxy {}

#[doc = include_str!("gateway.md")]
pub mod gateway {}

#[doc = include_str!("relay.md")]
pub mod relay {}

#[doc = include_str!("chain.md")]
pub mod chain {}

#[doc = include_str!("embedding.md")]
///
/// [`Accept`]: crate::protocol::handshake::Accept
/// [`CloseReason`]: crate::reactor::CloseReason
/// [`CloseReason::Overloaded`]: crate::reactor::CloseReason::Overloaded
/// [`CloseReason::Protocol`]: crate::reactor::CloseReason::Protocol
/// [`ConnMap`]: crate::reactor::ConnMap
/// [`ConnMap::insert`]: crate::reactor::ConnMap::insert
/// [`Context`]: crate::reactor::Context
/// [`Context::accept`]: crate::reactor::Context::accept
/// [`Context::refuse`]: crate::reactor::Context::refuse
/// [`Context::respond`]: crate::reactor::Context::respond
/// [`Context::connect`]: crate::reactor::Context::connect
/// [`Context::present`]: crate::reactor::Context::present
/// [`Context::dial`]: crate::reactor::Context::dial
/// [`Context::present`]: crate::reactor::Context::present
/// [`Context::mailbox`]: crate::reactor::Context::mailbox
/// [`Context::pause`]: crate::reactor::Context::pause
/// [`Context::publish`]: crate::reactor::Context::publish
/// [`Context::schedule`]: crate::reactor::Context::schedule
/// [`Context::schedule_every`]: crate::reactor::Context::schedule_every
/// [`Context::wake`]: crate::reactor::Context::wake
/// [`Decision::Defer`]: crate::reactor::Decision::Defer
/// [`Gate`]: crate::reactor::Gate
/// [`Handle`]: crate::reactor::Handle
/// [`ListenSettings::reuse_port`]: field@crate::reactor::settings::ListenSettings::reuse_port
/// [`ListenSettings::proxy_header`]: field@crate::reactor::settings::ListenSettings::proxy_header
/// [`ListenSettings::secure`]: field@crate::reactor::settings::ListenSettings::secure
/// [`Params`]: crate::reactor::Params
/// [`Reactor`]: crate::reactor::Reactor
/// [`Reactor::add_gate`]: crate::reactor::Reactor::add_gate
/// [`Reactor::add_page`]: crate::reactor::Reactor::add_page
/// [`Reactor::handle_signals`]: crate::reactor::Reactor::handle_signals
/// [`Reactor::set_tls`]: crate::reactor::Reactor::set_tls
/// [`Reactor::start`]: crate::reactor::Reactor::start
/// [`Reactor::turn`]: crate::reactor::Reactor::turn
/// [`Reactor::next_service_id`]: crate::reactor::Reactor::next_service_id
/// [`RouteSettings`]: crate::reactor::settings::RouteSettings
/// [`RouteSettings::gate`]: field@crate::reactor::settings::RouteSettings::gate
/// [`RouteSettings::outbox_hard_min`]: crate::reactor::settings::RouteSettings::outbox_hard_min
/// [`SendOutcome`]: crate::reactor::SendOutcome
/// [`Service`]: crate::reactor::Service
/// [`Settings`]: crate::reactor::settings::Settings
/// [`Throttle`]: crate::reactor::Throttle
/// [`Workers`]: crate::reactor::Workers
/// [`on_close`]: crate::reactor::Service::on_close
/// [`on_mail`]: crate::reactor::Service::on_mail
/// [`echo`]: examples::echo
/// [`chat`]: examples::chat
/// [`ticker`]: examples::ticker
/// [`worker`]: examples::worker
/// [`http_json`]: examples::http_json
/// [`client`]: examples::client
/// [`tokio`]: examples::tokio
/// [`shutdown`]: examples::shutdown
pub mod embedding {}

/// The sources of the examples in `tools/examples`; the page [`embedding`] says what each shows.
pub mod examples {
    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/echo.rs"), "```")]
    pub mod echo {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/chat.rs"), "```")]
    pub mod chat {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/ticker.rs"), "```")]
    pub mod ticker {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/worker.rs"), "```")]
    pub mod worker {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/http_json.rs"), "```")]
    pub mod http_json {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/client.rs"), "```")]
    pub mod client {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/tokio.rs"), "```")]
    pub mod tokio {}

    #[doc = concat!("```no_run\n", include_str!("../../tools/examples/shutdown.rs"), "```")]
    pub mod shutdown {}
}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

/// README.md, whose example is compiled by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
