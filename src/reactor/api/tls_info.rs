//! Information for services about the TLS session of a request.

use super::settings::TlsVersion;

/// The TLS session of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The negotiated version.
    pub version: TlsVersion,
    /// The subject of the client's verified certificate, as in `CN=alice, O=Example`; `None` if the
    /// client sent none. Feature `cert-info`.
    #[cfg(feature = "cert-info")]
    pub subject: Option<String>,
}
