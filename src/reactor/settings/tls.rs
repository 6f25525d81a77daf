//! What an operator may set of TLS: certificates, who must show one, and which versions are spoken.

use std::path::PathBuf;
use std::time::Duration;

use super::TlsVersion;

/// The identity of a reactor's secure listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The first is for clients that name no server, or one that no certificate is for.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates, and whose.
    pub clients: ClientCertificates,
    /// The oldest version that is spoken.
    pub version_min: TlsVersion,
    /// How often the files are looked at for changes; `None`: only when ordered.
    pub watch: Option<Duration>,
}

impl TlsSettings {
    /// One certificate, no clients' certificates, every version, and a look at the files every 5 s.
    pub fn new(certificate: CertificateFiles) -> TlsSettings {
        TlsSettings {
            certificates: vec![certificate],
            clients: ClientCertificates::Off,
            version_min: TlsVersion::Tls12,
            watch: Some(Duration::from_secs(5)),
        }
    }
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's own certificate first, then those that lead to a root.
    pub chain: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What clients show. A certificate that is shown must lead to one in the named PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None is asked for.
    Off,
    /// One is asked for, and a client without is let in, too.
    Wanted(PathBuf),
    /// A client without is turned away.
    Required(PathBuf),
}
