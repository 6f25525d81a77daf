//! Signals as events of the poll: the loop acts on a signal in its next turn.
//!
//! No signal thread: glibc makes every cancellable system call slower once a process has a second
//! thread. Signals belong to the process, so at most one of its reactors handles them; other
//! reactors are controlled through their [`Handle`](crate::reactor::Handle).

use std::fmt;

use signal_hook_mio::v1_0::Signals;

use crate::reactor::api::id::ServiceId;

/// What the loop does on a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalAction {
    /// Shut down, as [`Handle::shutdown`](crate::reactor::Handle::shutdown) does.
    Shutdown,
    /// Log statistics of the turns since the last report. No effect unless
    /// [`turn_stats`](field@crate::reactor::settings::Settings::turn_stats) is set.
    ReportTurns,
    /// Reload certificates, as
    /// [`Reactor::reload_certificates`](crate::reactor::Reactor::reload_certificates) does. Feature
    /// `tls`.
    #[cfg(feature = "tls")]
    ReloadCertificates,
    /// Call [`on_signal`](crate::reactor::Service::on_signal) of this service.
    Call(ServiceId),
}

/// The signals that the loop handles, and the action for each.
pub(crate) struct SignalHandler {
    pub(crate) signals: Signals,
    pub(crate) actions: Vec<(i32, SignalAction)>,
}

impl fmt::Debug for SignalHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalHandler").field("actions", &self.actions).finish_non_exhaustive()
    }
}

/// The names of the signals that operators send to servers.
pub(crate) fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGTERM => "SIGTERM",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        _ => "another",
    }
}
