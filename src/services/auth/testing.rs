//! For unit tests of gates: signed tokens with any header and any claims, by `ring`; and a loop.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use ring::{hmac, signature};

use super::token::algorithm::Algorithm;
use crate::protocol::Message;
use crate::reactor::settings::Settings;
use crate::reactor::{ConnId, Context, Reactor, Service, ServiceId};

/// Long enough for every HMAC.
pub(super) const SECRET: &[u8] =
    b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A key of each kind.
pub(super) struct Signer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Signer {
    /// New keys; the RSA key is always the same, since `ring` makes none.
    pub(super) fn new() -> Signer {
        let random = SystemRandom::new();
        let ecdsa = |by: &'static signature::EcdsaSigningAlgorithm| {
            let key = EcdsaKeyPair::generate_pkcs8(by, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(by, key.as_ref(), &random).unwrap()
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Signer {
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("keys/testdata/rsa.pk8")).unwrap(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
        }
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let hmac = |by| hmac::sign(&hmac::Key::new(by, SECRET), message).as_ref().to_vec();
        let rsa = |by: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(by, &random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            Algorithm::Hs256 => hmac(hmac::HMAC_SHA256),
            Algorithm::Hs384 => hmac(hmac::HMAC_SHA384),
            Algorithm::Hs512 => hmac(hmac::HMAC_SHA512),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Es256 => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            Algorithm::Es384 => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            Algorithm::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header, signed by this algorithm whatever the header says.
    pub(super) fn token(&self, by: Algorithm, header: &str, claims: &str) -> String {
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.sign(by, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public keys as a JWK set; `kid` is added to the name of each.
    pub(super) fn jwks(&self, kid: &str) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |pair: &EcdsaKeyPair| {
            let public = pair.public_key().as_ref();
            let (x, y) = public[1..].split_at(public.len() / 2);
            format!(r#""x":"{}","y":"{}""#, text(x), text(y))
        };
        let rsa: signature::RsaPublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let (n, e) = (text(&rsa.n), text(&rsa.e));
        format!(
            r#"{{"keys":[{{"kty":"RSA","kid":"rsa{kid}","n":"{n}","e":"{e}"}},
            {{"kty":"EC","kid":"p256{kid}","crv":"P-256",{}}},
            {{"kty":"EC","kid":"p384{kid}","crv":"P-384",{}}},
            {{"kty":"OKP","kid":"ed{kid}","crv":"Ed25519","x":"{}"}}]}}"#,
            point(&self.p256),
            point(&self.p384),
            text(self.ed25519.public_key().as_ref()),
        )
    }
}

/// Lends its loop to a gate that a test calls itself.
struct Idle;

impl Service for Idle {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A loop that does not run, and the service whose context a gate gets.
pub(super) fn reactor() -> (Reactor, ServiceId) {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let service = reactor.add_service(Idle).unwrap();
    (reactor, service)
}
