//! Limits in a dry run: counted and logged where they are reached, and not enforced.

use log::{Level, info};

use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::Limit;
use crate::reactor::core::Core;
use crate::reactor::effects::log::{path, peer, subject};

impl Core {
    /// Whether a limit is only counted and logged.
    pub(crate) fn is_dry(&self, limit: Limit) -> bool {
        self.settings.limits_dry_run.contains(&limit)
    }

    /// Whether a limit that a connection has reached is enforced. In a dry run it is not, but counted
    /// and logged.
    pub(crate) fn enforces(&mut self, id: ConnId, limit: Limit) -> bool {
        if !self.is_dry(limit) {
            return true;
        }
        self.count_dry(id, limit);
        false
    }

    /// Counts and logs that a connection has reached a limit in a dry run.
    pub(crate) fn count_dry(&mut self, id: ConnId, limit: Limit) {
        *self.metrics.refused_dry.entry(limit.name()).or_default() += 1;
        if self.may_log(Level::Info, "dry run", limit.name())
            && let Some(conn) = self.conns.get(id)
        {
            info!(
                conn:% = id, peer:% = peer(conn), path = path(conn), subject = subject(conn),
                reason = limit.name();
                "dry run: the limit {limit} is reached"
            );
        }
    }
}
