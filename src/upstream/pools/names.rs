//! The DNS names of all pools: their addresses, and when each is looked up.
//!
//! It looks nothing up itself; `upstream/resolve.rs` does, on threads. After a failure the last
//! addresses stay.

use std::net::SocketAddr;
use std::time::Duration;

use crate::reactor::Time;
use crate::upstream::backoff::Backoff;
use crate::upstream::resolve::{HostPort, LOOKUPS_MAX, Lookup};

/// The pause after a failed lookup of a name without addresses, and the longest one after many.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A name that pools use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedName {
    pub(super) host: HostPort,
    /// `None`: it is looked up once.
    pub(super) interval: Option<Duration>,
}

/// The names of all pools.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Name>);

#[derive(Debug)]
struct Name {
    wanted: WantedName,
    due: Time,
    is_under_way: bool,
    /// Empty until the first lookup that succeeds.
    addresses: Vec<SocketAddr>,
    backoff: Backoff,
}

impl Names {
    /// Replaces the names. Known ones keep their addresses; new ones are due at once.
    pub(super) fn replace(&mut self, wanted: impl Iterator<Item = WantedName>, now: Time) {
        let mut known = std::mem::take(&mut self.0);
        for wanted in wanted {
            if let Some(listed) = self.0.iter_mut().find(|name| name.wanted.host == wanted.host) {
                listed.tighten(wanted.interval, now);
                continue;
            }
            let found = known.iter().position(|name| name.wanted.host == wanted.host);
            match found.map(|index| known.swap_remove(index)) {
                Some(name) => self.0.push(name.with(wanted, now)),
                None => self.0.push(Name::new(wanted, now)),
            }
        }
    }

    /// The addresses of a name, sorted; none if it was never resolved.
    pub(super) fn addresses(&self, host: &HostPort) -> &[SocketAddr] {
        self.find(host).map_or(&[], |name| &name.addresses)
    }

    /// The next name to look up now. Its lookup counts as under way until its result.
    pub(super) fn next(&mut self, now: Time) -> Option<HostPort> {
        if self.under_way() >= LOOKUPS_MAX {
            return None;
        }
        let name = self.0.iter_mut().find(|name| !name.is_under_way && name.due <= now)?;
        name.is_under_way = true;
        Some(name.wanted.host.clone())
    }

    /// When the next lookup is due.
    pub(super) fn due(&self) -> Time {
        if self.under_way() >= LOOKUPS_MAX {
            return Time::MAX;
        }
        let waiting = self.0.iter().filter(|name| !name.is_under_way);
        waiting.map(|name| name.due).min().unwrap_or(Time::MAX)
    }

    /// Takes the result of a lookup. Returns whether the addresses have changed.
    pub(super) fn resolved(&mut self, lookup: &Lookup, now: Time) -> bool {
        let Some(name) = self.0.iter_mut().find(|name| name.wanted.host == lookup.host) else {
            return false;
        };
        name.is_under_way = false;
        match &lookup.found {
            Ok(found) => {
                name.backoff.succeed();
                name.due = name.next_due(now);
                let has_changed = name.addresses != *found;
                name.addresses.clone_from(found);
                has_changed
            }
            Err(_) if name.addresses.is_empty() => {
                name.due = now + name.backoff.fail();
                false
            }
            Err(_) => {
                name.due = name.next_due(now);
                false
            }
        }
    }

    fn under_way(&self) -> usize {
        self.0.iter().filter(|name| name.is_under_way).count()
    }

    fn find(&self, host: &HostPort) -> Option<&Name> {
        self.0.iter().find(|name| name.wanted.host == *host)
    }
}

impl Name {
    fn new(wanted: WantedName, now: Time) -> Name {
        Name {
            wanted,
            due: now,
            is_under_way: false,
            addresses: Vec::new(),
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
        }
    }

    /// The same name after a reload. A new interval counts from now.
    fn with(self, wanted: WantedName, now: Time) -> Name {
        let mut name = Name { wanted, ..self };
        if !name.addresses.is_empty() {
            name.due = name.next_due(now);
        }
        name
    }

