//! Who has joined which topic: a dense member list per topic, an intrusive list per connection.
//!
//! It owns names and memberships, never a socket, and sends nothing: the caller walks
//! [`members`](Topics::members) and pushes. The first member and the loss of the last are reported,
//! so that a broker subscription follows real interest; a topic without members does not exist.
//!
//! Linking and unlinking are O(1) by back-pointers. Whether a connection is a member is read off its
//! own list, at most `topics_per_connection_max` steps of one integer compare: the same walk counts
//! it for the limit and finds the link to cut, and a hash index of pairs would double the memory.

use std::collections::HashMap;
use std::rc::Rc;

use slab::Slab;

use super::batch::BatchId;

/// Bytes of a topic's name.
pub const NAME_BYTES_MAX: usize = 256;

/// Places that a member list keeps when its members leave; above, it gives back what a mass leave
/// freed.
const MEMBERS_KEPT: usize = 16;
/// The end of a list.
const NIL: u32 = u32::MAX;

/// What bounds a [`Topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// Topics that exist at once, over all services.
    pub topics_max: usize,
    /// Topics that one connection has joined at once.
    pub topics_per_connection_max: usize,
}

/// The head of one connection's list of memberships; lives in the connection's record, starts as
/// none. It must go through [`Topics::leave_all`] before it is dropped, and always to the same `Topics`.
#[derive(Debug, PartialEq, Eq)]
pub struct Memberships(u32);

impl Default for Memberships {
    fn default() -> Memberships {
        Memberships(NIL)
    }
}

impl Memberships {
    /// Whether the connection has joined nothing.
    pub fn is_empty(&self) -> bool {
        self.0 == NIL
    }
}

/// What a join did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The topic came into being with this member.
    First,
    /// The topic had members already.
    Joined,
    /// It was a member before; nothing changed.
    Already,
}

/// Why a join was refused; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// The topic does not exist, and `topics_max` do.
    TooManyTopics,
    /// The connection has joined `topics_per_connection_max` topics.
    TooManyMemberships,
    /// The name has more than [`NAME_BYTES_MAX`] bytes.
    NameTooLong,
    /// There is no such connection, or it is not open.
    NotOpen,
}

/// What a leave did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was the last member: the topic is gone.
    Last,
    /// Others are still members.
    Left,
    /// It was none; nothing changed.
    NotMember,
}

/// Names a topic while it exists; another may have the name afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicId(pub(super) u32);

/// The topics of all services, with members named by `M` (the loop's connection id).
///
/// A membership costs 28 bytes for an `M` of 8: the member, its back-pointer, and 16 in the slab.
#[derive(Debug)]
pub struct Topics<M> {
    limits: TopicLimits,
    topics: Slab<Topic<M>>,
    /// By service, as services are numbered from 0 by our own configuration. std's keyed hash,
    /// because names come from peers.
    names: Vec<HashMap<Rc<str>, u32>>,
    memberships: Slab<Membership>,
}

#[derive(Debug)]
struct Topic<M> {
    service: u16,
    /// Made for the members as they are: forgotten when one joins or leaves.
    batch: Option<BatchId>,
    name: Rc<str>,
    members: Vec<M>,
    /// Of the member at the same place in `members`: its place in `Topics::memberships`. Apart, as
    /// publishing reads members alone.
    memberships: Vec<u32>,
}

#[derive(Debug)]
struct Membership {
    topic: u32,
    /// The place in the topic's two lists.
    position: u32,
    /// The connection's next membership. One direction is enough: whoever cuts a link from the
    /// middle has walked there to find it.
    next: u32,
}

const _: () = assert!(size_of::<Memberships>() == 4);
/// The slab's entry is an enum like this one.
const _: () = assert!(size_of::<Result<Membership, usize>>() == 16);

impl<M: Copy + Eq> Topics<M> {
    /// No topics; allocates with the first.
    pub fn new(limits: TopicLimits) -> Topics<M> {
        Topics { limits, topics: Slab::new(), names: Vec::new(), memberships: Slab::new() }
    }

    /// Topics that exist, over all services.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether nobody has joined anything.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Members of a topic, in no order; empty if there is no such topic.
    pub fn members(&self, service: u16, name: &str) -> &[M] {
        self.find(service, name).map_or(&[], |topic| &self.topics[topic as usize].members)
    }

    /// A topic by its name.
    pub(super) fn id(&self, service: u16, name: &str) -> Option<TopicId> {
        self.find(service, name).map(TopicId)
    }

    /// Members of a topic that exists, in no order.
    pub(super) fn members_of(&self, topic: TopicId) -> &[M] {
        &self.topics[topic.0 as usize].members
    }

    /// The batch made last for a topic, unless its members have changed since.
    pub(super) fn batch(&self, topic: TopicId) -> Option<BatchId> {
        self.topics[topic.0 as usize].batch
    }

    pub(super) fn set_batch(&mut self, topic: TopicId, batch: BatchId) {
        self.topics[topic.0 as usize].batch = Some(batch);
    }

    /// How many members a topic has.
    pub fn count(&self, service: u16, name: &str) -> usize {
        self.members(service, name).len()
    }

    /// Adds `member`, whose list is `list`, to a topic, and makes the topic if there is none.
    ///
    /// # Errors
    /// A limit stands against it, see [`JoinError`]; a member that joins again meets none.
    pub fn join(
        &mut self,
        service: u16,
        name: &str,
        member: M,
        list: &mut Memberships,
    ) -> Result<Joined, JoinError> {
        if name.len() > NAME_BYTES_MAX {
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

    /// Takes the connection whose list is `list` out of a topic.
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

    /// Takes the connection whose list is `list` out of all its topics; `on_empty` hears service
    /// and name of each that is gone with it.
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
        // The casts of slab keys and positions hold: `NIL` of anything here is 64 GiB and more.
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

    /// Appends to the topic's lists, and puts the membership at the head of `list`.
    fn link(&mut self, index: u32, member: M, list: &mut Memberships) {
        let topic = &mut self.topics[index as usize];
        let position = topic.members.len() as u32;
        let membership = Membership { topic: index, position, next: list.0 };
        list.0 = self.memberships.insert(membership) as u32;
        topic.batch = None;
        topic.members.push(member);
        topic.memberships.push(list.0);
    }

    /// Frees a membership that its connection's list no longer holds; the topic's last member takes
    /// its place. Returns the topic if it is empty and therefore gone.
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
        // A slab cannot move what others point to: it gives its memory back when it is empty.
        if self.topics.is_empty() {
            self.topics = Slab::new();
            self.memberships = Slab::new();
        }
        topic
    }
}

impl<M> Topic<M> {
    /// Gives back half of what three quarters empty lists hold: O(1) a leave, on average.
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
