//! [`ConnMap`]: a service's value for each of its connections.
//!
//! A table by slot, checked by serial: a lookup costs two indices and no hash. A service removes its
//! values in `on_close`. A sweep drops those that it has left behind, a few slots with each new value.

use std::fmt;
use std::num::NonZeroU32;

use super::context::Context;
use super::id::ConnId;

/// Slots of a page. A page is allocated with its first value and freed with its last one, so that a
/// service with few connections on a loop with many pays for few.
const PAGE_SLOTS: usize = 64;

/// Slots that the sweep examines with each new value: it has examined all slots when a quarter as many
/// values were stored. So a service that removes no value has at most that many left behind, if as
/// many connections end as open.
const SWEPT_SLOTS: usize = 4;

/// A value for each connection of one service.
///
/// A value is found only by the id of its connection. [`insert`](ConnMap::insert) accepts only
/// connections of the service that have not ended: for a stale id (its connection has ended) or a
/// foreign id (of another service) it stores no value and returns `false` or `None`.
///
/// Call [`remove`](ConnMap::remove) when a connection ends for the service: in
/// [`on_close`](crate::reactor::Service::on_close), and after a request that it does not accept.
///
/// Values that were not removed are dropped later: each new value replaces the one in its slot, and
/// examines four further slots, in turn, for values of connections that have ended. Until then
/// [`len`](ConnMap::len) and [`iter`](ConnMap::iter) include them. The loop does not drop them when
/// the connection ends, because the map is a field of the service: a map that both can change would
/// need a check in each lookup, and would not be `Send`.
///
/// ```
/// use weir::protocol::Message;
/// use weir::reactor::{CloseReason, ConnId, ConnMap, Context, Service};
///
/// #[derive(Default)]
/// struct Counting {
///     received: ConnMap<u64>,
/// }
///
/// impl Service for Counting {
///     fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
///         self.received.insert(cx, conn, 0);
///     }
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
///         if let Some(received) = self.received.get_mut(conn) {
///             *received += 1;
///             let _ = cx.send(conn, &received.to_string());
///         }
///     }
///     fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: CloseReason) {
///         self.received.remove(conn);
///     }
/// }
/// ```
pub struct ConnMap<T> {
    /// By slot. Invariant: each page has at least one value, and the last page is not `None`.
    pages: Vec<Option<Box<Page<T>>>>,
    len: usize,
    /// The slot that the sweep examines next.
    swept: usize,
}

struct Page<T> {
    entries: [Option<Entry<T>>; PAGE_SLOTS],
    len: usize,
}

struct Entry<T> {
    serial: NonZeroU32,
    value: T,
}

