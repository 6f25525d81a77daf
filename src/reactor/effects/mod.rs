//! What the loop does to connections. Each file is one effect, as methods of `Core` and `Reactor`.
//!
//! Methods of `Core` change state and queues, and call no service. Methods of `Reactor` call
//! services.

pub(super) mod accept;
pub(super) mod call_rates;
pub(super) mod client_address;
pub(super) mod closing;
pub(super) mod commands;
pub(super) mod connect;
pub(super) mod deadlines;
#[cfg_attr(not(feature = "deflate"), path = "../without/effects/deflate.rs")]
pub(super) mod deflate;
#[cfg_attr(not(feature = "deflate"), path = "../without/effects/deflate_joined.rs")]
pub(super) mod deflate_joined;
#[cfg_attr(not(feature = "proxy"), path = "../without/effects/dial.rs")]
pub(super) mod dial;
pub(super) mod dry_run;
#[cfg(feature = "proxy")]
pub(super) mod exchange;
#[cfg_attr(not(feature = "proxy"), path = "../without/effects/exchange_ends.rs")]
pub(super) mod exchange_ends;
pub(super) mod gate;
pub(super) mod hold;
pub(super) mod http;
pub(super) mod identity;
pub(super) mod inbound;
pub(super) mod interest;
pub(super) mod joined;
pub(super) mod lateness;
pub(super) mod load;
pub(super) mod log;
pub(super) mod mail;
pub(super) mod observe;
pub(super) mod outbound;
pub(super) mod panics;
pub(super) mod pause;
#[cfg_attr(not(feature = "proxy"), path = "../without/effects/pipe.rs")]
pub(super) mod pipe;
#[cfg_attr(not(feature = "proxy"), path = "../without/effects/pipe_ends.rs")]
pub(super) mod pipe_ends;
#[cfg(feature = "proxy")]
pub(super) mod pipe_leave;
pub(super) mod present;
pub(super) mod proxy_header;
pub(super) mod publish;
pub(super) mod rates;
pub(super) mod reconfigure;
pub(super) mod refuse;
pub(super) mod refuse_close;
pub(super) mod report;
pub(super) mod reserve;
pub(super) mod resource;
pub(super) mod response_parts;
#[cfg_attr(not(feature = "tls"), path = "../without/effects/secure.rs")]
pub(super) mod secure;
pub(super) mod send;
pub(super) mod shed;
pub(super) mod shutdown;
#[cfg_attr(not(feature = "signals"), path = "../without/effects/signals.rs")]
pub(super) mod signals;
#[cfg(test)]
mod testing;
pub(super) mod topics;
pub(super) mod trim;
pub(super) mod upgrade;
#[cfg(feature = "proxy")]
pub(super) mod violation;
pub(super) mod work;
