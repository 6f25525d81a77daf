//! Per connection: what pauses reading from it, and which replies it waits for.
//!
//! A table by the slots of connections, so that a look-up is an index. An entry of an earlier connection in
//! the same slot counts as absent.

use crate::reactor::ConnId;

/// The flow control of one connection. Most connections have the default.
#[derive(Debug, Default)]
pub(super) struct Flow {
    conn: Option<ConnId>,
    /// Pending calls.
    pub(super) calls: usize,
    /// The slots of the pending replies that they belong to, in no order.
    pub(super) replies: Vec<usize>,
    /// Reading is paused because of too many pending calls. It resumes when half of them are answered.
    pub(super) is_saturated: bool,
    /// Reading is paused because the peer does not read.
    pub(super) is_congested: bool,
}

/// The flow control of all connections that had a pending call or were congested.
#[derive(Debug, Default)]
pub(super) struct Flows(Vec<Flow>);

impl Flows {
    /// The entry of a connection, added if it is absent.
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

    pub(super) fn get(&self, conn: ConnId) -> Option<&Flow> {
        self.0.get(conn.slot()).filter(|flow| flow.conn == Some(conn))
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Flow> {
        self.0.get_mut(conn.slot()).filter(|flow| flow.conn == Some(conn))
    }

    /// Removes and returns the entry of a connection.
    pub(super) fn leave(&mut self, conn: ConnId) -> Flow {
        self.get_mut(conn).map(std::mem::take).unwrap_or_default()
    }
}
