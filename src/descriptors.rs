//! File descriptors: fits the connection limits into the process's limit.
//!
//! Raises the soft limit to the hard limit. Reduces what does not fit, with a warning: clients,
//! outbound connections and refused clients. Connections to the admin address and the process's own
//! descriptors are never reduced.

use log::warn;
use weir::reactor::budget::OPERATORS_MAX;
use weir::reactor::settings::Settings;

/// Descriptors that no admitted connection may use: those of the process itself, and of clients
/// that wait for their refusal. At most a quarter of the limit.
const RESERVE_MAX: usize = 300;
/// The process's part of the reserve: standard streams, poll, waker, signals, spare ones, files of
/// a data directory, a log, a resolver.
const PROCESS: usize = 24;

/// Descriptors besides the connections of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Listening sockets.
    pub(crate) listeners: usize,
    /// Maximum number of HTTP sockets to upstreams.
    pub(crate) upstream_sockets: usize,
}

/// Raises the process's limit on descriptors as far as possible, and reduces settings that do not
/// fit.
pub(crate) fn fit_to_descriptors(settings: &Settings, needs: Needs) -> Settings {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            warn!("file descriptor limit could not be raised: {error}");
            return settings.clone();
        }
    };
    let fitted = fit(settings, needs, limit);
    let pairs = [
        ("connections_max", settings.connections_max, fitted.connections_max),
        ("outbound_max", settings.outbound_max, fitted.outbound_max),
    ];
    for (name, wanted, room) in pairs {
        if room < wanted {
            warn!("{name} reduced from {wanted} to {room}: the file descriptor limit is {limit}");
        }
    }
    fitted
}

fn fit(settings: &Settings, needs: Needs, limit: usize) -> Settings {
    let mut settings = settings.clone();
    let reserve = RESERVE_MAX.min(limit / 4);
    settings.refused_max = settings.refused_max.min(reserve.saturating_sub(PROCESS).max(1));
    let room = limit.saturating_sub(reserve + OPERATORS_MAX + needs.listeners);
    // Many configured upstreams must not leave a process with a small limit without clients.
    let room = room - needs.upstream_sockets.min(room / 4);
    if settings.connections_max.saturating_add(settings.outbound_max) > room {
        let share = share(room, settings.outbound_max, settings.connections_max);
        settings.outbound_max = settings.outbound_max.min(share.max(room / 4).max(1));
        let rest = room.saturating_sub(settings.outbound_max).max(1);
        settings.connections_max = settings.connections_max.min(rest);
    }
    settings
}

/// The part of `room` that outbound connections get if they and the clients are reduced alike. The
/// proxy needs one for each client.
fn share(room: usize, outbound: usize, clients: usize) -> usize {
    let all = outbound.saturating_add(clients).max(1);
    // Above 2^53 the part is inexact, but no process has as many descriptors.
    (room as f64 * (outbound as f64 / all as f64)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(limit: usize, connections_max: usize, upstream_sockets: usize) -> [usize; 3] {
        let settings = Settings::default().connections_max(connections_max);
        let fitted = fit(&settings, Needs { listeners: 2, upstream_sockets }, limit);
        [fitted.connections_max, fitted.outbound_max, fitted.refused_max]
    }

    #[test]
    fn nothing_is_reduced_if_everything_fits() {
        assert_eq!(fitted(1 << 20, 10_000, 1024), [10_000, 256, 256]);
        assert_eq!(fitted(10_000 + 256 + 300 + 16 + 2, 10_000, 0), [10_000, 256, 256]);
    }

    #[test]
    fn all_descriptors_together_stay_within_the_limit() {
        for limit in 100..3000 {
            for upstream_sockets in [0, 64, 10_000] {
                let [clients, outbound, refused] = fitted(limit, 10_000, upstream_sockets);
                let used = clients + outbound + refused + OPERATORS_MAX + 2;
                assert!(used <= limit, "{limit}: {used}");
                assert!(clients > outbound && clients >= limit / 4, "{limit}: {clients}");
            }
        }
    }

    #[test]
    fn a_small_limit_is_mostly_for_clients() {
        // A quarter of 200 in reserve, 16 operators, 2 listeners: 132, a quarter of them outbound.
        assert_eq!(fitted(200, 10_000, 0), [99, 33, 26]);
        assert_eq!(fitted(10_000 + 300, 10_000, 0)[0], 10_000 + 300 - 300 - 18 - 256);
    }

    #[test]
    fn the_smallest_limit_leaves_one_of_each() {
        assert_eq!(fitted(10, 10_000, 0), [1, 1, 1]);
        assert_eq!(fitted(0, 10_000, 0), [1, 1, 1]);
    }

    #[test]
    fn the_proxy_keeps_a_connection_for_each_client() {
        let settings = Settings::default().connections_max(10_000).outbound_max(10_000);
        let fitted = fit(&settings, Needs { listeners: 2, upstream_sockets: 0 }, 10_318);
        assert_eq!((fitted.connections_max, fitted.outbound_max), (5_000, 5_000));
    }
}