    /// Uses the shorter of two intervals: several pools have the name.
    fn tighten(&mut self, other: Option<Duration>, now: Time) {
        self.wanted.interval = match (self.wanted.interval, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if !self.addresses.is_empty() {
            self.due = self.next_due(now);
        }
    }

    fn next_due(&self, now: Time) -> Time {
        self.wanted.interval.map_or(Time::MAX, |interval| now + interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostPort {
        (name.to_owned(), 80)
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn wanted(name: &str, interval: Option<u64>) -> WantedName {
        WantedName { host: host(name), interval: interval.map(Duration::from_secs) }
    }

    fn found(name: &str, last: &[u8]) -> Lookup {
        let address = |last: &u8| SocketAddr::from(([10, 0, 0, *last], 80));
        Lookup { host: host(name), found: Ok(last.iter().map(address).collect()) }
    }

    fn failed(name: &str) -> Lookup {
        Lookup { host: host(name), found: Err("no answer".to_owned()) }
    }

    fn names(wanted: &[WantedName]) -> Names {
        let mut names = Names::default();
        names.replace(wanted.iter().cloned(), at(0));
        names
    }

    #[test]
    fn each_name_is_looked_up_at_once_and_after_its_interval() {
        let mut names = names(&[wanted("a", Some(30)), wanted("b", None), wanted("a", Some(10))]);
        assert_eq!(names.due(), at(0));
        assert_eq!(names.next(at(0)), Some(host("a")));
        assert_eq!(names.next(at(0)), Some(host("b")));
        assert_eq!(names.next(at(0)), None, "both are under way");
        assert_eq!(names.due(), Time::MAX);
        assert!(names.resolved(&found("a", &[1]), at(1)));
        assert!(names.resolved(&found("b", &[2]), at(1)));
        assert_eq!(names.due(), at(11), "the shorter interval of a; b is looked up once");
        assert_eq!(names.next(at(10)), None);
        assert_eq!(names.next(at(11)), Some(host("a")));
    }

    #[test]
    fn after_a_failure_the_last_addresses_stay() {
        let mut names = names(&[wanted("a", Some(30))]);
        assert!(names.next(at(0)).is_some());
        assert!(names.resolved(&found("a", &[1, 2]), at(0)));
        assert!(!names.resolved(&failed("a"), at(30)));
        assert_eq!(names.addresses(&host("a")).len(), 2);
        assert_eq!(names.due(), at(60));
        assert!(!names.resolved(&found("a", &[1, 2]), at(60)), "nothing has changed");
        assert!(names.resolved(&found("a", &[2]), at(90)));
    }

    #[test]
    fn a_name_without_addresses_is_looked_up_again_soon() {
        let mut names = names(&[wanted("a", None)]);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let now = names.due();
            assert!(names.next(now).is_some());
            assert!(!names.resolved(&failed("a"), now));
            let pause = Duration::from_secs(pause);
            let waits = names.due().since(now);
            assert!(waits >= pause / 2 && waits <= pause, "{waits:?} of {pause:?}");
        }
    }

    #[test]
    fn a_reload_keeps_addresses_and_forgets_names_that_are_gone() {
        let mut names = names(&[wanted("a", Some(30)), wanted("b", Some(30))]);
        assert!(names.resolved(&found("a", &[1]), at(0)));
        names.replace([wanted("c", None), wanted("a", Some(5))].into_iter(), at(10));
        assert_eq!(names.addresses(&host("a")).len(), 1);
        assert_eq!(names.next(at(10)), Some(host("c")));
        assert_eq!(names.due(), at(15));
        assert!(!names.resolved(&found("b", &[1]), at(11)), "its result came too late");
    }

    #[test]
    fn lookups_under_way_are_bounded() {
        let many: Vec<WantedName> =
            (0..=LOOKUPS_MAX).map(|number| wanted(&number.to_string(), None)).collect();
        let mut names = names(&many);
        for _ in 0..LOOKUPS_MAX {
            assert!(names.next(at(0)).is_some());
        }
        assert_eq!((names.next(at(0)), names.due()), (None, Time::MAX));
        assert!(names.resolved(&found("0", &[1]), at(1)));
        assert_eq!(names.due(), at(0));
    }
}
