//! The histories of all rooms of one service: the last messages of each room, within a total memory
//! limit.
//!
//! Owns the messages that rooms keep, with or without members; knows no connections. Above the
//! total, the room without members that has been idle longest loses its history. If there is none,
//! the room of the new message loses its oldest messages. Every operation costs O(log n) in the
//! number of rooms, so that a service with 100,000 histories is as fast as one with ten.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::protocol::SharedFrame;
use crate::reactor::Time;

/// Cost of a history besides its messages: entries in three tables, its name, its queue. Bounds the
/// number of rooms that keep one byte each: at most 110,000 in 64 MiB.
pub(super) const HISTORY_OVERHEAD_BYTES: usize = 512;
/// Cost of a message besides its frame: its place in the queue, and the header of its allocation.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// How many messages are kept, and how long.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Maximum number of messages per room.
    pub(super) messages_max: usize,
    /// Maximum frame bytes per room.
    pub(super) bytes_max: usize,
    /// Maximum bytes of all rooms, overheads included.
    pub(super) total_bytes_max: usize,
    /// Age at which a message expires; `None`: never.
    pub(super) ttl: Option<Duration>,
}

impl Limits {
    fn is_old(&self, sent: Time, now: Time) -> bool {
        self.ttl.is_some_and(|ttl| now.since(sent) >= ttl)
    }
}

/// The key of a history in the order of expiry: the time of its oldest message, and its number.
type ExpiryKey = (Time, u64);

/// All histories, by the topic of their room.
#[derive(Debug)]
pub(super) struct Histories {
    limits: Limits,
    rooms: HashMap<Rc<str>, History>,
    /// Histories of rooms without members, longest idle first.
    idle: BTreeMap<u64, Rc<str>>,
    /// Each history once if messages expire, by the time of a message at least as old as its
    /// oldest.
    expiring: BTreeMap<ExpiryKey, Rc<str>>,
    /// Invariant: the sum of `History::cost` over `rooms`; at most `limits.total_bytes_max` after a
    /// message was added.
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

    /// Removes the oldest message; returns its cost.
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

    /// Changes the limit of all rooms. What exceeds it is dropped by [`shrink`](Histories::shrink).
    pub(super) fn limit_total(&mut self, bytes_max: usize) {
        self.limits.total_bytes_max = bytes_max;
    }

    /// Drops histories above the limit of all rooms, at most `rooms_max` of them: first those of rooms
    /// without members, the longest idle first, then those with the oldest messages. Returns whether
    /// more must be dropped.
    pub(super) fn shrink(&mut self, rooms_max: usize) -> bool {
        for _ in 0..rooms_max {
            if self.bytes <= self.limits.total_bytes_max {
                return false;
            }
            let idle = self.idle.first_key_value().map(|(_, room)| room);
            let oldest = self.expiring.first_key_value().map(|(_, room)| room);
            let any = self.rooms.keys().next();
            let Some(room) = idle.or(oldest).or(any).map(Rc::clone) else {
                return false;
            };
            self.forget(&room);
        }
        self.bytes > self.limits.total_bytes_max
    }

    /// The shared name of a room that has a history.
    pub(super) fn name(&self, room: &str) -> Option<Rc<str>> {
        self.rooms.get_key_value(room).map(|(name, _)| Rc::clone(name))
    }

    /// The last `count` messages of a room that have not expired, oldest first.
    pub(super) fn recent(
        &self,
        room: &str,
        count: usize,
        now: Time,
    ) -> impl Iterator<Item = &SharedFrame> {
        let messages = self.rooms.get(room).map(|history| &history.messages);
        let skipped = messages.map_or(0, |messages| {
            // Expired messages may still be in the queue.
            let old = messages.partition_point(|(sent, _)| self.limits.is_old(*sent, now));
            old.max(messages.len().saturating_sub(count))
        });
        messages.into_iter().flatten().skip(skipped).map(|(_, frame)| frame)
    }

    /// Adds a message to the history of a room with members. A message that cannot fit at all is
    /// not kept, and displaces no older message.
    pub(super) fn remember(&mut self, room: &Rc<str>, now: Time, frame: SharedFrame) {
        if self.bytes > self.limits.total_bytes_max {
            // The limit was lowered: this room starts again, before many others are dropped at once.
            return self.forget(room);
        }
        let frame_bytes = frame.as_bytes().len();
        let is_too_large = frame_bytes > self.limits.bytes_max || !self.can_fit(room, frame_bytes);
        if self.limits.messages_max == 0 || is_too_large {
            return;
        }
        self.make_room(room, frame_bytes);
        if !self.rooms.contains_key(room) {
            self.add_history(room, now);
        }
        if let Some(history) = self.rooms.get_mut(room) {
            history.frame_bytes += frame_bytes;
            history.messages.push_back((now, frame));
            self.bytes += MESSAGE_OVERHEAD_BYTES + frame_bytes;
        }
        debug_assert!(self.bytes <= self.limits.total_bytes_max, "{} bytes", self.bytes);
    }

    /// Records that the last member has left a room: its history may be dropped.
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

    /// Records that a room has its first member.
    pub(super) fn enter(&mut self, room: &str) {
        if let Some(history) = self.rooms.get_mut(room)
            && let Some(number) = history.idle.take()
        {
            self.idle.remove(&number);
            self.idle_bytes -= history.cost();
        }
    }

    /// Drops expired messages, in at most `rooms_max` rooms. Returns whether more may be due.
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

    /// Whether the history of this room can take this many frame bytes once everything droppable is
    /// dropped: histories of rooms without members, and its own.
    fn can_fit(&self, room: &str, frame_bytes: usize) -> bool {
        let own = self.rooms.get(room).filter(|history| history.idle.is_none());
        let fixed = self.bytes - self.idle_bytes - own.map_or(0, History::cost);
        let needed = HISTORY_OVERHEAD_BYTES + MESSAGE_OVERHEAD_BYTES + frame_bytes;
        fixed + needed <= self.limits.total_bytes_max
    }

    /// Drops messages until a message of this room fits within the limits of the room and of all
    /// rooms.
    fn make_room(&mut self, room: &str, frame_bytes: usize) {
        loop {
            let own = self.rooms.get(room);
            let is_room_full = own.is_some_and(|history| {
                history.messages.len() >= self.limits.messages_max
                    || history.frame_bytes + frame_bytes > self.limits.bytes_max
            });
            let overhead = own.map_or(HISTORY_OVERHEAD_BYTES, |_| 0);
            let total = self.bytes + overhead + MESSAGE_OVERHEAD_BYTES + frame_bytes;
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

    /// Adds an empty history for a room with members.
    fn add_history(&mut self, room: &Rc<str>, now: Time) {
        self.last_number += 1;
        let expiry = (now, self.last_number);
        if self.limits.ttl.is_some() {
            self.expiring.insert(expiry, Rc::clone(room));
        }
        let history = History { messages: VecDeque::new(), frame_bytes: 0, idle: None, expiry };
        self.bytes += history.cost();
        self.rooms.insert(Rc::clone(room), history);
    }

    /// The time of a room's oldest message.
    fn oldest(&self, room: &str) -> Option<Time> {
        self.rooms.get(room)?.messages.front().map(|(sent, _)| *sent)
    }

    /// Drops the oldest message of a room, and the history with its last message.
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

    /// Drops the history of a room.
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
