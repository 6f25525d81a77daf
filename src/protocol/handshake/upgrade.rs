//! The server's check of the client's opening handshake (RFC 6455, 4.2.1).
//!
//! An [`Upgrade`] exists only for a request that passed every check of that section, in its order.
//! It chooses a subprotocol from the server's list and returns the client's offers of extensions
//! for negotiation. Admission, origin lists and routes are handled elsewhere.

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::extension::ExtensionList;
use super::field::is_token;
use super::key::{VERSION, accept_key};
use super::refusal::Refusal;
use super::request::{PROTOCOLS, Request};
#[cfg(feature = "deflate")]
use crate::protocol::deflate::agreement::Agreement;
#[cfg(feature = "deflate")]
use crate::protocol::deflate::offer::{Terms, negotiate};

/// Accepts nonzero spare bits in the last digit: the key is hashed as text, so they have no effect,
/// and RFC 4648, 3.5 leaves the choice to the decoder.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// A valid request to open a WebSocket.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade<'a> {
    request: Request<'a>,
    key: &'a str,
}

impl<'a> Request<'a> {
    /// Checks the client's opening handshake (RFC 6455, 4.2.1).
    ///
    /// # Errors
    ///
    /// The first error: 405, 413, 426 for an unsupported version, 400 for any other.
    pub fn upgrade(&self) -> Result<Upgrade<'a>, Refusal> {
        Upgrade::check(*self)
    }
}

impl<'a> Upgrade<'a> {
    /// Returns the upgrade, or the first error in `request`.
    pub(super) fn check(request: Request<'a>) -> Result<Upgrade<'a>, Refusal> {
        if request.method() != "GET" {
            return Err(Refusal::Method);
        }
        if !request.supports_upgrade() {
            return Err(Refusal::UpgradeHttpVersion);
        }
        if !request.has_token("Connection", "upgrade") {
            return Err(Refusal::ConnectionToken);
        }
        if !request.has_token("Upgrade", "websocket") {
            return Err(Refusal::UpgradeToken);
        }
        // Bytes after the head are frames: a body would be read as frames.
        if request.has_body() {
            return Err(Refusal::Body);
        }
        match request.header("Sec-WebSocket-Version") {
            Some(VERSION) => {}
            Some(_) => return Err(Refusal::VersionUnsupported),
            None => return Err(Refusal::VersionMissing),
        }
        let key = request.header("Sec-WebSocket-Key").ok_or(Refusal::KeyMissing)?;
        if !is_key(key) {
            return Err(Refusal::KeyMalformed);
        }
        if !has_valid_protocols(&request) {
            return Err(Refusal::ProtocolMalformed);
        }
        // 9.1: "data that does not conform to the ABNF" fails the connection, whether or not an
        // extension is negotiated.
        let mut extensions = request.fields.values(EXTENSIONS).map(ExtensionList::new);
        if !extensions.all(|list| list.check().is_ok()) {
            return Err(Refusal::ExtensionsMalformed);
        }
        Ok(Upgrade { request, key })
    }

    /// The client's key: 24 characters, as sent.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The `Sec-WebSocket-Accept` of the response.
    pub fn accept(&self) -> [u8; 28] {
        accept_key(self.key.as_bytes())
    }

    /// The subprotocols that the client offers, in its order; all are valid tokens.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.request.protocols()
    }

    /// Whether the client offers the extension `name`, with any parameters. Names are case-sensitive.
    #[cfg(feature = "proxy")]
    pub(in crate::protocol) fn offers_extension(&self, name: &str) -> bool {
        self.request.fields.values(EXTENSIONS).map(ExtensionList::new).any(|mut list| {
            // `check` has already found the header well-formed.
            while let Ok(Some(offered)) = list.next_extension() {
                if offered == name {
                    return true;
                }
                while let Ok(Some(_)) = list.next_param() {}
            }
            false
        })
    }

    /// The index of the first of `supported`, in the server's order of preference, that the client
    /// also offers. Names are case-sensitive. `None` if there is no common subprotocol: answer
    /// without one (RFC 6455, 4.2.2), or refuse if the route requires one.
    pub fn choose(&self, supported: &[&str]) -> Option<usize> {
        supported.iter().position(|name| self.protocols().any(|offered| offered == *name))
    }

