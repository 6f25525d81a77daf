//! What keeps each connection from being read, and which replies it waits for.
//!
//! A table by the connections' slots: finding one costs an index. A slot that another connection has
//! taken meanwhile is as good as empty.

use crate::reactor::ConnId;

/// Of one connection; as by default for most.
#[derive(Debug, Default)]
pub(super) struct Flow {
    conn: Option<ConnId>,
    /// Calls under way.
    pub(super) calls: usize,
    /// The exchanges that they belong to, in no order.
    pub(super) exchanges: Vec<usize>,
    /// They are too many; reading goes on when half of them are answered.
    pub(super) is_saturated: bool,
    /// It does not read what it is sent.
    pub(super) is_congested: bool,
}

/// Of all connections that had something to wait for.
#[derive(Debug, Default)]
pub(super) struct Flows(Vec<Flow>);

impl Flows {
    /// That of a connection, a new one if need be.
    pub(super) fn enter(&mut self, conn: ConnId) -> &mut Flow {
        if self.0.len() <= conn.slot() {
            self.0.resize_with(conn.slot() + 1, Flow::default);
        }
        let flow = &mut self.0[conn.slot()];
        if flow.conn != Some(conn) {
            *flow = Flow { conn: Some(conn), ..Flow::default() };
        }
        flow
    }

    /// That of a connection, if it ever had something to wait for.
    pub(super) fn get(&self, conn: ConnId) -> Option<&Flow> {
        self.0.get(conn.slot()).filter(|flow| flow.conn == Some(conn))
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Flow> {
        self.0.get_mut(conn.slot()).filter(|flow| flow.conn == Some(conn))
    }

    /// Forgets a connection, and says what was known of it.
    pub(super) fn leave(&mut self, conn: ConnId) -> Flow {
        self.get_mut(conn).map(std::mem::take).unwrap_or_default()
    }
}
