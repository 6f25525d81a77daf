//! What a service learns of the TLS under a request.

use super::settings::TlsVersion;

/// The TLS that a request came by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version that was agreed.
    pub version: TlsVersion,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// The subject of the client's certificate, which was verified, as in `CN=alice, O=Example`; `None`
    /// if it showed none. Feature `cert-info`.
    #[cfg(feature = "cert-info")]
    pub subject: Option<String>,
}
