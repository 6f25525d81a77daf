//! The settings of gates: [`JwtSettings`] and [`HookSettings`], each with its contract and default.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::reactor::settings::{Rate, with_setters};
use crate::upstream::UpstreamUrl;
use crate::upstream::url::Scheme;

pub use super::token::algorithm::Algorithm;
pub use super::token::claims::Audience;
pub use super::token::places::TokenPlace;

/// Maximum number of requests to a hook at once.
pub const HOOK_CONCURRENCY_MAX: usize = 64;

/// Headers that a hook does not get from the client: weir sets them, or they belong to the client's
/// connection or upgrade (RFC 9110, 7.6.1).
const NOT_FORWARDED: [&str; 10] = [
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "traceparent",
    "transfer-encoding",
    "upgrade",
];
/// The starts of the names of such headers.
const NOT_FORWARDED_PREFIXES: [&str; 5] =
    ["proxy-", "sec-websocket-", "x-forwarded-", "x-original-", "x-weir-"];

with_setters! {
    /// The settings of a gate that verifies tokens (RFC 7519).
    #[derive(Debug, Clone, PartialEq)]
    pub struct JwtSettings {
        /// The algorithms that are allowed.
        pub algorithms: Vec<Algorithm> = algorithms,
        /// The file with the secret of the HMAC algorithms. One final newline does not belong to it.
        pub secret_file: Option<PathBuf> = None,
        /// The public keys of the other algorithms.
        pub keys: Option<KeySource> = None,
        /// CA certificates (PEM) for keys from a server; `None`: the built-in Mozilla roots.
        pub ca_file: Option<PathBuf> = None,
        /// Where requests have their token. The first place with one counts.
        pub token_from: Vec<TokenPlace> = vec![TokenPlace::Header],
        /// The audiences of which a token must name one.
        pub audience: Audience = Audience::Unset,
        /// The issuer that a token must name; `None`: any.
        pub issuer: Option<String> = None,
        /// Claims that become metadata of the identity.
        pub claims: Vec<String> = Vec::new(),
        /// How far the clocks of the issuer and of weir may differ.
        pub leeway: Duration = Duration::from_secs(5),
        /// Whether a token must have an end.
        pub needs_exp: bool = true,
        /// Whether the token stays in the request, for an upstream that reads it.
        pub forward_token: bool = false,
        /// Rate of forged and malformed tokens from one address (IPv6: one /64); past it, requests with a
        /// token that is not known to be valid get 429. `None`: unlimited. Loopback is not limited.
        pub failures_per_address: Option<Rate> = Some(Rate { per_second: 10.0 / 60.0, burst: 20 }),
    }

    /// A gate for tokens that are signed with one of these algorithms.
    pub fn new(algorithms: Vec<Algorithm>);
}

with_setters! {
    /// The settings of a gate that asks an HTTP server.
    #[derive(Debug, Clone, PartialEq)]
    pub struct HookSettings {
        /// The URL that decides.
        pub url: UpstreamUrl = url,
        /// CA certificates (PEM) for https; `None`: the built-in Mozilla roots.
        pub ca_file: Option<PathBuf> = None,
        /// Headers of the client that the hook gets.
        pub headers: Vec<HookHeader> = HookHeader::usual(),
        /// How long the hook may take.
        pub timeout: Duration = HookSettings::TIMEOUT,
        /// Maximum number of requests to the hook at once.
        pub concurrency: usize = HookSettings::CONCURRENCY,
        /// What happens to requests that the hook does not decide on in time.
        pub on_failure: OnFailure = OnFailure::Refuse,
        /// How long a passing answer is used again for an equal request; `None`: never.
        pub cache: Option<Duration> = None,
    }

    /// A gate that asks this URL.
    pub fn new(url: UpstreamUrl);
}

/// Where public keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file in PEM, or a JWK set.
    File(PathBuf),
    /// A JWK set on a server.
    Server(UpstreamUrl),
}

impl FromStr for KeySource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<KeySource, Self::Err> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("expected a file name or an https:// URL");
        }
        match text.contains("://") {
            false => Ok(KeySource::File(text.into())),
            true if text.starts_with("https://") => Ok(KeySource::Server(text.parse()?)),
            true => Err("keys from a server need https://"),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => path.display().fmt(f),
            KeySource::Server(url) => url.fmt(f),
        }
    }
}

/// The name of a header that a hook may get, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookHeader(pub(super) String);

impl HookHeader {
    /// Those that carry who a client is.
    pub fn usual() -> Vec<HookHeader> {
        ["authorization", "cookie", "origin"].map(|name| HookHeader(name.to_owned())).to_vec()
    }
}

