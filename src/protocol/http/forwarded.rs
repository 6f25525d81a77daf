//! The client's address behind trusted proxies: X-Forwarded-For, Forwarded (RFC 7239), or a header
//! with one address.
//!
//! A list is read from the right, because only the entries that trusted proxies appended are
//! reliable: a client writes what it likes to the left of them. Which addresses are trusted is the
//! caller's to decide. Addresses are those of `core::net`, which has no sockets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::protocol::handshake::field::{Fields, is_tchar};
use crate::protocol::handshake::{Refusal, Request};

/// Maximum number of entries that are read, from the right. A longer chain of trusted proxies is a
/// loop or a forgery.
pub const FORWARDED_ENTRIES_MAX: usize = 32;

const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const FORWARDED: &str = "Forwarded";

/// The header that names the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSource<'a> {
    /// `X-Forwarded-For`: a comma list of addresses.
    XForwardedFor,
    /// `Forwarded`: a comma list of elements with the parameter `for` (RFC 7239, 4).
    Forwarded,
    /// A header with one address that only the front sets, for example `CF-Connecting-IP`.
    Header(&'a str),
}

/// The address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// Never an IPv4 address that is mapped into IPv6.
    pub address: IpAddr,
    /// Every address from the peer to this one is trusted, and nothing was left unread: exemptions
    /// of trusted peers apply.
    pub is_trusted: bool,
}

/// Determines the address of the client that sent `request` over a connection from `peer`.
///
/// If `peer` is not trusted, it is the client, and no header is read. Otherwise the entries of
/// `source` are read from the right, up to the first one that is not trusted. An invalid entry, or
/// the last of [`FORWARDED_ENTRIES_MAX`], ends the reading: then the last address read is the
/// client's, and it is not trusted.
///
/// # Errors
///
/// [`Forwarded`](Refusal::Forwarded) if `source` is `Forwarded` and a value is malformed.
///
/// ```
/// use weir::protocol::handshake::{EMPTY_SLOTS, Request};
/// use weir::protocol::http::{AddressSource, client_address};
///
/// let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9, 192.0.2.7, 10.0.0.2\r\n\r\n";
/// let mut slots = EMPTY_SLOTS;
/// let request = Request::parse(head, &mut slots).unwrap();
/// let is_trusted = |address| matches!(address, core::net::IpAddr::V4(v4) if v4.octets()[0] == 10);
/// let peer = "10.0.0.1".parse().unwrap();
/// let client = client_address(&request, AddressSource::XForwardedFor, peer, is_trusted).unwrap();
/// assert_eq!(client.address.to_string(), "192.0.2.7");
/// ```
pub fn client_address(
    request: &Request<'_>,
    source: AddressSource<'_>,
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<ClientAddress, Refusal> {
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return Ok(ClientAddress { address: peer, is_trusted: false });
    }
    Ok(match source {
        AddressSource::XForwardedFor => {
            let items = request.fields.items(X_FORWARDED_FOR).rev();
            // Empty elements are ignored (RFC 9110, 5.6.1.2).
            let entries = items.filter(|item| !item.is_empty()).map(address_of);
            read_from_right(peer, entries, is_trusted)
        }
        AddressSource::Forwarded => {
            let entries = LastEntries::read(request.fields)?;
            read_from_right(peer, entries.right_to_left(), is_trusted)
        }
        AddressSource::Header(name) => {
            // Repeated, it is ambiguous which value the front has set.
            let sole = request.fields.sole(name).and_then(address_of);
            let entry = request.fields.has(name).then_some(sole);
            read_from_right(peer, entry.into_iter(), is_trusted)
        }
    })
}

/// Whether a trusted peer reports that the client's connection is secure: the last item of
/// X-Forwarded-Proto is `https` or `wss`.
pub fn is_forwarded_secure(request: &Request<'_>) -> bool {
    let last = request.fields.items("X-Forwarded-Proto").next_back().unwrap_or_default();
    last.eq_ignore_ascii_case(b"https") || last.eq_ignore_ascii_case(b"wss")
}

