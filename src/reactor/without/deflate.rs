//! Stands in for `deflate.rs` without the feature `deflate`: no endpoint agrees on the extension.
//!
//! [`Windows`] and [`Unfinished`] have no value, so the compiler removes each branch that needs one. An
//! `Option` of them takes no byte.

use std::borrow::Cow;
use std::convert::Infallible;

use super::core::Core;
use super::metrics::Metrics;
use super::settings::RouteSettings;
use super::{ConnId, Reactor, SendOutcome, Time};
use crate::protocol::deflate::{Agreement, Compressed};
use crate::protocol::handshake::{ClientRequest, Upgrade};
use crate::protocol::{Message, ProtocolError, SharedFrame};

/// The compression windows of one connection: has no value.
#[derive(Debug)]
pub(super) struct Windows(Infallible);

/// How a connection stores its windows.
pub(super) type WindowsBox = Windows;

impl Windows {
    pub(super) fn idle_at(&self, _: &RouteSettings) -> Option<Time> {
        match self.0 {}
    }
}

/// An incomplete compressed message: has no value.
#[derive(Debug)]
pub(super) struct Unfinished(Infallible);

impl Unfinished {
    pub(super) fn is_whole(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn held_bytes(&self) -> usize {
        match self.0 {}
    }
}

/// No compression.
#[derive(Debug)]
pub(super) struct Deflate;

impl Deflate {
    pub(super) fn new() -> Deflate {
        Deflate
    }

    pub(super) fn bytes_min(&self) -> usize {
        usize::MAX
    }

    pub(super) fn windows_held(&self) -> usize {
        0
    }

    pub(super) fn windows_reserved(&self) -> usize {
        0
    }

    pub(super) fn streams_lent(&self) -> usize {
        0
    }

    pub(super) fn has_streams(&self) -> bool {
        false
    }

    pub(super) fn trim(&mut self, _: &Metrics) -> usize {
        0
    }
}

/// Agrees to no extension.
pub(super) fn negotiate(_: &RouteSettings, _: &Upgrade<'_>) -> Option<Agreement> {
    None
}

impl Core {
    /// A request without an offer of the extension.
    pub(super) fn offer<'a>(
        &mut self,
        request: &'a ClientRequest,
    ) -> (Cow<'a, ClientRequest>, Option<WindowsBox>) {
        (Cow::Borrowed(request), None)
    }

    pub(super) fn has_window_room(&mut self, _: usize) -> bool {
        false
    }

    pub(super) fn begin_deflate(&mut self, _: ConnId, _: &Agreement) {}

    pub(super) fn set_windows(&mut self, _: ConnId, _: Option<WindowsBox>) {}

    pub(super) fn free_window(&mut self, _: ConnId) {}

    pub(super) fn send_deflated(&mut self, _: ConnId, _: Message<'_>) -> Option<SendOutcome> {
        None
    }

    pub(super) fn send_shared_deflated(
        &mut self,
        _: ConnId,
        _: &SharedFrame,
    ) -> Option<SendOutcome> {
        None
    }
}

impl Reactor {
    /// # Errors
    /// Always. Without a negotiated extension, the decoder never returns a compressed message.
    pub(super) fn take_compressed(
        &mut self,
        _: ConnId,
        _: Compressed<'_>,
    ) -> Result<bool, ProtocolError> {
        Err(ProtocolError::ReservedBits)
    }

    pub(super) fn finish_gathered(&mut self, _: ConnId) -> Result<bool, ProtocolError> {
        Ok(true)
    }
}