impl FromStr for HookHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HookHeader, Self::Err> {
        let name = text.to_ascii_lowercase();
        let is_tchar =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_tchar) {
            return Err("expected the name of a header");
        }
        let is_ours = NOT_FORWARDED.contains(&&*name)
            || NOT_FORWARDED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if is_ours {
            Err("a hook cannot get this header of the client")
        } else {
            Ok(HookHeader(name))
        }
    }
}

impl fmt::Display for HookHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happens to a request that a hook does not decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused with 503.
    Refuse,
    /// It passes, without an identity.
    Pass,
}

/// Settings of a gate that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthSettingsError {
    /// No algorithm is allowed.
    NoAlgorithm,
    /// An HMAC needs a secret.
    NoSecret,
    /// A signature needs public keys.
    NoKeys,
    /// The secret is of no use.
    UnusedSecret,
    /// The keys are of no use.
    UnusedKeys,
    /// The CA certificates are of no use.
    UnusedCa,
    /// Keys from a server, and no audience.
    NoAudience,
    /// There is no place for a token.
    NoPlace,
    /// The token would stay in a query or subprotocol.
    Forwarded,
    /// The URL of the hook is not one of HTTP.
    NotHttp,
    /// The concurrency of the hook is out of range.
    Concurrency,
    /// The timeout of the hook is zero, or not below the time that a handshake may take.
    Timeout,
}

impl fmt::Display for AuthSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthSettingsError::NoAlgorithm => "algorithms must name at least one",
            AuthSettingsError::NoSecret => "secret_file is missing: the algorithms HS256, HS384 and HS512 need it",
            AuthSettingsError::NoKeys => "keys is missing: the algorithms with public keys need it",
            AuthSettingsError::UnusedSecret => "secret_file is set, but algorithms has none of HS256, HS384 and HS512",
            AuthSettingsError::UnusedKeys => "keys is set, but algorithms has none with a public key",
            AuthSettingsError::UnusedCa => "ca is set, but nothing is fetched by https",
            AuthSettingsError::NoAudience => {
                "audience is missing: keys from a server sign tokens for others, too (RFC 8725, 3.9); \
                 audience = \"any\" accepts them all"
            }
            AuthSettingsError::NoPlace => "token_from must name at least one place",
            AuthSettingsError::Forwarded => {
                "forward_token can only be set if token_from has only header and cookie:NAME"
            }
            AuthSettingsError::NotHttp => "url must begin with http:// or https://",
            AuthSettingsError::Concurrency => "concurrency must be 1 to 64",
            AuthSettingsError::Timeout => "timeout must be above 0s and below handshake_timeout",
        })
    }
}

impl std::error::Error for AuthSettingsError {}

impl JwtSettings {
    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), AuthSettingsError> {
        use AuthSettingsError as Error;
        let has_secret = self.secret_file.is_some();
        let has_hmac = self.algorithms.iter().any(|algorithm| algorithm.is_symmetric());
        let has_other = self.algorithms.iter().any(|algorithm| !algorithm.is_symmetric());
        let is_from_server = matches!(self.keys, Some(KeySource::Server(_)));
        let is_hidden =
            |place: &TokenPlace| matches!(place, TokenPlace::Header | TokenPlace::Cookie(_));
        let contradictions = [
            (self.algorithms.is_empty(), Error::NoAlgorithm),
            (has_hmac && !has_secret, Error::NoSecret),
            (has_other && self.keys.is_none(), Error::NoKeys),
            (has_secret && !has_hmac, Error::UnusedSecret),
            (self.keys.is_some() && !has_other, Error::UnusedKeys),
            (self.ca_file.is_some() && !is_from_server, Error::UnusedCa),
            (is_from_server && self.audience == Audience::Unset, Error::NoAudience),
            (self.token_from.is_empty(), Error::NoPlace),
            (self.forward_token && !self.token_from.iter().all(is_hidden), Error::Forwarded),
        ];
        first(&contradictions)
    }
}

impl HookSettings {
    /// The default of [`timeout`](field@HookSettings::timeout).
    pub const TIMEOUT: Duration = Duration::from_secs(1);
    /// The default of [`concurrency`](field@HookSettings::concurrency).
    pub const CONCURRENCY: usize = 16;