impl<T> Default for ConnMap<T> {
    fn default() -> ConnMap<T> {
        ConnMap::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for ConnMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> ConnMap<T> {
    /// An empty map, which allocates nothing.
    pub const fn new() -> ConnMap<T> {
        ConnMap { pages: Vec::new(), len: 0, swept: 0 }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores the value of a connection and drops its previous one. Returns `false`, and drops
    /// `value`, if the connection has ended or belongs to another service.
    pub fn insert(&mut self, cx: &Context<'_>, conn: ConnId, value: T) -> bool {
        let is_ours = cx.has(conn);
        if is_ours {
            self.put(conn, value);
            self.sweep(|conn| cx.is_stale(conn));
        }
        is_ours
    }

    /// The value of a connection, created by `value` if it has none. `None` if the connection has
    /// ended or belongs to another service.
    pub fn get_or_insert_with(
        &mut self,
        cx: &Context<'_>,
        conn: ConnId,
        value: impl FnOnce() -> T,
    ) -> Option<&mut T> {
        if !cx.has(conn) {
            return None;
        }
        if !self.contains(conn) {
            self.put(conn, value());
            self.sweep(|conn| cx.is_stale(conn));
        }
        self.get_mut(conn)
    }

    /// The value of a connection.
    pub fn get(&self, conn: ConnId) -> Option<&T> {
        let page = self.pages.get(conn.slot() / PAGE_SLOTS)?.as_ref()?;
        let entry = page.entries[conn.slot() % PAGE_SLOTS].as_ref()?;
        (entry.serial.get() == conn.serial()).then_some(&entry.value)
    }

    /// The value of a connection, mutable.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        let page = self.pages.get_mut(conn.slot() / PAGE_SLOTS)?.as_mut()?;
        let entry = page.entries[conn.slot() % PAGE_SLOTS].as_mut()?;
        (entry.serial.get() == conn.serial()).then_some(&mut entry.value)
    }

    /// Whether a connection has a value.
    pub fn contains(&self, conn: ConnId) -> bool {
        self.get(conn).is_some()
    }

    /// Removes the value of a connection and returns it.
    pub fn remove(&mut self, conn: ConnId) -> Option<T> {
        let at = conn.slot() / PAGE_SLOTS;
        let page = self.pages.get_mut(at)?.as_mut()?;
        let entry = &mut page.entries[conn.slot() % PAGE_SLOTS];
        let Entry { value, .. } = entry.take_if(|entry| entry.serial.get() == conn.serial())?;
        page.len -= 1;
        self.len -= 1;
        if page.len == 0 {
            self.pages[at] = None;
            while self.pages.pop_if(|page| page.is_none()).is_some() {}
        }
        Some(value)
    }

    /// All values with their connections, by slot. Visits each slot of each page.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        let pages = self.pages.iter().enumerate();
        let pages = pages.filter_map(|(at, page)| Some((at * PAGE_SLOTS, page.as_deref()?)));
        pages.flat_map(|(first, page)| {
            let entries = page.entries.iter().enumerate();
            entries.filter_map(move |(at, entry)| {
                let Entry { serial, value } = entry.as_ref()?;
                Some((ConnId::new(first + at, serial.get()), value))
            })
        })
    }

    /// Examines the next slots, and drops values of connections that have ended.
    fn sweep(&mut self, is_stale: impl Fn(ConnId) -> bool) {
        for _ in 0..SWEPT_SLOTS {
            let slot = self.swept % (self.pages.len().max(1) * PAGE_SLOTS);
            let page = self.pages.get(slot / PAGE_SLOTS);
            let Some(page) = page.and_then(|page| page.as_ref()) else {
                self.swept = slot - slot % PAGE_SLOTS + PAGE_SLOTS;
                continue;
            };
            self.swept = slot + 1;
            let entry = page.entries[slot % PAGE_SLOTS].as_ref();
            let conn = entry.map(|entry| ConnId::new(slot, entry.serial.get()));
            if let Some(conn) = conn.filter(|conn| is_stale(*conn)) {
                self.remove(conn);
            }
        }
    }

    /// Stores a value for a connection that has not ended. An existing value in its slot belongs to
    /// an ended connection.
    fn put(&mut self, conn: ConnId, value: T) {
        let Some(serial) = NonZeroU32::new(conn.serial()) else {
            return;
        };
        let at = conn.slot() / PAGE_SLOTS;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let page = self.pages[at].get_or_insert_with(|| {
            Box::new(Page { entries: [const { None }; PAGE_SLOTS], len: 0 })
        });
        let previous = page.entries[conn.slot() % PAGE_SLOTS].replace(Entry { serial, value });
        if previous.is_none() {
            page.len += 1;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn id(slot: usize, serial: u32) -> ConnId {
        ConnId::new(slot, serial)
    }

    #[test]
    fn only_its_connection_finds_a_value() {
        let mut map = ConnMap::new();
        map.put(id(3, 7), "seven");
        assert_eq!(map.get(id(3, 7)), Some(&"seven"));
        for other in [id(3, 6), id(3, 8), id(4, 7), id(3 + PAGE_SLOTS, 7), id(9999, 7)] {
            assert_eq!(map.get(other), None, "{other:?}");
            assert_eq!(map.get_mut(other), None, "{other:?}");
            assert_eq!(map.remove(other), None, "{other:?}");
        }
        *map.get_mut(id(3, 7)).unwrap() = "changed";
        assert_eq!((map.len(), map.remove(id(3, 7))), (1, Some("changed")));
        assert_eq!((map.len(), map.remove(id(3, 7))), (0, None));
    }

    #[test]
    fn a_stale_value_is_dropped_when_its_slot_gets_a_new_one() {
        let mut map = ConnMap::new();
        let value = Rc::new(());
        for serial in 1..=10 {
            map.put(id(0, serial), Rc::clone(&value));
            assert_eq!((map.len(), Rc::strong_count(&value)), (1, 2));
        }
        assert!(!map.contains(id(0, 9)) && map.contains(id(0, 10)));
    }

    #[test]
    fn the_sweep_drops_values_that_were_left_behind() {
        const PEAK: u32 = 3 * PAGE_SLOTS as u32;
        let mut map = ConnMap::new();
        let value = Rc::new(());
        for serial in 1..=PEAK {
            map.put(id(serial as usize, serial), Rc::clone(&value));
        }
        // All end, and two connections follow each other in slot 0; the last one is open.
        let slots = map.pages.len() * PAGE_SLOTS;
        for serial in PEAK + 1..=PEAK + (slots / SWEPT_SLOTS) as u32 {
            map.put(id(0, serial), Rc::clone(&value));
            map.sweep(|conn| conn.serial() < serial);
        }
        assert_eq!((map.len(), map.pages.len(), Rc::strong_count(&value)), (1, 1, 2));
    }

    #[test]
    fn the_sweep_keeps_up_with_a_service_that_removes_nothing() {
        const OPEN: u32 = 1000;
        let mut map = ConnMap::new();
        let mut free: Vec<usize> = (0..2 * OPEN as usize).collect();
        let mut open = std::collections::VecDeque::new();
        let mut most = 0;
        for serial in 1..20 * OPEN {
            if open.len() == OPEN as usize {
                free.push(open.pop_front().map_or(0, ConnId::slot));
            }
            // Slots are used in an order that leaves values behind as long as possible.
            let conn = id(free.remove(0), serial);
            open.push_back(conn);
            map.put(conn, ());
            map.sweep(|conn| conn.serial() + OPEN <= serial);
            most = most.max(map.len());
        }
        assert!(most < 2 * OPEN as usize, "{most} values for {OPEN} connections");
        map.sweep(|_| false);
    }

    #[test]
    fn the_sweep_of_an_empty_map_ends() {
        let mut map = ConnMap::<()>::new();
        map.sweep(|_| true);
        map.put(id(3 * PAGE_SLOTS, 1), ());
        for _ in 0..3 * PAGE_SLOTS {
            map.sweep(|_| true);
        }
        assert!(map.is_empty());
        map.sweep(|_| true);
    }

    #[test]
    fn pages_are_freed_with_their_last_value() {
        let mut map = ConnMap::new();
        let slots = [0, 1, PAGE_SLOTS, 5 * PAGE_SLOTS, 1000 * PAGE_SLOTS];
        for slot in slots {
            map.put(id(slot, 1), slot);
        }
        assert_eq!(map.pages.iter().flatten().count(), 4);
        assert_eq!(map.iter().map(|(conn, slot)| (conn.slot(), *slot)).collect::<Vec<_>>(), {
            slots.map(|slot| (slot, slot)).to_vec()
        });
        assert_eq!(map.remove(id(1000 * PAGE_SLOTS, 1)), Some(1000 * PAGE_SLOTS));
        assert_eq!(map.pages.len(), 6, "pages behind the last value are gone");
        for slot in [PAGE_SLOTS, 0, 5 * PAGE_SLOTS, 1] {
            map.remove(id(slot, 1)).unwrap();
        }
        assert!(map.is_empty() && map.pages.is_empty());
    }
}
