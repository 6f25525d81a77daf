//! TLS settings: certificates, client certificates, versions, and the watch interval.
//!
//! It names files and reads none: [`certificates`](crate::reactor::parts::tls) does.

use std::path::PathBuf;
use std::time::Duration;

use super::setters::with_setters;
use super::tls_version::TlsVersion;

with_setters! {
    /// The TLS of a reactor's secure listeners.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TlsSettings {
        /// The first is the default, for clients that send no server name or one that no
        /// certificate matches.
        pub certificates: Vec<CertificateFiles> = vec![certificate],
        /// Whether clients must present certificates, and which are trusted.
        pub clients: ClientCertificates = ClientCertificates::Off,
        /// The oldest version that is accepted.
        pub version_min: TlsVersion = TlsVersion::Tls12,
        /// Interval between checks of the files for changes; `None`: only on request.
        pub watch: Option<Duration> = Some(Duration::from_secs(5)),
    }

    /// One certificate, no client certificates, all versions, and a check of the files every 5 s.
    pub fn new(certificate: CertificateFiles);
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFiles {
    /// The server's own certificate first, then the intermediate ones up to a root.
    pub chain: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The files of a certificate chain and its key.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> CertificateFiles {
        CertificateFiles { chain: chain.into(), key: key.into() }
    }
}

/// Client certificates. A certificate must chain to one in the given PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not requested.
    Off,
    /// Requested, but a client without one is accepted, too.
    Wanted(PathBuf),
    /// Required: the handshake fails without one.
    Required(PathBuf),
}
