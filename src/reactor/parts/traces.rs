//! The trace of the last request on each connection.
//!
//! A table of its own, because connections have no room for a trace unless the setting `trace` is on.
//! It has at most one entry for each slot of the loop's table.

use crate::protocol::http::TraceParent;
use crate::reactor::api::id::ConnId;

/// Traces by the slot of their connection.
#[derive(Debug, Default)]
pub(crate) struct Traces(Vec<Option<Entry>>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The serial of the connection: another one may be in its slot now.
    serial: u32,
    trace: TraceParent,
}

impl Traces {
    pub(crate) fn get(&self, id: ConnId) -> Option<TraceParent> {
        let entry = self.0.get(id.slot()).copied().flatten();
        entry.filter(|entry| entry.serial == id.serial()).map(|entry| entry.trace)
    }

    pub(crate) fn set(&mut self, id: ConnId, trace: TraceParent) {
        let slot = id.slot();
        if slot >= self.0.len() {
            self.0.resize(slot + 1, None);
        }
        self.0[slot] = Some(Entry { serial: id.serial(), trace });
    }

    /// Removes the trace of a connection whose last request is not known.
    pub(crate) fn remove(&mut self, id: ConnId) {
        if let Some(entry) = self.0.get_mut(id.slot()) {
            *entry = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_belongs_to_one_connection_of_a_slot() {
        let (first, second) = (ConnId::new(3, 1), ConnId::new(3, 2));
        let trace = TraceParent::new([1; 24]);
        let mut traces = Traces::default();
        assert_eq!(traces.get(first), None);
        traces.set(first, trace);
        assert_eq!((traces.get(first), traces.get(second)), (Some(trace), None));
        traces.set(second, TraceParent::new([2; 24]));
        assert_eq!(traces.get(first), None);
        traces.remove(second);
        assert_eq!(traces.get(second), None);
    }
}