/// Whether a header describes earlier hops of a request, so that it is believed of trusted peers
/// only. `_` counts as `-`, since CGI and WSGI do not distinguish them.
pub fn is_forwarding_header(name: &str) -> bool {
    const NAMES: [&str; 4] = ["forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip"];
    const PREFIX: &str = "x-forwarded-";
    NAMES.iter().any(|own| is_alike(name, own))
        || name.get(..PREFIX.len()).is_some_and(|start| is_alike(start, PREFIX))
}

/// Whether `name` equals `own`, in any case, with `_` for `-`.
pub(super) fn is_alike(name: &str, own: &str) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == own.len()
        && name.bytes().zip(own.bytes()).all(|(byte, own)| folded(byte) == folded(own))
}

/// Follows the chain of proxies from `peer` to the first address that is not trusted. An invalid
/// entry is `None`.
fn read_from_right(
    peer: IpAddr,
    entries: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> ClientAddress {
    let mut last = peer;
    for (index, entry) in entries.enumerate() {
        let Some(address) = entry else {
            return ClientAddress { address: last, is_trusted: false };
        };
        last = address;
        if !is_trusted(address) || index + 1 == FORWARDED_ENTRIES_MAX {
            return ClientAddress { address, is_trusted: false };
        }
    }
    ClientAddress { address: last, is_trusted: true }
}

/// The last entries of all Forwarded headers, which form one list. The headers are read forwards: a
/// comma may be inside quotes.
struct LastEntries {
    /// A ring: entry `n` is at `n % FORWARDED_ENTRIES_MAX`.
    ring: [Option<IpAddr>; FORWARDED_ENTRIES_MAX],
    /// Number of entries read.
    count: usize,
}

impl LastEntries {
    fn read(fields: Fields<'_>) -> Result<LastEntries, Refusal> {
        let mut entries = LastEntries { ring: [None; FORWARDED_ENTRIES_MAX], count: 0 };
        for value in fields.values(FORWARDED) {
            let mut list = ForwardedList { rest: value };
            while let Some(element) = list.next_element().map_err(|_| Refusal::Forwarded)? {
                entries.ring[entries.count % FORWARDED_ENTRIES_MAX] = element.address;
                entries.count += 1;
            }
        }
        Ok(entries)
    }

    fn right_to_left(&self) -> impl Iterator<Item = Option<IpAddr>> {
        let kept = self.count.min(FORWARDED_ENTRIES_MAX);
        let indices = (self.count - kept..self.count).rev();
        indices.map(|index| self.ring[index % FORWARDED_ENTRIES_MAX])
    }
}

/// All values of Forwarded as one list; `None` without one, or if it is malformed.
#[cfg(feature = "proxy")]
pub(super) fn joined_forwarded(request: &Request<'_>) -> Option<Vec<u8>> {
    LastEntries::read(request.fields).ok().filter(|entries| entries.count > 0)?;
    let values: Vec<&[u8]> = request.fields.values(FORWARDED).collect();
    Some(values.join(&b", "[..]))
}

/// A value of Forwarded does not follow the grammar.
struct MalformedForwarded;

/// One element of Forwarded.
struct Element {
    /// The address in `for`; `None` if it is missing or not an address.
    address: Option<IpAddr>,
}

/// Reads one value of Forwarded (RFC 7239, 4).
struct ForwardedList<'a> {
    rest: &'a [u8],
}

impl<'a> ForwardedList<'a> {
    /// The next element, or `None` at the end. Empty elements are skipped (RFC 9110, 5.6.1.2).
    fn next_element(&mut self) -> Result<Option<Element>, MalformedForwarded> {
        loop {
            self.skip_blanks();
            match self.rest {
                [] => return Ok(None),
                [b',', rest @ ..] => self.rest = rest,
                _ => return self.element().map(Some),
            }
        }
    }

