//! TLS of outbound connections: the trusted roots and the expected server name.
//!
//! It owns client configurations, never a connection. Next: `session.rs` runs the handshake.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificates::{ALPN, certificate, provider, roots};
use super::error::TlsError;
use super::session::Session;
use crate::reactor::api::settings::CertificateFiles;

/// The TLS configuration for connections to one server, for
/// [`Connect::tls`](crate::reactor::Connect::tls). It is cheap to clone;
/// clones share sessions for resumption.
#[derive(Debug, Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsConnector {
    /// Trusts the public certificate authorities (Mozilla's list). The server must have a
    /// certificate for `name`, a host name or an IP address.
    ///
    /// # Errors
    /// The name is malformed.
    pub fn public(name: &str) -> Result<TlsConnector, TlsError> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        TlsConnector::with_roots(name, roots)
    }

    /// Trusts the certificates in a PEM file. The server must have a certificate for `name`, a host
    /// name or an IP address.
    ///
    /// # Errors
    /// The name is malformed, or the file is unreadable or not valid PEM.
    pub fn trusting(name: &str, file: &Path) -> Result<TlsConnector, TlsError> {
        TlsConnector::with_roots(name, roots(file)?)
    }

    fn with_roots(name: &str, roots: RootCertStore) -> Result<TlsConnector, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Configuration)?;
        TlsConnector::new(name, builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Accepts any certificate: a man in the middle can read and change all data. For measurements.
    ///
    /// # Errors
    /// The name is malformed.
    pub fn insecure(name: &str) -> Result<TlsConnector, TlsError> {
        let provider = provider();
        let accept_any = Arc::new(AcceptAny(Arc::clone(&provider)));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Configuration)?;
        let config = builder.dangerous().with_custom_certificate_verifier(accept_any);
        TlsConnector::new(name, config.with_no_client_auth())
    }

    /// The same configuration, presenting this certificate to servers that request one.
    ///
    /// # Errors
    /// A file is unreadable or not valid PEM, or the key does not belong to the certificate.
    pub fn with_certificate(self, files: &CertificateFiles) -> Result<TlsConnector, TlsError> {
        let identity = certificate(files, &provider())?;
        let mut config = (*self.config).clone();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity));
        Ok(TlsConnector { config: Arc::new(config), ..self })
    }

    /// The same configuration for another server, which must have a certificate for `name`. Reads
    /// no file.
    ///
    /// # Errors
    /// The name is malformed.
    pub fn named(&self, name: &str) -> Result<TlsConnector, TlsError> {
        Ok(TlsConnector { config: Arc::clone(&self.config), name: server_name(name)? })
    }

    /// The same configuration without session resumption: every handshake is a full one.
    pub fn without_resumption(self) -> TlsConnector {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::disabled();
        TlsConnector { config: Arc::new(config), ..self }
    }

    fn new(name: &str, mut config: ClientConfig) -> Result<TlsConnector, TlsError> {
        let name = server_name(name)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(TlsConnector { config: Arc::new(config), name })
    }

    /// # Errors
    /// rustls rejects the configuration.
    pub(super) fn session(&self) -> Result<Session, Error> {
        Session::client(Arc::clone(&self.config), self.name.clone())
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let name = ServerName::try_from(name).map_err(|_| TlsError::ServerName(name.to_owned()))?;
    Ok(name.to_owned())
}

/// Accepts every certificate, but still verifies that the server has its private key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
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
