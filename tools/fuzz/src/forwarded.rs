//! The client's address from headers of trusted proxies, compared with a naive reader of the list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir::protocol::handshake::{EMPTY_SLOTS, Refusal, Request};
use weir::protocol::http::{AddressSource, ClientAddress, FORWARDED_ENTRIES_MAX, client_address};

use crate::bytes::Bytes;
use crate::extensions::{is_token, split};

/// Maximum number of headers, of elements in each, and of alterations.
const HEADERS_MAX: usize = 3;
const ELEMENTS_MAX: usize = 6;
const STEPS_MAX: usize = 3;

/// Entries of X-Forwarded-For, and values of `for`.
const NODES: [&str; 16] = [
    "10.0.0.2",
    "10.0.0.3:4711",
    "192.0.2.1",
    "192.0.2.1:80",
    "[fd00::1]",
    "[fd00::1]:80",
    "[2001:db8::1]:_port",
    "::ffff:10.0.0.4",
    "fd00::2",
    "2001:db8::1",
    "[::ffff:192.0.2.1]",
    "unknown",
    "_hidden",
    "",
    "10.0.0.02",
    "10.0.0.5:",
];
const SEPARATORS: [&str; 4] = [",", ", ", " ,, \t", ","];
const PARTS: [&str; 24] = [
    ",",
    ";",
    "=",
    "\"",
    "\\",
    "\\\"",
    " ",
    "\t",
    ":",
    "[",
    "]",
    "%1",
    "_",
    "0",
    "9",
    "f",
    "for=10.0.0.9",
    ";for=192.0.2.9",
    ";by=_x",
    ";host=\"a,b;c\"",
    "proto=https",
    "FOR=",
    "\u{e9}",
    ".",
];

/// Lists of entries, valid, altered or arbitrary, in several headers, give the address that the naive
/// reader finds. Headers of a peer that is not trusted are never read.
pub fn forwarded(data: &[u8]) {
    let mut input = Bytes(data);
    while one_list(&mut input).is_some() {}
}

fn one_list(input: &mut Bytes<'_>) -> Option<()> {
    let choice = input.u8()?;
    let (source, name) = match choice % 4 {
        0 => (AddressSource::Header("True-Client-IP"), "true-client-ip"),
        1 => (AddressSource::XForwardedFor, "X-FORWARDED-FOR"),
        _ => (AddressSource::Forwarded, "forwarded"),
    };
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    let mut values = Vec::new();
    for _ in 0..=input.below(HEADERS_MAX)? {
        let value = value(input, source == AddressSource::Forwarded)?;
        head.extend_from_slice(&[name.as_bytes(), b": ", &value, b"\r\n"].concat());
        values.push(value.iter().map(|&byte| char::from(byte)).collect::<String>());
    }
    head.extend_from_slice(b"\r\n");
    let mut slots = EMPTY_SLOTS;
    let Ok(request) = Request::parse(&head, &mut slots) else {
        return Some(());
    };
    let peer = IpAddr::from(if choice & 16 == 0 { [10, 0, 0, 1] } else { [203, 0, 113, 1] });
    let found = client_address(&request, source, peer, is_trusted);
    let expected = match is_trusted(peer) {
        true => naive_entries(source, &values).map(|entries| naive_client(peer, &entries)),
        false => Some(ClientAddress { address: peer, is_trusted: false }),
    };
    let shown = head.escape_ascii();
    assert_eq!(found, expected.ok_or(Refusal::Forwarded), "{shown}");
    Some(())
}

/// 10.0.0.0/8 and fd00::/8.
fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    }
}

/// The value of one header.
fn value(input: &mut Bytes<'_>, is_forwarded: bool) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    // Mostly trusted, so that the limit of entries is reached.
    let chain = if input.u8()? < 32 { FORWARDED_ENTRIES_MAX - 4 + input.below(8)? } else { 0 };
    for index in 0..input.below(ELEMENTS_MAX)? + chain {
        if index > 0 {
            value.extend_from_slice(SEPARATORS[input.below(SEPARATORS.len())?].as_bytes());
        }
        let is_trusted = chain > 0 && index > 0;
        let node = if is_trusted { NODES[0] } else { NODES[input.below(NODES.len())?] };
        let element = match input.u8()? {
            _ if !is_forwarded => node.to_owned(),
            0..=40 => format!("proto=http;For=\"{node}\""),
            41..=60 => format!("for={node}"),
            61..=64 => "by=\"10.0.0.1\"; host=a".to_owned(),
            65..=68 => format!("for=\"{node}\";by=a;FOR=10.0.0.2"),
            _ => format!("for=\"{node}\""),
        };
        value.extend_from_slice(element.as_bytes());
    }
    for _ in 0..input.below(STEPS_MAX + 1)?.saturating_sub(1) {
        let at = usize::from(input.u16()?) % (value.len() + 1);
        match input.below(4)? {
            0 => value.truncate(at),
            1 => value.insert(at, input.u8()? | b' '),
            _ => {
                let part = PARTS[input.below(PARTS.len())?];
                value.splice(at..at, part.bytes());
            }
        }
    }
    Some(value)
}

