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
pub(crate) struct LoopWaker {
    waker: Arc<Waker>,
    awake: Arc<AtomicBool>,
}

impl LoopWaker {
    pub(crate) fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            log::error!("the loop cannot be woken: {error}");
        }
    }
}

/// Notifies the loop that one service has mail.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    notified: Arc<AtomicBool>,
    loop_waker: LoopWaker,
}

impl Notifier {
    pub(crate) fn notify(&self) {
        if !self.notified.swap(true, Ordering::AcqRel) {
            self.loop_waker.wake();
        }
    }
}

/// The loop's end of all mailboxes, and the request to shut down.
#[derive(Debug)]
pub(crate) struct Notifiers {
    loop_waker: LoopWaker,
    notifiers: Vec<(ServiceId, Notifier)>,
    shutdown: Arc<AtomicBool>,
}

impl Notifiers {
    pub(crate) fn new(registry: &Registry) -> io::Result<Notifiers> {
        let waker = Waker::new(registry, Token::from(Source::Waker))?;
        Ok(Notifiers {
            loop_waker: LoopWaker { waker: Arc::new(waker), awake: Arc::default() },
            notifiers: Vec::new(),
            shutdown: Arc::default(),
        })
    }

    /// Creates a mailbox of `capacity` messages for a service.
    pub(crate) fn mailbox<T>(
        &mut self,
        service: ServiceId,
        capacity: usize,
    ) -> (MailSender<T>, MailReceiver<T>) {
        let notifier = self.notifier(service);
        let (sender, receiver) = sync_channel(capacity.max(1));
        (MailSender { sender, notifier: Arc::new(LastNotifier(notifier)) }, MailReceiver(receiver))
    }

    /// Creates a notifier, by which other threads make the loop call a service's `on_mail`.
    pub(crate) fn notifier(&mut self, service: ServiceId) -> Notifier {
        let notifier = Notifier { notified: Arc::default(), loop_waker: self.loop_waker.clone() };
        self.notifiers.push((service, notifier.clone()));
        notifier
    }

    /// A waker of the loop, for a thread that has its own channel to it.
    #[cfg(feature = "tls")]
    pub(crate) fn loop_waker(&self) -> LoopWaker {
        self.loop_waker.clone()
    }

    pub(crate) fn requests(&self) -> Requests {
        Requests { shutdown: Arc::clone(&self.shutdown), loop_waker: self.loop_waker.clone() }
    }

    #[cfg(feature = "signals")]
    pub(crate) fn request_shutdown(&self) {
        self.shutdown.store(true, Ordering::Release);
    }

    pub(crate) fn shutdown_requested(&self) -> bool {
        self.shutdown.load(Ordering::Acquire)
    }

    /// The services that have mail. Clears their flags first, so that mail put meanwhile notifies
    /// again.
    pub(crate) fn take_notified(&self) -> impl Iterator<Item = ServiceId> {
        // Acquires what the last wake-up released: a shutdown requested with it is seen, too.
        self.loop_waker.awake.swap(false, Ordering::AcqRel);
        let notified = |notifier: &Notifier| notifier.notified.swap(false, Ordering::AcqRel);
        self.notifiers
            .iter()
            .filter(move |(_, notifier)| notified(notifier))
            .map(|(service, _)| *service)
    }
}

/// The notifier shared by all senders of a mailbox: it notifies once more when the last sender is
/// dropped.
#[derive(Debug)]
struct LastNotifier(Notifier);

impl Drop for LastNotifier {
    fn drop(&mut self) {
        self.0.notify();
    }
}

/// Puts mail for a service from any thread. Each mail makes the loop call
/// [`on_mail`](crate::reactor::Service::on_mail), and so does the drop of the last sender.
pub struct MailSender<T> {
    // Dropped in this order: when the loop is notified, the channel is disconnected already.
    sender: SyncSender<T>,
    notifier: Arc<LastNotifier>,
}

impl<T> MailSender<T> {
    /// Puts mail; blocks while the mailbox is full. Must not be called on the loop's own thread.
    ///
    /// # Errors
    /// The service has ended; the error contains the mail.
    pub fn send(&self, mail: T) -> Result<(), SendError<T>> {
        self.sender.send(mail)?;
        self.notifier.0.notify();
        Ok(())
    }

    /// Puts mail if there is room.
    ///
    /// # Errors
    /// The mailbox is full, or the service has ended; the error contains the mail.
    pub fn try_send(&self, mail: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(mail)?;
        self.notifier.0.notify();
        Ok(())
    }
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> MailSender<T> {
        MailSender { sender: self.sender.clone(), notifier: Arc::clone(&self.notifier) }
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
    /// [`TryRecvError::Empty`]: there is no mail now. [`TryRecvError::Disconnected`]: there will be
    /// no more, because all senders were dropped.
    ///
    /// ```
    /// use std::sync::mpsc::TryRecvError;
    /// use weir::reactor::{Context, MailReceiver, More};
    ///
    /// fn read(cx: &mut Context<'_>, results: &MailReceiver<String>) -> More {
    ///     match results.try_recv() {
    ///         Ok(result) => {
    ///             println!("{result}");
    ///             More::Yes
    ///         }
    ///         Err(TryRecvError::Empty) => More::No,
    ///         Err(TryRecvError::Disconnected) => {
    ///             eprintln!("the thread has ended");
    ///             More::No
    ///         }
    ///     }
    /// }
    /// ```
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }
}

/// The request of another thread to shut down, which needs no queue.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    shutdown: Arc<AtomicBool>,
    loop_waker: LoopWaker,
}

impl Requests {
    pub(crate) fn shutdown(&self) {
        self.shutdown.store(true, Ordering::Release);
        self.loop_waker.wake();
    }
}
