//! The sessions of all connections of a relay, without I/O.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::error::SessionError;
use super::items::{Charge, Items, Memory};
use super::job::{Answer, List, NegentropyDone, NegentropyJob, SessionId};
use super::limits::NegentropyLimits;
use crate::reactor::Time;
use crate::services::nostr::message::SubscriptionId;
use crate::services::nostr::reply::write_neg_err;
use crate::services::nostr::store::Collect;

/// The sessions of a relay; `C` identifies a connection.
#[derive(Debug)]
pub(crate) struct Sessions<C> {
    limits: NegentropyLimits,
    memory: Arc<Memory>,
    sessions: HashMap<SessionId, Session<C>>,
    by_conn: HashMap<C, Vec<SessionId>>,
    /// Sessions that wait for a message, by the time of their last reply.
    waiting: BTreeSet<(Time, SessionId)>,
    next: u64,
}

#[derive(Debug)]
struct Session<C> {
    conn: C,
    sub: SubscriptionId,
    state: State,
    /// A job of an ended session sees that nothing waits for it.
    lease: Arc<()>,
}

#[derive(Debug)]
enum State {
    /// A thread computes a reply.
    Working,
    /// The client has the reply since `since`.
    Waiting { items: Arc<Items>, since: Time },
}

/// A message for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply<C> {
    /// Its receiver.
    pub conn: C,
    /// The whole message.
    pub text: Vec<u8>,
    /// Why the session has ended, if it has.
    pub error: Option<SessionError>,
}

impl<C: Copy + Eq + Hash> Sessions<C> {
    /// No sessions.
    pub(crate) fn new(limits: NegentropyLimits) -> Sessions<C> {
        Sessions {
            memory: Arc::new(Memory::new(&limits)),
            limits,
            sessions: HashMap::new(),
            by_conn: HashMap::new(),
            waiting: BTreeSet::new(),
            next: 0,
        }
    }

    /// NEG-OPEN: starts a session; one with the same id is replaced. `collect` searches for at most
    /// `items_max` events.
    ///
    /// # Errors
    /// The connection has too many.
    pub(crate) fn open(
        &mut self,
        conn: C,
        sub: SubscriptionId,
        collect: Collect,
        message: Vec<u8>,
    ) -> Result<NegentropyJob, SessionError> {
        self.close(conn, &sub);
        if self.count(conn) >= self.limits.sessions_max {
            return Err(SessionError::TooManySessions(self.limits.sessions_max));
        }
        let id = SessionId(self.next);
        self.next += 1;
        self.by_conn.entry(conn).or_default().push(id);
        let lease = Arc::new(());
        let list = List::Wanted(Box::new(collect), Charge::new(&self.memory));
        let job = NegentropyJob {
            session: id,
            sub: sub.clone(),
            lease: Arc::downgrade(&lease),
            message,
            list,
        };
        self.sessions.insert(id, Session { conn, sub, state: State::Working, lease });
        Ok(job)
    }

    /// NEG-MSG: the next message of a session. After an error there is no such session.
    ///
    /// # Errors
    /// There is none, or a thread still computes its last reply.
    pub(crate) fn message(
        &mut self,
        conn: C,
        sub: &SubscriptionId,
        message: Vec<u8>,
    ) -> Result<NegentropyJob, SessionError> {
        let id = self.find(conn, sub).ok_or(SessionError::Unknown)?;
        let session = self.sessions.get_mut(&id).ok_or(SessionError::Unknown)?;
        let State::Waiting { items, since } = &session.state else {
            self.end(id);
            return Err(SessionError::Early);
        };
        self.waiting.remove(&(*since, id));
        let list = List::Ready(Arc::clone(items));
        session.state = State::Working;
        let lease = Arc::downgrade(&session.lease);
        Ok(NegentropyJob { session: id, sub: session.sub.clone(), lease, message, list })
    }

    /// The end of a job; the message for the client, unless the session has ended meanwhile.
    pub(crate) fn finish(&mut self, done: NegentropyDone, now: Time) -> Option<Reply<C>> {
        let NegentropyDone { session: id, outcome } = done;
        let session = self.sessions.get_mut(&id)?;
        match outcome {
            Ok(Answer { items, text }) => {
                session.state = State::Waiting { items, since: now };
                self.waiting.insert((now, id));
                Some(Reply { conn: session.conn, text, error: None })
            }
            Err(error) => self.fail(id, error),
        }
    }

    /// NEG-CLOSE: ends a session, if there is one.
    pub(crate) fn close(&mut self, conn: C, sub: &SubscriptionId) {
        if let Some(id) = self.find(conn, sub) {
            self.end(id);
        }
    }

    /// Ends all sessions of a connection.
    pub(crate) fn forget(&mut self, conn: C) {
        for id in self.by_conn.remove(&conn).unwrap_or_default() {
            self.end(id);
        }
    }

    /// Ends a session that has been without a message for too long: call it until it returns `None`.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Reply<C>> {
        let &(since, id) = self.waiting.first()?;
        let idle = self.limits.idle;
        if now < since + idle {
            return None;
        }
        self.fail(id, SessionError::Idle(idle))
    }

    /// The number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The number of sessions of a connection.
    pub(crate) fn count(&self, conn: C) -> usize {
        self.by_conn.get(&conn).map_or(0, Vec::len)
    }

    /// Memory of all lists, those that are being collected included.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.memory.held()
    }

    fn find(&self, conn: C, sub: &SubscriptionId) -> Option<SessionId> {
        let is_meant = |id: &&SessionId| self.sessions.get(id).is_some_and(|own| own.sub == *sub);
        self.by_conn.get(&conn)?.iter().find(is_meant).copied()
    }

    fn fail(&mut self, id: SessionId, error: SessionError) -> Option<Reply<C>> {
        let session = self.end(id)?;
        let mut text = Vec::new();
        write_neg_err(&mut text, &session.sub, &error);
        Some(Reply { conn: session.conn, text, error: Some(error) })
    }

    fn end(&mut self, id: SessionId) -> Option<Session<C>> {
        let session = self.sessions.remove(&id)?;
        if let State::Waiting { since, .. } = session.state {
            self.waiting.remove(&(since, id));
        }
        if let Some(of_conn) = self.by_conn.get_mut(&session.conn) {
            of_conn.retain(|own| *own != id);
            if of_conn.is_empty() {
                self.by_conn.remove(&session.conn);
            }
        }
        Some(session)
    }
}
