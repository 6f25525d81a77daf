//! The connections of each subject of a gate: a list per subject, linked through one slab.
//!
//! Entering and leaving are O(1). It knows connections by id only, and subjects as names: whose they
//! are, the gate has determined. `connections_max` bounds its size, since a connection is in it at
//! most once.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use crate::reactor::api::id::{ConnId, GateId};

/// The end of a list.
const NIL: u32 = u32::MAX;

/// The entry of a connection, stored with its identity. It must be given back to
/// [`Subjects::leave`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MemberId(u32);

/// The connections of all subjects.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    /// Invariant: a subject without connections does not exist.
    by_name: HashMap<GateId, HashMap<Arc<str>, u32>>,
    subjects: Slab<Subject>,
    members: Slab<Member>,
}

#[derive(Debug)]
struct Subject {
    gate: GateId,
    name: Arc<str>,
    /// The last connection that entered.
    first: u32,
    /// Connections, without those that a limit in a dry run would have refused.
    count: usize,
}

#[derive(Debug)]
struct Member {
    conn: ConnId,
    subject: u32,
    /// Towards the last connection that entered.
    previous: u32,
    next: u32,
    counts: bool,
}

impl Subjects {
    /// The number of connections with an identity.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds a connection to a subject that has fewer than `most`; `None` if it has not.
    pub(crate) fn enter(
        &mut self,
        gate: GateId,
        name: &Arc<str>,
        conn: ConnId,
        most: Option<usize>,
    ) -> Option<MemberId> {
        let found = self.find(gate, name);
        let count = found.map_or(0, |index| self.subjects[index as usize].count);
        let has_room = most.is_none_or(|most| count < most);
        has_room.then(|| self.add(gate, name, conn, true))
    }

    /// Adds a connection that a limit in a dry run would have refused: it does not count.
    pub(crate) fn enter_surplus(
        &mut self,
        gate: GateId,
        name: &Arc<str>,
        conn: ConnId,
    ) -> MemberId {
        self.add(gate, name, conn, false)
    }

    fn add(&mut self, gate: GateId, name: &Arc<str>, conn: ConnId, counts: bool) -> MemberId {
        let subject = self.find(gate, name).unwrap_or_else(|| {
            let name = Arc::clone(name);
            let subject = Subject { gate, name: Arc::clone(&name), first: NIL, count: 0 };
            let index = self.subjects.insert(subject) as u32;
            self.by_name.entry(gate).or_default().insert(name, index);
            index
        });
        let of = &mut self.subjects[subject as usize];
        let next = of.first;
        let id = self.members.insert(Member { conn, subject, previous: NIL, next, counts }) as u32;
        of.first = id;
        of.count += usize::from(counts);
        if let Some(next) = self.members.get_mut(next as usize) {
            next.previous = id;
        }
        MemberId(id)
    }

    /// Removes a connection from its subject.
    pub(crate) fn leave(&mut self, member: MemberId) {
        let MemberId(id) = member;
        let Some(removed) = self.members.try_remove(id as usize) else {
            debug_assert!(false, "a connection has left its subject twice");
            return;
        };
        let Member { subject, previous, next, counts, .. } = removed;
        if let Some(next) = self.members.get_mut(next as usize) {
            next.previous = previous;
        }
        if let Some(previous) = self.members.get_mut(previous as usize) {
            previous.next = next;
        }
        let of = &mut self.subjects[subject as usize];
        if previous == NIL {
            of.first = next;
        }
        of.count -= usize::from(counts);
        if of.first == NIL {
            self.forget(subject);
        }
    }

    fn forget(&mut self, subject: u32) {
        let Subject { gate, name, .. } = self.subjects.remove(subject as usize);
        if let Some(names) = self.by_name.get_mut(&gate) {
            names.remove(&name);
            if names.is_empty() {
                self.by_name.remove(&gate);
            }
        }
    }

    /// The connections of a subject, the last one that entered first.
    pub(crate) fn connections(&self, gate: GateId, name: &str) -> impl Iterator<Item = ConnId> {
        let first = self.find(gate, name).map_or(NIL, |index| self.subjects[index as usize].first);
        let member = |id: u32| self.members.get(id as usize);
        let all = std::iter::successors(member(first), move |of| member(of.next));
        all.map(|member| member.conn)
    }

