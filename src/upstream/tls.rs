//! Whom upstreams by TLS are believed: the web's own authorities, or those of a file alone.
//!
//! The same for a WebSocket and for HTTP, each in the form that its own side takes.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::url::UpstreamUrl;
use crate::reactor::{PEM_BYTES_MAX, TlsConnector, TlsError, read_regular_file};

/// How an upstream's connections are secured, if they are.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    pub(crate) socket: TlsConnector,
    pub(crate) http: TlsConfig,
}

impl Security {
    /// For an upstream whose certificate must lead to one in `authorities`, a PEM file; without it, to
    /// one of the web's own. `None` if it is spoken to in the clear.
    ///
    /// # Errors
    /// The file is not to be used, or the URL's host has a name that no certificate can have.
    pub(crate) fn of(
        url: &UpstreamUrl,
        authorities: Option<&Path>,
    ) -> Result<Option<Security>, TlsError> {
        if !url.is_secure() {
            return Ok(None);
        }
        let (host, _) = url.place();
        let (socket, roots) = match authorities {
            None => (TlsConnector::public(&host)?, RootCerts::WebPki),
            // The first of the two says what is wrong with the file.
            Some(file) => (TlsConnector::trusting(&host, file)?, roots(file)),
        };
        Ok(Some(Security { socket, http: TlsConfig::builder().root_certs(roots).build() }))
    }
}

/// The certificates in a file; none if it cannot be read.
fn roots(file: &Path) -> RootCerts {
    let text = read_regular_file(file, PEM_BYTES_MAX).unwrap_or_default();
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    certificates.collect::<Vec<Certificate<'static>>>().into_iter().into()
}
