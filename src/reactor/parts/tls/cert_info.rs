//! Reads X.509 certificates: their validity period and their subject.
//!
//! rustls does not check the validity of our own certificates, and does not return subjects.

use std::path::Path;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::TlsError;

/// Checks that each certificate of a chain, read from `file`, is valid now.
///
/// # Errors
/// The first certificate that is not valid now.
pub(super) fn check_time(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    for der in chain {
        let bad = |_| TlsError::Certificate(file.to_owned(), CertificateError::BadEncoding.into());
        let (_, parsed) = X509Certificate::from_der(der).map_err(bad)?;
        let validity = parsed.validity();
        if !validity.is_valid() {
            let times = format!("from {} to {}", validity.not_before, validity.not_after);
            return Err(TlsError::NotValidNow(file.to_owned(), times));
        }
    }
    Ok(())
}

/// The subject of a certificate, as in `CN=alice, O=Example`.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.subject().to_string())
}
