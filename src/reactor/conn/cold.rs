//! The cold state of a connection: what most connections do not need most of the time.
//!
//! One allocation, made on first use and freed once nothing is left in it, so that an idle connection is
//! its slot in the table alone.

use super::handshake::Handshake;
use super::identity::HeldIdentity;
use super::pipe::PipeBox;
use super::rates::ConnRates;
use super::unread::Unread;
use super::windows::{Unfinished, WindowsBox};
use crate::reactor::api::metadata::Metadata;
use crate::reactor::parts::tls::SessionBox;

/// Cold state: what most connections do not need most of the time. Allocated on first use.
#[derive(Debug, Default)]
pub(crate) struct ColdState {
    pub(crate) handshake: Option<Box<Handshake>>,
    pub(crate) unread: Option<Unread>,
    pub(crate) labels: Option<Box<Labels>>,
    /// The TLS session, for the whole life of a TLS connection.
    pub(crate) session: Option<SessionBox>,
    pub(crate) windows: Option<WindowsBox>,
    /// A compressed message of which some fragments were received.
    pub(crate) unfinished: Option<Unfinished>,
    /// Its side of a pipe: it is joined, or was until its end started.
    pub(crate) pipe: Option<PipeBox>,
    /// Who its peer is, as its gate has determined it.
    pub(crate) identity: Option<Box<HeldIdentity>>,
    /// If its route has any, from the handshake to the end.
    pub(crate) rates: Option<Box<ConnRates>>,
}

impl ColdState {
    /// Whether it has at most rates and an identity: no input is held there or passes there.
    #[inline]
    pub(crate) fn is_passive(&self) -> bool {
        self.handshake.is_none()
            && self.unread.is_none()
            && self.labels.is_none()
            && self.session.is_none()
            && self.windows.is_none()
            && self.unfinished.is_none()
            && self.pipe.is_none()
    }
}

/// What its service has set about a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) metadata: Metadata,
    /// The agreed subprotocol, if the service does not list it.
    pub(crate) protocol: Option<Box<str>>,
    /// Bytes that its service holds for it.
    pub(crate) held_bytes: usize,
}
