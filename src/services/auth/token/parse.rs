//! The parts of a token in compact form (RFC 7515, 3.1), and its header (4.1). Nothing is verified here.
//!
//! Of a header only `alg` and `kid` count. `jku`, `jwk`, `x5u` and `x5c` are ignored: a client must not
//! choose the key (RFC 8725, 3.10).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::algorithm::Algorithm;
use super::error::TokenError;
use super::members::Members;
use crate::protocol::secret::Secret;

/// Maximum length of a token: half of a request head of default size.
pub(in crate::services::auth) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// A token whose signature is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::services::auth) struct Unverified<'a> {
    pub(in crate::services::auth) algorithm: Algorithm,
    pub(in crate::services::auth) kid: Option<Box<str>>,
    /// Header and claims as sent: what the signature covers.
    pub(in crate::services::auth) message: Secret<&'a str>,
    /// The claims as sent.
    pub(super) payload: Secret<&'a str>,
    pub(in crate::services::auth) signature: Secret<Vec<u8>>,
}

impl<'a> Unverified<'a> {
    /// Parses a token and its header.
    ///
    /// # Errors
    /// [`TokenError::Malformed`]; [`TokenError::Algorithm`] for a name that is not in
    /// [`Algorithm::ALL`], such as `none`.
    pub(in crate::services::auth) fn parse(token: &'a str) -> Result<Unverified<'a>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed("the token is too long"));
        }
        let not_compact = TokenError::Malformed("a token must have three parts");
        let (message, signature) = token.rsplit_once('.').ok_or(not_compact)?;
        let (header, payload) = message.split_once('.').ok_or(not_compact)?;
        if payload.contains('.') {
            return Err(not_compact);
        }
        let header = decode(header)?;
        let (algorithm, kid) = read_header(&header)?;
        let signature = Secret(decode(signature)?);
        let (message, payload) = (Secret(message), Secret(payload));
        Ok(Unverified { algorithm, kid, message, payload, signature })
    }
}

fn read_header(json: &[u8]) -> Result<(Algorithm, Option<Box<str>>), TokenError> {
    let malformed = TokenError::Malformed;
    let members = Members::parse(json).ok_or(malformed("the header is malformed"))?;
    // RFC 7515, 4.1.11: extensions that must be understood, and weir understands none. RFC 7797's `b64`
    // changes what is signed, so it is refused without `crit`, too.
    if members.get("crit").is_some() || members.get("b64").is_some() {
        return Err(malformed("the header has an extension"));
    }
    let algorithm: Option<String> =
        members.read("alg").map_err(|()| malformed("alg is not a string"))?;
    let algorithm = algorithm.ok_or(malformed("the header has no alg"))?;
    let kid = members.read("kid").map_err(|()| malformed("kid is not a string"))?;
    Ok((Algorithm::named(&algorithm).ok_or(TokenError::Algorithm)?, kid))
}

/// Decodes base64url without padding (RFC 7515, 2); bits that do not count must be zero.
pub(in crate::services::auth) fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed("a part is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    fn error(token: &str) -> Option<TokenError> {
        Unverified::parse(token).err()
    }

    #[test]
    fn a_token_has_three_parts() {
        let token = token(r#"{"alg":"ES256","typ":"JWT","kid":"a"}"#);
        let parsed = Unverified::parse(&token).unwrap();
        assert_eq!((parsed.algorithm, parsed.kid.as_deref()), (Algorithm::Es256, Some("a")));
        assert_eq!((*parsed.payload, &parsed.signature[..]), ("e30", &b"sig"[..]));
        assert_eq!(format!("{}.c2ln", *parsed.message), token);
        let is_malformed = |token: &str| matches!(error(token), Some(TokenError::Malformed(_)));
        for other in [
            "",
            ".",
            "..",
            "a.b",
            "e30.e30",
            &token.replacen('.', "..", 1),
            &format!("{token}."),
            &format!(".{token}"),
            &format!(" {token}"),
            &token.replacen('.', " .", 1),
            &format!("{token} "),
            &format!("{token}.e30.e30"),
            &token.replacen("c2ln", "c2ln=", 1),
            &token.replacen("c2ln", "c2lnQQ==", 1),
            // Bits after the last byte.
            &token.replacen("c2ln", "c2lnQR", 1),
            &token.replacen("c2ln", "c2l+", 1),
            &token.replacen("c2ln", "c2l ", 1),
        ] {
            assert!(is_malformed(other), "{other}");
        }
        let long = format!("{token}{}", "A".repeat(1 << 20));
        assert_eq!(error(&long), Some(TokenError::Malformed("the token is too long")));
    }

    #[test]
    fn headers_that_could_be_misread_are_refused() {
        for header in [
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":null}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"["HS256"]"#,
            "HS256",
            "",
        ] {
            let found = error(&token(header));
            assert!(matches!(found, Some(TokenError::Malformed(_))), "{header}: {found:?}");
        }
        for name in ["none", "nOnE", "hs256", "PS256", "dir", ""] {
            let header = format!(r#"{{"alg":"{name}"}}"#);
            assert_eq!(error(&token(&header)), Some(TokenError::Algorithm), "{name}");
        }
    }

    #[test]
    fn keys_that_a_header_brings_are_ignored() {
        let header = r#"{"alg":"RS256","jku":"https://evil/","jwk":{"kty":"oct"},"x5c":[1],"kid":"../../dev/null"}"#;
        let token = token(header);
        let parsed = Unverified::parse(&token).unwrap();
        assert_eq!(parsed.kid.as_deref(), Some("../../dev/null"));
    }
}
