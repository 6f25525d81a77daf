//! `traceparent` (W3C Trace Context): the id by which one request is found in the logs of all servers
//! that it passes.
//!
//! It parses and writes the header's value. Random ids are the caller's part. Spans are neither made
//! nor exported: a received value is passed on unchanged.

use std::fmt;

use crate::protocol::handshake::Request;

/// The header with data of tracing systems. It belongs to the `traceparent` that it came with.
#[cfg(feature = "proxy")]
pub(super) const STATE_NAME: &str = "tracestate";

/// The version that we write.
const VERSION: u8 = 0;
/// No version has this number (2.2.1).
const VERSION_INVALID: u8 = 0xff;
/// The only flag that later versions must have, too (2.2.2): the caller may have recorded the trace.
const SAMPLED: u8 = 1;

/// The value of `traceparent`.
///
/// ```
/// use weir::protocol::http::TraceParent;
///
/// let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceParent::parse(value).expect("a valid value");
/// assert_eq!(trace.to_string(), value);
/// assert_eq!(trace.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Invariant: not all zero.
    trace_id: TraceId,
    /// Invariant: not all zero.
    parent_id: [u8; 8],
    flags: u8,
}

/// The id that all requests of one trace share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl TraceParent {
    /// The header's name.
    pub const NAME: &'static str = "traceparent";

    /// A new trace with these random bytes, which is not sampled.
    pub(crate) fn new(random: [u8; 24]) -> TraceParent {
        let (mut trace_id, mut parent_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&random[..16]);
        parent_id.copy_from_slice(&random[16..]);
        // An id of zeros is invalid (2.2.3).
        trace_id[15] |= u8::from(trace_id == [0; 16]);
        parent_id[7] |= u8::from(parent_id == [0; 8]);
        TraceParent { trace_id: TraceId(trace_id), parent_id, flags: 0 }
    }

    /// The trace that a request states; `None` without a valid `traceparent`, or with several.
    pub fn of(request: &Request<'_>) -> Option<TraceParent> {
        let value = request.fields.sole(TraceParent::NAME)?;
        TraceParent::parse(std::str::from_utf8(value).ok()?)
    }

    /// Parses the value of the header (2.2). Of a later version only the fields of version 00 are
    /// known: the value is then written in version 00, with no other flag than *sampled*.
    pub fn parse(value: &str) -> Option<TraceParent> {
        let (version, rest) = hex_field::<1>(value)?;
        let (trace_id, rest) = hex_field::<16>(rest.strip_prefix('-')?)?;
        let (parent_id, rest) = hex_field::<8>(rest.strip_prefix('-')?)?;
        let ([flags], rest) = hex_field::<1>(rest.strip_prefix('-')?)?;
        let [version] = version;
        let is_later = version != VERSION;
        let is_whole = rest.is_empty() || is_later && rest.starts_with('-');
        let is_valid = version != VERSION_INVALID && trace_id != [0; 16] && parent_id != [0; 8];
        let flags = if is_later { flags & SAMPLED } else { flags };
        let trace_id = TraceId(trace_id);
        (is_whole && is_valid).then_some(TraceParent { trace_id, parent_id, flags })
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }
}

/// The bytes of a field of lowercase hexadecimal digits, and the text after it.
fn hex_field<const N: usize>(text: &str) -> Option<([u8; N], &str)> {
    let (digits, rest) = text.split_at_checked(2 * N)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some((bytes, rest))
}

/// Capital letters are invalid.
fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceParent {
    /// The value of the header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION:02x}-{}-", self.trace_id)?;
        write_hex(f, &self.parent_id)?;
        write!(f, "-{:02x}", self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parsed(value: &str) -> Option<String> {
        TraceParent::parse(value).map(|trace| trace.to_string())
    }

    #[test]
    fn valid_values_are_kept() {
        assert_eq!(parsed(VALUE).as_deref(), Some(VALUE));
        for flags in ["00", "02", "03", "ff"] {
            let value = format!("{}{flags}", &VALUE[..53]);
            assert_eq!(parsed(&value), Some(value));
        }
    }

    #[test]
    fn later_versions_are_written_in_version_00() {
        for value in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            &format!("01{}-x", &VALUE[2..]),
        ] {
            assert_eq!(parsed(value).as_deref(), Some(VALUE), "{value}");
        }
    }

    #[test]
    fn malformed_values_are_rejected() {
        let (zeros, zero) = ("0".repeat(32), "0".repeat(16));
        for value in [
            "",
            "00",
            &VALUE[..54],
            &VALUE[1..],
            &format!("{VALUE}-"),
            &format!("{VALUE}0"),
            &format!("{VALUE} "),
            &format!("ff{}", &VALUE[2..]),
            &format!("01{}0", &VALUE[2..]),
            &VALUE.to_uppercase(),
            &VALUE.replace('-', "_"),
            &VALUE.replace("4bf9", "4bg9"),
            &VALUE.replace("4bf9", "+bf9"),
            &VALUE.replace("4bf9", "é9"),
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
            &format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{zero}-01"),
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    #[test]
    fn a_request_states_one_trace() {
        let of = |lines: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let mut slots = EMPTY_SLOTS;
            let request = Request::parse(head.as_bytes(), &mut slots).unwrap();
            TraceParent::of(&request).map(|trace| trace.to_string())
        };
        assert_eq!(of(""), None);
        assert_eq!(of(&format!("TraceParent:  {VALUE} \r\n")).as_deref(), Some(VALUE));
        assert_eq!(of(&format!("traceparent: {VALUE}\r\ntraceparent: {VALUE}\r\n")), None);
        assert_eq!(of("traceparent: 00\r\n"), None);
    }

    #[test]
    fn new_ids_are_valid() {
        let new = |random| TraceParent::new(random).to_string();
        let ids = std::array::from_fn(|index| index as u8);
        assert_eq!(new(ids), "00-000102030405060708090a0b0c0d0e0f-1011121314151617-00");
        for random in [[0; 24], [0xff; 24]] {
            assert_eq!(parsed(&new(random)), Some(new(random)));
        }
    }
}