/// The entries of all headers, from the right; `None` if a Forwarded is malformed.
fn naive_entries(source: AddressSource<'_>, values: &[String]) -> Option<Vec<Option<IpAddr>>> {
    let mut entries = Vec::new();
    match source {
        AddressSource::Forwarded => {
            for value in values {
                entries.extend(naive_forwarded(value)?);
            }
        }
        AddressSource::XForwardedFor => {
            let list = values.join(",");
            let items = list.split(',').map(|item| item.trim_matches([' ', '\t']));
            entries
                .extend(items.filter(|item| !item.is_empty()).map(|item| naive_node(item, true)));
        }
        AddressSource::Header(_) => match values {
            [value] => entries.push(naive_node(value.trim_matches([' ', '\t']), true)),
            _ => entries.push(None),
        },
    }
    entries.reverse();
    Some(entries)
}

fn naive_client(peer: IpAddr, entries: &[Option<IpAddr>]) -> ClientAddress {
    let read = entries.iter().take(FORWARDED_ENTRIES_MAX).map_while(|entry| *entry);
    let chain: Vec<IpAddr> = read.collect();
    let stop = chain.iter().position(|&address| !is_trusted(address));
    let last = stop.or_else(|| chain.len().checked_sub(1));
    let is_whole = chain.len() == entries.len() && entries.len() < FORWARDED_ENTRIES_MAX;
    ClientAddress {
        address: last.map_or(peer, |last| chain[last]),
        is_trusted: stop.is_none() && is_whole,
    }
}

/// The addresses in one value of Forwarded, element by element.
fn naive_forwarded(value: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut addresses = Vec::new();
    for element in split(value, ',')?.iter().filter(|element| !element.is_empty()) {
        let mut nodes = Vec::new();
        let pairs = split(element, ';')?;
        for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let value = match value.strip_prefix('"') {
                Some(rest) => quoted(rest)?,
                None => Some(value).filter(|value| is_token(value))?,
            };
            if !is_token(name) {
                return None;
            }
            if name.eq_ignore_ascii_case("for") {
                nodes.push(value);
            }
        }
        match nodes[..] {
            [] => addresses.push(None),
            [node] => addresses.push(naive_node(node, false)),
            _ => return None,
        }
    }
    Some(addresses)
}

/// The text of a quoted string, with its backslashes, from after its first quote; nothing may follow
/// the last.
fn quoted(rest: &str) -> Option<&str> {
    let text = rest.strip_suffix('"')?;
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '"' => return None,
            '\\' => chars.next().map(|_| ())?,
            _ => {}
        }
    }
    Some(text)
}

/// The address in an entry; `is_list` for X-Forwarded-For, where IPv6 needs no brackets.
fn naive_node(node: &str, is_list: bool) -> Option<IpAddr> {
    if let (true, Ok(address)) = (is_list, node.parse::<Ipv6Addr>()) {
        return Some(IpAddr::V6(address).to_canonical());
    }
    let end = match node.find(']') {
        Some(end) if node.starts_with('[') => end + 1,
        _ => node.find(':').unwrap_or(node.len()),
    };
    let (host, port) = node.split_at(end);
    let is_digits = |text: &str| {
        (1..=5).contains(&text.len()) && text.chars().all(|digit| digit.is_ascii_digit())
    };
    let is_name = |text: &str| {
        text.len() > 1
            && text.chars().all(|part| part.is_ascii_alphanumeric() || "._-".contains(part))
    };
    let is_port = match port.strip_prefix(':') {
        Some(name) if name.starts_with('_') => is_name(name),
        Some(digits) => is_digits(digits),
        None => port.is_empty(),
    };
    let address = match host.strip_prefix('[') {
        Some(inner) => IpAddr::V6(inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(host.parse::<Ipv4Addr>().ok()?),
    };
    is_port.then_some(address.to_canonical())
}
