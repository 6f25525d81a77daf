//! The connections of a service: what is known of them, their metadata, and their end.

use std::net::SocketAddr;
use std::ops::Range;

use super::Context;
use crate::protocol::CloseCode;
use crate::protocol::http::TraceParent;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::metadata::MetadataError;
use crate::reactor::api::record::Record;
use crate::reactor::conn::cold::Labels;

impl Context<'_> {
    /// The data about a connection.
    pub fn record(&self, conn: ConnId) -> Option<Record<'_>> {
        if !self.owns(conn) {
            return None;
        }
        self.core.record(conn)
    }

    /// The peer's address, as in [`Record::peer`].
    pub fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.core.conns.owned(self.core.served, conn).map(|conn| conn.peer.into())
    }

    /// The trace of the last request on a connection; `None` unless the setting
    /// [`trace`](field@crate::reactor::settings::Settings::trace) is on.
    pub fn trace(&self, conn: ConnId) -> Option<TraceParent> {
        if !self.owns(conn) {
            return None;
        }
        self.core.trace(conn)
    }

    /// The service's open connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        let ours = |service| service == self.core.served;
        self.core
            .conns
            .iter()
            .filter(move |(_, conn)| conn.is_open() && ours(conn.service))
            .map(|(id, _)| id)
    }

    /// The records of clients' open WebSockets and tunnels, of any service, whose ids have these
    /// [slots](ConnId::slot); in their order. For lists of operators: all of them are in the slots up to
    /// [`slots`](Context::slots).
    pub fn clients(&self, slots: Range<usize>) -> impl Iterator<Item = Record<'_>> {
        self.core.clients(slots)
    }

    /// One more than the highest [slot](ConnId::slot) that a connection of the loop has had.
    pub fn slots(&self) -> usize {
        self.core.conns.slots()
    }

    /// Sets a metadata entry of a connection, for filters and records.
    ///
    /// # Errors
    /// The connection's metadata is full, or the connection has ended.
    pub fn set_metadata(
        &mut self,
        conn: ConnId,
        key: &str,
        value: &str,
    ) -> Result<(), MetadataError> {
        let Some(conn) = self.core.conns.owned_mut(self.core.served, conn) else {
            return Err(MetadataError::Gone);
        };
        conn.cold().labels.get_or_insert_default().metadata.set(key, value)
    }

    /// Removes a metadata entry.
    pub fn remove_metadata(&mut self, conn: ConnId, key: &str) {
        let conn = self.core.conns.owned_mut(self.core.served, conn);
        let cold = conn.and_then(|conn| conn.cold.as_mut());
        if let Some(cold) = cold {
            if let Some(labels) = &mut cold.labels {
                labels.metadata.remove(key);
            }
            cold.labels.take_if(|labels| **labels == Labels::default());
        }
    }

    /// Closes a connection with a Close frame after all queued output. A later call, or a call for
    /// a connection that is closing already, changes nothing. The reason is cut at 123 bytes. A
    /// connection that is not open yet is dropped without a Close.
    pub fn close(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        if self.owns(conn) {
            self.core.begin_close(conn, CloseReason::Service(code), reason);
        }
    }

    /// Drops a connection at once, without a Close: the peer sees the end of the stream, or a reset
    /// if it had sent bytes that were not read. Queued output is lost.
    pub fn abort(&mut self, conn: ConnId) {
        if self.owns(conn) {
            self.core.drop_connection(conn, CloseReason::Aborted);
        }
    }
}
