//! Which upstreams a pool has: after a reload of the configuration, and after a lookup.
//!
//! An upstream of the same name keeps its breaker, health, counts and connections. One that is no
//! longer listed gets nothing new, and is forgotten with its last connection.

use std::net::SocketAddr;
use std::rc::Rc;

use super::id::{PoolId, UpstreamId};
use super::loaded::{LoadedPool, names};
use super::names::WantedName;
use super::settings::{PoolSettings, PoolUpstream};
use super::table::{Pool, UpstreamPools};
use super::upstream::{Entry, Listing, Upstream};
use crate::reactor::Time;
use crate::upstream::resolve::{HostPort, Lookup};

impl UpstreamPools {
    /// These pools. The names and the active checks of their upstreams are due at once.
    pub(crate) fn new(pools: Vec<LoadedPool>, now: Time) -> UpstreamPools {
        let mut all = UpstreamPools::empty();
        all.swap(pools, now);
        all
    }

    /// The names of these pools whose addresses are not known yet. With
    /// [`LoadedPool::set_addresses`] their upstreams are usable at once after a swap.
    pub(crate) fn unresolved_names(&self, pools: &[LoadedPool]) -> Vec<HostPort> {
        let names = pools.iter().flat_map(LoadedPool::names);
        let mut unknown: Vec<HostPort> =
            names.filter(|host| self.names.addresses(host).is_empty()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Replaces all pools. Those of the same name stay, and in them the upstreams of the same name.
    /// Returns the upstreams that are no longer listed: idle connections to them must be closed.
    pub(crate) fn swap(&mut self, loaded: Vec<LoadedPool>, now: Time) -> Vec<UpstreamId> {
        let wanted = loaded.iter().flat_map(|pool| wanted_names(&pool.settings));
        self.names.replace(wanted, now);
        for (host, found) in loaded.iter().flat_map(|pool| &pool.addresses) {
            if self.names.addresses(host).is_empty() {
                let lookup = Lookup { host: host.clone(), found: Ok(found.clone()) };
                self.names.resolved(&lookup, now);
            }
        }
        let mut gone = Vec::new();
        let is_kept = |pool: &Pool| loaded.iter().any(|it| it.settings.name == pool.settings.name);
        let removed: Vec<PoolId> = self
            .pools
            .iter()
            .filter(|(_, pool)| !pool.is_removed && !is_kept(pool))
            .map(|(_, pool)| pool.id)
            .collect();
        for id in removed {
            if let Some(pool) = self.pools.get_mut(id.index) {
                pool.is_removed = true;
                pool.entries.clear();
            }
            gone.extend(self.relist(id, true, now));
        }
        for pool in loaded {
            let id = self.find(&pool.settings.name).unwrap_or_else(|| self.add(&pool.settings));
            self.set_entries(id, pool);
            gone.extend(self.relist(id, true, now));
        }
        self.forget_unknown_drains();
        self.counts.forget_unused();
        gone
    }

    /// Takes the result of a lookup. Returns the upstreams that are no longer listed, as
    /// [`swap`](UpstreamPools::swap) does.
    pub(crate) fn resolved(&mut self, lookup: &Lookup, now: Time) -> Vec<UpstreamId> {
        self.count_lookup(lookup);
        if !self.names.resolved(lookup, now) {
            return Vec::new();
        }
        let has_name = |pool: &Pool| names(&pool.settings).any(|host| host == lookup.host);
        let pools = self.pools.iter().filter(|(_, pool)| !pool.is_removed && has_name(pool));
        let pools: Vec<PoolId> = pools.map(|(_, pool)| pool.id).collect();
        pools.into_iter().flat_map(|pool| self.relist(pool, false, now)).collect()
    }

    fn count_lookup(&self, lookup: &Lookup) {
        for (_, pool) in &self.pools {
            for (entry, upstream) in pool.entries.iter().zip(&pool.settings.upstreams) {
                if upstream.url.host_and_port() == lookup.host {
                    let counts = &entry.counts;
                    let count = match &lookup.found {
                        Ok(_) => &counts.lookups_succeeded,
                        Err(_) => &counts.lookups_failed,
                    };
                    count.set(count.get() + 1);
                }
            }
        }
    }

    fn add(&mut self, settings: &PoolSettings) -> PoolId {
        let serial = self.next_serial();
        let slot = self.pools.vacant_entry();
        let id = PoolId { index: slot.key(), serial };
        slot.insert(Pool::new(id, settings.clone()));
        id
    }

    fn set_entries(&mut self, id: PoolId, loaded: LoadedPool) {
        let Some(pool) = self.pools.get_mut(id.index) else {
            return;
        };
        let LoadedPool { settings, tls, .. } = loaded;
        let entry = |(position, (upstream, tls)): (usize, (&PoolUpstream, _))| {
            let host_port = upstream.host_port();
            Rc::new(Entry {
                position,
                authority: upstream.url.authority().to_owned(),
                tls,
                weight: upstream.weight,
                is_backup: upstream.is_backup,
                counts: self.counts.of(&settings.name, &host_port),
                host_port,
            })
        };
        pool.entries = settings.upstreams.iter().zip(tls).enumerate().map(entry).collect();
        pool.settings = settings;
    }

    /// Lists the upstreams of a pool by its entries and the addresses of its names. After a reload
    /// entries may be missing, after a lookup addresses.
    fn relist(&mut self, id: PoolId, is_reload: bool, now: Time) -> Vec<UpstreamId> {
        let Some(pool) = self.pools.get(id.index) else {
            return Vec::new();
        };
        let entries = pool.entries.clone();
        let is_checked = pool.settings.health.is_some();
        let mut members = Vec::new();
        for (entry, (name, address)) in self.wanted_upstreams(pool) {
            let key = self.find_or_add(id, &name, address, &entry, now);
            if !members.contains(&key) {
                members.push(key);
            }
        }
        let mut gone = Vec::new();
        for (key, upstream) in &mut self.upstreams {
            if upstream.pool != id {
                continue;
            }
            let was_listed = upstream.is_listed();
            let has_entry = entries.iter().any(|entry| entry.host_port == upstream.entry.host_port);
            upstream.listing = match upstream.listing {
                _ if members.contains(&key) => Listing::Listed,
                removed @ Listing::Removed { .. } if !has_entry => removed,
                _ if is_reload && !has_entry => Listing::Removed { since: now },
                _ => Listing::Unlisted,
            };
            if was_listed && !upstream.is_listed() {
                gone.push(upstream.id);
            }
            if !is_checked {
                upstream.health.forget();
            }
            upstream.note(now);
        }
        if let Some(pool) = self.pools.get_mut(id.index) {
            pool.members = members;
        }
        if let Some(pool) = self.pool(id) {
            pool.entries.iter().for_each(|entry| self.show_entry(pool, entry));
        }
        self.forget_all_unused(id);
        gone
    }

    /// The names and addresses that a pool should have, in the order of its list.
    fn wanted_upstreams(&self, pool: &Pool) -> Vec<(Rc<Entry>, (String, SocketAddr))> {
        let of_entry = |(entry, upstream): (&Rc<Entry>, &PoolUpstream)| {
            let host = upstream.url.host_and_port();
            let found: Vec<(String, SocketAddr)> = match upstream.address() {
                Some(ip) => vec![(entry.host_port.clone(), SocketAddr::new(ip, host.1))],
                None => {
                    let name = |address: &SocketAddr| {
                        (format!("{}/{}", entry.host_port, address.ip()), *address)
                    };
                    self.names.addresses(&host).iter().map(name).collect()
                }
            };
            found.into_iter().map(|found| (Rc::clone(entry), found)).collect::<Vec<_>>()
        };
        pool.entries.iter().zip(&pool.settings.upstreams).flat_map(of_entry).collect()
    }

    fn find_or_add(
        &mut self,
        pool: PoolId,
        name: &str,
        address: SocketAddr,
        entry: &Rc<Entry>,
        now: Time,
    ) -> usize {
        let drained = self.drained_since(name, &entry.host_port);
        let mut all = self.upstreams.iter_mut();
        let known = all.find(|(_, upstream)| upstream.pool == pool && *upstream.name == *name);
        if let Some((key, upstream)) = known {
            upstream.set_entry(Rc::clone(entry));
            upstream.drained = drained;
            return key;
        }
        let serial = self.next_serial();
        let slot = self.upstreams.vacant_entry();
        let id = UpstreamId { index: slot.key(), serial };
        let mut upstream = Upstream::new(id, pool, name, address, Rc::clone(entry), now);
        upstream.drained = drained;
        slot.insert(upstream);
        id.index
    }

    fn forget_all_unused(&mut self, pool: PoolId) {
        let unused = self.upstreams.iter().filter(|(_, it)| it.pool == pool && it.is_unused());
        let unused: Vec<UpstreamId> = unused.map(|(_, upstream)| upstream.id).collect();
        unused.into_iter().for_each(|upstream| self.forget_unused(upstream));
        let is_empty = !self.upstreams.iter().any(|(_, upstream)| upstream.pool == pool);
        if is_empty && self.pool(pool).is_some_and(|pool| pool.is_removed) {
            self.pools.remove(pool.index);
        }
    }

    /// Since when an operator drains the upstream of this name.
    fn drained_since(&self, name: &str, host_port: &str) -> Option<Time> {
        self.drained.get(name).or_else(|| self.drained.get(host_port)).copied()
    }

    /// Sets or removes the drained mark of all upstreams with this name, or with this `host:port`.
    /// They get nothing new. The mark outlives a reload. Returns how many upstreams match.
    pub(crate) fn set_drained(&mut self, name: &str, is_drained: bool, now: Time) -> usize {
        let matches =
            |upstream: &Upstream| *upstream.name == *name || upstream.entry.host_port == name;
        let ids: Vec<UpstreamId> = self
            .upstreams
            .iter()
            .filter(|(_, upstream)| matches(upstream))
            .map(|(_, upstream)| upstream.id)
            .collect();
        if ids.is_empty() {
            return 0;
        }
        if is_drained {
            self.drained.entry(name.to_owned()).or_insert(now);
        } else {
            let is_address = |drained: &str| {
                drained.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
            };
            self.drained.retain(|drained, _| drained != name && !is_address(drained));
        }
        for id in &ids {
            let Some(upstream) = self.upstream(*id) else {
                continue;
            };
            let drained = self.drained_since(&upstream.name, &upstream.entry.host_port);
            if let Some(upstream) = self.upstream_mut(*id) {
                upstream.drained = drained;
            }
            self.show(*id, now);
        }
        ids.len()
    }

    /// A drained name that no pool has any more is forgotten: the marks stay bounded.
    fn forget_unknown_drains(&mut self) {
        let mut drained = std::mem::take(&mut self.drained);
        drained.retain(|name, _| {
            let mut entries = self.pools.iter().flat_map(|(_, pool)| &pool.entries);
            entries.any(|entry| {
                name.strip_prefix(entry.host_port.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        });
        self.drained = drained;
    }
}

fn wanted_names(settings: &PoolSettings) -> impl Iterator<Item = WantedName> {
    let interval = settings.resolve_interval;
    names(settings).map(move |host| WantedName { host, interval })
}