    /// Checks that the settings do not contradict each other. A handshake may take `handshake_timeout`.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self, handshake_timeout: Duration) -> Result<(), AuthSettingsError> {
        use AuthSettingsError as Error;
        let is_in_time = !self.timeout.is_zero() && self.timeout < handshake_timeout;
        let contradictions = [
            (self.url.scheme() != Scheme::Http, Error::NotHttp),
            (self.ca_file.is_some() && !self.url.is_secure(), Error::UnusedCa),
            (!(1..=HOOK_CONCURRENCY_MAX).contains(&self.concurrency), Error::Concurrency),
            (!is_in_time, Error::Timeout),
        ];
        first(&contradictions)
    }
}

fn first(contradictions: &[(bool, AuthSettingsError)]) -> Result<(), AuthSettingsError> {
    match contradictions.iter().find(|(is_one, _)| *is_one) {
        Some((_, error)) => Err(*error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hmac() -> JwtSettings {
        JwtSettings::new(vec![Algorithm::Hs256]).secret_file(PathBuf::from("secret"))
    }

    fn signed(keys: &str) -> JwtSettings {
        JwtSettings::new(vec![Algorithm::Es256]).keys(keys.parse::<KeySource>().unwrap())
    }

    #[test]
    fn settings_of_tokens_must_fit_together() {
        use AuthSettingsError::*;
        let places = |names: &str| names.split(' ').map(|name| name.parse().unwrap()).collect();
        let server = || signed("https://a.example/jwks");
        for (settings, expected) in [
            (hmac(), Ok(())),
            (signed("keys.pem"), Ok(())),
            (server().audience(Audience::Any), Ok(())),
            (
                server().audience(Audience::OneOf(vec!["a".into()])).ca_file(PathBuf::from("ca")),
                Ok(()),
            ),
            (hmac().token_from(places("cookie:t header")).forward_token(true), Ok(())),
            (JwtSettings::new(Vec::new()), Err(NoAlgorithm)),
            (JwtSettings::new(vec![Algorithm::Hs256]), Err(NoSecret)),
            (JwtSettings::new(vec![Algorithm::Rs256]), Err(NoKeys)),
            (signed("a").secret_file(PathBuf::from("b")), Err(UnusedSecret)),
            (hmac().keys(KeySource::File("a".into())), Err(UnusedKeys)),
            (signed("a").ca_file(PathBuf::from("b")), Err(UnusedCa)),
            (server(), Err(NoAudience)),
            (hmac().token_from(Vec::new()), Err(NoPlace)),
            (hmac().token_from(places("header query:t")).forward_token(true), Err(Forwarded)),
        ] {
            assert_eq!(settings.check(), expected, "{settings:?}");
        }
    }

    #[test]
    fn settings_of_hooks_must_fit_together() {
        use AuthSettingsError::*;
        let handshake = Duration::from_secs(10);
        let hook = |url: &str| HookSettings::new(url.parse().unwrap());
        for (settings, expected) in [
            (hook("http://a/auth"), Ok(())),
            (hook("https://a/").ca_file(PathBuf::from("ca")).concurrency(64), Ok(())),
            (hook("ws://a/"), Err(NotHttp)),
            (hook("http://a/").ca_file(PathBuf::from("ca")), Err(UnusedCa)),
            (hook("http://a/").concurrency(0), Err(Concurrency)),
            (hook("http://a/").concurrency(65), Err(Concurrency)),
            (hook("http://a/").timeout(Duration::ZERO), Err(Timeout)),
            (hook("http://a/").timeout(handshake), Err(Timeout)),
        ] {
            assert_eq!(settings.check(handshake), expected, "{settings:?}");
        }
    }

    #[test]
    fn keys_come_from_a_file_or_by_https() {
        assert_eq!("a/b.pem".parse(), Ok(KeySource::File("a/b.pem".into())));
        assert!(matches!("https://a/jwks".parse(), Ok(KeySource::Server(_))));
        for text in ["", "http://a/jwks", "ftp://a", "https://", "a\nb"] {
            assert!(text.parse::<KeySource>().is_err(), "{text:?}");
        }
        let url: KeySource = "https://a.example/secret".parse().unwrap();
        assert_eq!(url.to_string(), "https://a.example:443/..");
    }

    #[test]
    fn hooks_do_not_get_headers_of_the_connection() {
        assert_eq!("Cookie".parse::<HookHeader>().unwrap().to_string(), "cookie");
        for name in [
            "",
            "a b",
            "Connection",
            "Upgrade",
            "Host",
            "Sec-WebSocket-Protocol",
            "X-Forwarded-For",
            "X-Original-URI",
            "X-Weir-User",
            "Proxy-Authorization",
            "Traceparent",
        ] {
            assert!(name.parse::<HookHeader>().is_err(), "{name}");
        }
    }
}
