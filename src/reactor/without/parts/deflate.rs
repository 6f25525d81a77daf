//! Stands in for `parts/deflate.rs` without the feature `deflate`: the loop has no streams.

use super::metrics::Metrics;
use crate::protocol::deflate::Agreement;
use crate::protocol::handshake::Upgrade;
use crate::reactor::api::budget::WRITE_AT_ONCE_BYTES_MIN;
use crate::reactor::api::settings::RouteSettings;

/// No compression.
#[derive(Debug)]
pub(crate) struct Deflate;

impl Deflate {
    pub(crate) fn new() -> Deflate {
        Deflate
    }

    pub(crate) fn bytes_min(&self) -> usize {
        usize::MAX
    }

    pub(crate) fn large_bytes_min(&self) -> usize {
        WRITE_AT_ONCE_BYTES_MIN
    }

    pub(crate) fn windows_held(&self) -> usize {
        0
    }

    pub(crate) fn windows_reserved(&self) -> usize {
        0
    }

    pub(crate) fn streams_lent(&self) -> usize {
        0
    }

    pub(crate) fn has_streams(&self) -> bool {
        false
    }

    pub(crate) fn trim(&mut self, _: &Metrics) -> usize {
        0
    }
}

/// Agrees to no extension.
pub(crate) fn negotiate(_: &RouteSettings, _: &Upgrade<'_>) -> Option<Agreement> {
    None
}
