//! How many bytes connections hold for requests and tunnels that pass through upstreams, by route.
//!
//! A side of a pipe or of an exchange is counted with all bytes that the ledger charges to it alone:
//! incomplete frames, heads, and output that its peer has not read. [`Outboxes::count_relayed`] updates
//! the count where such bytes change. Open connections of other services never come here.

use super::connection::Connection;
use super::handshake::Handshake;
use super::outboxes::Outboxes;
use crate::reactor::api::id::RouteId;
use crate::reactor::parts::relayed::Relayed;

impl Handshake {
    /// Whether it is one side of an exchange, or waits for an upstream's response to an upgrade.
    fn is_relayed(&self) -> bool {
        let dialed = self.dialed.as_ref();
        self.is_forwarded
            || self.request_body.is_some()
            || dialed.is_some_and(|dialed| dialed.request.is_some())
    }
}

impl Connection {
    /// What it is counted with.
    pub(crate) fn relayed(&self) -> Relayed {
        let Some(cold) = self.cold.as_deref() else {
            return Relayed::default();
        };
        match (&cold.pipe, &cold.handshake) {
            (Some(pipe), _) => pipe.relayed,
            (None, Some(handshake)) => handshake.relayed,
            (None, None) => Relayed::default(),
        }
    }

    fn relayed_mut(&mut self) -> Option<&mut Relayed> {
        let cold = self.cold.as_deref_mut()?;
        match (&mut cold.pipe, &mut cold.handshake) {
            (Some(pipe), _) => Some(&mut pipe.relayed),
            (None, Some(handshake)) => Some(&mut handshake.relayed),
            (None, None) => None,
        }
    }

    fn is_relayed(&self) -> bool {
        let Some(cold) = self.cold.as_deref() else {
            return false;
        };
        cold.pipe.is_some() || cold.handshake.as_ref().is_some_and(|it| it.is_relayed())
    }
}

impl Outboxes {
    /// Bytes that connections hold for requests and tunnels of a route.
    pub(crate) fn relayed(&self, route: RouteId) -> usize {
        self.relayed.get(route)
    }

    /// Updates the count of a connection, after its bytes or its part in a pipe or exchange have
    /// changed.
    pub(crate) fn count_relayed(&mut self, conn: &mut Connection) {
        let after = self.measure_relayed(conn);
        self.replace_relayed(conn, after);
    }

    /// Ends the count of a connection that is freed, or is open for its service now.
    pub(crate) fn forget_relayed(&mut self, conn: &mut Connection) {
        self.replace_relayed(conn, Relayed::default());
    }

    fn measure_relayed(&self, conn: &Connection) -> Relayed {
        match conn.is_relayed() {
            true => Relayed::new(conn.route, self.own_bytes(conn)),
            false => Relayed::default(),
        }
    }

    fn replace_relayed(&mut self, conn: &mut Connection, after: Relayed) {
        if let Some(counted) = conn.relayed_mut() {
            let before = std::mem::replace(counted, after);
            if before.route == after.route {
                self.relayed.replace(after.route, before.bytes(), after.bytes());
            } else {
                self.relayed.replace(before.route, before.bytes(), 0);
                self.relayed.replace(after.route, 0, after.bytes());
            }
        }
    }

    /// Whether the sums are those of all connections. For debug assertions.
    pub(crate) fn are_relayed_sums<'a>(&self, conns: impl Iterator<Item = &'a Connection>) -> bool {
        self.relayed.are_sums_of(conns.map(Connection::relayed))
    }

    /// Whether a connection's count is up to date. For debug assertions.
    pub(crate) fn is_relayed_counted(&self, conn: &Connection) -> bool {
        conn.relayed() == self.measure_relayed(conn)
    }
}
