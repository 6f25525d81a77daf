//! The PROXY protocol, versions 1 and 2: a header in front of a connection's own bytes, in which a
//! proxy names the client (<https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt>).
//!
//! [`parse`] reads a header from the bytes received so far, [`ProxyVersion::write`] writes one. Both
//! carry TCP over IPv4 and IPv6 only. The header is believed of trusted peers only: checking the
//! peer is the caller's part. Addresses are those of `core::net`, which has no sockets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::str::FromStr;

/// Maximum size of a header of version 1, with its CR LF (section 2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Maximum size of a header of version 2, with its signature: what the smallest TCP segment of IPv4
/// holds (section 2.2). It leaves about 500 bytes for type-length-value fields.
pub const V2_BYTES_MAX: usize = 536;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, and length.
const V2_START_BYTES: usize = 16;
/// Addresses and ports of TCP over IPv4 and over IPv6.
const V2_INET_BYTES: u16 = 12;
const V2_INET6_BYTES: u16 = 36;

/// Version 2 in the high half of the byte, the command in the low half.
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;
const FAMILY_UNSPECIFIED: u8 = 0x00;
const FAMILY_TCP4: u8 = 0x11;
const FAMILY_TCP6: u8 = 0x21;
const FAMILY_UNIX: u8 = 0x31;

/// The ends of a proxied connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Size of the header: the connection's own bytes follow.
    pub len: usize,
    /// `None` for `UNKNOWN` and `LOCAL`, and for a client without an IP address: the peer's own
    /// address counts.
    pub endpoints: Option<Endpoints>,
}

/// Why bytes are not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The connection starts with other bytes.
    Missing,
    /// Invalid command, family, address or port.
    Malformed,
    /// Longer than [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyHeaderError::Missing => "no PROXY header",
            ProxyHeaderError::Malformed => "malformed PROXY header",
            ProxyHeaderError::TooLong => "PROXY header is too long",
        })
    }
}

impl std::error::Error for ProxyHeaderError {}

/// Parses the header at the start of a connection. `received` holds every byte since then, and may
/// hold more than the header; `None` if the header is incomplete. The result does not depend on
/// how the bytes were split. A header takes at most [`V2_BYTES_MAX`] bytes, so that a parse at each
/// byte is bounded, too.
///
/// # Errors
///
/// As soon as the bytes cannot become a valid header. The connection must then be closed: its bytes
/// must not be read as a request.
pub fn parse(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    if received.starts_with(V1_PREFIX) {
        parse_v1(received)
    } else if received.starts_with(V2_SIGNATURE) {
        parse_v2(received)
    } else if V1_PREFIX.starts_with(received) || V2_SIGNATURE.starts_with(received) {
        Ok(None)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

fn parse_v1(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let window = &received[..received.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|&byte| byte == b'\r') else {
        let fits = window.len() < V1_BYTES_MAX;
        return if fits { Ok(None) } else { Err(ProxyHeaderError::TooLong) };
    };
    match window.get(end + 1) {
        Some(b'\n') => {
            let endpoints = line_endpoints(&window[V1_PREFIX.len()..end])?;
            Ok(Some(ProxyHeader { len: end + 2, endpoints }))
        }
        Some(_) => Err(ProxyHeaderError::Malformed),
        None if window.len() == V1_BYTES_MAX => Err(ProxyHeaderError::TooLong),
        None => Ok(None),
    }
}

/// The endpoints in a line of version 1, after `PROXY` and a space. After `UNKNOWN`, "the receiver
/// must ignore anything presented before the CRLF".
fn line_endpoints(line: &[u8]) -> Result<Option<Endpoints>, ProxyHeaderError> {
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed)?;
    let mut words = line.split(' ');
    let endpoints = match words.next() {
        Some("TCP4") => word_endpoints::<Ipv4Addr>(words),
        Some("TCP6") => word_endpoints::<Ipv6Addr>(words),
        _ => None,
    };
    endpoints.map(Some).ok_or(ProxyHeaderError::Malformed)
}

/// Two addresses, two ports, and nothing else.
fn word_endpoints<'a, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<Endpoints> {
    let source: A = words.next()?.parse().ok()?;
    let destination: A = words.next()?.parse().ok()?;
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let endpoints = Endpoints {
        source: endpoint(source, source_port),
        destination: endpoint(destination, destination_port),
    };
    words.next().is_none().then_some(endpoints)
}

