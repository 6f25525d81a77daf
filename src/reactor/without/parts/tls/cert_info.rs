//! Stands in for `parts/tls/cert_info.rs` without the feature `cert-info`: no certificate is
//! parsed.

use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::error::TlsError;

/// Accepts every certificate as valid now.
pub(super) fn check_time(_: &Path, _: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    Ok(())
}
