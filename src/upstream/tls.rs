//! The CA certificates that upstreams by TLS are verified with: the built-in Mozilla roots, or
//! those of a file alone.
//!
//! Holds the same certificates twice: rustls' form for WebSockets on the loop, ureq's for HTTP.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::url::UpstreamUrl;
use crate::reactor::internals::read_regular_file;
use crate::reactor::{PEM_BYTES_MAX, TlsConnector, TlsError};

/// The TLS configuration of connections to one upstream.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamTls {
    #[cfg_attr(not(feature = "rpc"), expect(dead_code, reason = "for WebSockets of JSON-RPC"))]
    pub(super) link: TlsConnector,
    pub(super) http: TlsConfig,
}

impl UpstreamTls {
    /// The configuration for an upstream whose certificate must chain to one in `roots`, a PEM
    /// file, or else to one of the built-in roots. `None` for a URL without TLS.
    ///
    /// # Errors
    /// The file is unusable, or the URL's host is not a name that a certificate can have.
    pub(crate) fn new(
        url: &UpstreamUrl,
        roots: Option<&Path>,
    ) -> Result<Option<UpstreamTls>, TlsError> {
        if !url.is_secure() {
            return Ok(None);
        }
        let (host, _) = url.host_and_port();
        let (link, roots) = match roots {
            None => (TlsConnector::public(&host)?, RootCerts::WebPki),
            // The connector reports what is wrong with the file.
            Some(file) => (TlsConnector::trusting(&host, file)?, read_roots(file)),
        };
        Ok(Some(UpstreamTls { link, http: TlsConfig::builder().root_certs(roots).build() }))
    }
}

/// The certificates in a file; none if it cannot be read.
fn read_roots(file: &Path) -> RootCerts {
    let text = read_regular_file(file, PEM_BYTES_MAX).unwrap_or_default();
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    certificates.collect::<Vec<Certificate<'static>>>().into_iter().into()
}
