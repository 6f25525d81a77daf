//! [`Handle`]: control of a running reactor from other threads.
//!
//! Commands wait in a queue that is bounded in number and bytes. The loop carries them out in its
//! mail phase, in order. Neither waits for the other, except for a
//! short lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{HANDLE_BYTES_MAX, HANDLE_COMMANDS_MAX};
use super::id::{ConnId, ServiceId};
use super::publish::Target;
use crate::protocol::{CloseCode, CloseFrame, Message};
use crate::reactor::parts::mailbox::{Notifier, Requests};

/// Controls a running reactor from other threads.
///
/// [`try_send`](Handle::try_send), [`try_publish`](Handle::try_publish) and
/// [`try_close`](Handle::try_close) put a command, with a copy of its message, into a queue of at
/// most [`HANDLE_COMMANDS_MAX`] commands and [`HANDLE_BYTES_MAX`] bytes, which all handles of a
/// reactor share. The loop carries them out in the order in which they were put, before a shutdown
/// that was requested after them closes connections. The outcome of each message is counted in the
/// [metrics](crate::reactor::Metrics), as if a service had sent it.
///
/// A handle belongs to the whole reactor and reaches the connections of all its services, other than
/// a [`Context`](crate::reactor::Context), which reaches only those of its own. It is `Send` and
/// `Sync`; a [`Reactor`](crate::reactor::Reactor) is neither.
///
/// ```
/// use std::sync::mpsc::TrySendError;
/// use std::thread;
/// use std::time::Duration;
/// use weir::protocol::Message;
/// use weir::reactor::settings::{RouteSettings, Settings};
/// use weir::reactor::{ConnId, Context, Reactor, Service, Target};
///
/// struct Feed;
///
/// impl Service for Feed {
///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reactor = Reactor::new(Settings::default())?;
/// let feed = reactor.add_service(Feed)?;
/// reactor.add_route("/feed", feed, RouteSettings::default())?;
/// let handle = reactor.handle();
/// # let stopping = reactor.handle();
/// thread::spawn(move || {
///     loop {
///         let text = format!("{} connections", handle.connections());
///         match handle.try_publish(feed, Target::All, &text) {
///             Ok(()) => {}
///             Err(TrySendError::Full(())) => eprintln!("the loop is too slow"),
///             Err(TrySendError::Disconnected(())) => break,
///         }
///         thread::sleep(Duration::from_secs(1));
///     }
/// });
/// # stopping.shutdown();
/// reactor.run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Handle {
    requests: Requests,
    queue: Arc<CommandQueue>,
    connections: Arc<AtomicUsize>,
}

impl Handle {
    pub(in crate::reactor) fn new(
        requests: Requests,
        queue: Arc<CommandQueue>,
        connections: Arc<AtomicUsize>,
    ) -> Handle {
        Handle { requests, queue, connections }
    }

    /// Requests a shutdown: the reactor stops accepting, closes all connections with 1001, waits
    /// for them up to the drain timeout, and returns from [`run`](crate::reactor::Reactor::run).
    pub fn shutdown(&self) {
        self.requests.shutdown();
    }

    /// Makes the loop send a message, as [`Context::send`](crate::reactor::Context::send) of the
    /// connection's service does.
    ///
    /// # Errors
    /// [`TrySendError::Full`]: there is no room in the queue; for a message above
    /// [`HANDLE_BYTES_MAX`] there never is. [`TrySendError::Disconnected`]: the reactor was dropped.
    pub fn try_send<'m>(
        &self,
        conn: ConnId,
        message: impl Into<Message<'m>>,
    ) -> Result<(), TrySendError<()>> {
        self.queue.put_message(Receivers::One(conn), message.into())
    }

    /// Makes the loop publish a message to connections of a service, as
    /// [`Context::publish`](crate::reactor::Context::publish) does.
    ///
    /// # Errors
    /// As for [`try_send`](Handle::try_send).
    pub fn try_publish<'m>(
        &self,
        service: ServiceId,
        target: Target<'_>,
        message: impl Into<Message<'m>>,
    ) -> Result<(), TrySendError<()>> {
        let receivers = match target {
            Target::All => Receivers::All(service),
            Target::Topic(name) => Receivers::Topic(service, name.into()),
            Target::List(list) => Receivers::List(service, list.into()),
        };
        self.queue.put_message(receivers, message.into())
    }

    /// Makes the loop close a connection, as [`Context::close`](crate::reactor::Context::close)
    /// does: after messages that were put before, and with a reason of at most 123 bytes. Its
    /// [`on_close`](crate::reactor::Service::on_close) gets
    /// [`CloseReason::Service`](crate::reactor::CloseReason::Service), unless it is closing already.
    ///
    /// # Errors
    /// As for [`try_send`](Handle::try_send).
    pub fn try_close(
        &self,
        conn: ConnId,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), TrySendError<()>> {
        let reason = CloseFrame::new(code, reason).reason.into();
        self.queue.put(Command::Close { conn, code, reason })
    }

    /// The number of connections in any state, as in
    /// [`connections_now`](crate::reactor::Metrics::connections_now): those of all services,
    /// outbound ones included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// What the loop is to do.
