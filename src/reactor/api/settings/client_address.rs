//! Where trusted proxies state the address of a client: [`ClientAddressFrom`].
//!
//! It reads no header: `protocol::http` does.

use crate::protocol::http::AddressSource;

/// The header in which trusted proxies state the client's address.
///
/// Lists are read from the right, up to the first address that is not of a trusted proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClientAddressFrom {
    /// `X-Forwarded-For`, a list to which each proxy appends.
    #[default]
    XForwardedFor,
    /// `Forwarded`, the same as a standard (RFC 7239).
    Forwarded,
    /// `CF-Connecting-IP`, one address.
    CfConnectingIp,
    /// `True-Client-IP`, one address.
    TrueClientIp,
    /// `X-Real-IP`, one address.
    XRealIp,
}

impl ClientAddressFrom {
    pub(in crate::reactor) fn source(self) -> AddressSource<'static> {
        match self {
            ClientAddressFrom::XForwardedFor => AddressSource::XForwardedFor,
            ClientAddressFrom::Forwarded => AddressSource::Forwarded,
            ClientAddressFrom::CfConnectingIp => AddressSource::Header("CF-Connecting-IP"),
            ClientAddressFrom::TrueClientIp => AddressSource::Header("True-Client-IP"),
            ClientAddressFrom::XRealIp => AddressSource::Header("X-Real-IP"),
        }
    }
}
