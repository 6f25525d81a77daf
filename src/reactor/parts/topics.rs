//! Topics and their members: a dense member list per topic, an intrusive list per connection.
//!
//! It owns names and memberships. It knows no socket and sends nothing: the caller iterates over
//! [`members`](Topics::members) and queues the message. It reports a topic's first member and the
//! loss of its last, so that a broker subscription can follow real interest. A topic without
//! members does not exist.
//!
//! Linking and unlinking are O(1) by back-pointers. A membership test walks the connection's own
//! list: at most `topics_per_connection_max` steps of one integer compare. The same walk counts
//! memberships for the limit and finds the link to cut; a hash index of pairs would double the
//! memory.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use slab::Slab;

use super::batch_id::BatchId;
use crate::reactor::api::budget::TOPIC_NAME_BYTES_MAX;

/// Capacity that a member list keeps when members leave. A larger list frees the capacity that a
/// mass leave left unused.
const MEMBERS_KEPT: usize = 16;
/// The end of a list.
const NIL: u32 = u32::MAX;

/// Limits of a [`Topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// Topics that exist at once, in all services together.
    pub topics_max: usize,
    /// Topics that one connection has joined at once.
    pub topics_per_connection_max: usize,
}

/// The head of one connection's list of memberships, stored in the connection; empty by default.
/// Before it is dropped it must go through [`Topics::leave_all`] of the `Topics` that it belongs
/// to.
#[derive(Debug, PartialEq, Eq)]
pub struct Memberships(u32);

impl Default for Memberships {
    fn default() -> Memberships {
        Memberships(NIL)
    }
}

impl Memberships {
    /// Whether the connection is a member of no topic.
    pub fn is_empty(&self) -> bool {
        self.0 == NIL
    }
}

/// The outcome of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The topic was created with this member.
    First,
    /// The topic had members already.
    Joined,
    /// The connection was a member already; nothing changed.
    Already,
}

/// Why a join was refused. A refused join changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The topic does not exist, and `topics_max` topics exist.
    TooManyTopics,
    /// The connection has joined `topics_per_connection_max` topics.
    TooManyMemberships,
    /// The name has more than [`TOPIC_NAME_BYTES_MAX`] bytes.
    NameTooLong,
    /// The connection has ended, is not open, or belongs to another service.
    NotOpen,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinError::TooManyTopics => "too many topics",
            JoinError::TooManyMemberships => "the connection has joined too many topics",
            JoinError::NameTooLong => "the topic's name is too long",
            JoinError::NotOpen => "the connection is not open",
        })
    }
}

impl std::error::Error for JoinError {}

/// The outcome of a leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was the last member: the topic no longer exists.
    Last,
    /// The topic still has members.
    Left,
    /// The connection was not a member; nothing changed.
    NotMember,
}

/// Identifies a topic while it exists. The id may be reused for another topic afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicId(pub(crate) u32);

/// The topics of all services, with members of type `M` (the loop's
/// [`ConnId`](crate::reactor::ConnId)).
///
/// A membership costs 28 bytes for an `M` of 8: 8 for the member, 4 for its back-pointer, 16 in the
/// slab.
#[derive(Debug)]
pub struct Topics<M> {
    limits: TopicLimits,
    topics: Slab<Topic<M>>,
    /// By service; services are numbered from 0 by our own configuration. std's keyed hash, because
    /// names come from peers.
    names: Vec<HashMap<Rc<str>, u32>>,
    memberships: Slab<Membership>,
}

#[derive(Debug)]
struct Topic<M> {
    service: u16,
    /// The batch for exactly the present members; `None` after a join or a leave.
    batch: Option<BatchId>,
    name: Rc<str>,
    members: Vec<M>,
    /// For the member at the same position in `members`: its index in `Topics::memberships`. A list
    /// of its own, because publishing reads only members.
    memberships: Vec<u32>,
}

#[derive(Debug)]
struct Membership {
    topic: u32,
    /// The position in the topic's two lists.
    position: u32,
    /// The connection's next membership. A singly linked list is enough: cutting a link from the
    /// middle needs a walk to find it, which passes its predecessor.
    next: u32,
}

const _: () = assert!(size_of::<Memberships>() == 4);
/// The slab wraps each membership in an enum like this one.
const _: () = assert!(size_of::<Result<Membership, usize>>() == 16);

impl<M: Copy + Eq> Topics<M> {
    /// No topics; allocates at the first join.
    pub fn new(limits: TopicLimits) -> Topics<M> {
        Topics { limits, topics: Slab::new(), names: Vec::new(), memberships: Slab::new() }
    }

    /// Topics that exist, in all services together.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether no topic exists.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Members of a topic, in no order; empty if the topic does not exist.
    pub fn members(&self, service: u16, name: &str) -> &[M] {
        self.find(service, name).map_or(&[], |topic| &self.topics[topic as usize].members)
    }

    /// A topic by its name.
    pub(crate) fn id(&self, service: u16, name: &str) -> Option<TopicId> {
        self.find(service, name).map(TopicId)
    }

    /// Members of a topic that exists, in no order.
    pub(crate) fn members_of(&self, topic: TopicId) -> &[M] {
        &self.topics[topic.0 as usize].members
    }

    /// The last batch of a topic, unless its members have changed since.
    pub(crate) fn batch(&self, topic: TopicId) -> Option<BatchId> {
        self.topics[topic.0 as usize].batch
    }

