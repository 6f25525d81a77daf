//! The connections of one part of a run: opens them, maps them to members, counts their ends.
//!
//! A member has a number from 0, which it keeps when it reconnects; the loop's slots map to it.
//! Handshakes start at a fixed rate, or with a limit on concurrent ones so that no server's backlog
//! overflows.

use std::net::SocketAddr;
use std::rc::Rc;

use serde::Serialize;
use weir::protocol::CloseCode;
use weir::protocol::handshake::ClientRequest;
use weir::reactor::{CloseReason, ConnId, Connect, Context, RouteId, Time, TlsConnector};

use crate::pace::Pace;
use crate::source::Sources;
use crate::tally::{Errors, Tally};

/// Maximum number of concurrent handshakes without a rate: the size of the smallest common backlog.
const HANDSHAKES_MAX: usize = 100;

/// The destination of the members' connections.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    pub(crate) sources: Sources,
    /// `None`: plaintext.
    pub(crate) tls: Option<TlsConnector>,
    /// One request per room; members use them in rotation.
    pub(crate) requests: Vec<Rc<ClientRequest>>,
}

/// Connection counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Census {
    pub(crate) wanted: u64,
    pub(crate) opened: u64,
    /// Connections that never opened.
    pub(crate) failed: u64,
    /// Connections that opened and were ended by the server or the network.
    pub(crate) lost: u64,
}

impl Census {
    pub(crate) fn add(&mut self, other: &Census) {
        self.wanted += other.wanted;
        self.opened += other.opened;
        self.failed += other.failed;
        self.lost += other.lost;
    }
}

#[derive(Debug, Clone, Copy)]
struct Member {
    conn: Option<ConnId>,
    is_open: bool,
    /// The time at which it was due to connect.
    intended: Time,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It never opened.
    Failed,
    /// The server or the network ended it.
    Lost,
    /// We ended it.
    Ours,
}

/// The connections of one part.
#[derive(Debug)]
pub(crate) struct Crowd {
    destination: Destination,
    route: RouteId,
    ramp: Option<f64>,
    pace: Option<Pace>,
    members: Vec<Member>,
    /// The member that each slot of the loop belongs to.
    by_slot: Vec<u32>,
    started: usize,
    handshakes: usize,
    open: usize,
    connections: usize,
    pub(crate) census: Census,
    /// Durations of connecting.
    pub(crate) connects: Tally,
}

impl Crowd {
    /// `size` members, of which `ramp` per second connect.
    pub(crate) fn new(destination: Destination, size: usize, ramp: Option<f64>) -> Crowd {
        let vacant = Member { conn: None, is_open: false, intended: Time::ZERO };
        Crowd {
            destination,
            route: RouteId::default(),
            ramp,
            pace: None,
            members: vec![vacant; size],
            by_slot: Vec::new(),
            started: 0,
            handshakes: 0,
            open: 0,
            connections: 0,
            census: Census { wanted: size as u64, ..Census::default() },
            connects: Tally::new(),
        }
    }

    /// `size` members that only connect on [`Crowd::connect`].
    pub(crate) fn vacant(destination: Destination, size: usize) -> Crowd {
        let crowd = Crowd::new(destination, size, None);
        Crowd { started: size, census: Census::default(), ..crowd }
    }

    /// Sets the route of the crowd's connections on the loop.
    pub(crate) fn set_route(&mut self, route: RouteId) {
        self.route = route;
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Members whose connection is open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Connections in any state.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Whether the connection of each member has opened or failed.
    pub(crate) fn is_ready(&self) -> bool {
        self.started == self.members.len() && self.handshakes == 0
    }

    /// The open connection of a member.
    pub(crate) fn conn(&self, member: usize) -> Option<ConnId> {
        let member = self.members.get(member)?;
        member.conn.filter(|_| member.is_open)
    }

    /// The member that owns this connection of the crowd.
    pub(crate) fn member(&self, conn: ConnId) -> usize {
        self.by_slot[conn.slot()] as usize
    }

    /// Starts the handshakes that are due; returns the time of the next one.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_>, errors: &mut Errors) -> Time {
        let now = cx.now();
        if let (Some(ramp), None) = (self.ramp, self.pace) {
            self.pace = Some(Pace::new(now, ramp, 1));
        }
        while self.started < self.members.len() {
            let intended = match &mut self.pace {
                Some(pace) => match pace.take(now) {
                    Some(due) => due,
                    None => return pace.due(),
                },
                None if self.handshakes < HANDSHAKES_MAX => now,
                None => return Time::MAX,
            };
            let member = self.started;
            self.started += 1;
            self.connect(cx, member, intended, errors);
        }
        Time::MAX
    }

    /// Starts the handshake of a member without a connection; returns whether it was started.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Context<'_>,
        member: usize,
        intended: Time,
        errors: &mut Errors,
    ) -> bool {
        let Destination { address, sources, tls, requests } = &self.destination;
        let request = &requests[member % requests.len()];
        let to = Connect::to(*address).tls(tls.as_ref()).local_address(sources.pick(member));
        match cx.connect(to, self.route, request) {
            Ok(conn) => {
                self.members[member] = Member { conn: Some(conn), is_open: false, intended };
                if self.by_slot.len() <= conn.slot() {
                    self.by_slot.resize(conn.slot() + 1, 0);
                }
                self.by_slot[conn.slot()] = member as u32;
                self.handshakes += 1;
                self.connections += 1;
                true
            }
            Err(error) => {
                self.census.failed += 1;
                errors.add(format!("connect: {}", error.kind()), 1);
                false
            }
        }
    }

    pub(crate) fn opened(&mut self, conn: ConnId, now: Time) {
        let member = self.member(conn);
        self.members[member].is_open = true;
        self.handshakes -= 1;
        self.open += 1;
        self.census.opened += 1;
        self.connects.record(now.since(self.members[member].intended));
        self.connects.received(0);
    }

    pub(crate) fn ended(&mut self, conn: ConnId, why: CloseReason) -> Ended {
        let index = self.member(conn);
        let member = &mut self.members[index];
        let was_open = std::mem::replace(&mut member.is_open, false);
        member.conn = None;
        self.connections -= 1;
        if !was_open {
            self.handshakes -= 1;
            self.census.failed += 1;
            return Ended::Failed;
        }
        self.open -= 1;
        match why {
            CloseReason::Service(_) | CloseReason::Aborted => Ended::Ours,
            _ => {
                self.census.lost += 1;
                Ended::Lost
            }
        }
    }

    /// Closes all connections.
    pub(crate) fn close_all(&mut self, cx: &mut Context<'_>) {
        for member in &self.members {
            if let Some(conn) = member.conn {
                cx.close(conn, CloseCode::NORMAL, "");
            }
        }
    }
}
