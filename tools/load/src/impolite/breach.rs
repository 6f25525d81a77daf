//! The violations: what each client sends, and the server's reaction that the RFC requires.

use std::fmt;
use std::io;
use std::time::Duration;

use super::raw::{End, Raw, Seen, frame};

/// Total size of the never-ending fragments, before we stop.
const ENDLESS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Size of each of these fragments.
const FRAGMENT_BYTES: usize = 32 * 1024;
/// Pause of a slow client between two bytes.
const DRIBBLE: Duration = Duration::from_millis(100);

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// The server's allowed reactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It must fail the connection, with one of these codes if it sends a Close (7.1.7).
    Fail(&'static [u16]),
    /// If it sends a Close, it must be with one of these codes; it need not react.
    MayFail(&'static [u16]),
    /// It must end the stream at some time.
    Ends,
    /// Any reaction: the violation happens before the upgrade.
    InHandshake,
}

impl Rule {
    pub(super) fn allows(self, seen: &Seen) -> bool {
        match (self, seen.close) {
            (Rule::Fail(codes) | Rule::MayFail(codes), Some(close)) => {
                close.is_some_and(|code| codes.contains(&code))
            }
            (Rule::Fail(_) | Rule::Ends, None) => seen.end != End::StillOpen,
            (Rule::Ends, Some(_)) => seen.end != End::StillOpen,
            (Rule::MayFail(_), None) | (Rule::InHandshake, _) => true,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Fail(codes) | Rule::MayFail(codes) => {
                let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
                f.write_str(&codes.join(" or "))
            }
            Rule::Ends => f.write_str("an end"),
            Rule::InHandshake => f.write_str("anything"),
        }
    }
}

/// A violation.
pub(super) struct Breach {
    pub(super) name: &'static str,
    /// The section of RFC 6455.
    pub(super) rfc: &'static str,
    pub(super) rule: Rule,
    pub(super) act: fn(&mut Raw) -> io::Result<()>,
}

const PROTOCOL: Rule = Rule::Fail(&[1002]);
const TOO_BIG: Rule = Rule::Fail(&[1009]);
const NOT_UTF8: Rule = Rule::Fail(&[1007]);

/// All violations.
pub(super) const BREACHES: &[Breach] = &[
    Breach {
        name: "frame without a mask",
        rfc: "5.1",
        rule: PROTOCOL,
        act: |raw| raw.send(&[FIN | TEXT, 2, b'h', b'i']),
    },
    Breach {
        name: "reserved bit",
        rfc: "5.2",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN | 0x40 | TEXT, b"hi")),
    },
    Breach {
        name: "reserved data opcode",
        rfc: "5.2",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN | 0x3, b"hi")),
    },
    Breach {
        name: "reserved control opcode",
        rfc: "5.2",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN | 0xB, b"")),
    },
    Breach {
        name: "length not in its shortest form",
        rfc: "5.2",
        rule: PROTOCOL,
        act: |raw| raw.send(&[FIN | TEXT, 0xFE, 0, 2, 0, 0, 0, 0, b'h', b'i']),
    },
    Breach {
        name: "length with its highest bit set",
        rfc: "5.2",
        rule: Rule::Fail(&[1002, 1009]),
        act: |raw| raw.send(&[FIN | BINARY, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]),
    },
    Breach {
        name: "continuation of nothing",
        rfc: "5.4",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN, b"hi")),
    },
    Breach {
        name: "message within a message",
        rfc: "5.4",
        rule: PROTOCOL,
        act: |raw| raw.send(&[frame(TEXT, b"one"), frame(FIN | TEXT, b"two")].concat()),
    },
    Breach {
        name: "fragmented ping",
        rfc: "5.5",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(PING, b"hi")),
    },
    Breach {
        name: "ping of 126 bytes",
        rfc: "5.5",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN | PING, &[b'x'; 126])),
    },
    Breach {
        name: "Close of one byte",
        rfc: "5.5.1",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN | CLOSE, &[3])),
    },
    Breach {
        name: "Close with code 1005",
        rfc: "7.4.1",
        rule: PROTOCOL,
        act: |raw| raw.send(&frame(FIN | CLOSE, &1005_u16.to_be_bytes())),
    },
    Breach {
        name: "Close with bad UTF-8",
        rfc: "5.5.1",
        rule: Rule::Fail(&[1007, 1002]),
        act: |raw| raw.send(&frame(FIN | CLOSE, b"\x03\xE8\xFF\xFF")),
    },
    Breach {
        name: "bad UTF-8",
        rfc: "8.1",
        rule: NOT_UTF8,
        act: |raw| raw.send(&frame(FIN | TEXT, b"\xC3\x28")),
    },
    Breach {
        name: "bad UTF-8 over two fragments",
        rfc: "8.1",
        rule: NOT_UTF8,
        act: |raw| raw.send(&[frame(TEXT, b"\xE2\x82"), frame(FIN, b"\x28")].concat()),
    },
    Breach {
        name: "text that ends within a character",
        rfc: "8.1",
        rule: NOT_UTF8,
        act: |raw| raw.send(&frame(FIN | TEXT, b"euro \xE2\x82")),
    },
    Breach {
        name: "oversize: a terabyte announced",
        rfc: "7.4.1",
        rule: TOO_BIG,
        act: |raw| raw.send(&[FIN | BINARY, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
    },
    Breach {
        name: "never-ending fragments",
        rfc: "7.4.1",
        rule: Rule::MayFail(&[1002, 1008, 1009]),
        act: send_endless_fragments,
    },
    Breach {
        name: "dribbled message",
        rfc: "-",
        rule: Rule::MayFail(&[1002, 1008]),
        act: |raw| raw.dribble(&frame(FIN | BINARY, &[0; 1000]), DRIBBLE),
    },
    Breach {
        name: "Close that is never answered",
        rfc: "7.1.1",
        rule: Rule::Ends,
        act: |raw| raw.send(&frame(FIN | 0x40 | TEXT, b"close, and wait for me")),
    },
    Breach {
        name: "slow loris: endless head",
        rfc: "-",
        rule: Rule::InHandshake,
        act: |raw| {
            raw.send(b"GET / HTTP/1.1\r\nHost: loris\r\n")?;
            raw.dribble(b"X-Slow: loris\r\n".repeat(1000).as_slice(), DRIBBLE)
        },
    },
];

fn send_endless_fragments(raw: &mut Raw) -> io::Result<()> {
    let payload = vec![0; FRAGMENT_BYTES];
    raw.send(&frame(BINARY, &payload))?;
    let fragment = frame(0, &payload);
    for _ in 1..ENDLESS_BYTES_MAX / FRAGMENT_BYTES {
        if raw.is_answered() {
            return Ok(());
        }
        raw.send(&fragment)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(close: Option<Option<u16>>, end: End) -> Seen {
        Seen { status: None, close, messages: 0, end, after: Duration::ZERO }
    }

    #[test]
    fn only_the_close_codes_of_the_rfc_pass() {
        assert!(PROTOCOL.allows(&seen(Some(Some(1002)), End::StillOpen)));
        assert!(!PROTOCOL.allows(&seen(Some(Some(1000)), End::Fin)));
        assert!(!PROTOCOL.allows(&seen(Some(None), End::Fin)));
        assert!(PROTOCOL.allows(&seen(None, End::Reset)));
        assert!(!PROTOCOL.allows(&seen(None, End::StillOpen)));
    }

    #[test]
    fn an_optional_reaction_fails_only_with_a_wrong_code() {
        let rule = Rule::MayFail(&[1009]);
        assert!(rule.allows(&seen(None, End::StillOpen)));
        assert!(rule.allows(&seen(Some(Some(1009)), End::StillOpen)));
        assert!(!rule.allows(&seen(Some(Some(1011)), End::Fin)));
        assert!(Rule::InHandshake.allows(&seen(None, End::StillOpen)));
        assert!(!Rule::Ends.allows(&seen(Some(Some(1002)), End::StillOpen)));
        assert!(Rule::Ends.allows(&seen(Some(Some(1002)), End::Fin)));
    }

    #[test]
    fn violations_have_unique_names() {
        let mut names: Vec<_> = BREACHES.iter().map(|breach| breach.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BREACHES.len());
    }
}
