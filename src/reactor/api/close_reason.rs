//! Why a connection ended: one enum for the log line, the metric label, the close code and
//! `on_close`.
//!
//! The reason is fixed when the end starts and never replaced: later events (a missing response, a
//! reset while lingering) do not hide the cause.

use std::fmt;
use std::io;

use crate::protocol::handshake::{ClientError, Refusal};
use crate::protocol::proxy_header::ProxyHeaderError;
use crate::protocol::{CloseCode, ProtocolError};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent a Close, with or without a code.
    PeerClosed(Option<CloseCode>),
    /// The peer ended the stream without a Close.
    PeerGone,
    /// The peer ended the TLS stream without close_notify: the last data may be missing.
    Truncated,
    /// The connection was reset, or failed with another network error.
    PeerReset,
    /// A service closed it with this code.
    Service(CloseCode),
    /// A service dropped it without a Close.
    Aborted,
    /// The peer violated the protocol.
    Protocol(ProtocolError),
    /// Pings were not answered.
    HeartbeatTimeout,
    /// No data message for the route's idle time.
    IdleTimeout,
    /// The peer read too slowly.
    SlowConsumer,
    /// It sent more than a rate of its route admits, with
    /// [`OverRate::Close`](super::settings::OverRate::Close).
    Rate(Excess),
    /// Queued output made no progress for the route's write timeout.
    WriteTimeout,
    /// All connections together reached the memory limit.
    Overloaded,
    /// The load was critical, and this connection was one of those that caused it.
    Shed,
    /// A handler of the service panicked.
    ServicePanicked,
    /// The server is shutting down.
    Shutdown,
    /// The request, or the response to our request, did not arrive in time.
    HandshakeTimeout,
    /// The PROXY header that the listener requires was missing, malformed or late, or its sender is
    /// not trusted.
    ProxyHeader(ProxyFault),
    /// The request was refused.
    Refused(Refusal),
    /// An HTTP exchange without upgrade was completed.
    HttpDone,
    /// The TLS handshake or session failed; the log has the details.
    TlsFailed,
    /// An outbound connection could not be established, by this error of the system.
    ConnectFailed(io::ErrorKind),
    /// The server of an outbound connection did not upgrade, or its response is malformed.
    UpgradeFailed(ClientError),
    /// The upstream of the tunnel sent a Close, with or without a code. The client got the same.
    UpstreamClosed(Option<CloseCode>),
    /// The upstream of the tunnel was lost without a Close. The client got this code.
    UpstreamLost(CloseCode),
    /// The upstream of the tunnel did not answer pings. The client got this code.
    UpstreamSilent(CloseCode),
    /// Output to the upstream of the tunnel made no progress for the route's write timeout.
    UpstreamStuck,
    /// The upstream of the tunnel violated the protocol.
    UpstreamProtocol,
    /// The tunnel ended inside a frame that was forwarded as it arrived, so that no Close could be
    /// sent.
    ClosedMidFrame,
    /// The upstream's response ended before it was complete. The client's connection was reset, so
    /// that the response does not look complete.
    Cut,
    /// An upstream whose tunnel has ended: the reason of the client says why.
    TunnelEnded,
    /// The identity of the client has expired: its gate's
    /// [`expired_code`](field@super::settings::GateSettings::expired_code) was sent.
    Expired(CloseCode),
    /// The client may no longer be connected: its subject was signed out, or its new identity does not
    /// meet what the route requires.
    SignedOut(CloseCode),
}

/// What a connection sent too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Excess {
    /// Messages and control frames.
    Messages,
    /// Bytes.
    Bytes,
}

/// Why the start of a connection was not accepted at a listener that requires a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyFault {
    /// The peer is not in [`trusted_proxies`](field@super::settings::Settings::trusted_proxies).
    Untrusted,
    /// The header was not complete within
    /// [`handshake_timeout`](field@super::settings::Settings::handshake_timeout).
    Late,
    /// The connection started with something else than a valid header.
    Header(ProxyHeaderError),
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyFault::Untrusted => f.write_str("peer is not in trusted_proxies"),
            ProxyFault::Late => f.write_str("no PROXY header in time"),
            ProxyFault::Header(error) => error.fmt(f),
        }
    }
}

