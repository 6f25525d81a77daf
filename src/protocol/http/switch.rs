//! Checks an upstream's 101 against the client's own request: nothing passes as a tunnel before the
//! upstream has agreed to exactly what the client asked for (RFC 6455, 4.1).

use super::response::ResponseHead;
use crate::protocol::handshake::expected;
use crate::protocol::handshake::extension::ExtensionList;
use crate::protocol::handshake::{ClientError, Upgrade};
use crate::protocol::passage::Extensions;

/// Maximum number of extensions in a response: each is compared with each offer.
const EXTENSIONS_MAX: usize = 16;

/// What client and upstream agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched<'a> {
    /// The subprotocol, if one was chosen.
    pub protocol: Option<&'a str>,
    /// The extensions, as far as the tunnel depends on them.
    pub extensions: Extensions,
}

/// Checks a response to `upgrade`. Parameters of extensions are left to the endpoints.
///
/// # Errors
///
/// The first error, in the order of RFC 6455, 4.1; [`Status`](ClientError::Status) for any status
/// but 101.
pub fn check_switch<'a>(
    upgrade: &Upgrade<'_>,
    response: &ResponseHead<'a>,
) -> Result<Switched<'a>, ClientError> {
    if response.status() != 101 {
        return Err(ClientError::Status(response.status()));
    }
    if !response.supports_upgrade() {
        return Err(ClientError::Malformed);
    }
    expected::check_switch(response.fields, &upgrade.accept())?;
    let extensions = agreed_extensions(upgrade, response)?;
    Ok(Switched { protocol: agreed_protocol(upgrade, response)?, extensions })
}

fn agreed_extensions(
    upgrade: &Upgrade<'_>,
    response: &ResponseHead<'_>,
) -> Result<Extensions, ClientError> {
    let (mut count, mut is_deflate) = (0, false);
    for value in response.fields.values("Sec-WebSocket-Extensions") {
        let mut list = ExtensionList::new(value);
        while let Some(name) = list.next_extension().map_err(|_| ClientError::Extension)? {
            while list.next_param().map_err(|_| ClientError::Extension)?.is_some() {}
            count += 1;
            if count > EXTENSIONS_MAX || !upgrade.offers_extension(name) {
                return Err(ClientError::Extension);
            }
            is_deflate = name == "permessage-deflate";
        }
    }
    Ok(match (count, is_deflate) {
        (0, _) => Extensions::Nothing,
        (1, true) => Extensions::Deflate,
        _ => Extensions::Unknown,
    })
}

/// RFC 6455, 4.1, item 6: an offered subprotocol, once, or none.
fn agreed_protocol<'a>(
    upgrade: &Upgrade<'_>,
    response: &ResponseHead<'a>,
) -> Result<Option<&'a str>, ClientError> {
    const PROTOCOL: &str = "Sec-WebSocket-Protocol";
    if !response.fields.has(PROTOCOL) {
        return Ok(None);
    }
    let chosen = response.fields.sole(PROTOCOL).and_then(|name| std::str::from_utf8(name).ok());
    let chosen = chosen.filter(|chosen| upgrade.protocols().any(|offered| offered == *chosen));
    chosen.map(Some).ok_or(ClientError::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::{EMPTY_SLOTS, Request};

    const OFFER: &str = "Sec-WebSocket-Protocol: chat, superchat\r\n\
                         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x\r\n\
                         Sec-WebSocket-Extensions: y;a=\"b\"\r\n";
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                          Connection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// The result for the RFC's key, these offers, and this answer.
    fn checked(offer: &str, answer: &str) -> Result<(String, Extensions), ClientError> {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        let (mut slots, mut answer_slots) = (EMPTY_SLOTS, EMPTY_SLOTS);
        let upgrade = Request::parse(head.as_bytes(), &mut slots).unwrap().upgrade().unwrap();
        let response = ResponseHead::parse(answer.as_bytes(), &mut answer_slots).unwrap();
        let switched = check_switch(&upgrade, &response)?;
        Ok((switched.protocol.unwrap_or_default().to_owned(), switched.extensions))
    }

    fn altered(from: &str, to: &str) -> Result<(String, Extensions), ClientError> {
        assert!(ANSWER.contains(from), "{from:?}");
        checked(OFFER, &ANSWER.replace(from, to))
    }

    fn answered_with(lines: &str) -> Result<(String, Extensions), ClientError> {
        altered("\r\n\r\n", &format!("\r\n{lines}\r\n"))
    }

    #[test]
    fn what_the_client_offered_is_accepted() {
        let ok = |protocol: &str, extensions| Ok((protocol.to_owned(), extensions));
        assert_eq!(checked("", ANSWER), ok("", Extensions::Nothing));
        assert_eq!(altered("websocket", "WebSocket"), ok("", Extensions::Nothing));
        assert_eq!(altered(": Upgrade", ": keep-alive, upgrade"), ok("", Extensions::Nothing));
        let chosen = "Sec-WebSocket-Protocol: superchat\r\n";
        assert_eq!(answered_with(chosen), ok("superchat", Extensions::Nothing));
        for (value, extensions) in [
            ("", Extensions::Nothing),
            (" , ", Extensions::Nothing),
            ("permessage-deflate", Extensions::Deflate),
            ("permessage-deflate; server_max_window_bits=10; other=1", Extensions::Deflate),
            ("x", Extensions::Unknown),
            ("y; a=\"b\"", Extensions::Unknown),
            ("permessage-deflate, x", Extensions::Unknown),
            ("x, permessage-deflate", Extensions::Unknown),
            ("x\r\nSec-WebSocket-Extensions: permessage-deflate", Extensions::Unknown),
        ] {
            let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
            assert_eq!(answered_with(&lines), ok("", extensions), "{value}");
        }
    }

    #[test]
    fn other_answers_are_rejected() {
        use ClientError::*;
        for (from, to, error) in [
            ("101 Switching Protocols", "200 OK", Status(200)),
            ("101", "100", Status(100)),
            ("HTTP/1.1", "HTTP/1.0", Malformed),
            ("Upgrade: websocket\r\n", "", Upgrade),
            ("websocket", "websocket, h2c", Upgrade),
            ("websocket", "h2c", Upgrade),
            ("Connection: Upgrade\r\n", "", Connection),
            ("Sec-WebSocket-Accept", "X", Accept),
            ("s3pP", "S3PP", Accept),
        ] {
            assert_eq!(altered(from, to), Err(error), "{from:?} -> {to:?}");
        }
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert_eq!(answered_with(accept), Err(Accept), "twice");
        for lines in [
            "Protocol: other",
            "Protocol: Chat",
            "Protocol:",
            "Protocol: chat, superchat",
            "Protocol: chat\r\nSec-WebSocket-Protocol: chat",
        ] {
            let lines = format!("Sec-WebSocket-{lines}\r\n");
            assert_eq!(answered_with(&lines), Err(Protocol), "{lines:?}");
        }
        for value in
            ["z", "permessage-deflate, z", "Permessage-Deflate", "x;", "x;=", "\"x\"", "x y"]
        {
            let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
            assert_eq!(answered_with(&lines), Err(Extension), "{value:?}");
        }
        let many =
            |count: usize| format!("Sec-WebSocket-Extensions: x{}\r\n", ",x".repeat(count - 1));
        assert!(answered_with(&many(16)).is_ok());
        assert_eq!(answered_with(&many(17)), Err(Extension));
        let deflate =
            ANSWER.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
        assert_eq!(checked("", &deflate), Err(Extension));
        let protocol = ANSWER.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n");
        assert_eq!(checked("", &protocol), Err(Protocol));
    }
}
