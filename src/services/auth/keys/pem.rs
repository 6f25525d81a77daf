//! Public keys in PEM (RFC 7468, 13).

use rustls_pki_types::pem::{PemObject, SectionKind};

use super::der::public_key;
use super::error::KeyError;
use super::key::Key;

/// The keys of a PEM file, in its order; sections that are no keys are ignored.
pub(super) fn keys(text: &[u8]) -> Result<Vec<Key>, KeyError> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        match section.map_err(|_| KeyError::Format)? {
            (SectionKind::PublicKey, der) => keys.push(Key::unnamed(public_key(&der)?)),
            (
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
                _,
            ) => return Err(KeyError::PrivateKey),
            _ => {}
        }
    }
    if keys.is_empty() { Err(KeyError::Format) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::super::key::Material;
    use super::*;

    const RSA: &[u8] = include_bytes!("testdata/rsa.pem");
    const P256: &[u8] = include_bytes!("testdata/p256.pem");
    const P384: &[u8] = include_bytes!("testdata/p384.pem");
    const ED25519: &[u8] = include_bytes!("testdata/ed25519.pem");

    #[test]
    fn each_kind_of_key_is_read() {
        let all = [RSA, P256, P384, ED25519].concat();
        let kinds: Vec<Material> =
            keys(&all).unwrap().into_iter().map(|key| key.material).collect();
        let [
            Material::Rsa { n, e },
            Material::P256(p256),
            Material::P384(p384),
            Material::Ed25519(ed),
        ] = &kinds[..]
        else {
            panic!("{kinds:?}");
        };
        assert_eq!((n.len(), &**e), (256, &[1, 0, 1][..]));
        assert_eq!((p256.len(), p384.len(), ed.len()), (65, 97, 32));
    }

    #[test]
    fn files_without_a_usable_public_key_are_refused() {
        let error = |text: &[u8]| keys(text).unwrap_err();
        for text in [&b""[..], b"text", b"-----BEGIN PUBLIC KEY-----\nAAAA\n", b"\xff"] {
            assert!(matches!(error(text), KeyError::Format), "{text:?}");
        }
        let short = include_bytes!("testdata/rsa1024.pem");
        assert!(matches!(error(short), KeyError::RsaSize));
        let p521 = include_bytes!("testdata/p521.pem");
        assert!(matches!(error(p521), KeyError::Kind));
        let private = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(error(private), KeyError::PrivateKey));
    }

    /// No prefix of a key is one, and no changed byte makes it longer than its file.
    #[test]
    fn damaged_keys_do_not_panic() {
        for file in [RSA, P256, P384, ED25519] {
            let der: Vec<u8> = match PemObject::from_pem_slice(file) {
                Ok((SectionKind::PublicKey, der)) => der,
                other => panic!("{other:?}"),
            };
            for end in 0..der.len() {
                assert!(public_key(&der[..end]).is_err(), "{end}");
                for byte in [0, 0x7f, 0x80, 0x82, 0xff] {
                    let mut changed = der.clone();
                    changed[end] = byte;
                    let _ = public_key(&changed);
                }
            }
            assert!(public_key(&[&der[..], &[0]].concat()).is_err());
        }
    }
}