impl CloseReason {
    /// The code of the Close frame that we send for this reason. `None` if no Close is sent, or an
    /// empty one in response to an empty one.
    pub fn close_code(self) -> Option<CloseCode> {
        match self {
            CloseReason::PeerClosed(code) => code,
            CloseReason::UpstreamClosed(code) => code,
            CloseReason::Service(code)
            | CloseReason::UpstreamLost(code)
            | CloseReason::UpstreamSilent(code)
            | CloseReason::Expired(code)
            | CloseReason::SignedOut(code) => Some(code),
            CloseReason::Protocol(error) => Some(error.close_code()),
            CloseReason::Rate(_) => Some(CloseCode::POLICY),
            CloseReason::HeartbeatTimeout
            | CloseReason::IdleTimeout
            | CloseReason::Shutdown
            | CloseReason::TunnelEnded => Some(CloseCode::GOING_AWAY),
            CloseReason::SlowConsumer
            | CloseReason::WriteTimeout
            | CloseReason::Overloaded
            | CloseReason::Shed
            | CloseReason::UpstreamStuck => Some(CloseCode::TRY_AGAIN_LATER),
            CloseReason::ServicePanicked | CloseReason::UpstreamProtocol => {
                Some(CloseCode::INTERNAL_ERROR)
            }
            CloseReason::PeerGone
            | CloseReason::Truncated
            | CloseReason::PeerReset
            | CloseReason::Aborted
            | CloseReason::HandshakeTimeout
            | CloseReason::ProxyHeader(_)
            | CloseReason::Refused(_)
            | CloseReason::HttpDone
            | CloseReason::TlsFailed
            | CloseReason::ConnectFailed(_)
            | CloseReason::UpgradeFailed(_)
            | CloseReason::ClosedMidFrame
            | CloseReason::Cut => None,
        }
    }

