//! The TLS settings: file names, and checks of their combination.
//!
//! The files are not opened here; the TLS listeners validate them.

use std::fmt;

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::{CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};

use super::addresses::Listen;
use super::values::{FileName, OrOff, Span};

/// The settings of listeners with `wss://`.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "TLS (for wss://ADDR listeners)")]
pub(super) struct TlsOptions {
    /// Certificate chain (PEM), leaf first. With several, the client's server name (SNI) selects
    /// one; default: the first
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    tls_cert: Vec<FileName>,

    /// Private key (PEM); one for each certificate, in the same order
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    tls_key: Vec<FileName>,

    /// Whether clients must present a certificate
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t = ClientAuth::Off)]
    tls_client_auth: ClientAuth,

    /// CA certificates (PEM) trusted for client certificates
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    tls_client_ca: OrOff<FileName>,

    /// Minimum TLS version
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = Version::Tls12)]
    tls_min: Version,

    /// Interval for checking the files for changes; off: reload on SIGHUP only
    #[arg(long, value_name = "TIME", default_value_t = OrOff(watch()))]
    tls_watch: OrOff<Span>,
}

fn watch() -> Option<Span> {
    let nowhere = CertificateFiles::new("", "");
    TlsSettings::new(nowhere).watch.map(Span)
}

/// The names of [`ClientCertificates`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum ClientAuth {
    /// Request no certificate
    Off,
    /// Request a certificate, but accept clients without one
    Wanted,
    /// Reject clients without a certificate
    Required,
}

/// The names of [`TlsVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
enum Version {
    #[value(name = "1.2")]
    #[serde(rename = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsOptions {
    /// The inverse of [`settings`](Self::settings).
    pub(super) fn new(settings: Option<&TlsSettings>) -> TlsOptions {
        let certificates = settings.map_or(&[][..], |settings| &settings.certificates);
        let name = |path: &std::path::PathBuf| FileName(path.clone());
        let (tls_client_auth, ca) = match settings.map(|settings| &settings.clients) {
            None | Some(ClientCertificates::Off) => (ClientAuth::Off, None),
            Some(ClientCertificates::Wanted(path)) => (ClientAuth::Wanted, Some(path)),
            Some(ClientCertificates::Required(path)) => (ClientAuth::Required, Some(path)),
        };
        TlsOptions {
            tls_cert: certificates.iter().map(|files| name(&files.chain)).collect(),
            tls_key: certificates.iter().map(|files| name(&files.key)).collect(),
            tls_client_auth,
            tls_client_ca: OrOff(ca.map(name)),
            tls_min: match settings.map(|settings| settings.version_min) {
                None | Some(TlsVersion::Tls12) => Version::Tls12,
                Some(TlsVersion::Tls13) => Version::Tls13,
            },
            tls_watch: OrOff(settings.map_or(watch(), |settings| settings.watch.map(Span))),
        }
    }

    /// The TLS settings for these listeners, if any of them is secure.
    pub(super) fn settings(&self, listen: &[Listen]) -> Result<Option<TlsSettings>, TlsMistake> {
        let (certs, keys) = (self.tls_cert.len(), self.tls_key.len());
        let secure = listen.iter().find(|listen| listen.secure);
        if certs != keys {
            return Err(TlsMistake::Pairs { certs, keys });
        }
        let ca = self.tls_client_ca.0.as_ref().map(|name| name.0.clone());
        let clients = match (self.tls_client_auth, ca) {
            (ClientAuth::Off, None) => ClientCertificates::Off,
            (ClientAuth::Off, Some(_)) => return Err(TlsMistake::UnusedAuthority),
            (_, None) => return Err(TlsMistake::NoAuthority),
            (ClientAuth::Wanted, Some(ca)) => ClientCertificates::Wanted(ca),
            (ClientAuth::Required, Some(ca)) => ClientCertificates::Required(ca),
        };
        let Some(listen) = secure else {
            return if certs > 0 { Err(TlsMistake::NoListener) } else { Ok(None) };
        };
        let files = |(chain, key): (&FileName, &FileName)| CertificateFiles::new(&chain.0, &key.0);
        let certificates: Vec<_> = self.tls_cert.iter().zip(&self.tls_key).map(files).collect();
        let Some(first) = certificates.first() else {
            return Err(TlsMistake::NoCertificate(*listen));
        };
        let version_min = match self.tls_min {
            Version::Tls12 => TlsVersion::Tls12,
            Version::Tls13 => TlsVersion::Tls13,
        };
        let settings = TlsSettings::new(first.clone()).certificates(certificates).clients(clients);
        Ok(Some(settings.version_min(version_min).watch(self.tls_watch.duration())))
    }
}

/// TLS settings that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMistake {
    NoCertificate(Listen),
    NoListener,
    Pairs { certs: usize, keys: usize },
    NoAuthority,
    UnusedAuthority,
}

impl fmt::Display for TlsMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsMistake::NoCertificate(listen) => {
                write!(f, "listen: {listen} needs tls_cert and tls_key")
            }
            TlsMistake::NoListener => {
                f.write_str("tls_cert is set, but no listener is wss://, as in wss://0.0.0.0:443")
            }
            TlsMistake::Pairs { certs, keys } => write!(
                f,
                "tls_cert and tls_key must be pairs: {certs} certificates and {keys} keys are set"
            ),
            TlsMistake::NoAuthority => f.write_str(
                "tls_client_auth needs tls_client_ca, the CA certificates trusted for client certificates",
            ),
            TlsMistake::UnusedAuthority => {
                f.write_str("tls_client_ca is set, but tls_client_auth is off")
            }
        }
    }
}
