//! Selection of the server's certificate, client certificates, and unusable files.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::HandshakeKind;
use weir::protocol::Message;
use weir::protocol::handshake::Accept;
use weir::reactor::settings::{
    ClientCertificates, RouteSettings, Settings, TlsSettings, TlsVersion,
};
use weir::reactor::{
    ConnId, Context, Decision, Reactor, Service, TlsError, TlsInfo, UpgradeRequest,
};
use weir_authority::{Authority, Files, Kind};

use super::{agreed, certificate, connect, identified, refused, settings, trusting, watched};
use crate::support::{DEADLINE, Server};

/// The certificate that the server presents to a client that asks for this name.
fn presented(server: &Server, authority: &Authority, name: &str) -> Vec<u8> {
    let mut config = trusting(authority);
    // This client accepts certificates of any name.
    config.dangerous().set_certificate_verifier(Arc::new(Anything));
    let client = agreed(server.address, &Arc::new(config), name);
    client.stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn der(files: &Files) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_file(&files.chain).unwrap().to_vec()
}

#[test]
fn the_server_name_selects_the_certificate() {
    let authority = Authority::new();
    let first = authority.server(&["first.test", "127.0.0.1"]);
    let second = authority.server(&["second.test"]);
    let wild = authority.server(&["*.wild.test"]);
    let tls = settings(&first).certificates([&first, &second, &wild].map(certificate).to_vec());
    let (server, _seen) = watched(tls, Settings::default(), RouteSettings::default());
    for (name, files) in [
        ("first.test", &first),
        ("second.test", &second),
        ("SECOND.test", &second),
        ("a.wild.test", &wild),
        // A wildcard replaces one label.
        ("a.b.wild.test", &first),
        ("wild.test", &first),
        ("unknown.test", &first),
        // An address is not sent as a name (RFC 6066, 3).
        ("127.0.0.1", &first),
    ] {
        assert_eq!(presented(&server, &authority, name), der(files), "{name}");
    }
    // Clients that check the name accept it.
    for name in ["first.test", "second.test", "b.wild.test", "127.0.0.1"] {
        agreed(server.address, &Arc::new(trusting(&authority)), name);
    }
    server.stop_clean();
}

#[test]
fn a_certificate_has_an_algorithm_that_the_client_supports() {
    let authority = Authority::new();
    let kind = Kind { is_ed25519: true, ..Kind::default() };
    let modern = authority.issue("", &["localhost"], kind);
    let usual = authority.server(&["localhost"]);
    let tls = settings(&modern).certificates([&modern, &usual].map(certificate).to_vec());
    let (server, _seen) = watched(tls, Settings::default(), RouteSettings::default());
    assert_eq!(presented(&server, &authority, "localhost"), der(&modern));
    let mut config = trusting(&authority);
    config.dangerous().set_certificate_verifier(Arc::new(OnlyEcdsa));
    let client = agreed(server.address, &Arc::new(config), "localhost");
    assert_eq!(client.stream.conn.peer_certificates().unwrap()[0].to_vec(), der(&usual));
    server.stop_clean();
}

/// Reports the TLS parameters of each request.
struct Asking(Sender<Option<TlsInfo>>);

