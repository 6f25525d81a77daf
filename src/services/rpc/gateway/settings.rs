//! The settings of a gateway: the upstreams of one network, and the limits of requests to them.

use std::path::PathBuf;
use std::time::Duration;

use crate::reactor::TlsError;
use crate::reactor::settings::{MESSAGE_BYTES_RANGE, RouteSettings, with_setters};
use crate::services::rpc::backend::Network;
use crate::services::rpc::settings::RpcSettings;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::url::Scheme;
use crate::upstream::url::UpstreamUrl;

/// The highest number of upstreams of one network.
pub const UPSTREAMS_MAX: usize = 16;

with_setters! {
    /// The upstreams of one network, and the limits of requests to them.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct GatewaySettings {
        /// The network.
        pub network: Network = network,
        /// The upstreams in the order in which they are asked; at most [`UPSTREAMS_MAX`].
        pub upstreams: Vec<UpstreamUrl> = upstreams,
        /// The CA certificates (PEM) that upstreams by TLS must chain to; without a file, the
        /// built-in Mozilla roots.
        pub ca_file: Option<PathBuf> = None,
        /// Requests that are sent to one upstream at a time.
        pub concurrency: usize = 64,
        /// Requests that wait for an upstream; one more gets -32005.
        pub queue_max: usize = 1024,
        /// Timeout of a request, all attempts included; then it gets -32002. By default that of a
        /// call.
        pub timeout: Duration = RpcSettings::default().call_timeout,
        /// Bytes of an upstream's answer; a larger one becomes -32003. By default those of a reply.
        pub answer_bytes_max: usize = RpcSettings::default().response_bytes_max,
    }

    /// These upstreams of a network, with the built-in Mozilla roots and the default limits.
    pub fn new(network: Network, upstreams: Vec<UpstreamUrl>);
}

impl GatewaySettings {
    /// The limits of connections to upstreams. An answer that is too large for one client must not
    /// end the connection that all clients share, unless it exceeds the limit four times.
    pub fn outbound(&self) -> RouteSettings {
        const TOLERANCE: usize = 4;
        let settings = RouteSettings::default();
        let largest = self.answer_bytes_max.saturating_mul(TOLERANCE);
        let message_bytes_max =
            largest.clamp(settings.message_bytes_max, *MESSAGE_BYTES_RANGE.end());
        let settings = settings.message_bytes_max(message_bytes_max);
        let hard = settings.outbox_hard_min();
        settings.outbox_hard_bytes(hard)
    }

    /// The number of WebSocket connections to upstreams.
    pub fn websockets(&self) -> usize {
        self.upstreams.iter().filter(|url| url.scheme() == Scheme::WebSocket).count()
    }

    /// The highest number of sockets for HTTP requests to upstreams.
    pub fn http_sockets_max(&self) -> usize {
        let upstreams = self.upstreams.len() - self.websockets();
        upstreams.saturating_mul(self.concurrency)
    }

    /// The TLS configuration of each upstream.
    pub(super) fn tls(&self) -> Result<Vec<Option<UpstreamTls>>, TlsError> {
        let ca_file = self.ca_file.as_deref();
        self.upstreams.iter().map(|url| UpstreamTls::new(url, ca_file)).collect()
    }

    /// Checks the TLS configuration of the upstreams.
    ///
    /// # Errors
    /// The file of CA certificates is unusable, or a host is not a valid name.
    pub fn check(&self) -> Result<(), TlsError> {
        self.tls().map(|_| ())
    }
}

/// The limits of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestLimits {
    /// Requests that are sent to one upstream at a time.
    pub(super) concurrency: usize,
    /// Requests that wait for an upstream.
    pub(super) queue_max: usize,
    /// Timeout of a request, all attempts included.
    pub(super) timeout: Duration,
}
