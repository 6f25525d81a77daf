//! PROXY headers, compared with a naive parser of the whole input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir::protocol::proxy_header::{
    Endpoints, ProxyHeader, ProxyVersion, V1_BYTES_MAX, V2_BYTES_MAX, parse,
};

use crate::bytes::Bytes;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Maximum number of alterations: a header altered more often would be rejected for its first fault.
const STEPS_MAX: usize = 4;
const PARTS: [&str; 16] = [
    " ", "\r", "\n", "\r\n", "\0", "0", "1", ":", ".", "::", "TCP4", "TCP6", "UNKNOWN", "+",
    "65535", "\u{e9}",
];

/// The naive parser's result.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Header(ProxyHeader),
    Invalid,
    Incomplete,
}

/// Headers, written, altered or arbitrary, parse as the naive parser reads them. A result, once there
/// is one, does not change with further bytes. Endpoints that were parsed survive being written.
pub fn proxy_header(data: &[u8]) {
    let mut input = Bytes(data);
    while one_header(&mut input).is_some() {}
}

fn one_header(input: &mut Bytes<'_>) -> Option<()> {
    let choice = input.u8()?;
    let mut wire = match choice % 8 {
        0 => input.up_to(40).to_vec(),
        1 => [SIGNATURE, input.up_to(40)].concat(),
        2 => [b"PROXY ", input.up_to(120)].concat(),
        3 => [b"PROXY UNKNOWN ", input.up_to(120), b"\r\n"].concat(),
        _ => build(input)?,
    };
    for _ in 0..input.below(STEPS_MAX + 1)?.saturating_sub(1) {
        alter(&mut wire, input)?;
    }
    wire.extend_from_slice(input.up_to(4));
    check(&wire);
    Some(())
}

fn check(wire: &[u8]) {
    let shown = wire.escape_ascii();
    let whole = parse(wire);
    let reading = match whole {
        Ok(Some(header)) => Reading::Header(header),
        Ok(None) => Reading::Incomplete,
        Err(_) => Reading::Invalid,
    };
    assert_eq!(reading, naive(wire), "{shown}");
    let mut first = Ok(None);
    for end in 0..=wire.len() {
        let outcome = parse(&wire[..end]);
        if first == Ok(None) {
            first = outcome;
        }
        assert_eq!(outcome, first, "{shown} cut at {end}");
    }
    assert_eq!(first, whole, "{shown}");
    if let Ok(Some(ProxyHeader { endpoints: Some(endpoints), .. })) = whole {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let mut out = Vec::new();
            version.write(Some(endpoints), &mut out);
            let again =
                Ok(Some(ProxyHeader { len: out.len(), endpoints: Some(mapped(endpoints)) }));
            assert_eq!(parse(&out), again, "{shown}");
        }
    }
}

/// Two endpoints of one family; an IPv4 address in IPv6 notation is IPv4.
fn mapped(endpoints: Endpoints) -> Endpoints {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    Endpoints { source: canonical(endpoints.source), destination: canonical(endpoints.destination) }
}

/// A written header, with type-length-value fields if it is of version 2.
fn build(input: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let (source, destination) = (end(input)?, end(input)?);
    let version = if input.below(2)? == 0 { ProxyVersion::V1 } else { ProxyVersion::V2 };
    let endpoints = (input.below(8)? > 0).then_some(Endpoints { source, destination });
    let mut wire = Vec::new();
    version.write(endpoints, &mut wire);
    if version == ProxyVersion::V2 && input.below(2)? == 0 {
        let most = V2_BYTES_MAX - wire.len();
        let len = match input.below(4)? {
            0 => most - 1 + input.below(3)?,
            _ => input.below(64)?,
        };
        let fields: Vec<u8> = input.up_to(8).iter().copied().cycle().take(len).collect();
        let len = u16::from_be_bytes([wire[14], wire[15]]) + fields.len() as u16;
        wire[14..16].copy_from_slice(&len.to_be_bytes());
        wire.extend_from_slice(&fields);
    }
    Some(wire)
}

fn end(input: &mut Bytes<'_>) -> Option<SocketAddr> {
    let address = match input.below(4)? {
        0 => IpAddr::V6(Ipv4Addr::from_bits(0x0a00_0001).to_ipv6_mapped()),
        1 => {
            let mut octets = [0; 16];
            let given = input.up_to(16);
            octets[..given.len()].copy_from_slice(given);
            IpAddr::from(octets)
        }
        _ => IpAddr::from([input.u8()?, input.u8()?, 0, input.u8()?]),
    };
    Some(SocketAddr::new(address, input.u16()?))
}