#[derive(Debug)]
pub(in crate::reactor) enum Command {
    Message(Receivers, Content),
    Close { conn: ConnId, code: CloseCode, reason: Box<str> },
}

/// The receivers of a message.
#[derive(Debug)]
pub(in crate::reactor) enum Receivers {
    One(ConnId),
    All(ServiceId),
    Topic(ServiceId, Box<str>),
    List(ServiceId, Box<[ConnId]>),
}

impl Receivers {
    /// The memory that names and lists of receivers hold.
    fn bytes(&self) -> usize {
        match self {
            Receivers::One(_) | Receivers::All(_) => 0,
            Receivers::Topic(_, name) => name.len(),
            Receivers::List(_, list) => size_of_val(&**list),
        }
    }
}

#[derive(Debug)]
pub(in crate::reactor) enum Content {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Content {
    pub(in crate::reactor) fn message(&self) -> Message<'_> {
        match self {
            Content::Text(text) => Message::Text(text),
            Content::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl Command {
    /// The memory that the command holds.
    fn bytes(&self) -> usize {
        match self {
            Command::Message(receivers, content) => receivers.bytes() + content.message().len(),
            Command::Close { reason, .. } => reason.len(),
        }
    }
}

/// The loop's end of the queue: closes it when the reactor is dropped.
#[derive(Debug)]
pub(in crate::reactor) struct Commands(Arc<CommandQueue>);

impl Commands {
    pub(in crate::reactor) fn new(notifier: Notifier) -> Commands {
        Commands(Arc::new(CommandQueue { state: Mutex::default(), notifier }))
    }

    pub(in crate::reactor) fn queue(&self) -> Arc<CommandQueue> {
        Arc::clone(&self.0)
    }

    /// The next command, if there is one.
    pub(in crate::reactor) fn take(&self) -> Option<Command> {
        let mut state = self.0.lock();
        let command = state.commands.pop_front()?;
        state.bytes -= command.bytes();
        Some(command)
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        *self.0.lock() = State { is_closed: true, ..State::default() };
    }
}

/// The commands of all handles of a reactor.
pub(in crate::reactor) struct CommandQueue {
    state: Mutex<State>,
    notifier: Notifier,
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Command>,
    /// Invariant: the sum of `Command::bytes` over `commands`.
    bytes: usize,
    is_closed: bool,
}

impl CommandQueue {
    fn put_message(
        &self,
        receivers: Receivers,
        message: Message<'_>,
    ) -> Result<(), TrySendError<()>> {
        let content = match message {
            Message::Text(text) => Content::Text(text.into()),
            Message::Binary(bytes) => Content::Binary(bytes.into()),
        };
        self.put(Command::Message(receivers, content))
    }

    fn put(&self, command: Command) -> Result<(), TrySendError<()>> {
        let bytes = command.bytes();
        let mut state = self.lock();
        if state.is_closed {
            return Err(TrySendError::Disconnected(()));
        }
        let has_room =
            state.commands.len() < HANDLE_COMMANDS_MAX && state.bytes + bytes <= HANDLE_BYTES_MAX;
        if !has_room {
            return Err(TrySendError::Full(()));
        }
        state.commands.push_back(command);
        state.bytes += bytes;
        drop(state);
        self.notifier.notify();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CommandQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandQueue")
    }
}
