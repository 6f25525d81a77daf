//! What a service is told of the TLS under a request.

use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::reactor::settings::TlsVersion;

/// The TLS that a request came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// The version that was agreed.
    pub version: TlsVersion,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// The subject of the client's certificate, which was verified, as in `CN=alice, O=Example`; `None`
    /// if it showed none.
    pub subject: Option<String>,
}

impl TlsInfo {
    pub(super) fn of(session: &CommonState) -> TlsInfo {
        let own = session.peer_certificates().and_then(|chain| chain.first());
        TlsInfo {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
                _ => TlsVersion::Tls12,
            },
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            subject: own.and_then(|certificate| {
                let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
                Some(parsed.subject().to_string())
            }),
        }
    }
}
