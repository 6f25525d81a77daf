//! Signals as events of the poll: what one orders, the loop does in its next turn.
//!
//! No thread: a process with a single one spares each system call of the loop the C library's
//! preparations for cancellation. Signals belong to the process, so at most one of its reactors obeys
//! them; the others are told through their [`Handle`](super::Handle).

use std::fmt;
use std::io;

use log::{info, warn};
use mio::{Interest, Token};
use signal_hook_mio::v1_0::Signals;

use super::Reactor;
use super::id::Source;

/// What a signal makes the loop do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As [`Handle::shutdown`](super::Handle::shutdown).
    Shutdown,
    /// As [`Handle::report_turns`](super::Handle::report_turns).
    ReportTurns,
    /// As [`Reactor::reload_certificates`]. Feature `tls`.
    #[cfg(feature = "tls")]
    ReloadCertificates,
}

/// The signals that this loop obeys.
pub(super) struct Obeyed {
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

    pub(super) fn take_signals(&mut self) {
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
                    warn!("no report of the turns: turn_stats is off");
                }
                Order::ReportTurns => self.core.bells.order_report(),
                #[cfg(feature = "tls")]
                Order::ReloadCertificates => self.reload_certificates(),
            }
        }
    }
}

/// The names of the signals that servers are given.
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
