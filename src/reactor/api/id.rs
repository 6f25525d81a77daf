//! Ids that outlive a turn: a connection by slot and serial, a service and a route by index.
//!
//! Ids are kept across turns, references are not. An id is checked on use, so that a stale one
//! finds nothing instead of another connection.

use std::fmt;

use mio::Token;

/// Identifies one connection. It is not reused until 2^32 further connections were opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    slot: u32,
    serial: u32,
}

impl ConnId {
    /// The id of the connection in `slot`. Serials start at 1.
    pub(in crate::reactor) fn new(slot: usize, serial: u32) -> ConnId {
        ConnId { slot: slot as u32, serial }
    }

    /// For the unit tests of services.
    #[cfg(all(test, any(feature = "nostr", feature = "auth")))]
    pub(crate) fn numbered(slot: usize) -> ConnId {
        ConnId::new(slot, 1)
    }

    /// The index in the loop's table: small, and reused after the connection has ended. Suitable as
    /// an index for a service's own tables.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The number of the connection, counted from 1 in order of creation.
    pub fn serial(self) -> u32 {
        self.serial
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.serial)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}@{}", self.serial, self.slot)
    }
}

/// Identifies a gate of a reactor: a service that decides on requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GateId(pub(in crate::reactor) ServiceId);

impl GateId {
    /// The service that the gate is, for its mailboxes, threads and routes.
    pub fn service(self) -> ServiceId {
        self.0
    }
}

/// The source of an event of the poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Source {
    Waker,
    Signals,
    Listener(usize),
    Connection(ConnId),
}

const WAKER_SLOT: u32 = u32::MAX;
const SIGNALS_SLOT: u32 = u32::MAX - 1;

impl From<Source> for Token {
    /// Serial 0, which no connection has, marks the other sources.
    fn from(source: Source) -> Token {
        let (slot, serial) = match source {
            Source::Waker => (WAKER_SLOT, 0),
            Source::Signals => (SIGNALS_SLOT, 0),
            Source::Listener(index) => (index as u32, 0),
            Source::Connection(id) => (id.slot, id.serial),
        };
        Token((serial as usize) << 32 | slot as usize)
    }
}

impl From<Token> for Source {
    fn from(Token(packed): Token) -> Source {
        let (slot, serial) = (packed as u32, (packed >> 32) as u32);
        match (slot, serial) {
            (WAKER_SLOT, 0) => Source::Waker,
            (SIGNALS_SLOT, 0) => Source::Signals,
            (index, 0) => Source::Listener(index as usize),
            (slot, serial) => Source::Connection(ConnId { slot, serial }),
        }
    }
}

const _: () = assert!(usize::BITS >= 64, "an id and its serial share one token");

/// Identifies a service of this reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServiceId(pub(in crate::reactor) u16);

impl ServiceId {
    /// The loop itself, which takes mail like a service.
    pub(crate) const LOOP: ServiceId = ServiceId(u16::MAX);

    pub(in crate::reactor) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its index in the order in which services were added, from 0.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// Identifies a route of this reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RouteId(pub(in crate::reactor) u16);

impl RouteId {
    pub(in crate::reactor) fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_convert_back_to_their_source() {
        let sources = [
            Source::Waker,
            Source::Signals,
            Source::Listener(0),
            Source::Listener(7),
            Source::Connection(ConnId::new(0, 1)),
            Source::Connection(ConnId::new(9, u32::MAX)),
        ];
        for source in sources {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
