//! The connections of one part of a run: opening them, finding them, counting their ends.
//!
//! A member has a number from 0, which it keeps when it connects anew; the loop's slots lead to it.
//! Handshakes are begun at a pace, or so many at a time that no server's backlog overflows.

use std::net::SocketAddr;
use std::rc::Rc;

use serde::Serialize;
use weir::protocol::CloseCode;
use weir::protocol::handshake::ClientRequest;
use weir::reactor::{CloseReason, ConnId, Context, RouteId, Time, TlsConnector};

use crate::pace::Pace;
use crate::source::Sources;
use crate::tally::{Errors, Tally};

/// Handshakes under way at once where no pace is set: what the smallest common backlog holds.
const HANDSHAKES_MAX: usize = 100;

/// Where the members connect to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    pub(crate) sources: Sources,
    /// `None`: in the clear.
    pub(crate) tls: Option<TlsConnector>,
    /// One request for each room; members take them in turn.
    pub(crate) requests: Vec<Rc<ClientRequest>>,
}

/// How many connections there were, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Census {
    pub(crate) wanted: u64,
    pub(crate) opened: u64,
    /// Never opened.
    pub(crate) failed: u64,
    /// Opened, and ended by the server or the network.
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
    /// When it was to connect.
    intended: Time,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It never opened.
    Failed,
    /// We did not want it to.
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
    /// Which member a slot of the loop belongs to.
    by_slot: Vec<u32>,
    begun: usize,
    handshakes: usize,
    open: usize,
    connections: usize,
    pub(crate) census: Census,
    /// How long connecting took.
    pub(crate) connects: Tally,
}

impl Crowd {
    /// `size` members; with a `ramp` so many connect a second.
    pub(crate) fn new(destination: Destination, size: usize, ramp: Option<f64>) -> Crowd {
        let vacant = Member { conn: None, is_open: false, intended: Time::ZERO };
        Crowd {
            destination,
            route: RouteId::default(),
            ramp,
            pace: None,
            members: vec![vacant; size],
            by_slot: Vec::new(),
            begun: 0,
            handshakes: 0,
            open: 0,
            connections: 0,
            census: Census { wanted: size as u64, ..Census::default() },
            connects: Tally::new(),
        }
    }

    /// `size` members that connect when they are told to, not by themselves.
    pub(crate) fn vacant(destination: Destination, size: usize) -> Crowd {
        let crowd = Crowd::new(destination, size, None);
        Crowd { begun: size, census: Census::default(), ..crowd }
    }

    /// The route that its connections belong to on the loop.
    pub(crate) fn enlist(&mut self, route: RouteId) {
        self.route = route;
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Members whose connection is open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Connections of any state.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Whether each member has been opened or has failed.
    pub(crate) fn is_ready(&self) -> bool {
        self.begun == self.members.len() && self.handshakes == 0
    }

    /// The open connection of a member.
    pub(crate) fn conn(&self, member: usize) -> Option<ConnId> {
        let member = self.members.get(member)?;
        member.conn.filter(|_| member.is_open)
    }

    /// Whose connection this is, of those that this crowd has made.
    pub(crate) fn member(&self, conn: ConnId) -> usize {
        self.by_slot[conn.slot()] as usize
    }

    /// Begins what handshakes may begin now; says when there is more to do.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_>, errors: &mut Errors) -> Time {
        let now = cx.now();
        if let (Some(ramp), None) = (self.ramp, self.pace) {
            self.pace = Some(Pace::new(now, ramp, 1));
        }
        while self.begun < self.members.len() {
            let intended = match &mut self.pace {
                Some(pace) => match pace.take(now) {
                    Some(due) => due,
                    None => return pace.due(),
                },
                None if self.handshakes < HANDSHAKES_MAX => now,
                None => return Time::MAX,
            };
            let member = self.begun;
            self.begun += 1;
            self.connect(cx, member, intended, errors);
        }
        Time::MAX
    }

    /// Begins the handshake of a member that has no connection; whether it has begun.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Context<'_>,
        member: usize,
        intended: Time,
        errors: &mut Errors,
    ) -> bool {
        let Destination { address, sources, tls, requests } = &self.destination;
        let request = &requests[member % requests.len()];
        let begun = match (tls, sources.pick(member)) {
            (Some(tls), from) => cx.connect_secure(tls, from, self.route, *address, request),
            (None, Some(from)) => cx.connect_from(from, self.route, *address, request),
            (None, None) => cx.connect(self.route, *address, request),
        };
        match begun {
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

    /// Closes every connection.
    pub(crate) fn dismiss(&mut self, cx: &mut Context<'_>) {
        for member in &self.members {
            if let Some(conn) = member.conn {
                cx.close(conn, CloseCode::NORMAL, "");
            }
        }
    }
}
