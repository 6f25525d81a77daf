//! Stands in for `deflate.rs` without the feature `deflate`: no endpoint agrees on the extension.
//!
//! [`Windows`] and [`Unfinished`] have no value, so the compiler removes each branch that needs one. An
//! `Option` of them takes no byte.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::protocol::deflate::{Agreement, Compressed};
use crate::protocol::handshake::{ClientRequest, Upgrade};
use crate::protocol::{Message, ProtocolError, SharedFrame};
use crate::reactor::Reactor;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;
use crate::reactor::core::Core;
use crate::reactor::parts::metrics::Metrics;

/// The compression windows of one connection: has no value.
#[derive(Debug)]
pub(crate) struct Windows(Infallible);

/// How a connection stores its windows.
pub(crate) type WindowsBox = Windows;

impl Windows {
    pub(crate) fn idle_at(&self, _: &RouteSettings) -> Option<Time> {
        match self.0 {}
    }
}

/// An incomplete compressed message: has no value.
#[derive(Debug)]
pub(crate) struct Unfinished(Infallible);

impl Unfinished {
    pub(crate) fn is_whole(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn held_bytes(&self) -> usize {
        match self.0 {}
    }
}

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

impl Core {
    /// A request without an offer of the extension.
    pub(crate) fn offer<'a>(
        &mut self,
        request: &'a ClientRequest,
    ) -> (Cow<'a, ClientRequest>, Option<WindowsBox>) {
        (Cow::Borrowed(request), None)
    }

    pub(crate) fn has_window_room(&mut self, _: usize) -> bool {
        false
    }

    pub(crate) fn begin_deflate(&mut self, _: ConnId, _: &Agreement) {}

    pub(crate) fn set_windows(&mut self, _: ConnId, _: Option<WindowsBox>) {}

    pub(crate) fn free_window(&mut self, _: ConnId) {}

    pub(crate) fn send_deflated(&mut self, _: ConnId, _: Message<'_>) -> Option<SendOutcome> {
        None
    }

    pub(crate) fn send_shared_deflated(
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
    pub(crate) fn take_compressed(
        &mut self,
        _: ConnId,
        _: Compressed<'_>,
    ) -> Result<bool, ProtocolError> {
        Err(ProtocolError::ReservedBits)
    }

    pub(crate) fn finish_gathered(&mut self, _: ConnId) -> Result<bool, ProtocolError> {
        Ok(true)
    }
}
