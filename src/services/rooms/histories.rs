//! The histories of all rooms of one service: the last messages of each room, within a total of memory.
//!
//! Owns what rooms remember, with or without members; knows no connection. Past the total, the room
//! without members that has been idle longest loses its history first, then the room that a message is
//! for loses its oldest message. Every operation costs O(log n) in the number of rooms, so that a
//! service with 100,000 histories is as fast as one with ten.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::protocol::SharedFrame;
use crate::reactor::Time;

/// What a history costs beside its messages: its entries in three tables, its name, its queue. Bounds
/// the number of rooms that remember one byte each: 64 MiB are at most 110,000 of them.
pub(super) const HISTORY_OVERHEAD_BYTES: usize = 512;
/// What a message costs beside its frame: its place in the queue, and the header of its allocation.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// How much is remembered, and how long.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Messages of one room.
    pub(super) messages_max: usize,
    /// Frame bytes of one room.
    pub(super) bytes_max: usize,
    /// Bytes of all rooms, overheads included.
    pub(super) total_bytes_max: usize,
    /// Age at which a message is forgotten; `None`: never.
    pub(super) ttl: Option<Duration>,
}

impl Limits {
    fn is_old(&self, sent: Time, now: Time) -> bool {
        self.ttl.is_some_and(|ttl| now.since(sent) >= ttl)
    }
}

/// The place of a history in the order of expiry: when its oldest message was sent, and its number.
type ExpiryKey = (Time, u64);

/// All histories, by the topic of their room.
#[derive(Debug)]
pub(super) struct Histories {
    limits: Limits,
    rooms: HashMap<Rc<str>, History>,
    /// Histories of rooms without members, the one that has been idle longest first.
    idle: BTreeMap<u64, Rc<str>>,
    /// Each history once if messages expire, under a message that is at least as old as its oldest.
    expiring: BTreeMap<ExpiryKey, Rc<str>>,
    /// Invariant: the sum of `History::cost` over `rooms`; at most `limits.total_bytes_max`.
    bytes: usize,
    /// Invariant: that sum over the rooms in `idle`.
    idle_bytes: usize,
    last_number: u64,
}

/// The last messages of one room. Invariant: not empty between two calls of `Histories`.
#[derive(Debug)]
struct History {
    messages: VecDeque<(Time, SharedFrame)>,
    frame_bytes: usize,
    /// Its key in `Histories::idle`; `None` while the room has members.
    idle: Option<u64>,
    /// Its key in `Histories::expiring`.
    expiry: ExpiryKey,
}

impl History {
    fn cost(&self) -> usize {
        HISTORY_OVERHEAD_BYTES + self.messages.len() * MESSAGE_OVERHEAD_BYTES + self.frame_bytes
    }

    /// Removes the oldest message; returns what it cost.
    fn pop_oldest(&mut self) -> usize {
        let Some((_, frame)) = self.messages.pop_front() else {
            return 0;
        };
        let bytes = frame.as_bytes().len();
        self.frame_bytes -= bytes;
        bytes + MESSAGE_OVERHEAD_BYTES
    }
}

impl Histories {
    pub(super) fn new(limits: Limits) -> Histories {
        Histories {
            limits,
            rooms: HashMap::new(),
            idle: BTreeMap::new(),
            expiring: BTreeMap::new(),
            bytes: 0,
            idle_bytes: 0,
            last_number: 0,
        }
    }

    /// The name of a room that remembers something, to be shared.
    pub(super) fn name(&self, room: &str) -> Option<Rc<str>> {
        self.rooms.get_key_value(room).map(|(name, _)| Rc::clone(name))
    }

    /// The last `count` messages of a room that are not too old, the oldest first.
    pub(super) fn recent(
        &self,
        room: &str,
        count: usize,
        now: Time,
    ) -> impl Iterator<Item = &SharedFrame> {
        let messages = self.rooms.get(room).map(|history| &history.messages);
        let skipped = messages.map_or(0, |messages| {
            // What is too old may not have been expired yet.
            let old = messages.partition_point(|(sent, _)| self.limits.is_old(*sent, now));
            old.max(messages.len().saturating_sub(count))
        });
        messages.into_iter().flatten().skip(skipped).map(|(_, frame)| frame)
    }

    /// Adds a message to the history of a room that has members. A message that does not fit at all is
    /// not remembered, and costs no older message its place.
    pub(super) fn remember(&mut self, room: &Rc<str>, now: Time, frame: SharedFrame) {
        let frame_bytes = frame.as_bytes().len();
        let is_too_large = frame_bytes > self.limits.bytes_max || !self.can_fit(room, frame_bytes);
        if self.limits.messages_max == 0 || is_too_large {
            return;
        }
        self.make_room(room, frame_bytes);
        if !self.rooms.contains_key(room) {
            self.begin(room, now);
        }
        if let Some(history) = self.rooms.get_mut(room) {
            history.frame_bytes += frame_bytes;
            history.messages.push_back((now, frame));
            self.bytes += MESSAGE_OVERHEAD_BYTES + frame_bytes;
        }
        debug_assert!(self.bytes <= self.limits.total_bytes_max, "{} bytes", self.bytes);
    }

