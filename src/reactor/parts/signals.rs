//! Signals as events of the poll: the loop acts on a signal in its next turn.
//!
//! No signal thread: glibc makes every cancellable system call slower once a process has a second
//! thread. Signals belong to the process, so at most one of its reactors handles them; other
//! reactors are controlled through their [`Handle`](crate::reactor::Handle).

use std::fmt;
use std::io;

use log::{info, warn};
use mio::{Interest, Token};
use signal_hook_mio::v1_0::Signals;

use crate::reactor::Reactor;
use crate::reactor::api::id::Source;

/// What the loop does on a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Shut down, as [`Handle::shutdown`](crate::reactor::Handle::shutdown) does.
    Shutdown,
    /// Log a report of the turns, as [`Handle::report_turns`](crate::reactor::Handle::report_turns) does.
    ReportTurns,
    /// Reload certificates, as [`Reactor::reload_certificates`] does. Feature `tls`.
    #[cfg(feature = "tls")]
    ReloadCertificates,
}

/// The signals that this loop obeys.
pub(crate) struct Obeyed {
    signals: Signals,
    orders: Vec<(i32, Order)>,
}

impl fmt::Debug for Obeyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Obeyed").field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Reactor {
    /// Obeys these signals from here on, in the place of what they obeyed before.
    ///
    /// # Errors
    /// A signal is one that cannot be caught, or the poll does not take them.
    pub fn obey(&mut self, orders: &[(i32, Order)]) -> io::Result<()> {
        let mut signals = Signals::new(orders.iter().map(|(signal, _)| signal))?;
        let token = Token::from(Source::Signals);
        self.poll.registry().register(&mut signals, token, Interest::READABLE)?;
        self.obeyed = Some(Obeyed { signals, orders: orders.to_vec() });
        Ok(())
    }

    pub(crate) fn take_signals(&mut self) {
        let Some(Obeyed { signals, orders }) = &mut self.obeyed else {
            return;
        };
        let mut received = Vec::new();
        for signal in signals.pending() {
            info!("signal {signal} ({})", name(signal));
            received.extend(orders.iter().find(|(of, _)| *of == signal).map(|&(_, order)| order));
        }
        for order in received {
            match order {
                Order::Shutdown => self.core.bells.order_shutdown(),
                Order::ReportTurns if self.stats.is_none() => {
                    warn!("cannot report turns: turn_stats is off");
                }
                Order::ReportTurns => self.core.bells.order_report(),
                #[cfg(feature = "tls")]
                Order::ReloadCertificates => self.reload_certificates(),
            }
        }
    }
}

/// The names of the signals that operators send to servers.
fn name(signal: i32) -> &'static str {
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
