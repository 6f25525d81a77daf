//! The client's role: whom to trust, and whom to ask for.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificates::{ALPN, provider, roots};
use super::{Session, TlsError};

/// How connections to one server are secured, for
/// [`Context::connect_secure`](crate::reactor::Context::connect_secure). Cheap to clone; sessions are
/// resumed among its clones.
#[derive(Debug, Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsConnector {
    /// For the server that has a certificate for `name`, a host name or an address, which leads to one
    /// of the web's own authorities: those that Mozilla trusts.
    ///
    /// # Errors
    /// The name is none.
    pub fn public(name: &str) -> Result<TlsConnector, TlsError> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        TlsConnector::with_roots(name, roots)
    }

    /// For the server that has a certificate for `name`, a host name or an address, which leads to one
    /// in this PEM file.
    ///
    /// # Errors
    /// The name is none, or the file is not to be used.
    pub fn trusting(name: &str, file: &Path) -> Result<TlsConnector, TlsError> {
        TlsConnector::with_roots(name, roots(file)?)
    }

    fn with_roots(name: &str, roots: RootCertStore) -> Result<TlsConnector, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Configuration)?;
        TlsConnector::new(name, builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// For any server, whatever certificate it shows: whoever sits between can read and change all. For
    /// measuring.
    ///
    /// # Errors
    /// The name is none.
    pub fn insecure(name: &str) -> Result<TlsConnector, TlsError> {
        let provider = provider();
        let anybody = Arc::new(Anybody(Arc::clone(&provider)));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Configuration)?;
        let config = builder.dangerous().with_custom_certificate_verifier(anybody);
        TlsConnector::new(name, config.with_no_client_auth())
    }

    /// The same, but that each session begins anew.
    pub fn without_resumption(self) -> TlsConnector {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::disabled();
        TlsConnector { config: Arc::new(config), ..self }
    }

    fn new(name: &str, mut config: ClientConfig) -> Result<TlsConnector, TlsError> {
        let bad = |_| TlsError::ServerName(name.to_owned());
        let name = ServerName::try_from(name).map_err(bad)?.to_owned();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(TlsConnector { config: Arc::new(config), name })
    }

    /// # Errors
    /// There is no TLS to be had.
    pub(super) fn session(&self) -> Result<Session, Error> {
        Session::client(Arc::clone(&self.config), self.name.clone())
    }
}

/// Takes every certificate; that the server has its key is checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