    fn element(&mut self) -> Result<Element, MalformedForwarded> {
        let mut node = None;
        loop {
            self.skip_blanks();
            if !matches!(self.rest, [] | [b',' | b';', ..]) {
                let (name, value) = self.pair().ok_or(MalformedForwarded)?;
                // "Each parameter MUST NOT occur more than once per field-value."
                if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
                    return Err(MalformedForwarded);
                }
                self.skip_blanks();
            }
            match self.rest {
                [b';', rest @ ..] => self.rest = rest,
                [] | [b',', ..] => return Ok(Element { address: node.and_then(node_address) }),
                _ => return Err(MalformedForwarded),
            }
        }
    }

    /// `token "=" (token / quoted-string)`; the value without its quotes.
    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.token()?;
        self.rest = self.rest.strip_prefix(b"=")?;
        match self.rest.strip_prefix(b"\"") {
            Some(quoted) => Some((name, self.quoted(quoted)?)),
            None => Some((name, self.token()?)),
        }
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let len = self.rest.iter().take_while(|&&byte| is_tchar(byte)).count();
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        (len > 0).then_some(token)
    }

    /// The text before the closing quote, with its backslashes (RFC 9110, 5.6.4). An address needs
    /// none, so that an escaped one is not an address.
    fn quoted(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut len = 0;
        loop {
            match &text[len..] {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(&text[..len]);
                }
                [b'\\', escaped, ..] if is_quotable(*escaped) => len += 2,
                [byte, ..] if *byte != b'\\' && is_quotable(*byte) => len += 1,
                _ => return None,
            }
        }
    }

    /// Blanks around `;` are not in the grammar, but proxies send them.
    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

/// Whether `byte` may stand in a quoted string, escaped or not.
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The address in an entry of X-Forwarded-For: as in Forwarded, or an IPv6 address without brackets.
fn address_of(entry: &[u8]) -> Option<IpAddr> {
    node_address(entry).or_else(|| {
        let address: Ipv6Addr = std::str::from_utf8(entry).ok()?.parse().ok()?;
        Some(IpAddr::V6(address).to_canonical())
    })
}

/// The address in a node (RFC 7239, 6): IPv4, or IPv6 in brackets, with an optional port. `None` for
/// `unknown` and for an obfuscated name.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    if let Some(rest) = node.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_node_port);
        return is_valid.then_some(IpAddr::V6(address).to_canonical());
    }
    let (address, port) =
        node.split_once(':').map_or((node, None), |(address, port)| (address, Some(port)));
    let address: Ipv4Addr = address.parse().ok()?;
    port.is_none_or(is_node_port).then_some(IpAddr::V4(address))
}

