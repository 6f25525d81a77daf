//! A WebSocket to a relay for a thread that waits: a loop on a thread of its own holds the connection.
//!
//! Received messages wait in an inbox. Beyond its limit the loop stops reading, so that the relay waits.
//! The other way, a mailbox that is full makes the caller wait.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::side::SyncError;
use crate::protocol::Message;
use crate::reactor::settings::{RouteSettings, Settings};
use crate::reactor::{
    CloseReason, ConnId, Context, Handle, MailReceiver, MailSender, More, Reactor, RouteId,
    SendOutcome, Service,
};
use crate::upstream::UpstreamUrl;
use crate::upstream::backoff::Backoff;
use crate::upstream::link::Link;
use crate::upstream::resolve::Addresses;
use crate::upstream::tls::UpstreamTls;

/// Received bytes at which the loop stops reading, and at which it reads again.
const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
const INBOX_BYTES_LOW: usize = 4 * 1024 * 1024;
/// Messages that wait to be sent.
const MAILBOX: usize = 64;
/// The largest message of a relay: a negentropy message of 500 kB in hex, or a large event.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long connecting may take, all addresses together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the relay may read nothing, or less than it is sent.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long the Close may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to a relay.
pub(super) struct Socket {
    name: String,
    inbox: Arc<Inbox>,
    mail: MailSender<Mail>,
    /// The inbox has room again. A mailbox of its own, since the other may be full.
    resume: MailSender<()>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

enum Mail {
    Resolved(Addresses),
    Send(String),
}

#[derive(Default)]
struct Inbox {
    state: Mutex<InboxState>,
    changed: Condvar,
}

#[derive(Default)]
struct InboxState {
    messages: VecDeque<String>,
    bytes: usize,
    is_open: bool,
    is_paused: bool,
    /// Why the connection has ended.
    ended: Option<String>,
}

impl Socket {
    /// Connects to a relay and waits for the upgrade.
    pub(super) fn open(url: &UpstreamUrl) -> Result<Socket, SyncError> {
        let name = url.to_string();
        let failed = |text: &str| SyncError::new(format!("{name}: {text}"));
        let tls = UpstreamTls::new(url, None).map_err(|error| failed(&error.to_string()))?;
        let backoff = Backoff::new(CONNECT_TIMEOUT, CONNECT_TIMEOUT);
        let link = Link::new(url.host_and_port(), url.request().clone(), tls, backoff);
        let inbox = Arc::<Inbox>::default();
        let (started, start) = sync_channel(1);
        let of_thread = Arc::clone(&inbox);
        let thread = thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || run(link, of_thread, &started))
            .map_err(|error| failed(&error.to_string()))?;
        let Ends { mail, resume, handle } = match start.recv() {
            Ok(Ok(parts)) => parts,
            Ok(Err(text)) => return Err(failed(&text)),
            Err(_) => return Err(failed("the thread has ended")),
        };
        let socket = Socket { name, inbox, mail, resume, handle, thread: Some(thread) };
        socket.await_open()?;
        Ok(socket)
    }

    /// The URL without its path.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Sends a text message; waits while too many are to be sent.
    pub(super) fn send(&self, text: String) -> Result<(), SyncError> {
        if let Some(why) = &self.inbox.lock().ended {
            return Err(self.failed(why));
        }
        self.mail.send(Mail::Send(text)).map_err(|_| self.failed("the loop has ended"))
    }

    /// The next message. An error if none comes until then.
    pub(super) fn receive(&self, until: Instant) -> Result<String, SyncError> {
        let state = self.wait(until, |state| !state.messages.is_empty());
        let mut state = state.ok_or_else(|| self.failed("no answer"))?;
        let Some(text) = state.messages.pop_front() else {
            let why = state.ended.clone().unwrap_or_default();
            return Err(self.failed(&why));
        };
        state.bytes -= text.len();
        if state.is_paused && state.bytes <= INBOX_BYTES_LOW {
            state.is_paused = false;
            drop(state);
            let _ = self.resume.try_send(());
        }
        Ok(text)
    }

    fn await_open(&self) -> Result<(), SyncError> {
        let state = self.wait(Instant::now() + CONNECT_TIMEOUT, |state| state.is_open);
        match state {
            None => Err(self.failed("no connection")),
            Some(state) => match &state.ended {
                Some(why) if !state.is_open => Err(self.failed(why)),
                _ => Ok(()),
            },
        }
    }