    pub(crate) fn set_batch(&mut self, topic: TopicId, batch: BatchId) {
        self.topics[topic.0 as usize].batch = Some(batch);
    }

    /// The number of members of a topic.
    pub fn count(&self, service: u16, name: &str) -> usize {
        self.members(service, name).len()
    }

    /// Adds `member`, whose list is `list`, to a topic, and creates the topic if it does not exist.
    ///
    /// # Errors
    /// A limit is reached, see [`JoinError`]. A member that joins again is never refused.
    pub fn join(
        &mut self,
        service: u16,
        name: &str,
        member: M,
        list: &mut Memberships,
    ) -> Result<Joined, JoinError> {
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(JoinError::NameTooLong);
        }
        let found = self.find(service, name);
        let mut joined = 0;
        let mut at = list.0;
        while let Some(membership) = self.memberships.get(at as usize) {
            if Some(membership.topic) == found {
                return Ok(Joined::Already);
            }
            joined += 1;
            at = membership.next;
        }
        if joined >= self.limits.topics_per_connection_max {
            return Err(JoinError::TooManyMemberships);
        }
        let topic = match found {
            Some(topic) => topic,
            None if self.topics.len() >= self.limits.topics_max => {
                return Err(JoinError::TooManyTopics);
            }
            None => self.create(service, name),
        };
        self.link(topic, member, list);
        Ok(if found.is_some() { Joined::Joined } else { Joined::First })
    }

    /// Removes the connection whose list is `list` from a topic.
    pub fn leave(&mut self, service: u16, name: &str, list: &mut Memberships) -> Left {
        let Some(topic) = self.find(service, name) else {
            return Left::NotMember;
        };
        let (mut before, mut at) = (NIL, list.0);
        while let Some(membership) = self.memberships.get(at as usize) {
            if membership.topic == topic {
                let next = membership.next;
                match self.memberships.get_mut(before as usize) {
                    Some(before) => before.next = next,
                    None => list.0 = next,
                }
                return if self.unlink(at).is_some() { Left::Last } else { Left::Left };
            }
            (before, at) = (at, membership.next);
        }
        Left::NotMember
    }

    /// Removes the connection whose list is `list` from all its topics. `on_empty` gets service and
    /// name of each topic that ceases to exist.
    pub fn leave_all(&mut self, list: &mut Memberships, mut on_empty: impl FnMut(u16, &str)) {
        while let Some(membership) = self.memberships.get(list.0 as usize) {
            let at = std::mem::replace(&mut list.0, membership.next);
            if let Some(gone) = self.unlink(at) {
                on_empty(gone.service, &gone.name);
            }
        }
    }

    fn find(&self, service: u16, name: &str) -> Option<u32> {
        self.names.get(usize::from(service))?.get(name).copied()
    }

    fn create(&mut self, service: u16, name: &str) -> u32 {
        let name: Rc<str> = name.into();
        // The casts of slab keys and positions are safe: `NIL` entries would take 64 GiB or more.
        let index = self.topics.insert(Topic {
            service,
            batch: None,
            name: Rc::clone(&name),
            members: Vec::new(),
            memberships: Vec::new(),
        }) as u32;
        let service = usize::from(service);
        if self.names.len() <= service {
            self.names.resize_with(service + 1, HashMap::new);
        }
        self.names[service].insert(name, index);
        index
    }

    /// Appends to the topic's lists, and makes the membership the head of `list`.
    fn link(&mut self, index: u32, member: M, list: &mut Memberships) {
        let topic = &mut self.topics[index as usize];
        let position = topic.members.len() as u32;
        let membership = Membership { topic: index, position, next: list.0 };
        list.0 = self.memberships.insert(membership) as u32;
        topic.batch = None;
        topic.members.push(member);
        topic.memberships.push(list.0);
    }

    /// Frees a membership that is no longer in its connection's list; the topic's last member moves
    /// to its position. Returns the topic if it is empty and therefore destroyed.
    fn unlink(&mut self, at: u32) -> Option<Topic<M>> {
        let Membership { topic: index, position, .. } = self.memberships.remove(at as usize);
        let topic = &mut self.topics[index as usize];
        topic.batch = None;
        topic.members.swap_remove(position as usize);
        topic.memberships.swap_remove(position as usize);
        if let Some(&moved) = topic.memberships.get(position as usize) {
            self.memberships[moved as usize].position = position;
        }
        topic.shrink();
        topic.members.is_empty().then(|| self.destroy(index))
    }

    fn destroy(&mut self, index: u32) -> Topic<M> {
        let topic = self.topics.remove(index as usize);
        let names = &mut self.names[usize::from(topic.service)];
        names.remove(&topic.name);
        if names.len() < names.capacity() / 8 {
            names.shrink_to(names.len() * 2);
        }
        // A slab cannot move entries, because others hold their keys: it frees memory when empty.
        if self.topics.is_empty() {
            self.topics = Slab::new();
            self.memberships = Slab::new();
        }
        topic
    }
}

impl<M> Topic<M> {
    /// Halves the capacity of lists that are three quarters empty: O(1) per leave, amortized.
    fn shrink(&mut self) {
        let (len, capacity) = (self.members.len(), self.members.capacity());
        if capacity > MEMBERS_KEPT && len < capacity / 4 {
            self.members.shrink_to(capacity / 2);
            self.memberships.shrink_to(capacity / 2);
        }
    }
}

#[cfg(test)]
mod tests;
