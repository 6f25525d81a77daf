//! The table of all connections.
//!
//! Finds a connection by its slot, and by its serial whether it is the one that is meant. Knows nothing
//! of what connections do.

use slab::Slab;

use super::connection::Connection;
use crate::reactor::api::id::ConnId;

/// All connections, by slot, each checked by serial on use.
///
/// A struct of its own, so that a handler's borrow of a connection leaves the rest of the core free.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    slab: Slab<Connection>,
    /// How many of them were accepted at a listener for operators.
    operators: usize,
    last_serial: u32,
}

impl Conns {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// How many of them a shutdown ends and waits for: all but those of operators.
    pub(crate) fn drained_len(&self) -> usize {
        self.slab.len() - self.operators
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slab.get(id.slot()).filter(|conn| conn.serial == id.serial())
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slab.get_mut(id.slot()).filter(|conn| conn.serial == id.serial())
    }

    /// The id that the next inserted connection will have.
    pub(crate) fn next_id(&mut self) -> ConnId {
        self.last_serial = self.last_serial.checked_add(1).unwrap_or(1);
        ConnId::new(self.slab.vacant_key(), self.last_serial)
    }

    pub(crate) fn insert(&mut self, conn: Connection) {
        self.operators += usize::from(conn.is_operator());
        self.slab.insert(conn);
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let is_operator = self.get(id)?.is_operator();
        self.operators -= usize::from(is_operator);
        self.slab.try_remove(id.slot())
    }

    /// Every connection with its id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slab.iter().map(|(slot, conn)| (ConnId::new(slot, conn.serial), conn))
    }
}