    /// Waits until the condition is true or the connection has ended; `None` if neither comes in time.
    fn wait(
        &self,
        until: Instant,
        condition: impl Fn(&InboxState) -> bool,
    ) -> Option<MutexGuard<'_, InboxState>> {
        let left = until.saturating_duration_since(Instant::now());
        let is_waiting = |state: &mut InboxState| !condition(state) && state.ended.is_none();
        let waited = self.inbox.changed.wait_timeout_while(self.inbox.lock(), left, is_waiting);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (!timeout.timed_out()).then_some(state)
    }

    fn failed(&self, text: &str) -> SyncError {
        SyncError::new(format!("{}: {text}", self.name))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut InboxState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn end(&self, why: String) {
        self.change(|state| {
            state.ended.get_or_insert(why);
        });
    }
}

/// How the thread that waits reaches the loop.
struct Ends {
    mail: MailSender<Mail>,
    resume: MailSender<()>,
    handle: Handle,
}

/// The loop's thread.
fn run(link: Link, inbox: Arc<Inbox>, started: &SyncSender<Result<Ends, String>>) {
    let built = build(link, Arc::clone(&inbox));
    let outcome = match built {
        Ok((mut reactor, ends)) => {
            let _ = started.send(Ok(ends));
            reactor.run().map_err(|error| error.to_string())
        }
        Err(error) => {
            let _ = started.send(Err(error.to_string()));
            Ok(())
        }
    };
    inbox.end(outcome.err().unwrap_or_else(|| "the loop has ended".to_owned()));
}

fn build(link: Link, inbox: Arc<Inbox>) -> Result<(Reactor, Ends), Box<dyn Error>> {
    let settings = Settings::default().close_timeout(CLOSE_TIMEOUT);
    let mut reactor = Reactor::new(settings.drain_timeout(2 * CLOSE_TIMEOUT))?;
    let service = reactor.next_service_id();
    let mut route = RouteSettings::default().message_bytes_max(MESSAGE_BYTES_MAX);
    route.outbox_hard_bytes = route.outbox_hard_min();
    // A relay that limits its clients by rate reads nothing for a while.
    (route.outbox_grace, route.write_timeout) = (STALL_MAX, STALL_MAX);
    let route = reactor.add_outbound(service, route)?;
    let (sender, mail) = reactor.mailbox(service, MAILBOX);
    let (resume, resumed) = reactor.mailbox(service, 1);
    let ends = Ends { mail: sender.clone(), resume, handle: reactor.handle() };
    reactor.add_service(Client {
        link,
        route,
        inbox,
        mail,
        sender,
        resumed,
        is_congested: false,
    })?;
    Ok((reactor, ends))
}

/// The service of the connection.
struct Client {
    link: Link,
    route: RouteId,
    inbox: Arc<Inbox>,
    mail: MailReceiver<Mail>,
    /// For the thread that looks the host up.
    sender: MailSender<Mail>,
    resumed: MailReceiver<()>,
    /// No mail is read until the connection has drained.
    is_congested: bool,
}

impl Client {
    fn send(&mut self, cx: &mut Context<'_>, text: &str) {
        let Some(conn) = self.link.conn() else {
            return;
        };
        match cx.send(conn, text) {
            SendOutcome::Queued => {}
            SendOutcome::Congested => self.is_congested = true,
            outcome => self.inbox.end(format!("a message cannot be sent: {outcome:?}")),
        }
    }
}

impl Service for Client {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let sender = self.sender.clone();
        let deliver = move |addresses| {
            let _ = sender.send(Mail::Resolved(addresses));
        };
        if let Err(error) = self.link.look_up(cx.now(), deliver) {
            self.inbox.end(error.to_string());
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        if let (Ok(()), Some(conn)) = (self.resumed.try_recv(), self.link.conn()) {
            cx.resume(conn);
        }
        if self.is_congested {
            return More::No;
        }
        match self.mail.try_recv() {
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return More::No,
            Ok(Mail::Resolved(addresses)) => {
                if self.link.resolved(cx, self.route, addresses).is_none() {
                    self.inbox.end("cannot be reached".to_owned());
                }
            }
            Ok(Mail::Send(text)) => self.send(cx, &text),
        }
        More::Yes
    }

    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.link.opened(conn);
        self.inbox.change(|state| state.is_open = true);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Message::Text(text) = message else {
            return;
        };
        let mut is_full = false;
        self.inbox.change(|state| {
            state.bytes += text.len();
            state.messages.push_back(text.to_owned());
            is_full = state.bytes > INBOX_BYTES_MAX;
            state.is_paused |= is_full;
        });
        if is_full {
            cx.pause(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, _: ConnId) {
        self.is_congested = false;
        cx.wake();
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let is_tried_again = self.link.owns(conn)
            && self.link.has_untried()
            && self.link.closed(cx, self.route).is_some();
        if !is_tried_again {
            self.inbox.end(format!("the connection has ended: {why}"));
        }
    }
}
