//! How other threads reach the loop: bounded mailboxes, and one waker for all of them.
//!
//! A worker puts its mail and notifies the loop; a second notification before the loop has read the
//! first costs no system call. The loop never waits for a worker, but a worker may wait for the
//! loop: so neither can block the other for ever.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TryRecvError, TrySendError, sync_channel};

use mio::{Registry, Token, Waker};

use crate::reactor::api::id::{ServiceId, Source};

/// Wakes the poll, at most once until the loop has woken up.
#[derive(Debug, Clone)]
pub(crate) struct Alarm {
    waker: Arc<Waker>,
    awake: Arc<AtomicBool>,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        if !self.awake.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            log::error!("the loop cannot be woken: {error}");
        }
    }
}

/// Notifies the loop that one service has mail.
#[derive(Debug, Clone)]
pub(crate) struct Bell {
    rung: Arc<AtomicBool>,
    alarm: Alarm,
}

impl Bell {
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.alarm.ring();
        }
    }
}

/// The loop's end of all mailboxes, and the requests to report and to shut down.
#[derive(Debug)]
pub(crate) struct Bells {
    alarm: Alarm,
    bells: Vec<(ServiceId, Bell)>,
    shutdown: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
}

impl Bells {
    pub(crate) fn new(registry: &Registry) -> io::Result<Bells> {
        let waker = Waker::new(registry, Token::from(Source::Waker))?;
        Ok(Bells {
            alarm: Alarm { waker: Arc::new(waker), awake: Arc::default() },
            bells: Vec::new(),
            shutdown: Arc::default(),
            report: Arc::default(),
        })
    }

    /// Creates a mailbox of `capacity` mails for a service.
    pub(crate) fn mailbox<T>(
        &mut self,
        service: ServiceId,
        capacity: usize,
    ) -> (MailSender<T>, MailReceiver<T>) {
        let bell = self.bell(service);
        let (sender, receiver) = sync_channel(capacity.max(1));
        (MailSender { sender, bell: Arc::new(LastBell(bell)) }, MailReceiver(receiver))
    }

    /// What calls a service's `on_mail` from other threads.
    pub(crate) fn bell(&mut self, service: ServiceId) -> Bell {
        let bell = Bell { rung: Arc::default(), alarm: self.alarm.clone() };
        self.bells.push((service, bell.clone()));
        bell
    }

    /// A waker of the loop, for a thread that has its own channel to it.
    #[cfg(feature = "tls")]
    pub(crate) fn alarm(&self) -> Alarm {
        self.alarm.clone()
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle {
            shutdown: Arc::clone(&self.shutdown),
            report: Arc::clone(&self.report),
            alarm: self.alarm.clone(),
        }
    }

    #[cfg(feature = "signals")]
    pub(crate) fn order_shutdown(&self) {
        self.shutdown.store(true, Ordering::Release);
    }

    #[cfg(feature = "signals")]
    pub(crate) fn order_report(&self) {
        self.report.store(true, Ordering::Release);
    }

    pub(crate) fn shutdown_ordered(&self) -> bool {
        self.shutdown.load(Ordering::Acquire)
    }

    /// Whether a report was requested since the last call.
    pub(crate) fn report_ordered(&self) -> bool {
        self.report.load(Ordering::Relaxed) && self.report.swap(false, Ordering::AcqRel)
    }

    /// The services that have mail. Clears their flags first, so that mail put meanwhile notifies
    /// again.
    pub(crate) fn answer(&self) -> impl Iterator<Item = ServiceId> {
        // Acquires what the last wake-up released: a shutdown requested with it is seen, too.
        self.alarm.awake.swap(false, Ordering::AcqRel);
        let rung = |bell: &Bell| bell.rung.swap(false, Ordering::AcqRel);
        self.bells.iter().filter(move |(_, bell)| rung(bell)).map(|(service, _)| *service)
    }
}

/// The bell that all senders of a mailbox share: it rings once more when the last of them is dropped.
#[derive(Debug)]
struct LastBell(Bell);

impl Drop for LastBell {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// Puts mail for a service from any thread. Each mail makes the loop call
/// [`on_mail`](crate::reactor::Service::on_mail), and so does the drop of the last sender.
pub struct MailSender<T> {
    // Dropped in this order: the loop looks for a sender that is gone after the bell has rung.
    sender: SyncSender<T>,
    bell: Arc<LastBell>,
}

impl<T> MailSender<T> {
    /// Puts mail, and waits while the mailbox is full. Not for the loop's own thread.
    ///
    /// # Errors
    /// The service is gone; the mail comes back.
    pub fn send(&self, mail: T) -> Result<(), SendError<T>> {
        self.sender.send(mail)?;
        self.bell.0.ring();
        Ok(())
    }

    /// Puts mail if there is room.
    ///
    /// # Errors
    /// The mailbox is full or the service is gone; the mail comes back.
    pub fn try_send(&self, mail: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(mail)?;
        self.bell.0.ring();
        Ok(())
    }
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> MailSender<T> {
        MailSender { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> fmt::Debug for MailSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailSender")
    }
}

/// The service's end of a mailbox.
#[derive(Debug)]
pub struct MailReceiver<T>(Receiver<T>);

impl<T> MailReceiver<T> {
    /// Takes the next mail; never waits.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`]: there is no mail now. [`TryRecvError::Disconnected`]: nor will there be,
    /// because all senders are gone.
    ///
    /// ```
    /// use std::sync::mpsc::TryRecvError;
    /// use weir::reactor::{Context, MailReceiver, More};
    ///
    /// fn read(cx: &mut Context<'_>, results: &MailReceiver<String>) -> More {
    ///     match results.try_recv() {
    ///         Ok(result) => {
    ///             log::info!("{result}");
    ///             More::Yes
    ///         }
    ///         Err(TryRecvError::Empty) => More::No,
    ///         Err(TryRecvError::Disconnected) => {
    ///             log::error!("the thread has ended");
    ///             More::No
    ///         }
    ///     }
    /// }
    /// ```
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }
}

/// Reaches a running reactor from other threads.
#[derive(Debug, Clone)]
pub struct Handle {
    shutdown: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    alarm: Alarm,
}

impl Handle {
    /// Orders the reactor to stop accepting, to send 1001 to everybody, to wait for their answers up
    /// to the drain deadline, and then to return from [`run`](crate::reactor::Reactor::run).
    pub fn shutdown(&self) {
        self.shutdown.store(true, Ordering::Release);
        self.alarm.ring();
    }

    /// Orders the reactor to log what its turns have taken since it did so last. Does nothing unless
    /// [`turn_stats`](crate::reactor::settings::Settings::turn_stats) is set.
    pub fn report_turns(&self) {
        self.report.store(true, Ordering::Release);
        self.alarm.ring();
    }
}
