//! wss: a TLS server, with clients that use rustls over real sockets.

mod binary;
mod certificates;
mod connector;
mod files;
mod handshakes;
mod rates;
mod reload;
mod strangers;
mod stream;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use weir::reactor::settings::{CertificateFiles, RouteSettings, Settings, TlsSettings};
use weir_authority::{Authority, Files};

use crate::support::{Client, Seen, Server, Watched};

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

pub type Stream = StreamOwned<ClientConnection, TcpStream>;
pub type Secure = Client<Stream>;

pub fn settings(files: &Files) -> TlsSettings {
    TlsSettings::new(certificate(files))
}

fn certificate(files: &Files) -> CertificateFiles {
    CertificateFiles::new(&files.chain, &files.key)
}

/// A [`Watched`] echo at `/` for `localhost`.
fn echo() -> (Authority, Server, Receiver<Seen>) {
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let (server, seen) = watched(tls, Settings::default(), RouteSettings::default());
    (authority, server, seen)
}

fn watched(tls: TlsSettings, settings: Settings, route: RouteSettings) -> (Server, Receiver<Seen>) {
    let (service, seen) = Watched::echo();
    let server = Server::secure(tls, settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    (server, seen)
}

/// The configuration of clients that trust this authority.
pub fn trusting(authority: &Authority) -> ClientConfig {
    trusting_with(authority, default_provider(), rustls::DEFAULT_VERSIONS)
}

fn trusting_with(
    authority: &Authority,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap();
    builder.with_root_certificates(roots(authority)).with_no_client_auth()
}

/// The configuration of clients that present a certificate.
fn identified(authority: &Authority, own: &Files) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let chain = CertificateDer::pem_file_iter(&own.chain).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    builder.with_root_certificates(roots(authority)).with_client_auth_cert(chain, key).unwrap()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    roots
}

/// A connection before its TLS handshake.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Secure {
    let tls =
        ClientConnection::new(Arc::clone(config), ServerName::try_from(name).unwrap().to_owned());
    Client::over(StreamOwned::new(tls.unwrap(), Client::tcp(address).stream))
}

/// A connection after its TLS handshake.
fn agreed(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Secure {
    let mut client = connect(address, config, name);
    let Stream { conn, sock } = &mut client.stream;
    while conn.is_handshaking() {
        conn.complete_io(sock).unwrap();
    }
    client
}

/// An open WebSocket at `/` of `localhost`.
fn open(address: SocketAddr, authority: &Authority) -> Secure {
    connect(address, &Arc::new(trusting(authority)), "localhost").upgraded("/")
}

/// The error of a TLS handshake that must fail.
fn refused(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> String {
    let mut client = connect(address, config, name);
    let Stream { conn, sock } = &mut client.stream;
    loop {
        if let Err(error) = conn.complete_io(sock) {
            return error.to_string();
        }
        if !conn.is_handshaking() {
            // An alert that refuses the client's certificate comes after its handshake is done (RFC
            // 8446, 4.4.2.4).
            return std::io::Read::read(&mut client.stream, &mut [0]).unwrap_err().to_string();
        }
    }
}
