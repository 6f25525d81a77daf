//! Stands in for `effects/deflate.rs` without the feature `deflate`: no endpoint agrees on the
//! extension.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::protocol::deflate::{Agreement, Compressed};
use crate::protocol::handshake::ClientRequest;
use crate::protocol::{Message, ProtocolError, SharedFrame};
use crate::reactor::Reactor;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::conn::windows::WindowsBox;
use crate::reactor::core::Core;

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
    pub(crate) fn handle_compressed(
        &mut self,
        _: ConnId,
        _: Compressed<'_>,
    ) -> Result<ControlFlow<()>, ProtocolError> {
        Err(ProtocolError::ReservedBits)
    }

    pub(crate) fn finish_gathered(&mut self, _: ConnId) -> Result<ControlFlow<()>, ProtocolError> {
        Ok(ControlFlow::Continue(()))
    }
}