/// A port: up to five digits, or an obfuscated one, `_` and at least one character (RFC 7239, 6).
fn is_node_port(port: &str) -> bool {
    let is_obfuscated = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_obfuscated),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    /// 10.0.0.0/8 and fd00::/8 are trusted.
    fn is_trusted(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        }
    }

    /// The client behind `peer`, with these header lines; `+` follows if it is trusted.
    fn client(source: AddressSource<'_>, peer: &str, lines: &str) -> Result<String, Refusal> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = EMPTY_SLOTS;
        let request = Request::parse(head.as_bytes(), &mut slots)?;
        let found = client_address(&request, source, peer.parse().unwrap(), is_trusted)?;
        Ok(format!("{}{}", found.address, if found.is_trusted { "+" } else { "" }))
    }

    fn x_forwarded(value: &str) -> String {
        let line = format!("x-forwarded-for: {value}\r\n");
        client(AddressSource::XForwardedFor, "10.0.0.1", &line).unwrap()
    }

    fn forwarded(value: &str) -> Result<String, Refusal> {
        let line = format!("forwarded: {value}\r\n");
        client(AddressSource::Forwarded, "10.0.0.1", &line)
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_not_read() {
        let lines = "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
                     Forwarded: malformed\r\n";
        for source in [
            AddressSource::XForwardedFor,
            AddressSource::Forwarded,
            AddressSource::Header("X-Real-IP"),
        ] {
            assert_eq!(client(source, "192.0.2.1", lines).as_deref(), Ok("192.0.2.1"));
            assert_eq!(client(source, "::ffff:192.0.2.1", lines).as_deref(), Ok("192.0.2.1"));
            assert_eq!(client(source, "10.0.0.1", "").as_deref(), Ok("10.0.0.1+"), "no header");
        }
    }

    #[test]
    fn lists_are_read_from_the_right_up_to_the_first_untrusted_address() {
        for (value, expected) in [
            ("1.1.1.1", "1.1.1.1"),
            ("9.9.9.9, 1.1.1.1", "1.1.1.1"),
            ("9.9.9.9,1.1.1.1 , 10.0.0.2", "1.1.1.1"),
            ("<script>, 1.1.1.1, 10.0.0.2, fd00::1", "1.1.1.1"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3+"),
            ("::ffff:10.0.0.2", "10.0.0.2+"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
            (",, 1.1.1.1 ,\t,", "1.1.1.1"),
            ("", "10.0.0.1+"),
        ] {
            assert_eq!(x_forwarded(value), expected, "{value:?}");
        }
        let lines = "X-Forwarded-For: 9.9.9.9\r\nA: b\r\nX-FORWARDED-FOR: 1.1.1.1, 10.0.0.3\r\n\
                     X-Forwarded-For: 10.0.0.2\r\n";
        let found = client(AddressSource::XForwardedFor, "10.0.0.1", lines);
        assert_eq!(found.as_deref(), Ok("1.1.1.1"), "repeated headers are one list");
    }

    #[test]
    fn ports_and_brackets_are_accepted() {
        for (entry, address) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("192.0.2.1:_a.b-C_0", "192.0.2.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:99999", "2001:db8::1"),
            ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
        ] {
            assert_eq!(x_forwarded(entry), address, "{entry}");
            assert_eq!(forwarded(&format!("for=\"{entry}\"")).as_deref(), Ok(address), "{entry}");
        }
        assert_eq!(x_forwarded("2001:db8::1"), "2001:db8::1");
        let bare = forwarded("for=\"2001:db8::1\"");
        assert_eq!(bare.as_deref(), Ok("10.0.0.1"), "Forwarded requires brackets");
    }

    #[test]
    fn an_invalid_entry_ends_the_reading_without_trust() {
        for entry in [
            "unknown",
            "_hidden",
            "1.1.1",
            "1.1.1.01",
            "1.1.1.1:",
            "1.1.1.1:123456",
            "1.1.1.1:_",
            "1.1.1.1:1:1",
            "[1.1.1.1]",
            "[::1",
            "[::1]1",
            "[::1]:",
            "[::1%eth0]",
            "::1%1",
            "1.1.1.1 2.2.2.2",
            "\u{e9}",
            "localhost",
        ] {
            assert_eq!(x_forwarded(&format!("9.9.9.9, {entry}, 10.0.0.2")), "10.0.0.2", "{entry}");
            assert_eq!(x_forwarded(entry), "10.0.0.1", "{entry}");
            let value = format!("for=9.9.9.9, for=\"{entry}\", for=10.0.0.2");
            assert_eq!(forwarded(&value).as_deref(), Ok("10.0.0.2"), "{entry}");
        }
    }

    #[test]
    fn at_most_32_entries_are_read() {
        let chain = |len: usize| format!("1.1.1.1{}", ", 10.0.0.2".repeat(len));
        assert_eq!(x_forwarded(&chain(31)), "1.1.1.1");
        assert_eq!(x_forwarded(&chain(32)), "10.0.0.2");
        assert_eq!(x_forwarded(&chain(500)), "10.0.0.2");
        assert_eq!(x_forwarded(&"10.0.0.2,".repeat(31)), "10.0.0.2+");
        assert_eq!(x_forwarded(&"10.0.0.2,".repeat(32)), "10.0.0.2");

        let chain = |len: usize| format!("for=1.1.1.1{}", ", for=10.0.0.2".repeat(len));
        assert_eq!(forwarded(&chain(31)).as_deref(), Ok("1.1.1.1"));
        assert_eq!(forwarded(&chain(32)).as_deref(), Ok("10.0.0.2"));
        assert_eq!(forwarded(&chain(100)).as_deref(), Ok("10.0.0.2"));
    }

    #[test]
    fn elements_of_forwarded_follow_the_grammar() {
        for (value, expected) in [
            ("for=1.1.1.1", "1.1.1.1"),
            ("For=\"1.1.1.1:47011\";proto=https;by=203.0.113.43", "1.1.1.1"),
            ("proto=http;host=\"a, for=9.9.9.9\";FOR=1.1.1.1", "1.1.1.1"),
            ("for=1.1.1.1;x=\"\\\"\\,\", for=\"[fd00::1]\"", "1.1.1.1"),
            ("for=9.9.9.9, for=1.1.1.1;;a=b;, , ,for=10.0.0.2 ; by=\"_x\" ,", "1.1.1.1"),
            ("proto=https", "10.0.0.1"),
            (";", "10.0.0.1"),
            ("for=\"1.1.1.\\1\"", "10.0.0.1"),
            ("for=\"\"", "10.0.0.1"),
            ("for=9.9.9.9, host=a, for=10.0.0.2", "10.0.0.2"),
            ("", "10.0.0.1+"),
            (",", "10.0.0.1+"),
        ] {
            assert_eq!(forwarded(value).as_deref(), Ok(expected), "{value:?}");
        }
        let lines = "Forwarded: for=9.9.9.9, for=1.1.1.1\r\nForwarded: for=10.0.0.2\r\n";
        let found = client(AddressSource::Forwarded, "10.0.0.1", lines);
        assert_eq!(found.as_deref(), Ok("1.1.1.1"), "repeated headers are one list");
    }

    #[test]
    fn a_malformed_forwarded_is_refused() {
        for value in [
            "for",
            "for=",
            "=1.1.1.1",
            "for =1.1.1.1",
            "for= 1.1.1.1",
            "for=1.1.1.1:80",
            "for=[::1]",
            "for=\"1.1.1.1",
            "for=\"1.1.1.1\\\"",
            "for=\"\u{7f}",
            "for=\"1.1.1.1\"x",
            "for=1.1.1.1 by=a",
            "for=1.1.1.1;for=2.2.2.2",
            "for=1.1.1.1;FOR=1.1.1.1",
            "\"for\"=1.1.1.1",
            "for=\u{e9}",
        ] {
            for value in [value.to_owned(), format!("{value}, for=1.1.1.1"), format!("a=b,{value}")]
            {
                let expected =
                    if value.contains('\u{7f}') { Refusal::Header } else { Refusal::Forwarded };
                assert_eq!(forwarded(&value), Err(expected), "{value:?}");
            }
        }
        let lines = "Forwarded: for=\"9.9.9.9\r\nForwarded: for=1.1.1.1\r\n";
        let found = client(AddressSource::Forwarded, "10.0.0.1", lines);
        assert_eq!(found, Err(Refusal::Forwarded), "a quote does not span headers");
    }

    #[test]
    fn a_header_of_the_front_has_one_address() {
        let single = |lines: &str| {
            client(AddressSource::Header("CF-Connecting-IP"), "10.0.0.1", lines).unwrap()
        };
        assert_eq!(single("cf-connecting-ip: 2001:db8::1\r\n"), "2001:db8::1");
        assert_eq!(single("cf-connecting-ip: 10.9.9.9\r\n"), "10.9.9.9+");
        assert_eq!(single("cf-connecting-ip: 1.1.1.1, 2.2.2.2\r\n"), "10.0.0.1");
        assert_eq!(single("cf-connecting-ip:\r\n"), "10.0.0.1");
        let twice = "cf-connecting-ip: 1.1.1.1\r\n".repeat(2);
        assert_eq!(single(&twice), "10.0.0.1");
    }

    #[test]
    fn the_last_forwarded_proto_counts() {
        let is_secure = |lines: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let mut slots = EMPTY_SLOTS;
            is_forwarded_secure(&Request::parse(head.as_bytes(), &mut slots).unwrap())
        };
        assert!(is_secure("X-Forwarded-Proto: HTTPS\r\n"));
        assert!(is_secure("X-Forwarded-Proto: http, wss\r\n"));
        assert!(is_secure("X-Forwarded-Proto: http\r\nx-forwarded-proto: https\r\n"));
        assert!(!is_secure("X-Forwarded-Proto: https, http\r\n"));
        assert!(!is_secure("X-Forwarded-Proto: https,\r\n") && !is_secure(""));
    }

    #[test]
    fn headers_about_earlier_hops_are_recognized() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_for",
            "X-Forwarded-Anything",
            "X-REAL_IP",
            "cf-connecting-ip",
            "True-Client-IP",
        ] {
            assert!(is_forwarding_header(name), "{name}");
        }
        for name in ["Forwarde", "Forwardedx", "X-Forwarded", "X-Real-IPs", "X-Forward\u{e9}d-For"]
        {
            assert!(!is_forwarding_header(name), "{name}");
        }
    }
}