/// An IPv4 address that is mapped into IPv6 is the IPv4 address.
fn endpoint(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into().to_canonical(), port)
}

/// A decimal number without sign or leading zero.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let has_zero = word.len() > 1 && word.starts_with('0');
    word.parse().ok().filter(|_| is_plain && !has_zero)
}

fn parse_v2(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let mut start = received[V2_SIGNATURE.len()..].iter().copied();
    let command = start.next();
    if !matches!(command, None | Some(V2_LOCAL | V2_PROXY)) {
        return Err(ProxyHeaderError::Malformed);
    }
    let (Some(command), Some(family), Some(high), Some(low)) =
        (command, start.next(), start.next(), start.next())
    else {
        return Ok(None);
    };
    let len = V2_START_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > V2_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(block) = received.get(V2_START_BYTES..len) else {
        return Ok(None);
    };
    let endpoints = match (command, family) {
        (V2_LOCAL, _) | (V2_PROXY, FAMILY_UNSPECIFIED | FAMILY_UNIX) => None,
        (_, FAMILY_TCP4) => Some(block_endpoints::<4>(block)?),
        (_, FAMILY_TCP6) => Some(block_endpoints::<16>(block)?),
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Some(ProxyHeader { len, endpoints }))
}

/// Two addresses of `N` bytes and two ports. The type-length-value fields behind them are skipped.
fn block_endpoints<const N: usize>(block: &[u8]) -> Result<Endpoints, ProxyHeaderError>
where
    [u8; N]: Into<IpAddr>,
{
    let read = || {
        let (source, rest) = block.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let (destination_port, _) = rest.split_first_chunk()?;
        Some(Endpoints {
            source: endpoint(*source, u16::from_be_bytes(*source_port)),
            destination: endpoint(*destination, u16::from_be_bytes(*destination_port)),
        })
    };
    read().ok_or(ProxyHeaderError::Malformed)
}

/// The version of a header that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// Appends a header. Without endpoints it is `UNKNOWN` or `LOCAL`: the connection is the proxy's
    /// own, for example a health check. If one endpoint is IPv6, an IPv4 address is mapped into it.
    pub fn write(self, endpoints: Option<Endpoints>, out: &mut Vec<u8>) {
        let endpoints = endpoints.map(|Endpoints { source, destination }| Endpoints {
            source: endpoint(source.ip(), source.port()),
            destination: endpoint(destination.ip(), destination.port()),
        });
        match self {
            ProxyVersion::V1 => write_v1(endpoints, out),
            ProxyVersion::V2 => write_v2(endpoints, out),
        }
    }
}

fn write_v1(endpoints: Option<Endpoints>, out: &mut Vec<u8>) {
    let Some(Endpoints { source, destination }) = endpoints else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let (from, to) = (source.port(), destination.port());
    let line = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            format!("PROXY TCP4 {source} {destination} {from} {to}\r\n")
        }
        (source, destination) => {
            let (source, destination) = (mapped(source), mapped(destination));
            format!("PROXY TCP6 {source} {destination} {from} {to}\r\n")
        }
    };
    out.extend_from_slice(line.as_bytes());
}

