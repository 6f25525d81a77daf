//! Requests to HTTP upstreams, decisions on their responses, and the tunnels that follow.
//!
//! Plain values, for [`Context::dial`](crate::reactor::Context::dial),
//! [`Context::send_request`](crate::reactor::Context::send_request) and the handlers of
//! [`Service`](crate::reactor::Service) that report what upstreams do.

use std::time::Duration;

use super::close_reason::CloseReason;
use super::exchange::ForwardResponse;
use super::id::ConnId;
use crate::protocol::passage::Extensions;
use crate::protocol::secret::Secret;

/// The longest silence in a body, by default.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A request to an upstream, with its head written already.
#[derive(Debug)]
pub struct UpstreamRequest {
    pub(in crate::reactor) head: Secret<Vec<u8>>,
    pub(in crate::reactor) answer_timeout: Duration,
    pub(in crate::reactor) body_timeout: Duration,
    pub(in crate::reactor) client: Option<ConnId>,
}

impl UpstreamRequest {
    /// A request. Its body, if it has one, is that of its client's request. The head of the response
    /// must arrive within `answer_timeout`, counted from the time when the whole request is queued on
    /// a connection that is ready; from the head while the client waits for a 100.
    pub fn new(head: Vec<u8>, answer_timeout: Duration) -> UpstreamRequest {
        let head = Secret(head);
        UpstreamRequest { head, answer_timeout, body_timeout: BODY_TIMEOUT, client: None }
    }

    /// The client with the deferred request that this one forwards. While it waits, the end of its
    /// stream counts as its end, and the handshake timeout of an upgrade, counted from now, answers
    /// 504. The body of its request follows `head`, with the framing that
    /// [`write_request`](crate::protocol::http::write_request) announces. Without a client no tunnel
    /// can be joined, and no response forwarded: a health check needs none.
    #[must_use]
    pub fn client(self, client: ConnId) -> UpstreamRequest {
        UpstreamRequest { client: Some(client), ..self }
    }

    /// The longest silence in the body of the request or of the response, 60 s by default. While
    /// reading from the sender is paused, it does not count. The client gets 408, or if a response is
    /// forwarded already, both connections are dropped.
    #[must_use]
    pub fn body_timeout(self, body_timeout: Duration) -> UpstreamRequest {
        UpstreamRequest { body_timeout, ..self }
    }
}

/// What follows the head of an upstream's response.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpstreamDecision {
    /// Drop the upstream connection. The client gets what the service decides.
    Drop,
    /// Send `head`, the 101, to the client, and join the two connections. The service has checked
    /// the upstream's 101. Without a client that still waits, the upstream is dropped.
    Join {
        /// The response head for the client.
        head: Vec<u8>,
        /// How the tunnel works.
        tunnel: TunnelSettings,
    },
    /// Send an interim response (1xx, but not 101) to the client. Nothing is sent if the head is empty:
    /// clients of HTTP/1.0 get none. An upstream that sends more than
    /// [`INTERIM_RESPONSES_MAX`](super::budget::INTERIM_RESPONSES_MAX) is dropped.
    Interim(Vec<u8>),
    /// Send the final response to the client, and pass its body. If the client's request was an
    /// upgrade, its connection is closed after it. Without a client that still waits, the upstream is
    /// dropped.
    Forward(ForwardResponse),
}

/// What the upstream gets when a tunnel's client is lost without a Close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientLost {
    /// The end of the stream without a Close, as from the client: some servers keep a session after
    /// 1006 that they discard after 1001.
    End,
    /// A Close with 1001.
    Close,
}

/// The settings of one tunnel. Its other limits are those of the client's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelSettings {
    /// The extensions that client and upstream negotiated.
    pub extensions: Extensions,
    /// A frame with a longer payload is split into fragments; shorter ones are held until they are
    /// complete. At most 4 GiB.
    pub hold_bytes_max: usize,
    /// Whether the heartbeat pings silent sides.
    pub pings: bool,
    /// What the upstream gets when the client is lost.
    pub client_lost: ClientLost,
}

impl Default for TunnelSettings {
    fn default() -> TunnelSettings {
        TunnelSettings {
            extensions: Extensions::Nothing,
            hold_bytes_max: 64 * 1024,
            pings: true,
            client_lost: ClientLost::End,
        }
    }
}

impl TunnelSettings {
    /// Sets [`extensions`](TunnelSettings::extensions).
    #[must_use]
    pub fn extensions(self, extensions: Extensions) -> TunnelSettings {
        TunnelSettings { extensions, ..self }
    }

    /// Sets [`hold_bytes_max`](TunnelSettings::hold_bytes_max).
    #[must_use]
    pub fn hold_bytes_max(self, hold_bytes_max: usize) -> TunnelSettings {
        TunnelSettings { hold_bytes_max, ..self }
    }

    /// Sets [`pings`](TunnelSettings::pings).
    #[must_use]
    pub fn pings(self, pings: bool) -> TunnelSettings {
        TunnelSettings { pings, ..self }
    }

    /// Sets [`client_lost`](TunnelSettings::client_lost).
    #[must_use]
    pub fn client_lost(self, client_lost: ClientLost) -> TunnelSettings {
        TunnelSettings { client_lost, ..self }
    }
}

/// How a tunnel ended, and what it has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipeEnd {
    /// The reason of the client's end.
    pub reason: CloseReason,
    /// What has passed from the client to the upstream.
    pub from_client: PipeTraffic,
    /// What has passed from the upstream to the client.
    pub from_upstream: PipeTraffic,
}

/// What has passed in one direction of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PipeTraffic {
    /// Messages.
    pub messages: u64,
    /// Bytes of frames, headers included.
    pub bytes: u64,
    /// Fragments that weir split long frames into.
    pub fragments: u64,
    /// How often reading from the sender was paused, because the receiver read too slowly.
    pub pauses: u64,
}
