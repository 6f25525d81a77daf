//! Refreshes: the open connections of a session get a new identity, some in each turn.
//!
//! One refresh at a time, in the order in which they came. The client gets its response when all
//! connections that its session had at the start have the new identity.

use std::collections::VecDeque;

use crate::reactor::{ConnId, Context, Identity, Time};

/// Connections that get a new identity in one turn. Each may be closed instead, if its route requires
/// more; and its service is called.
const CHANGES_PER_TURN: usize = 256;
/// Connections that the refreshes of one turn look at, before a further one waits: each looks at all of its
/// subject, whatever their session.
const VISITS_PER_TURN: usize = 16 * 1024;
/// Maximum number of refreshes that wait.
const REFRESHES_MAX: usize = 1024;

/// The refreshes that are not complete.
#[derive(Debug, Default)]
pub(super) struct Prolonging {
    waiting: VecDeque<Refresh>,
    /// Connections of the first refresh that have their old identity. Empty before it is listed.
    left: Vec<ConnId>,
    /// The turn that `changes` and `visits` count for.
    turn: Time,
    changes: usize,
    visits: usize,
}

/// A new identity for the connections of its session.
#[derive(Debug)]
pub(super) struct Refresh {
    /// The client that waits for the response.
    client: ConnId,
    identity: Identity,
    /// Whether `left` has its connections.
    is_listed: bool,
}

/// What became of a new refresh.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// It is complete.
    Done,
    /// [`Prolonging::step`] continues it.
    Later,
    /// Too many wait.
    Full,
}

impl Refresh {
    pub(super) fn new(client: ConnId, identity: Identity) -> Refresh {
        Refresh { client, identity, is_listed: false }
    }
}

impl Prolonging {
    /// Starts a refresh, behind those that wait.
    pub(super) fn start(&mut self, cx: &mut Context<'_>, refresh: Refresh) -> Started {
        if self.waiting.len() >= REFRESHES_MAX {
            return Started::Full;
        }
        self.waiting.push_back(refresh);
        if self.waiting.len() == 1 && self.step(cx).is_some() {
            return Started::Done;
        }
        cx.wake();
        Started::Later
    }

    /// Whether a refresh is not complete.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Changes identities until the first refresh is complete, and returns its client; `None` if this turn
    /// has changed enough, or nothing waits.
    pub(super) fn step(&mut self, cx: &mut Context<'_>) -> Option<ConnId> {
        if self.turn != cx.now() {
            (self.turn, self.changes, self.visits) = (cx.now(), 0, 0);
        }
        let refresh = self.waiting.front_mut()?;
        if !refresh.is_listed {
            if self.visits >= VISITS_PER_TURN {
                return None;
            }
            refresh.is_listed = true;
            let gate = cx.own_gate()?;
            let of_subject = cx.subject(gate, refresh.identity.subject());
            let of_subject = of_subject.inspect(|_| self.visits += 1);
            let of_session = of_subject.filter(|(_, old)| is_same_session(old, &refresh.identity));
            self.left = of_session.map(|(conn, _)| conn).collect();
        }
        while self.changes < CHANGES_PER_TURN {
            match self.left.pop() {
                Some(conn) => prolong(cx, conn, &refresh.identity),
                None => return self.waiting.pop_front().map(|refresh| refresh.client),
            }
            self.changes += 1;
        }
        None
    }

    /// Drops the refreshes of a subject that was signed out; returns their clients.
    pub(super) fn sign_out(&mut self, subject: &str) -> Vec<ConnId> {
        let is_signed_out = |refresh: &Refresh| refresh.identity.subject() == subject;
        if self.waiting.front().is_some_and(is_signed_out) {
            self.left.clear();
        }
        let dropped = self.waiting.iter().filter(|refresh| is_signed_out(refresh));
        let clients = dropped.map(|refresh| refresh.client).collect();
        self.waiting.retain(|refresh| !is_signed_out(refresh));
        clients
    }
}

/// Gives a connection a new identity, with the later end of both.
fn prolong(cx: &mut Context<'_>, conn: ConnId, identity: &Identity) {
    // It may have another identity since it was listed.
    let Some(old) = cx.identity(conn).filter(|old| is_same_session(old, identity)) else {
        return;
    };
    let mut identity = identity.clone();
    identity.expires = later_end(old.expires, identity.expires);
    // A connection that may not stay is closed by the loop; one that has ended needs nothing.
    let _ = cx.set_identity(conn, Box::new(identity));
}

pub(super) fn is_same_session(one: &Identity, other: &Identity) -> bool {
    one.subject() == other.subject() && one.session == other.session
}

/// The later of two ends; `None` is never.
pub(super) fn later_end(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    one.zip(other).map(|(one, other)| one.max(other))
}