    /// The reason text of that Close frame.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Protocol(error) => error.as_str(),
            CloseReason::HeartbeatTimeout => "heartbeat timeout",
            CloseReason::IdleTimeout => "idle timeout",
            CloseReason::SlowConsumer => "slow consumer",
            CloseReason::Rate(Excess::Messages) => "too many messages",
            CloseReason::Rate(Excess::Bytes) => "too many bytes",
            CloseReason::WriteTimeout => "write timeout",
            CloseReason::Overloaded | CloseReason::Shed => "server overloaded",
            CloseReason::ServicePanicked => "internal error",
            CloseReason::Shutdown => "server going down",
            CloseReason::UpstreamLost(_)
            | CloseReason::UpstreamSilent(_)
            | CloseReason::UpstreamStuck => "upstream lost",
            // 1014 would say so, but some clients reject it.
            CloseReason::UpstreamProtocol => "bad gateway",
            CloseReason::Expired(_) => "token expired",
            CloseReason::SignedOut(_) => "signed out",
            _ => "",
        }
    }

    /// Whether queued messages are dropped before the Close: the peer does not read or respond, or
    /// memory is short. Frames of which the kernel has accepted no byte are dropped, so that the
    /// Close is the next frame.
    pub(in crate::reactor) fn cuts_queue(self) -> bool {
        matches!(
            self,
            CloseReason::HeartbeatTimeout
                | CloseReason::SlowConsumer
                | CloseReason::WriteTimeout
                | CloseReason::Overloaded
        )
    }

    /// All [names](CloseReason::name), sorted.
    pub const NAMES: [&'static str; 37] = [
        "aborted",
        "closed_mid_frame",
        "connect_failed",
        "cut",
        "expired",
        "fragment_timeout",
        "handshake_timeout",
        "heartbeat_timeout",
        "http_done",
        "idle_timeout",
        "invalid_deflate",
        "invalid_utf8",
        "overloaded",
        "peer_closed",
        "peer_gone",
        "peer_reset",
        "protocol",
        "proxy_header",
        "rate",
        "refused",
        "service",
        "service_panicked",
        "shed",
        "shutdown",
        "signed_out",
        "slow_consumer",
        "tls_failed",
        "too_big",
        "truncated",
        "tunnel_ended",
        "upgrade_failed",
        "upstream_closed",
        "upstream_lost",
        "upstream_protocol",
        "upstream_silent",
        "upstream_stuck",
        "write_timeout",
    ];

    /// A short name for logs and metrics. All close codes share a name, and so do all refusals;
    /// protocol errors that operators can act on have their own.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::PeerClosed(_) => "peer_closed",
            CloseReason::PeerGone => "peer_gone",
            CloseReason::Truncated => "truncated",
            CloseReason::PeerReset => "peer_reset",
            CloseReason::Service(_) => "service",
            CloseReason::Aborted => "aborted",
            CloseReason::Protocol(error) => error.name(),
            CloseReason::HeartbeatTimeout => "heartbeat_timeout",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::SlowConsumer => "slow_consumer",
            CloseReason::Rate(_) => "rate",
            CloseReason::WriteTimeout => "write_timeout",
            CloseReason::Overloaded => "overloaded",
            CloseReason::Shed => "shed",
            CloseReason::ServicePanicked => "service_panicked",
            CloseReason::Shutdown => "shutdown",
            CloseReason::HandshakeTimeout => "handshake_timeout",
            CloseReason::ProxyHeader(_) => "proxy_header",
            CloseReason::Refused(_) => "refused",
            CloseReason::HttpDone => "http_done",
            CloseReason::TlsFailed => "tls_failed",
            CloseReason::ConnectFailed(_) => "connect_failed",
            CloseReason::UpgradeFailed(_) => "upgrade_failed",
            CloseReason::UpstreamClosed(_) => "upstream_closed",
            CloseReason::UpstreamLost(_) => "upstream_lost",
            CloseReason::UpstreamSilent(_) => "upstream_silent",
            CloseReason::UpstreamStuck => "upstream_stuck",
            CloseReason::UpstreamProtocol => "upstream_protocol",
            CloseReason::ClosedMidFrame => "closed_mid_frame",
            CloseReason::Cut => "cut",
            CloseReason::TunnelEnded => "tunnel_ended",
            CloseReason::Expired(_) => "expired",
            CloseReason::SignedOut(_) => "signed_out",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            CloseReason::PeerClosed(Some(code))
            | CloseReason::UpstreamClosed(Some(code))
            | CloseReason::Service(code)
            | CloseReason::UpstreamLost(code)
            | CloseReason::UpstreamSilent(code)
            | CloseReason::Expired(code)
            | CloseReason::SignedOut(code) => write!(f, " {code}"),
            CloseReason::Protocol(error) => write!(f, " {} ({error})", error.close_code()),
            CloseReason::ProxyHeader(fault) => write!(f, " ({fault})"),
            CloseReason::Rate(_) => write!(f, " ({})", self.text()),
            CloseReason::Refused(refusal) => write!(f, " {} ({refusal})", refusal.status()),
            CloseReason::ConnectFailed(kind) => write!(f, " ({kind})"),
            CloseReason::UpgradeFailed(error) => write!(f, " ({error})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_listed_name() {
        let protocol = ProtocolError::ALL.map(CloseReason::Protocol);
        let others = [
            CloseReason::PeerClosed(None),
            CloseReason::PeerGone,
            CloseReason::Truncated,
            CloseReason::PeerReset,
            CloseReason::Service(CloseCode::NORMAL),
            CloseReason::Aborted,
            CloseReason::HeartbeatTimeout,
            CloseReason::IdleTimeout,
            CloseReason::SlowConsumer,
            CloseReason::Rate(Excess::Messages),
            CloseReason::WriteTimeout,
            CloseReason::Overloaded,
            CloseReason::Shed,
            CloseReason::ServicePanicked,
            CloseReason::Shutdown,
            CloseReason::HandshakeTimeout,
            CloseReason::ProxyHeader(ProxyFault::Late),
            CloseReason::Refused(Refusal::Full),
            CloseReason::HttpDone,
            CloseReason::TlsFailed,
            CloseReason::ConnectFailed(std::io::ErrorKind::ConnectionRefused),
            CloseReason::UpgradeFailed(ClientError::Accept),
            CloseReason::UpstreamClosed(None),
            CloseReason::UpstreamLost(CloseCode::SERVICE_RESTART),
            CloseReason::UpstreamSilent(CloseCode::SERVICE_RESTART),
            CloseReason::UpstreamStuck,
            CloseReason::UpstreamProtocol,
            CloseReason::ClosedMidFrame,
            CloseReason::Cut,
            CloseReason::TunnelEnded,
            CloseReason::Expired(CloseCode::UNAUTHORIZED),
            CloseReason::SignedOut(CloseCode::FORBIDDEN),
        ];
        let names: BTreeSet<_> =
            protocol.iter().chain(&others).map(|reason| reason.name()).collect();
        assert!(names.iter().eq(&CloseReason::NAMES), "{names:?}");
    }
}
