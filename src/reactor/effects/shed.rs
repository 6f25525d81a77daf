//! Closes connections while the load is critical by memory or delay: those that hold the most, or send
//! the most.
//!
//! Each sample looks at a part of the table, and judges the connections that the last one has looked at.
//! Low priority comes first, then normal; connections that their service is busy for come last. How many
//! may be closed, and when that stops, is in [`parts::shedding`](crate::reactor::parts::shedding).

use std::cmp::Reverse;

use log::{error, warn};

use crate::reactor::Reactor;
use crate::reactor::api::budget::{
    HANDLER_WORK, MESSAGE_WORK, RETRY_SECONDS, VISITS_PER_SAMPLE, WORK_BYTES,
};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::level::{Level, Resource};
use crate::reactor::api::observer::EventKind;
use crate::reactor::api::priority::Priority;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::table::Conns;
use crate::reactor::core::Core;
use crate::reactor::parts::shedding::{Candidate, Step};

/// A connection with less than one part in so many of the mean share is not closed.
const MEAN_PARTS: u64 = 4;

/// A candidate that may be closed, in the order in which they are.
type Ranked = (Priority, Reverse<u64>, ConnId);

impl Reactor {
    /// Closes connections after a sample, if the load is critical.
    pub(crate) fn shed(&mut self) {
        match self.core.next_shedding_step() {
            Step::Nothing => return,
            Step::Begin(resource) => {
                warn!(resource = resource.name(); "closing connections: the load is critical");
            }
            Step::Stop(resource) => {
                self.core.metrics.shed_futile += 1;
                error!(
                    resource = resource.name();
                    "closing connections does not lower the load: none is closed for it until it falls"
                );
                return;
            }
            Step::Close(_, 0) => {}
            Step::Close(resource, count) => self.shed_some(resource, count),
        }
        self.core.collect_candidates(VISITS_PER_SAMPLE);
    }

    fn shed_some(&mut self, resource: Resource, count: usize) {
        self.core.work.begin(HANDLER_WORK);
        let (mut chosen, mut busy) = (Vec::new(), Vec::new());
        for (_, _, id) in self.core.rank_candidates(resource) {
            if chosen.len() == count {
                break;
            }
            let class = if self.is_busy(id) { &mut busy } else { &mut chosen };
            class.push(id);
        }
        chosen.extend(busy);
        chosen.truncate(count);
        for &id in &chosen {
            self.core.shed_one(id, resource);
        }
        self.core.shedding.note_closed(chosen.len());
    }
}

impl Core {
    fn next_shedding_step(&mut self) -> Step {
        let levels = &self.load.levels;
        let causes = [Resource::Memory, Resource::Delay].into_iter();
        let critical = causes.filter(|by| levels.of(*by) == Level::Critical);
        let critical: Vec<_> = critical.map(|by| (by, levels.value(by))).collect();
        let open = self.conns.by_priority().iter().sum();
        self.shedding.step(&critical, open, self.settings.shed_max_percent, self.now)
    }

    /// Looks at the next `count` slots of the table.
    fn collect_candidates(&mut self, count: usize) {
        let Core { conns, shedding, .. } = self;
        let first = shedding.next_slot(conns.slots(), count);
        let visited = conns.in_slots(first, count);
        let visited = visited.filter(|(_, conn)| conn.is_open_client());
        shedding.candidates.clear();
        shedding.candidates.extend(visited.map(|(id, conn)| {
            let (messages, bytes) = sent_by(conns, conn);
            Candidate { id, messages, bytes }
        }));
    }

    /// The candidates that may be closed, in order. All of them count for the mean share, high
    /// priorities, too.
    fn rank_candidates(&self, resource: Resource) -> Vec<Ranked> {
        let mut ranked: Vec<Ranked> = Vec::new();
        for candidate in &self.shedding.candidates {
            if let Some(conn) = self.conns.get(candidate.id).filter(|conn| conn.is_open_client()) {
                let share = match resource {
                    Resource::Memory => self.memory_of(conn) as u64,
                    _ => work_since(candidate, sent_by(&self.conns, conn)),
                };
                ranked.push((conn.priority(), Reverse(share), candidate.id));
            }
        }
        let all: u64 = ranked.iter().map(|(_, Reverse(share), _)| share).sum();
        let count = ranked.len() as u64;
        let is_cause = |share: u64| share > 0 && share * count * MEAN_PARTS >= all;
        ranked.retain(|(priority, Reverse(share), _)| !priority.is_exempt() && is_cause(*share));
        ranked.sort_unstable_by_key(|(priority, share, _)| (*priority, *share));
        ranked
    }

    /// Bytes that a connection holds: of a tunnel, both sides.
    fn memory_of(&self, conn: &Connection) -> usize {
        let windows = conn.cold.as_deref().and_then(|cold| cold.windows.as_ref());
        let upstream = upstream_of(&self.conns, conn);
        self.outboxes.held_by(conn)
            + windows.map_or(0, |windows| windows.held_bytes())
            + upstream.map_or(0, |upstream| self.outboxes.held_by(upstream))
    }

    fn shed_one(&mut self, id: ConnId, resource: Resource) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let is_open = conn.is_open();
        self.metrics.shed += 1;
        self.observe(id, EventKind::Shed);
        let seconds = self.retry_after_seconds();
        let text = format!("{}, retry in {seconds} s", CloseReason::Shed.text());
        self.begin_close(id, CloseReason::Shed, &text);
        if is_open && resource == Resource::Memory {
            self.cut_before_close(id);
        }
    }

    /// When a client should try again, spread so that not all come at once.
    fn retry_after_seconds(&mut self) -> u32 {
        let (first, last) = RETRY_SECONDS;
        first + u32::from_ne_bytes(self.masks.key()) % (last - first + 1)
    }
}

/// The upstream of a client's tunnel.
fn upstream_of<'a>(conns: &'a Conns, conn: &Connection) -> Option<&'a Connection> {
    conns.get(conn.partner()?)
}

/// Messages and bytes that a connection has sent: of a tunnel, both sides.
fn sent_by(conns: &Conns, conn: &Connection) -> (u64, u64) {
    let sides = [Some(conn), upstream_of(conns, conn)].into_iter().flatten();
    let sums = |(messages, bytes): (u64, u64), side: &Connection| {
        (messages + side.traffic.messages_in, bytes + side.traffic.bytes_in)
    };
    sides.fold((0, 0), sums)
}

/// What a connection has sent since it was looked at, in units of work.
fn work_since(seen: &Candidate, (messages, bytes): (u64, u64)) -> u64 {
    let messages = messages.saturating_sub(seen.messages);
    let bytes = bytes.saturating_sub(seen.bytes);
    messages * MESSAGE_WORK as u64 + bytes / WORK_BYTES as u64
}

#[cfg(test)]
mod tests;
