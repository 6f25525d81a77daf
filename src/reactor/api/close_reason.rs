//! Why a connection ended: the one enum behind the log line, the close code and `on_close`.
//!
//! A reason is fixed when the end begins and never replaced: what follows (an answer that never
//! came, a reset during the linger) does not hide the cause.

use std::fmt;
use std::io;

use crate::protocol::handshake::{ClientError, Refusal};
use crate::protocol::{CloseCode, ProtocolError};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer sent a Close, with this code or without any.
    PeerClosed(Option<CloseCode>),
    /// The peer ended the stream without a Close.
    PeerGone,
    /// The peer ended the stream without a close_notify, so that something may be missing at its end.
    Truncated,
    /// The connection broke: reset, or an error of the network.
    PeerReset,
    /// A service closed it, with this code.
    Service(CloseCode),
    /// A service dropped it, without a Close.
    Aborted,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// Pings were not answered.
    HeartbeatTimeout,
    /// No data message for the route's idle time.
    IdleTimeout,
    /// The peer read too slowly for what it was sent.
    SlowConsumer,
    /// Output was queued, and for the route's write time the peer took none of it.
    WriteTimeout,
    /// All connections together held more memory than the loop may.
    Overloaded,
    /// A handler of the service panicked.
    ServicePanicked,
    /// The server is going down.
    Shutdown,
    /// The request, or the answer to ours, did not come in time.
    HandshakeTimeout,
    /// The request was refused.
    Refused(Refusal),
    /// A plain HTTP exchange came to its end.
    HttpDone,
    /// No TLS could be agreed with the peer, or it broke; the log has the details.
    TlsFailed,
    /// Our own connection attempt failed, for this reason of the system's.
    ConnectFailed(io::ErrorKind),
    /// The server that we connected to did not upgrade.
    UpgradeFailed(ClientError),
}

impl CloseReason {
    /// The code in the Close frame that we send for this reason; `None` where none is sent, or an
    /// empty one answers an empty one.
    pub fn close_code(self) -> Option<CloseCode> {
        match self {
            CloseReason::PeerClosed(code) => code,
            CloseReason::Service(code) => Some(code),
            CloseReason::Protocol(error) => Some(error.close_code()),
            CloseReason::HeartbeatTimeout | CloseReason::IdleTimeout | CloseReason::Shutdown => {
                Some(CloseCode::GOING_AWAY)
            }
            CloseReason::SlowConsumer | CloseReason::WriteTimeout | CloseReason::Overloaded => {
                Some(CloseCode::TRY_AGAIN_LATER)
            }
            CloseReason::ServicePanicked => Some(CloseCode::INTERNAL_ERROR),
            CloseReason::PeerGone
            | CloseReason::Truncated
            | CloseReason::PeerReset
            | CloseReason::Aborted
            | CloseReason::HandshakeTimeout
            | CloseReason::Refused(_)
            | CloseReason::HttpDone
            | CloseReason::TlsFailed
            | CloseReason::ConnectFailed(_)
            | CloseReason::UpgradeFailed(_) => None,
        }
    }

    /// The words in that Close frame.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Protocol(error) => error.as_str(),
            CloseReason::HeartbeatTimeout => "heartbeat timeout",
            CloseReason::IdleTimeout => "idle timeout",
            CloseReason::SlowConsumer => "slow consumer",
            CloseReason::WriteTimeout => "write timeout",
            CloseReason::Overloaded => "server overloaded",
            CloseReason::ServicePanicked => "internal error",
            CloseReason::Shutdown => "server going down",
            _ => "",
        }
    }

    /// Whether the peer does not read: then what it has not begun to receive is dropped, so that
    /// the Close is the next frame it finds.
    pub(in crate::reactor) fn cuts_queue(self) -> bool {
        matches!(
            self,
            CloseReason::HeartbeatTimeout
                | CloseReason::SlowConsumer
                | CloseReason::WriteTimeout
                | CloseReason::Overloaded
        )
    }

    /// Every [name](CloseReason::name).
    pub const NAMES: [&'static str; 24] = [
        "aborted",
        "connect_failed",
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
        "refused",
        "service",
        "service_panicked",
        "shutdown",
        "slow_consumer",
        "tls_failed",
        "too_big",
        "truncated",
        "upgrade_failed",
        "write_timeout",
    ];

    /// A short name for logs and metrics: the same for all close codes and all refusals, apart for the
    /// protocol errors that an operator can act on.
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
            CloseReason::WriteTimeout => "write_timeout",
            CloseReason::Overloaded => "overloaded",
            CloseReason::ServicePanicked => "service_panicked",
            CloseReason::Shutdown => "shutdown",
            CloseReason::HandshakeTimeout => "handshake_timeout",
            CloseReason::Refused(_) => "refused",
            CloseReason::HttpDone => "http_done",
            CloseReason::TlsFailed => "tls_failed",
            CloseReason::ConnectFailed(_) => "connect_failed",
            CloseReason::UpgradeFailed(_) => "upgrade_failed",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            CloseReason::PeerClosed(Some(code)) | CloseReason::Service(code) => {
                write!(f, " {code}")
            }
            CloseReason::Protocol(error) => write!(f, " {} ({error})", error.close_code()),
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
            CloseReason::WriteTimeout,
            CloseReason::Overloaded,
            CloseReason::ServicePanicked,
            CloseReason::Shutdown,
            CloseReason::HandshakeTimeout,
            CloseReason::Refused(Refusal::Full),
            CloseReason::HttpDone,
            CloseReason::TlsFailed,
            CloseReason::ConnectFailed(std::io::ErrorKind::ConnectionRefused),
            CloseReason::UpgradeFailed(ClientError::Accept),
        ];
        let names: BTreeSet<_> =
            protocol.iter().chain(&others).map(|reason| reason.name()).collect();
        assert!(names.iter().eq(&CloseReason::NAMES), "{names:?}");
    }
}
