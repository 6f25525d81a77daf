//! Registers signals with the poll, and acts on received signals.
//!
//! The actions, and why there is no signal thread, are in
//! [`parts::signals`](crate::reactor::parts::signals).

use std::io;

use log::{info, warn};
use mio::{Interest, Token};
use signal_hook_mio::v1_0::Signals;

use crate::reactor::Reactor;
use crate::reactor::api::id::Source;
use crate::reactor::parts::signals::{SignalAction, SignalHandler, name};

impl Reactor {
    /// Handles the given signals from now on. Several actions for one signal are carried out in
    /// their order. Signals of an earlier call are not handled any more.
    ///
    /// # Errors
    /// A signal cannot be caught, or cannot be registered with the poll.
    pub fn handle_signals(&mut self, actions: &[(i32, SignalAction)]) -> io::Result<()> {
        let mut signals = Signals::new(actions.iter().map(|(signal, _)| signal))?;
        let token = Token::from(Source::Signals);
        self.poll.registry().register(&mut signals, token, Interest::READABLE)?;
        self.signal_handler = Some(SignalHandler { signals, actions: actions.to_vec() });
        Ok(())
    }

    pub(crate) fn take_signals(&mut self) {
        let Some(SignalHandler { signals, actions }) = &mut self.signal_handler else {
            return;
        };
        let mut received = Vec::new();
        for signal in signals.pending() {
            info!("signal {signal} ({})", name(signal));
            received.extend(actions.iter().filter(|(of, _)| *of == signal).copied());
        }
        for (signal, action) in received {
            match action {
                SignalAction::Shutdown => self.core.notifiers.request_shutdown(),
                SignalAction::ReportTurns => match &mut self.stats {
                    Some(stats) => stats.is_requested = true,
                    None => warn!("cannot report turns: turn_stats is off"),
                },
                #[cfg(feature = "tls")]
                SignalAction::ReloadCertificates => self.reload_certificates(),
                SignalAction::Call(service) if service.index() < self.services.len() => {
                    let _ = self.call(service, |service, cx| service.on_signal(cx, signal));
                }
                SignalAction::Call(_) => warn!("signal {signal}: the service was not added"),
            }
        }
    }
}