    /// The client's origin: browsers always send it, other clients need not (RFC 6455, 10.2).
    pub fn origin(&self) -> Option<&'a str> {
        self.request.header("Origin")
    }

    /// The agreement from the first offer of permessage-deflate that a server with these terms can
    /// fulfil, if there is one (RFC 7692, 7.1).
    #[cfg(feature = "deflate")]
    pub fn deflate(&self, terms: Terms) -> Option<Agreement> {
        // `check` has already found the header well-formed.
        negotiate(self.request.fields.values(EXTENSIONS), terms).unwrap_or_default()
    }
}

/// Whether the offered subprotocols, if any, are tokens. Empty list items are ignored, but a list
/// needs at least one item that is not empty (RFC 9110, 5.6.1).
fn has_valid_protocols(request: &Request<'_>) -> bool {
    let items = || request.fields.items(PROTOCOLS).filter(|item| !item.is_empty());
    items().all(is_token) && (items().next().is_some() || !request.fields.has(PROTOCOLS))
}

/// Whether `key` is the base64 of 16 bytes: 24 characters with padding.
fn is_key(key: &str) -> bool {
    KEY_BASE64.decode_slice(key, &mut [0; 16]) == Ok(16)
}

#[cfg(test)]
mod tests {
    use super::super::EMPTY_SLOTS;
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    /// Heads as these clients send them, with the RFC's key.
    const CLIENTS: [(&str, &str); 8] = [
        (
            "Chromium",
            "GET /chat HTTP/1.1\r\nHost: localhost:9001\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
             Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0\r\n\
             Upgrade: websocket\r\nOrigin: http://localhost:9001\r\nSec-WebSocket-Version: 13\r\n\
             Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        ),
        (
            "Firefox",
            "GET /chat HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUser-Agent: Mozilla/5.0 (rv:127.0) Gecko/20100101\r\n\
             Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n\
             Sec-WebSocket-Version: 13\r\nOrigin: null\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             DNT: 1\r\nConnection: keep-alive, Upgrade\r\nSec-Fetch-Mode: websocket\r\n\
             Upgrade: websocket\r\n\r\n",
        ),
        (
            "Safari",
            "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nHost: localhost:9001\r\n\
             Origin: http://localhost:9001\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\nUser-Agent: Mozilla/5.0 Safari/605.1.15\r\n\r\n",
        ),
        (
            "ws",
            "GET /chat HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Sec-WebSocket-Protocol: chat,superchat\r\nHost: localhost:9001\r\n\r\n",
        ),
        (
            "Python websockets",
            "GET /chat HTTP/1.1\r\nHost: localhost:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             User-Agent: Python/3.12 websockets/13.0\r\n\r\n",
        ),
        (
            "curl",
            "GET /chat HTTP/1.1\r\nHost: localhost:9001\r\nUser-Agent: curl/8.8.0\r\nAccept: */*\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
        (
            "undici",
            "GET /chat HTTP/1.1\r\nhost: localhost:9001\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
             sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        ),
        (
            "behind nginx",
            "GET /chat HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nHost: localhost\r\n\
             X-Real-IP: 192.0.2.7\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
    ];

    /// A valid upgrade with these additional lines.
    fn valid(lines: &str) -> String {
        format!(
            "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
        )
    }

    fn check<T>(head: &str, look: impl FnOnce(Upgrade<'_>) -> T) -> Result<T, Refusal> {
        let mut slots = EMPTY_SLOTS;
        Request::parse(head.as_bytes(), &mut slots)?.upgrade().map(look)
    }

    fn with<T>(lines: &str, look: impl FnOnce(Upgrade<'_>) -> T) -> Result<T, Refusal> {
        check(&valid(lines), look)
    }

    /// The result for a valid upgrade with `from` replaced by `to`.
    fn altered(from: &str, to: &str) -> Result<(), Refusal> {
        assert!(valid("").contains(from), "{from:?}");
        check(&valid("").replace(from, to), |_| ())
    }

    #[test]
    fn handshakes_of_real_clients_are_accepted() {
        for (client, head) in CLIENTS {
            let accept = check(head, |upgrade| {
                assert_eq!(upgrade.key(), KEY, "{client}");
                upgrade.accept()
            });
            assert_eq!(accept.as_ref(), Ok(ACCEPT), "{client}");
        }
        let origin = |head| check(head, |upgrade| upgrade.origin().map(str::to_owned)).unwrap();
        assert_eq!(origin(CLIENTS[0].1).as_deref(), Some("http://localhost:9001"));
        assert_eq!(origin(CLIENTS[3].1), None);
    }

    #[test]
    fn every_error_in_a_handshake_has_its_refusal() {
        use Refusal::*;
        let cases = [
            ("GET", "POST", Method),
            ("GET", "get", Method),
            ("HTTP/1.1", "HTTP/1.0", UpgradeHttpVersion),
            ("Connection: Upgrade\r\n", "", ConnectionToken),
            ("Connection: Upgrade", "Connection: close", ConnectionToken),
            ("Connection: Upgrade", "Connection: upgrades", ConnectionToken),
            ("Upgrade: websocket\r\n", "", UpgradeToken),
            ("websocket", "h2c", UpgradeToken),
            ("websocket", "websockets", UpgradeToken),
            ("websocket", "h2c, websocket/13", UpgradeToken),
            ("websocket", "websocket/13", UpgradeToken),
            ("Host: a", "Host: a\r\nContent-Length: 1", Body),
            ("Host: a", "Host: a\r\nTransfer-Encoding: chunked", Body),
            ("Sec-WebSocket-Version: 13\r\n", "", VersionMissing),
            ("Version: 13", "Version: 8", VersionUnsupported),
            ("Version: 13", "Version: 013", VersionUnsupported),
            ("Version: 13", "Version: 13, 8", VersionUnsupported),
            ("Version: 13", "Version:", VersionUnsupported),
            ("Sec-WebSocket-Key", "X", KeyMissing),
            (KEY, "", KeyMalformed),
            (KEY, "dGhlIHNhbXBsZSBub25jZQ", KeyMalformed),
            (KEY, "dGhlIHNhbXBsZSBub25jZQ=", KeyMalformed),
            (KEY, "dGhlIHNhbXBsZSBub25jZXM=", KeyMalformed),
            (KEY, "dGhlIHNhbXBsZSBub25jZXMh", KeyMalformed),
            (KEY, "dGhlIHNhbXBsZSBub25-ZQ==", KeyMalformed),
            (KEY, "dGhlIHNh XBsZSBub25jZQ==", KeyMalformed),
            (KEY, "========================", KeyMalformed),
            (KEY, "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBs", KeyMalformed),
        ];
        for (from, to, refusal) in cases {
            assert_eq!(altered(from, to), Err(refusal), "{from:?} -> {to:?}");
        }
        assert_eq!(altered(KEY, "x3JJHMbDL1EzLkh9GBhXDx=="), Ok(()), "spare bits set");
        assert_eq!(with("Content-Length: 0\r\n", |_| ()), Ok(()));
    }

    #[test]
    fn one_websocket_item_in_upgrade_suffices() {
        for list in [
            "h2c, WebSocket",
            "websocket, h2c",
            ",websocket ,",
            "websocket/13, websocket",
            "websocket\r\nUpgrade: h2c",
            "h2c\r\nUpgrade: WEBSOCKET",
        ] {
            assert_eq!(altered("websocket", list), Ok(()), "{list:?}");
        }
    }

    #[test]
    fn the_first_error_is_reported() {
        use Refusal::*;
        let mistakes = [
            ("GET", "POST", Method),
            ("HTTP/1.1", "HTTP/1.0", UpgradeHttpVersion),
            ("Connection: Upgrade", "Connection: close", ConnectionToken),
            ("websocket", "h2c", UpgradeToken),
            ("Host: a", "Host: a\r\nContent-Length: 1", Body),
            ("Version: 13", "Version: 8", VersionUnsupported),
            (KEY, "short", KeyMalformed),
            ("Protocol: a", "Protocol: a b", ProtocolMalformed),
        ];
        for first in 0..mistakes.len() {
            let head = mistakes[first..]
                .iter()
                .fold(valid("Sec-WebSocket-Protocol: a\r\n"), |head, (from, to, _)| {
                    head.replace(from, to)
                });
            assert_eq!(check(&head, |_| ()), Err(mistakes[first].2), "{head}");
        }
    }

    #[test]
    fn an_upgrade_names_websocket_or_has_a_websocket_field() {
        let intends = |lines: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            Request::parse(head.as_bytes(), &mut EMPTY_SLOTS.clone()).unwrap().is_upgrade()
        };
        for lines in [
            "Upgrade: WebSocket\r\n",
            "Upgrade: WebSocket/13\r\n",
            "Upgrade: h2c, websocket\r\n",
            "Upgrade: h2c\r\nSec-WebSocket-Version: 13\r\n",
            "sec-websocket-key: x\r\n",
            "Sec-WebSocket-Version: 8\r\n",
            "Sec-WebSocket-Protocol: a\r\n",
            "SEC-WEBSOCKET-Extensions: a\r\n",
        ] {
            assert!(intends(lines), "{lines}");
        }
        for lines in [
            "",
            "Connection: keep-alive\r\nOrigin: http://a\r\n",
            "Connection: a,UPGRADE\r\n",
            "Connection: upgrade\r\nUpgrade: \r\n",
            "Upgrade: websockets\r\n",
            "Sec-WebSocket: x\r\n",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
        ] {
            assert!(!intends(lines), "{lines}");
        }
    }

    #[test]
    fn the_server_chooses_by_its_own_order() {
        let lines = "Sec-WebSocket-Protocol: chat ,\tsuperchat\r\nsec-websocket-protocol: v2.x\r\n";
        with(lines, |upgrade| {
            assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "superchat", "v2.x"]);
            assert_eq!(upgrade.choose(&["none", "v2.x", "chat"]), Some(1));
            assert_eq!(upgrade.choose(&["CHAT"]), None);
            assert_eq!(upgrade.choose(&[]), None);
        })
        .unwrap();
        assert_eq!(with("", |upgrade| upgrade.protocols().count()), Ok(0));
    }

    #[test]
    fn malformed_offers_are_refused() {
        for value in ["", ",", ", ,", "a b", "a;b", "a,b c", "\"a\"", "a/b", "\u{e9}"] {
            let lines = format!("Sec-WebSocket-Protocol: {value}\r\n");
            assert_eq!(with(&lines, |_| ()), Err(Refusal::ProtocolMalformed), "{value:?}");
        }
        // Backtracking over these blanks would take 4 * 10^9 steps.
        let blanks = format!("Sec-WebSocket-Protocol: a{}b\r\n", " ".repeat(64 * 1024));
        assert_eq!(with(&blanks, |_| ()), Err(Refusal::ProtocolMalformed));
        let blanks = format!("Sec-WebSocket-Protocol: a,{}b\r\n", " ".repeat(64 * 1024));
        assert_eq!(with(&blanks, |upgrade| upgrade.choose(&["b"])), Ok(Some(0)));
    }

    #[test]
    fn empty_items_of_a_list_of_subprotocols_are_ignored() {
        for value in
            ["chat,", ",chat", "x,,chat", " , x ,\t, chat , ", "x\r\nSec-WebSocket-Protocol: ,chat"]
        {
            let lines = format!("Sec-WebSocket-Protocol: {value}\r\n");
            let chosen = with(&lines, |upgrade| {
                assert!(upgrade.protocols().all(|name| !name.is_empty()));
                upgrade.choose(&["", "chat"])
            });
            assert_eq!(chosen, Ok(Some(1)), "{value:?}");
        }
    }

    #[test]
    fn unknown_extensions_are_ignored() {
        for value in ["constructor", "__proto__; toString", "", ",,", "a; a; a"] {
            let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
            let shown =
                with(&lines, |upgrade| upgrade.request.header(EXTENSIONS).map(str::to_owned));
            assert_eq!(shown, Ok(Some(value.to_owned())));
        }
    }

    #[test]
    fn malformed_extensions_are_refused_in_linear_time() {
        // Backtracking over the first would take 2^(32 * 1024) steps, over the others 10^9.
        let unclosed = format!("a; b=\"{}", "\\c".repeat(32 * 1024));
        let blanks = format!("a; b={}c d", " ".repeat(64 * 1024));
        let params = format!("{};", "permessage-deflate; a".repeat(4 * 1024));
        for value in [unclosed, blanks, params, "a;".to_owned(), "a b".to_owned()] {
            let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
            assert_eq!(with(&lines, |_| ()), Err(Refusal::ExtensionsMalformed));
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn deflate_is_negotiated_over_all_header_lines() {
        let terms = Terms { takeover: false, window_bits: 15 };
        let agreed = |lines: &str| with(lines, |upgrade| upgrade.deflate(terms)).unwrap();
        assert_eq!(agreed(""), None);
        let lines = "Sec-WebSocket-Extensions: x-other; a=\"b\"\r\n\
                     sec-websocket-extensions: permessage-deflate; server_max_window_bits=8\r\n\
                     Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
        assert_eq!(agreed(lines).map(|agreed| agreed.server.window_bits), Some(10));
    }
}
