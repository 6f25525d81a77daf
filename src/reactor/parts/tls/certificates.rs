//! Builds the rustls server configuration from PEM files, or rejects them with the reason.
//!
//! It blocks on the disk, so it runs before the loop starts or on the reload thread. Next: `pem.rs`
//! reads the files, `reload.rs` calls it for changes.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, cipher_suite, default_provider};
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedCipherSuite, client, version,
};

use super::cert_info::check_time;
use super::error::TlsError;
use super::pem::{HANDSHAKE_BYTES_MAX, certificates, chain, key};
use crate::reactor::api::budget::TLS_SESSIONS_MAX;
use crate::reactor::api::settings::{
    CertificateFiles, ClientCertificates, TlsSettings, TlsVersion,
};

/// The only ALPN protocol (RFC 7301): a WebSocket starts with HTTP/1.1.
pub(crate) const ALPN: &[u8] = b"http/1.1";
/// Tickets for each client of TLS 1.3: a client usually reconnects with one connection.
const TICKETS: usize = 1;

/// Room in a CertificateRequest besides the names: signature algorithms, and headers.
const OTHER_EXTENSIONS_BYTES: usize = 1024;

/// In our order, which wins over the client's. AES first: server hardware accelerates it.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), ..default_provider() })
}

/// Tickets and sessions for resumption; they outlive a change of certificates.
#[derive(Debug, Clone)]
pub(crate) struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    /// # Errors
    /// The system has no entropy for the ticket keys.
    pub(crate) fn new() -> Result<Resumption, TlsError> {
        Ok(Resumption {
            tickets: Ticketer::new().map_err(TlsError::Configuration)?,
            sessions: ServerSessionMemoryCache::new(TLS_SESSIONS_MAX),
        })
    }
}

/// A configuration, and a problem that only a running server should reject.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    /// A certificate that is not valid at this time. A server that starts uses it all the same,
    /// because it may have no better one; a running server keeps the old one. Without the feature
    /// `cert-info` this is not checked.
    pub(crate) not_valid_now: Option<TlsError>,
}

/// Reads and checks all files in the settings.
///
/// # Errors
/// The first problem found.
pub(crate) fn load(settings: &TlsSettings, resumption: &Resumption) -> Result<Loaded, TlsError> {
    let provider = provider();
    let mut certificates = Vec::with_capacity(settings.certificates.len());
    let mut not_valid_now = None;
    for files in &settings.certificates {
        let certificate = certificate(files, &provider)?;
        not_valid_now = not_valid_now.or(check_time(&files.chain, &certificate.cert).err());
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let versions = match settings.version_min {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12][..],
        TlsVersion::Tls13 => &[&version::TLS13][..],
    };
    let clients = clients(&settings.clients, &provider)?;
    // A resumed session is not verified again: revoked trust must not survive in it.
    let resumption = match settings.clients {
        ClientCertificates::Off => resumption.clone(),
        ClientCertificates::Wanted(_) | ClientCertificates::Required(_) => Resumption::new()?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Configuration)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Certificates(certificates)));
    config.ignore_client_order = true;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = TICKETS;
    config.ticketer = resumption.tickets;
    config.session_storage = resumption.sessions;
    Ok(Loaded { config: Arc::new(config), not_valid_now })
}

/// Loads one certificate and its key, which must match.
pub(crate) fn certificate(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = chain(&files.chain)?;
    let key = key(&files.key)?;
    for certificate in &chain {
        ParsedCertificate::try_from(certificate)
            .map_err(|error| TlsError::Certificate(files.chain.clone(), error))?;
    }
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::KeyMismatch(files.chain.clone(), files.key.clone())
        }
        Error::InconsistentKeys(_) => TlsError::Certificate(files.chain.clone(), error),
        error => TlsError::Key(files.key.clone(), error),
    })
}

/// The certificates of a file as trusted roots.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| TlsError::Certificate(path.to_owned(), error))?;
    }
    Ok(roots)
}

fn clients(
    wanted: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (path, is_required) = match wanted {
        ClientCertificates::Off => return Ok(Arc::new(NoClientAuth)),
        ClientCertificates::Wanted(path) => (path, false),
        ClientCertificates::Required(path) => (path, true),
    };
    let roots = roots(path)?;
    // The server sends these names in its CertificateRequest (RFC 8446, 4.2.4).
    let names: usize = roots.subjects().iter().map(|name| name.as_ref().len() + 2).sum();
    if names > HANDSHAKE_BYTES_MAX - OTHER_EXTENSIONS_BYTES {
        return Err(TlsError::TooLarge(path.clone(), names));
    }
    let roots = Arc::new(roots);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    if !is_required {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build();
    verifier.map_err(|error| TlsError::Clients(path.clone(), error))
}

/// Selects the certificate for a client by server name (RFC 6066, 3).
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first certificate that matches the name and that the client can verify, else the first
    /// that it can verify. Names match as in clients, wildcards included.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut candidates =
            self.0.iter().filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        let first = candidates.next()?;
        if self.0.len() == 1 {
            return Some(Arc::clone(first));
        }
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_named = |key: &&Arc<CertifiedKey>| match &name {
            Some(name) => is_for(key, name),
            None => true,
        };
        let named = [first].into_iter().chain(candidates).find(is_named);
        named.or(Some(first)).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| client::verify_server_name(&parsed, name).is_ok())
}
