//! The compression streams of a loop (RFC 7692), and the memory of its connections' windows.
//!
//! [`effects::deflate`](crate::reactor::effects::deflate) compresses and inflates with them.

use super::ledger::Sum;
use super::metrics::Metrics;
use crate::protocol::deflate::{Agreement, Deflater, Inflater, Terms};
use crate::protocol::handshake::Upgrade;
use crate::reactor::api::budget::WRITE_AT_ONCE_BYTES_MIN;
use crate::reactor::api::settings::{DeflateMode, RouteSettings};

/// The compression state of one loop.
#[derive(Debug)]
pub(crate) struct Deflate {
    /// The stream that compresses messages; created for the first one.
    pub(crate) deflater: Option<Box<Deflater>>,
    /// The stream that inflates messages; created for the first one.
    pub(crate) inflater: Option<Box<Inflater>>,
    pub(crate) windows: WindowRoom,
    /// Messages from this size on may be compressed; `usize::MAX` until a connection has negotiated
    /// it.
    bytes_min: usize,
    /// Invariant: the smaller of `bytes_min` and [`WRITE_AT_ONCE_BYTES_MIN`]. Stored, because each
    /// message is compared with it.
    large_bytes_min: usize,
    /// Messages compressed, or skipped as incompressible, up to the last [`trim`](Deflate::trim).
    pub(crate) deflated: u64,
    /// Bytes of compressed messages received up to the last `trim`.
    pub(crate) inflated: u64,
}

impl Deflate {
    pub(crate) fn new() -> Deflate {
        Deflate {
            deflater: None,
            inflater: None,
            windows: WindowRoom::default(),
            bytes_min: usize::MAX,
            large_bytes_min: WRITE_AT_ONCE_BYTES_MIN,
            deflated: 0,
            inflated: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn bytes_min(&self) -> usize {
        self.bytes_min
    }

    /// Messages from this size on may be compressed, or are written at once.
    #[inline(always)]
    pub(crate) fn large_bytes_min(&self) -> usize {
        self.large_bytes_min
    }

    /// Allows compression of messages from this size on.
    pub(crate) fn allow_from(&mut self, bytes_min: usize) {
        self.bytes_min = self.bytes_min.min(bytes_min);
        self.large_bytes_min = self.bytes_min.min(WRITE_AT_ONCE_BYTES_MIN);
    }

    /// Bytes that all windows hold.
    pub(crate) fn windows_held(&self) -> usize {
        self.windows.held.get()
    }

    /// Bytes that all windows may grow to.
    pub(crate) fn windows_reserved(&self) -> usize {
        self.windows.reserved.get()
    }

    /// Streams lent to unfinished messages.
    pub(crate) fn streams_lent(&self) -> usize {
        self.inflater.as_ref().map_or(0, |inflater| inflater.streams_lent())
    }

    pub(crate) fn has_streams(&self) -> bool {
        self.deflater.is_some() || self.inflater.is_some()
    }

    /// Frees streams that were not used since the last call; returns their number.
    pub(crate) fn trim(&mut self, metrics: &Metrics) -> usize {
        let mut freed = 0;
        let deflated = metrics.messages_deflated + metrics.messages_not_deflated;
        if deflated == self.deflated {
            freed += usize::from(self.deflater.take().is_some());
        }
        self.deflated = deflated;
        let inflated = metrics.bytes_inflated_from;
        // The inflater counts lent streams, so it is kept until they are returned.
        if inflated == self.inflated && self.streams_lent() == 0 {
            freed += usize::from(self.inflater.take().is_some());
        }
        self.inflated = inflated;
        freed
    }
}

/// The agreement of a server on this route, for an upgrade request.
pub(crate) fn negotiate(route: &RouteSettings, upgrade: &Upgrade<'_>) -> Option<Agreement> {
    let takeover = match route.deflate {
        DeflateMode::Off => return None,
        DeflateMode::Shared => false,
        DeflateMode::Dedicated => true,
    };
    upgrade.deflate(Terms { takeover, window_bits: route.deflate_window_bits })
}

/// The memory of all connections' windows.
#[derive(Debug, Default)]
pub(crate) struct WindowRoom {
    /// Bytes that they hold.
    pub(crate) held: Sum,
    /// Bytes that they may grow to.
    pub(crate) reserved: Sum,
}