impl Service for Asking {
    fn on_request(
        &mut self,
        _: &mut Context<'_>,
        _: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        self.0.send(request.tls.cloned()).unwrap();
        Decision::Accept(Accept::new())
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

fn asking(tls: TlsSettings) -> (Server, Receiver<Option<TlsInfo>>) {
    let (sender, receiver) = channel();
    let server = Server::secure(tls, Settings::default(), move |reactor| {
        let service = reactor.add_service(Asking(sender)).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    (server, receiver)
}

#[test]
fn a_service_gets_the_subject_of_the_client_certificate() {
    let authority = Authority::new();
    let own = authority.client("alice");
    for clients in [ClientCertificates::Wanted, ClientCertificates::Required] {
        let clients = clients(authority.file());
        let tls = settings(&authority.server(&["localhost"])).clients(clients);
        let (server, receiver) = asking(tls);
        let config = Arc::new(identified(&authority, &own));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = connect(server.address, &config, "localhost").upgraded("/");
            let info = receiver.recv_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(info.subject.as_deref(), Some("CN=alice"));
            assert_eq!(info.version, TlsVersion::Tls13);
            assert_eq!(client.stream.conn.handshake_kind(), Some(kind));
            client.close(1000, "");
            client.expect_close();
        }
        server.stop_clean();
    }
}

#[test]
fn a_client_without_a_certificate_is_accepted_unless_one_is_required() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let anonymous = Arc::new(trusting(&authority));
    let files = authority.server(&["localhost"]);

    let clients = ClientCertificates::Wanted(authority.file());
    let (server, receiver) = asking(settings(&files).clients(clients));
    connect(server.address, &anonymous, "localhost").upgraded("/");
    assert_eq!(receiver.recv_timeout(DEADLINE).unwrap().unwrap().subject, None);
    server.stop_clean();

    let clients = ClientCertificates::Required(authority.file());
    let (server, _told) = asking(settings(&files).clients(clients));
    let error = refused(server.address, &anonymous, "localhost");
    assert!(error.contains("CertificateRequired"), "{error}");
    let unverified = Arc::new(identified(&authority, &stranger.client("mallory")));
    let error = refused(server.address, &unverified, "localhost");
    assert!(error.contains("UnknownCA"), "{error}");
    assert_eq!(server.stop_clean().tls_failed, 2);
}

#[test]
fn errors_name_unusable_files() {
    let authority = Authority::new();
    let good = authority.server(&["localhost"]);
    let other = authority.server(&["localhost"]);
    let empty = authority.directory().join("empty.pem");
    fs::write(&empty, "nothing here\n").unwrap();
    let garbled = authority.directory().join("garbled.pem");
    fs::write(&garbled, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let absent = authority.directory().join("absent.pem");
    let error = |chain: &std::path::Path, key: &std::path::Path| {
        let files = Files { chain: chain.to_owned(), key: key.to_owned() };
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        reactor.set_tls(settings(&files)).unwrap_err()
    };
    assert!(matches!(error(&good.chain, &other.key), TlsError::KeyMismatch(..)));
    assert!(matches!(error(&absent, &good.key), TlsError::Unreadable(..)));
    assert!(matches!(error(&good.chain, &absent), TlsError::Unreadable(..)));
    assert!(matches!(error(&empty, &good.key), TlsError::Empty(_, "certificate")));
    assert!(matches!(error(&good.chain, &empty), TlsError::Empty(_, "private key")));
    assert!(matches!(error(&garbled, &good.key), TlsError::Certificate(..)));
    let text = error(&garbled, &good.key).to_string();
    assert!(text.ends_with("garbled.pem: a certificate in it is malformed"), "{text}");
    let text = error(&absent, &good.key).to_string();
    assert!(text.contains("absent.pem") && text.contains("No such file"), "{text}");

    // A TLS listener needs certificates.
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let listen = weir::reactor::settings::ListenSettings::new(any).secure(true);
    assert!(reactor.listen(&listen).is_err());
    let none = settings(&good).certificates(Vec::new());
    assert!(matches!(reactor.set_tls(none), Err(TlsError::NoCertificate)));
}

/// Verifiers that accept any certificate, and announce the algorithms that they support.
#[derive(Debug)]
struct Anything;
#[derive(Debug)]
struct OnlyEcdsa;

macro_rules! verifier {
    ($name:ident, $schemes:expr) => {
        impl rustls::client::danger::ServerCertVerifier for $name {
            fn verify_server_cert(
                &self,
                _: &rustls::pki_types::CertificateDer<'_>,
                _: &[rustls::pki_types::CertificateDer<'_>],
                _: &rustls::pki_types::ServerName<'_>,
                _: &[u8],
                _: rustls::pki_types::UnixTime,
            ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
                Ok(rustls::client::danger::ServerCertVerified::assertion())
            }

            fn verify_tls12_signature(
                &self,
                _: &[u8],
                _: &rustls::pki_types::CertificateDer<'_>,
                _: &rustls::DigitallySignedStruct,
            ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
                Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
            }

            fn verify_tls13_signature(
                &self,
                _: &[u8],
                _: &rustls::pki_types::CertificateDer<'_>,
                _: &rustls::DigitallySignedStruct,
            ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
                Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
            }

            fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
                $schemes
            }
        }
    };
}

verifier!(
    Anything,
    vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256, rustls::SignatureScheme::ED25519,]
);
verifier!(OnlyEcdsa, vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