    /// The last member of a room has left it: its history may go.
    pub(super) fn leave(&mut self, room: &str) {
        self.last_number += 1;
        if let Some((name, history)) = self.rooms.get_key_value(room)
            && history.idle.is_none()
        {
            self.idle.insert(self.last_number, Rc::clone(name));
            self.idle_bytes += history.cost();
        }
        if let Some(history) = self.rooms.get_mut(room) {
            history.idle.get_or_insert(self.last_number);
        }
    }

    /// A room has its first member.
    pub(super) fn enter(&mut self, room: &str) {
        if let Some(history) = self.rooms.get_mut(room)
            && let Some(number) = history.idle.take()
        {
            self.idle.remove(&number);
            self.idle_bytes -= history.cost();
        }
    }

    /// Forgets messages that are too old, in `rooms_max` rooms at most. Whether there may be more.
    pub(super) fn expire(&mut self, now: Time, rooms_max: usize) -> bool {
        for _ in 0..rooms_max {
            let Some(entry) = self.expiring.first_entry() else {
                return false;
            };
            if !self.limits.is_old(entry.key().0, now) {
                return false;
            }
            let room = entry.remove();
            while self.oldest(&room).is_some_and(|sent| self.limits.is_old(sent, now)) {
                self.forget_oldest(&room);
            }
            if let Some(history) = self.rooms.get_mut(&room)
                && let Some((sent, _)) = history.messages.front()
            {
                history.expiry.0 = *sent;
                self.expiring.insert(history.expiry, room);
            }
        }
        true
    }

    /// Whether the history of this room can take so many frame bytes, once everything has gone that may
    /// go for it: histories of rooms without members, and its own.
    fn can_fit(&self, room: &str, frame_bytes: usize) -> bool {
        let own = self.rooms.get(room).filter(|history| history.idle.is_none());
        let fixed = self.bytes - self.idle_bytes - own.map_or(0, History::cost);
        let needed = HISTORY_OVERHEAD_BYTES + MESSAGE_OVERHEAD_BYTES + frame_bytes;
        fixed + needed <= self.limits.total_bytes_max
    }

    /// Forgets until a message of this room fits within the limits of the room and of all.
    fn make_room(&mut self, room: &str, frame_bytes: usize) {
        loop {
            let own = self.rooms.get(room);
            let is_room_full = own.is_some_and(|history| {
                history.messages.len() >= self.limits.messages_max
                    || history.frame_bytes + frame_bytes > self.limits.bytes_max
            });
            let begins = own.map_or(HISTORY_OVERHEAD_BYTES, |_| 0);
            let total = self.bytes + begins + MESSAGE_OVERHEAD_BYTES + frame_bytes;
            if is_room_full {
                self.forget_oldest(room);
            } else if total <= self.limits.total_bytes_max {
                return;
            } else if let Some((_, idlest)) = self.idle.first_key_value() {
                let idlest = Rc::clone(idlest);
                self.forget(&idlest);
            } else if self.rooms.contains_key(room) {
                self.forget_oldest(room);
            } else {
                return;
            }
        }
    }

    /// Begins the history of a room that has members.
    fn begin(&mut self, room: &Rc<str>, now: Time) {
        self.last_number += 1;
        let expiry = (now, self.last_number);
        if self.limits.ttl.is_some() {
            self.expiring.insert(expiry, Rc::clone(room));
        }
        let history = History { messages: VecDeque::new(), frame_bytes: 0, idle: None, expiry };
        self.bytes += history.cost();
        self.rooms.insert(Rc::clone(room), history);
    }

    /// When the oldest message of a room was sent.
    fn oldest(&self, room: &str) -> Option<Time> {
        self.rooms.get(room)?.messages.front().map(|(sent, _)| *sent)
    }

    /// Forgets the oldest message of a room, and the history with its last message.
    fn forget_oldest(&mut self, room: &str) {
        let Some(history) = self.rooms.get_mut(room) else {
            return;
        };
        let freed = history.pop_oldest();
        self.bytes -= freed;
        if history.idle.is_some() {
            self.idle_bytes -= freed;
        }
        if history.messages.is_empty() {
            self.forget(room);
        }
    }

    /// Forgets all of a room.
    fn forget(&mut self, room: &str) {
        let Some(history) = self.rooms.remove(room) else {
            return;
        };
        self.expiring.remove(&history.expiry);
        self.bytes -= history.cost();
        if let Some(number) = history.idle {
            self.idle.remove(&number);
            self.idle_bytes -= history.cost();
        }
    }
}

#[cfg(test)]
mod tests;
