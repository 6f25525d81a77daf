//! Registers signals with the poll, and acts on received signals.

use std::io;

use log::{info, warn};
use mio::{Interest, Token};
use signal_hook_mio::v1_0::Signals;

use crate::reactor::Reactor;
use crate::reactor::api::id::Source;
use crate::reactor::parts::signals::{Obeyed, Order, name};

impl Reactor {
    /// Handles the given signals from now on. Signals of an earlier call are not handled any more.
    ///
    /// # Errors
    /// A signal cannot be caught, or cannot be registered with the poll.
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
