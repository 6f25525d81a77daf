//! What follows from the [identity](super::identity) of a connection: its subject, and when it expires.

use std::rc::Rc;

use super::connection::Connection;
use super::identity::HeldIdentity;
use crate::reactor::api::identity::Identity;
use crate::reactor::api::time::Time;
use crate::reactor::parts::subjects::MemberId;

impl Connection {
    pub(crate) fn held_identity(&self) -> Option<&HeldIdentity> {
        self.cold.as_ref()?.identity.as_deref()
    }

    pub(crate) fn held_identity_mut(&mut self) -> Option<&mut HeldIdentity> {
        self.cold.as_mut()?.identity.as_deref_mut()
    }

    /// Ends the identity of a request without upgrade: its response is complete.
    pub(crate) fn end_request_identity(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.identity.take_if(|held| held.member.is_none());
        }
    }

    /// Its entry in the table of subjects, for the table.
    pub(crate) fn take_member(&mut self) -> Option<MemberId> {
        self.held_identity_mut()?.member.take()
    }

    pub(crate) fn identity(&self) -> Option<&Rc<Identity>> {
        self.held_identity().map(|held| &held.identity)
    }

    /// The subject of its identity, for logs.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.identity().map(|identity| identity.subject())
    }

    /// When it is closed because its identity has expired; [`Time::MAX`]: never.
    pub(crate) fn expires(&self) -> Time {
        self.held_identity().map_or(Time::MAX, |held| held.until)
    }
}
