//! A certificate authority for tests, with its own directory for all its files.
//!
//! Dropping it removes the directory. An error is a bug in the test, and panics.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use time::{Duration, OffsetDateTime};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    count: AtomicU32,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Unusual properties of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kind {
    /// The certificate has expired.
    pub is_expired: bool,
    /// The key is Ed25519 instead of ECDSA.
    pub is_ed25519: bool,
}

impl Authority {
    /// A new authority, which no test trusts yet.
    pub fn new() -> Authority {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("weir-authority-{}-{number}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Each authority has its own name: otherwise a client that trusts another authority would
        // check the signature before it rejects the certificate.
        params.distinguished_name.push(DnType::CommonName, format!("weir's tests, {number}"));
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), directory, count: AtomicU32::new(0) }
    }

    /// The directory of the files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The authority's own certificate, for clients that should trust it.
    pub fn file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Issues a server certificate for these host names and addresses.
    pub fn server(&self, names: &[&str]) -> Files {
        self.issue("", names, Kind::default())
    }

    /// Issues a client certificate.
    pub fn client(&self, common_name: &str) -> Files {
        self.issue(common_name, &[], Kind::default())
    }

    /// Issues a certificate with all options.
    pub fn issue(&self, common_name: &str, names: &[&str], kind: Kind) -> Files {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let file = |kind| self.directory.join(format!("{number}-{kind}.pem"));
        let files = Files { chain: file("chain"), key: file("key") };
        self.issue_to(&files, common_name, names, kind);
        files
    }

    /// Issues a certificate into existing files, as a renewal does: first the certificate, then the
    /// key.
    pub fn issue_to(&self, files: &Files, common_name: &str, names: &[&str], kind: Kind) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if !common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(30);
        params.not_after =
            if kind.is_expired { now - Duration::days(1) } else { now + Duration::days(30) };
        let algorithm = if kind.is_ed25519 { &PKCS_ED25519 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(&files.chain, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
