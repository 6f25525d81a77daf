//! What a gateway is told: one network's upstreams, and how much they are asked.

use std::path::PathBuf;
use std::time::Duration;

use crate::reactor::TlsError;
use crate::reactor::settings::{MESSAGE_BYTES_RANGE, RouteSettings};
use crate::services::rpc::backend::Network;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::url::Scheme;
use crate::upstream::url::UpstreamUrl;

/// Upstreams of one network.
pub const UPSTREAMS_MAX: usize = 16;

/// One network's upstreams, and how much they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Whose it is, and which chain.
    pub network: Network,
    /// The one that is asked first in front; at most [`UPSTREAMS_MAX`].
    pub upstreams: Vec<UpstreamUrl>,
    /// A PEM file of the certificates that those of upstreams by TLS must lead to; without it, those of
    /// the web's own authorities.
    pub authorities: Option<PathBuf>,
    /// Requests that one upstream works on at a time.
    pub concurrency: usize,
    /// Requests that wait for an upstream; past it -32005.
    pub queue_max: usize,
    /// From a request to its answer, all tries included; past it -32002.
    pub timeout: Duration,
    /// Bytes of an upstream's answer; past it -32003.
    pub answer_bytes_max: usize,
}

impl GatewaySettings {
    /// The limits of connections to upstreams. An answer that is too large for one client must not end
    /// the connection that others share, unless it is out of all proportion.
    pub fn outbound(&self) -> RouteSettings {
        const PROPORTION: usize = 4;
        let settings = RouteSettings::default();
        let largest = self.answer_bytes_max.saturating_mul(PROPORTION);
        let message_bytes_max =
            largest.clamp(settings.message_bytes_max, *MESSAGE_BYTES_RANGE.end());
        let settings = RouteSettings { message_bytes_max, ..settings };
        RouteSettings { outbox_hard: settings.outbox_hard_min(), ..settings }
    }

    /// WebSocket connections to upstreams.
    pub fn websockets(&self) -> usize {
        self.upstreams.iter().filter(|url| url.scheme() == Scheme::WebSocket).count()
    }

    /// Sockets for requests by HTTP to upstreams, at most.
    pub fn http_sockets_max(&self) -> usize {
        let upstreams = self.upstreams.len() - self.websockets();
        upstreams.saturating_mul(self.concurrency)
    }

    /// How each upstream is secured.
    pub(super) fn security(&self) -> Result<Vec<Option<UpstreamTls>>, TlsError> {
        let authorities = self.authorities.as_deref();
        self.upstreams.iter().map(|url| UpstreamTls::new(url, authorities)).collect()
    }

    /// Whether there is TLS to be had to the upstreams that are spoken to by it.
    ///
    /// # Errors
    /// Why not: the file of authorities is not to be used, or a host's name is none.
    pub fn check(&self) -> Result<(), TlsError> {
        self.security().map(|_| ())
    }
}

/// The limits of the calls of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallLimits {
    /// Requests that one upstream works on at a time.
    pub(super) concurrency: usize,
    /// Requests that wait for an upstream.
    pub(super) queue_max: usize,
    /// From the request to its answer, all tries included.
    pub(super) timeout: Duration,
}