fn write_v2(endpoints: Option<Endpoints>, out: &mut Vec<u8>) {
    out.extend_from_slice(V2_SIGNATURE);
    let Some(Endpoints { source, destination }) = endpoints else {
        out.extend_from_slice(&[V2_LOCAL, FAMILY_UNSPECIFIED, 0, 0]);
        return;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[V2_PROXY, FAMILY_TCP4]);
            out.extend_from_slice(&V2_INET_BYTES.to_be_bytes());
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            out.extend_from_slice(&[V2_PROXY, FAMILY_TCP6]);
            out.extend_from_slice(&V2_INET6_BYTES.to_be_bytes());
            out.extend_from_slice(&mapped(source).octets());
            out.extend_from_slice(&mapped(destination).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyHeaderError::{Malformed, Missing, TooLong};

    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    fn endpoints(source: &str, destination: &str) -> Option<Endpoints> {
        let parse = |text: &str| text.parse().unwrap();
        Some(Endpoints { source: parse(source), destination: parse(destination) })
    }

    /// Endpoints, or `None` for an incomplete header; the header must have the length of `header`.
    fn whole(header: &[u8]) -> Result<Option<Option<Endpoints>>, ProxyHeaderError> {
        let parsed = parse(header)?;
        Ok(parsed.map(|parsed| {
            assert_eq!(parsed.len, header.len(), "{}", header.escape_ascii());
            parsed.endpoints
        }))
    }

    /// A header of version 2 with this command, family and block.
    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let len = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &len, block].concat()
    }

    fn inet_block() -> Vec<u8> {
        [&[192, 0, 2, 1, 198, 51, 100, 2][..], &[0x1f, 0x90, 0x01, 0xbb]].concat()
    }

    #[test]
    fn headers_of_both_versions_are_parsed() {
        let four = endpoints("192.0.2.1:8080", "198.51.100.2:443");
        let six = endpoints("[2001:db8::1]:65535", "[2001:db8::2]:0");
        let mut inet6 = Vec::new();
        ProxyVersion::V2.write(six, &mut inet6);
        let with_fields = [&inet_block()[..], b"\x02\x00\x01a\xff"].concat();
        for (header, expected) in [
            (&b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n"[..], four),
            (b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 65535 0\r\n", six),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 8080 443\r\n", four),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN anything \xff\0 1 2 3 4 5\r\n", None),
            (&v2(0x21, 0x11, &inet_block()), four),
            (&v2(0x21, 0x11, &with_fields), four),
            (&inet6, six),
            (LOCAL, None),
            (&v2(0x20, 0x11, &inet_block()), None),
            (&v2(0x20, 0xff, b"ignored"), None),
            (&v2(0x21, 0x00, b"ignored"), None),
            (&v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let shown = header.escape_ascii();
            assert_eq!(whole(header), Ok(Some(expected)), "{shown}");
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(None), "{shown} cut at {end}");
            }
            let followed = [header, b"\r\nGET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed), parse(header), "{shown}");
        }
    }

    #[test]
    fn malformed_lines_are_rejected() {
        for line in [
            "TCP4",
            "TCP4 192.0.2.1 198.51.100.2 8080",
            "TCP4 192.0.2.1 198.51.100.2 8080 443 1",
            "TCP4 192.0.2.1 198.51.100.2 8080 443 ",
            "TCP4  192.0.2.1 198.51.100.2 8080 443",
            "TCP4 192.0.2.01 198.51.100.2 8080 443",
            "TCP4 192.0.2.1 198.51.100.2 08080 443",
            "TCP4 192.0.2.1 198.51.100.2 00 443",
            "TCP4 192.0.2.1 198.51.100.2 +8080 443",
            "TCP4 192.0.2.1 198.51.100.2 -1 443",
            "TCP4 192.0.2.1 198.51.100.2 65536 443",
            "TCP4 192.0.2.1 198.51.100.2  443",
            "TCP4 ::1 ::1 1 2",
            "TCP6 192.0.2.1 198.51.100.2 1 2",
            "TCP6 fe80::1%1 ::1 1 2",
            "TCP6 [::1] [::1] 1 2",
            "tcp4 192.0.2.1 198.51.100.2 1 2",
            "UDP4 192.0.2.1 198.51.100.2 1 2",
            "UNKNOWNX",
            "TCP4 192.0.2.1 198.51.100.2 8080 443\n",
            "TCP4 192.0.2.1\t198.51.100.2 8080 443",
            "\u{e9}",
            "",
        ] {
            assert_eq!(parse(format!("PROXY {line}\r\n").as_bytes()), Err(Malformed), "{line:?}");
        }
        assert_eq!(parse(b"PROXY UNKNOWN\rX"), Err(Malformed));
        assert_eq!(parse(b"PROXY UNKNOWN\r\r\n"), Err(Malformed));
    }

    #[test]
    fn malformed_headers_of_version_2_are_rejected() {
        for (command, family, block) in [
            (0x21, 0x11, &inet_block()[..11]),
            (0x21, 0x21, &[0; 35]),
            (0x21, 0x11, &[]),
            (0x21, 0x12, &inet_block()),
            (0x21, 0x22, &[0; 36]),
            (0x21, 0x01, &[]),
            (0x21, 0x41, &[]),
        ] {
            let header = v2(command, family, block);
            assert_eq!(parse(&header), Err(Malformed), "{}", header.escape_ascii());
        }
        for command in (0..=u8::MAX).filter(|command| !matches!(command, 0x20 | 0x21)) {
            let start = [V2_SIGNATURE, &[command]].concat();
            assert_eq!(parse(&start), Err(Malformed), "{command:#x}");
        }
    }

    #[test]
    fn other_starts_are_rejected_at_the_first_wrong_byte() {
        for prefix in [V1_PREFIX, V2_SIGNATURE] {
            for len in 0..prefix.len() {
                for byte in 0..=u8::MAX {
                    let start = [&prefix[..len], &[byte]].concat();
                    let fits = [V1_PREFIX, V2_SIGNATURE].iter().any(|own| own.starts_with(&start));
                    let expected = if fits { Ok(None) } else { Err(Missing) };
                    assert_eq!(parse(&start), expected, "{}", start.escape_ascii());
                }
            }
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(Missing));
        assert_eq!(parse(b"\x16\x03\x01"), Err(Missing));
        assert_eq!(parse(b"PROXY\tTCP4"), Err(Missing));
    }

    #[test]
    fn limits_are_exact() {
        let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
        assert_eq!(whole(line(V1_BYTES_MAX).as_bytes()), Ok(Some(None)));
        let too_long = line(V1_BYTES_MAX + 1);
        assert_eq!(parse(too_long.as_bytes()), Err(TooLong));
        assert_eq!(parse(&too_long.as_bytes()[..V1_BYTES_MAX]), Err(TooLong));
        assert_eq!(parse(&too_long.as_bytes()[..V1_BYTES_MAX - 1]), Ok(None));

        let fields = |len: usize| v2(0x21, 0, &vec![0; len - V2_START_BYTES]);
        assert_eq!(whole(&fields(V2_BYTES_MAX)), Ok(Some(None)));
        let too_long = fields(V2_BYTES_MAX + 1);
        assert_eq!(parse(&too_long[..V2_START_BYTES]), Err(TooLong), "before the fields arrived");
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 600])), Err(TooLong));
    }

    /// No longer input is more complete, and no error disappears.
    #[test]
    fn splitting_at_every_byte_equals_parsing_whole() {
        let samples: [&[u8]; 8] = [
            b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\nGET",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 8080\r\nGET",
            b"PROXY UNKNOWN\rGET",
            b"PROXIED",
            &[b'P'; 200],
            &v2(0x21, 0x11, &inet_block()),
            &v2(0x21, 0x55, &inet_block()),
            &v2(0x11, 0x11, &inet_block()),
        ];
        for sample in samples {
            let expected = parse(sample);
            let first =
                (0..=sample.len()).map(|end| parse(&sample[..end])).find(|r| *r != Ok(None));
            assert_eq!(first.unwrap_or(Ok(None)), expected, "{}", sample.escape_ascii());
        }
    }

    #[test]
    fn written_headers_are_parsed_again() {
        for (source, destination) in [
            ("192.0.2.1:1", "198.51.100.2:65535"),
            ("[2001:db8::1]:1", "[::]:2"),
            ("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[1:2:3:4:5:6:7:8]:65535"),
            ("[::ffff:192.0.2.1]:1", "[::ffff:198.51.100.2]:2"),
            ("192.0.2.1:1", "[2001:db8::1]:2"),
            ("[2001:db8::1]:2", "192.0.2.1:1"),
        ] {
            let sent = endpoints(source, destination).unwrap();
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let mut out = b"before".to_vec();
                version.write(Some(sent), &mut out);
                let received = whole(&out[6..]).unwrap().unwrap().unwrap();
                assert_eq!(received.source.ip(), sent.source.ip().to_canonical());
                assert_eq!(received.destination.ip(), sent.destination.ip().to_canonical());
                let ports = (received.source.port(), received.destination.port());
                assert_eq!(ports, (sent.source.port(), sent.destination.port()));
            }
        }
        let text = |endpoints| {
            let mut out = Vec::new();
            ProxyVersion::V1.write(endpoints, &mut out);
            String::from_utf8(out).unwrap()
        };
        let four = endpoints("192.0.2.1:8080", "198.51.100.2:443");
        assert_eq!(text(four), "PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n");
        assert_eq!(text(None), "PROXY UNKNOWN\r\n");
        let mut out = Vec::new();
        ProxyVersion::V2.write(None, &mut out);
        assert_eq!(out, LOCAL);
        out.clear();
        ProxyVersion::V2.write(four, &mut out);
        assert_eq!(out, v2(0x21, 0x11, &inet_block()));
    }
}
