//! The table of all connections.
//!
//! It finds a connection by the slot in its id, and checks the serial, so that the id of an ended
//! connection finds nothing. It knows nothing of what connections do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slab::Slab;

use super::connection::Connection;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::priority::Priority;

/// All connections by slot; the serial is checked on each use.
///
/// A struct of its own, so that a borrow of a connection leaves the rest of the core free.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    slab: Slab<Connection>,
    /// Connections accepted at listeners for operators. Invariant: their number in `slab`.
    operators: usize,
    /// Clients of each priority, in the order of [`Priority::ALL`].
    by_priority: [usize; Priority::ALL.len()],
    /// One more than the highest slot so far.
    slots: usize,
    last_serial: u32,
    /// The number of connections, shared with other threads. Invariant: equal to `slab.len()`.
    counted: Arc<AtomicUsize>,
}

impl Conns {
    /// A table that holds `count` connections without growing.
    pub(crate) fn with_capacity(count: usize) -> Conns {
        Conns { slab: Slab::with_capacity(count), ..Conns::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Connections that a shutdown closes and waits for: all except those of operators.
    pub(crate) fn len_without_operators(&self) -> usize {
        self.slab.len() - self.operators
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slab.get(id.slot()).filter(|conn| conn.serial == id.serial())
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slab.get_mut(id.slot()).filter(|conn| conn.serial == id.serial())
    }

    /// Like [`Conns::get`], but finds only connections of this service.
    pub(crate) fn owned(&self, service: ServiceId, id: ConnId) -> Option<&Connection> {
        self.get(id).filter(|conn| conn.service == service)
    }

    /// Like [`Conns::get_mut`], but finds only connections of this service.
    pub(crate) fn owned_mut(&mut self, service: ServiceId, id: ConnId) -> Option<&mut Connection> {
        self.get_mut(id).filter(|conn| conn.service == service)
    }

    /// The id of the connection that is inserted next.
    pub(crate) fn next_id(&mut self) -> ConnId {
        self.last_serial = self.last_serial.checked_add(1).unwrap_or(1);
        ConnId::new(self.slab.vacant_key(), self.last_serial)
    }

    pub(crate) fn insert(&mut self, conn: Connection) {
        self.operators += usize::from(conn.is_operator());
        if conn.is_client() {
            self.by_priority[conn.priority() as usize] += 1;
        }
        let slot = self.slab.insert(conn);
        self.slots = self.slots.max(slot + 1);
        self.count();
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let conn = self.get(id)?;
        let (is_operator, is_client, priority) =
            (conn.is_operator(), conn.is_client(), conn.priority());
        self.operators -= usize::from(is_operator);
        if is_client {
            self.by_priority[priority as usize] -= 1;
        }
        let removed = self.slab.try_remove(id.slot());
        self.count();
        removed
    }

    /// The shared number of connections.
    pub(crate) fn counted(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.counted)
    }

    fn count(&self) {
        self.counted.store(self.slab.len(), Ordering::Relaxed);
    }

    /// Changes the priority of a client's connection.
    pub(crate) fn set_priority(&mut self, id: ConnId, priority: Priority) {
        let Some(conn) = self.get_mut(id).filter(|conn| conn.is_client()) else {
            return;
        };
        let before = conn.priority();
        conn.set_priority(priority);
        self.by_priority[before as usize] -= 1;
        self.by_priority[priority as usize] += 1;
    }

    /// Clients of each priority, in the order of [`Priority::ALL`].
    pub(crate) fn by_priority(&self) -> [usize; Priority::ALL.len()] {
        self.by_priority
    }

    /// One more than the highest slot that a connection has had.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// The connections in `count` slots from this one on.
    pub(crate) fn in_slots(
        &self,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (ConnId, &Connection)> {
        let conn = |slot| self.slab.get(slot).map(|conn| (ConnId::new(slot, conn.serial), conn));
        (first..first.saturating_add(count).min(self.slots)).filter_map(conn)
    }

    /// All connections with their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slab.iter().map(|(slot, conn)| (ConnId::new(slot, conn.serial), conn))
    }
}