    /// The connections in up to `most` places of the table, from `place` on, and the next place;
    /// `None` if the table ends before.
    pub(crate) fn walk(&self, place: usize, most: usize) -> (Vec<ConnId>, Option<usize>) {
        let end = place.saturating_add(most);
        let conns = (place..end).filter_map(|place| Some(self.members.get(place)?.conn)).collect();
        (conns, (end < self.members.capacity()).then_some(end))
    }

    fn find(&self, gate: GateId, name: &str) -> Option<u32> {
        self.by_name.get(&gate)?.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::reactor::api::id::ServiceId;

    fn gate(number: u16) -> GateId {
        GateId(ServiceId(number))
    }

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn a_subject_has_at_most_its_limit_of_connections() {
        let mut subjects = Subjects::default();
        let conn = |serial| ConnId::new(serial as usize, serial);
        let first = subjects.enter(gate(0), &name("ann"), conn(1), Some(2)).unwrap();
        subjects.enter(gate(0), &name("ann"), conn(2), Some(2)).unwrap();
        assert_eq!(subjects.enter(gate(0), &name("ann"), conn(3), Some(2)), None);
        assert!(subjects.enter(gate(1), &name("ann"), conn(3), Some(2)).is_some(), "another gate");
        assert!(subjects.enter(gate(0), &name("bob"), conn(4), Some(2)).is_some());
        subjects.leave(first);
        assert!(subjects.enter(gate(0), &name("ann"), conn(5), Some(2)).is_some());
        let found: Vec<_> = subjects.connections(gate(0), "ann").collect();
        assert_eq!(found, [conn(5), conn(2)]);
    }

    #[test]
    fn a_surplus_connection_is_in_the_list_and_does_not_count() {
        let mut subjects = Subjects::default();
        let (ann, conn) = (name("ann"), |serial| ConnId::new(serial as usize, serial));
        let first = subjects.enter(gate(0), &ann, conn(1), Some(1)).unwrap();
        let surplus = subjects.enter_surplus(gate(0), &ann, conn(2));
        assert_eq!(subjects.enter(gate(0), &ann, conn(3), Some(1)), None);
        subjects.leave(first);
        let last = subjects.enter(gate(0), &ann, conn(3), Some(1)).unwrap();
        assert!(subjects.connections(gate(0), "ann").eq([conn(3), conn(2)]));
        subjects.leave(last);
        assert!(subjects.connections(gate(0), "ann").eq([conn(2)]));
        subjects.leave(surplus);
        assert!(subjects.by_name.is_empty() && subjects.subjects.is_empty());
    }

    /// Compares with sorted lists, over random steps.
    #[test]
    fn it_equals_a_naive_model() {
        let mut random = StdRng::seed_from_u64(5);
        let mut subjects = Subjects::default();
        let mut model: BTreeMap<(u16, String), Vec<ConnId>> = BTreeMap::new();
        let mut entered: Vec<(MemberId, ConnId, (u16, String))> = Vec::new();
        for serial in 1..20_000 {
            if entered.len() < 100 && random.random_range(0..2) == 0 {
                let key = (random.random_range(0..2), format!("s{}", random.random_range(0..20)));
                let conn = ConnId::new(serial as usize, serial);
                let of = model.entry(key.clone()).or_default();
                let member = subjects.enter(gate(key.0), &name(&key.1), conn, Some(5));
                assert_eq!(member.is_some(), of.len() < 5);
                if let Some(member) = member {
                    of.insert(0, conn);
                    entered.push((member, conn, key));
                }
            } else if !entered.is_empty() {
                let at = random.random_range(0..entered.len());
                let (member, conn, key) = entered.swap_remove(at);
                subjects.leave(member);
                model.get_mut(&key).unwrap().retain(|other| *other != conn);
            }
            for ((of, subject), expected) in &model {
                assert!(subjects.connections(gate(*of), subject).eq(expected.iter().copied()));
            }
            assert_eq!(subjects.len(), entered.len());
        }
        let mut walked = Vec::new();
        let mut place = Some(0);
        while let Some(from) = place {
            let (conns, next) = subjects.walk(from, 7);
            walked.extend(conns);
            place = next;
        }
        walked.sort();
        let mut expected: Vec<_> = entered.iter().map(|(_, conn, _)| *conn).collect();
        expected.sort();
        assert_eq!(walked, expected);
        entered.into_iter().for_each(|(member, ..)| subjects.leave(member));
        assert!(subjects.by_name.is_empty() && subjects.subjects.is_empty());
    }
}
