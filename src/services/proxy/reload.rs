//! Replaces the pools and routes of a running proxy.
//!
//! Names that are new are looked up first, so that their upstreams are usable at once. Tunnels and
//! requests under way are not affected.

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use log::{error, info};

use super::due::PendingReload;
use super::mail::{ProxyReload, ProxyRoute};
use super::service::Proxy;
use crate::reactor::{Context, RouteId, Task};
use crate::upstream::resolve::Lookup;

/// How long the lookups of new names may delay a reload.
const LOOKUPS_WAIT: Duration = Duration::from_secs(5);

impl Proxy {
    /// Replaces all pools and routes, after lookups of new names: at most 5 s later. A further call
    /// in this time replaces the first. The lines of the log report the end.
    pub fn reload(&mut self, cx: &mut Context<'_>, reload: ProxyReload) {
        let missing = self.unresolved_names(&reload.pools);
        let (waiting, until) = (missing.clone(), cx.now() + LOOKUPS_WAIT);
        self.upkeep.reload = Some(PendingReload { reload, missing, waiting, until });
        self.keep_up(cx);
    }

    /// Starts lookups for a reload, and carries it out when all have ended, or its time is over.
    pub(super) fn keep_up_reload(&mut self, cx: &mut Context<'_>) {
        let (Some(pending), Some(resolver)) = (&mut self.upkeep.reload, &self.upkeep.resolver)
        else {
            return;
        };
        while let Some(host) = pending.waiting.last() {
            if resolver.try_put(Task::new(host.clone(), host.clone())).is_err() {
                break;
            }
            pending.waiting.pop();
        }
        if (pending.missing.is_empty() || pending.until <= cx.now())
            && let Some(pending) = self.upkeep.reload.take()
        {
            self.carry_out(cx, pending.reload);
        }
    }

    /// Takes the result of a lookup that a reload may wait for.
    pub(super) fn note_lookup(&mut self, lookup: &Lookup) {
        if let Some(PendingReload { reload, missing, .. }) = &mut self.upkeep.reload
            && missing.contains(&lookup.host)
        {
            missing.retain(|host| *host != lookup.host);
            reload.pools.iter_mut().for_each(|pool| pool.set_addresses(lookup));
        }
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, reload: ProxyReload) {
        let (pools, routes) = (reload.pools.len(), reload.routes.len());
        self.set_pools(cx, reload.pools);
        let mut kept = HashSet::with_capacity(routes);
        for route in reload.routes {
            let path = route.path.clone();
            match self.put_route(cx, route) {
                Ok(id) => {
                    kept.insert(id);
                }
                Err(error) => error!(path = &*path; "route not reloaded: {error}"),
            }
        }
        // If one could not be changed, it is among the others.
        if kept.len() == routes {
            for id in self.routes.remove_others(&kept) {
                if let Err(error) = cx.remove_route(id) {
                    error!("route not removed: {error}");
                }
            }
        }
        info!(pools = pools, routes = routes; "proxy reloaded");
    }

    fn put_route(
        &mut self,
        cx: &mut Context<'_>,
        route: ProxyRoute,
    ) -> Result<RouteId, Box<dyn Error>> {
        let id = cx.put_route(&route.path, route.limits)?;
        self.routes.set(id, route.settings)?;
        Ok(id)
    }
}