fn alter(wire: &mut Vec<u8>, input: &mut Bytes<'_>) -> Option<()> {
    let at = usize::from(input.u16()?) % (wire.len() + 1);
    // Most faults of a line are at the start of a word.
    let word = wire[at..].iter().position(|&byte| byte == b' ').map_or(at, |blank| at + blank + 1);
    let at = [at, word][input.below(2)?];
    match input.below(4)? {
        0 => {
            let end = wire.len().min(at + input.below(8)?);
            wire.drain(at..end);
        }
        1 => {
            let part = PARTS[input.below(PARTS.len())?];
            wire.splice(at..at, part.bytes());
        }
        2 => {
            let filler = [b"0", &b"x"[..], b" "][input.below(3)?].repeat(input.u8()?.into());
            wire.splice(at..at, filler);
        }
        _ => {
            if let Some(byte) = wire.get_mut(at) {
                *byte ^= 1 << input.below(8)?;
            }
        }
    }
    Some(())
}

fn naive(wire: &[u8]) -> Reading {
    if wire.len() < SIGNATURE.len() && SIGNATURE.starts_with(wire) {
        return Reading::Incomplete;
    }
    if wire.len() < 6 && b"PROXY ".starts_with(wire) {
        return Reading::Incomplete;
    }
    match wire.strip_prefix(SIGNATURE) {
        Some(rest) => naive_binary(rest),
        None if wire.starts_with(b"PROXY ") => naive_line(wire),
        None => Reading::Invalid,
    }
}

fn naive_line(wire: &[u8]) -> Reading {
    let text: String = wire.iter().map(|&byte| char::from(byte)).collect();
    let Some(end) = text.find('\r') else {
        return if text.chars().count() < V1_BYTES_MAX {
            Reading::Incomplete
        } else {
            Reading::Invalid
        };
    };
    let len = text[..end].chars().count() + 2;
    if len > V1_BYTES_MAX {
        return Reading::Invalid;
    }
    match text[end + 1..].chars().next() {
        None => return Reading::Incomplete,
        Some('\n') => {}
        Some(_) => return Reading::Invalid,
    }
    let words: Vec<&str> = text[..end].split(' ').collect();
    let endpoints = match &words[1..] {
        ["UNKNOWN", ..] => None,
        [family, source, destination, source_port, destination_port] => {
            let end = |address: &str, port: &str| {
                let is_four = *family == "TCP4" && address.parse::<Ipv4Addr>().is_ok();
                let is_six = *family == "TCP6" && address.parse::<Ipv6Addr>().is_ok();
                let address: IpAddr = address.parse().ok()?;
                let port = port.parse::<u16>().ok().filter(|number| number.to_string() == port)?;
                (is_four || is_six).then(|| SocketAddr::new(address.to_canonical(), port))
            };
            match (end(source, source_port), end(destination, destination_port)) {
                (Some(source), Some(destination)) => Some(Endpoints { source, destination }),
                _ => return Reading::Invalid,
            }
        }
        _ => return Reading::Invalid,
    };
    Reading::Header(ProxyHeader { len, endpoints })
}

/// The part behind the signature.
fn naive_binary(rest: &[u8]) -> Reading {
    match rest.first() {
        None => return Reading::Incomplete,
        Some(0x20 | 0x21) => {}
        Some(_) => return Reading::Invalid,
    }
    if rest.len() < 4 {
        return Reading::Incomplete;
    }
    let block_len = usize::from(rest[2]) * 256 + usize::from(rest[3]);
    let len = 16 + block_len;
    if len > V2_BYTES_MAX {
        return Reading::Invalid;
    }
    if rest.len() < 4 + block_len {
        return Reading::Incomplete;
    }
    let block = &rest[4..4 + block_len];
    let end = |octets: &[u8], port: &[u8]| {
        let address = match octets.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(octets).expect("4 bytes")),
            _ => IpAddr::from(<[u8; 16]>::try_from(octets).expect("16 bytes")),
        };
        SocketAddr::new(address.to_canonical(), u16::from(port[0]) * 256 + u16::from(port[1]))
    };
    let width = match (rest[0], rest[1]) {
        (0x20, _) | (0x21, 0x00 | 0x31) => {
            return Reading::Header(ProxyHeader { len, endpoints: None });
        }
        (_, 0x11) => 4,
        (_, 0x21) => 16,
        _ => return Reading::Invalid,
    };
    if block.len() < 2 * width + 4 {
        return Reading::Invalid;
    }
    let source = end(&block[..width], &block[2 * width..]);
    let destination = end(&block[width..2 * width], &block[2 * width + 2..]);
    Reading::Header(ProxyHeader { len, endpoints: Some(Endpoints { source, destination }) })
}
