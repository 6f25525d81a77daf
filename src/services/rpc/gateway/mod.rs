//! A gateway: answers the calls of one network by asking its upstreams.
//!
//! A request goes to the first upstream that can take it. Subscriptions are the gateway's own: it
//! asks the upstreams once for all subscribers. `UpstreamRequests` decides which upstream is
//! asked, and again after a failure; `Watch` decides what to ask for subscribers. [`Gateway`]
//! connects both to the loop: mail from threads, connections, timers, answers.

mod block;
mod chain;
mod events;
mod failure;
mod gateway_counts;
mod http_threads;
mod logs;
mod mail;
mod methods;
mod outgoing;
mod poll_interval;
mod requests;
mod settings;
mod watch;
mod websocket;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use self::failure::Failure;
use self::http_threads::HttpThreads;
use self::mail::Mail;
use self::outgoing::OutgoingRequest;
use self::requests::{Attempt, AttemptId, Finished, UpstreamRequests};
use self::settings::RequestLimits;
use self::watch::{Purpose, Watch};
use self::websocket::{HEADS_ID, HeadSubscription, WebSocketClient};
use super::backend::{Notice, Ticket};
use super::wire::answer::{Incoming, NO_ID, Notification};
use super::wire::error::RpcError;
use crate::reactor::{ConnId, Context, MailReceiver, RouteId, ServiceTimer, Time, TlsError};
use crate::upstream::pool::Readiness;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::upstream_counts::{UpstreamCounts, add};
use crate::upstream::url::UpstreamUrl;

pub use self::gateway_counts::GatewayCounts;
pub use self::settings::{GatewaySettings, UPSTREAMS_MAX};

/// The timer key of a gateway. It has one timer, for the event that is due next.
const TIMER: u64 = 0;
/// Timeouts of pending requests are checked at this interval.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// The receiver of an answer.
#[derive(Debug)]
enum Waiter {
    /// The call of a client.
    Client(Ticket),
    /// The watch, for this purpose, and its generation when it made the request.
    Watch(Purpose, u32),
}

/// The client of one upstream.
#[derive(Debug)]
enum UpstreamClient {
    Http(HttpThreads),
    WebSocket(Box<WebSocketClient>),
}

/// The backend that asks the upstreams of one network.
#[derive(Debug)]
pub struct Gateway {
    settings: GatewaySettings,
    /// The route with the limits of connections to upstreams.
    outbound: RouteId,
    requests: UpstreamRequests<Waiter>,
    /// The request that is being submitted; kept to reuse its memory.
    outgoing: OutgoingRequest,
    /// The TLS configuration of each upstream, until the gateway starts.
    tls: Vec<Option<UpstreamTls>>,
    /// The client of each upstream.
    clients: Vec<UpstreamClient>,
    mail: Option<MailReceiver<Mail>>,
    /// The upstream whose threads were asked last for an answer; the search starts behind it.
    last_client: usize,
    watch: Watch,
    /// The upstream that is subscribed to for new heads.
    head_source: Option<usize>,
    notices: VecDeque<Notice>,
    timer: Option<(Time, ServiceTimer)>,
    counts: Rc<GatewayCounts>,
}

impl Gateway {
    /// A gateway that asks no upstream before the loop runs. `outbound` is a route by
    /// [`add_outbound`](crate::reactor::Reactor::add_outbound) for its service, with the limits
    /// [`GatewaySettings::outbound`].
    ///
    /// # Errors
    /// As [`GatewaySettings::check`].
    pub fn new(mut settings: GatewaySettings, outbound: RouteId) -> Result<Gateway, TlsError> {
        UpstreamUrl::number(&mut settings.upstreams);
        let limits = RequestLimits {
            concurrency: settings.concurrency,
            queue_max: settings.queue_max,
            timeout: settings.timeout,
        };
        let counts_of = |url: &UpstreamUrl| {
            Rc::new(UpstreamCounts { name: url.to_string(), ..UpstreamCounts::default() })
        };
        let upstreams = settings.upstreams.iter().map(counts_of).collect();
        let counts = Rc::new(GatewayCounts { upstreams, ..GatewayCounts::default() });
        Ok(Gateway {
            outbound,
            requests: UpstreamRequests::new(limits, Rc::clone(&counts)),
            outgoing: OutgoingRequest::default(),
            tls: settings.tls()?,
            clients: Vec::new(),
            mail: None,
            last_client: 0,
            watch: Watch::default(),
            head_source: None,
            notices: VecDeque::new(),
            timer: None,
            counts,
            settings,
        })
    }

    /// The counts, shared with the source of metrics.
    pub fn counts(&self) -> Rc<GatewayCounts> {
        Rc::clone(&self.counts)
    }

    /// Runs pending work: submits the watch's own requests, sends requests, and sets the timer for
    /// the next event.
    fn advance(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        // A request that cannot be submitted fails at once; the watch never queues another one in
        // response.
        for request in std::mem::take(&mut self.watch.requests) {
            self.outgoing.set(request.method, &request.params);
            if request.is_repeated {
                self.requests.stop_joining();
            }
            let waiter = Waiter::Watch(request.purpose, request.generation);
            if let Err((ended, Waiter::Watch(purpose, generation))) =
                self.requests.submit(&self.outgoing, waiter, request.upstream, now)
            {
                self.watch.on_answer(purpose, generation, None, Err(ended.into()), now);
            }
        }
        while let Some((upstream, attempt)) = self.requests.next_attempt(now) {
            if !self.send(cx, upstream, &attempt) {
                let finished = self.requests.finish(attempt.id, Err(Failure::Unsent), now);
                self.deliver(finished, now);
            }
        }
        let unroutable = self.requests.fail_unroutable(now);
        unroutable.into_iter().for_each(|finished| self.deliver(Some(finished), now));
        self.choose_head_source(cx);
        if self.watch.notices.iter().any(|notice| matches!(notice, Notice::Head(_))) {
            self.requests.stop_joining();
        }
        self.notices.append(&mut self.watch.notices);
        self.update_counts();
        self.set_timer(cx);
    }

    fn send(&mut self, cx: &mut Context<'_>, upstream: usize, attempt: &Attempt) -> bool {
        match &mut self.clients[upstream] {
            UpstreamClient::Http(threads) => threads.send(attempt),
            UpstreamClient::WebSocket(client) => client.send(cx, attempt),
        }
    }

    /// Delivers the outcome of a request to its waiters.
    fn deliver(&mut self, finished: Option<Finished<Waiter>>, now: Time) {
        let Some(Finished { waiters, upstream, outcome }) = finished else {
            return;
        };
        let outcome = outcome.unwrap_or_else(|ended| Err(RpcError::from(ended)));
        let mut tickets = Vec::with_capacity(waiters.len());
        for waiter in waiters {
            match waiter {
                Waiter::Client(ticket) => tickets.push(ticket),
                Waiter::Watch(purpose, generation) => {
                    self.watch.on_answer(purpose, generation, upstream, outcome.clone(), now);
                }
            }
        }
        if !tickets.is_empty() {
            self.notices.push_back(Notice::Answer { tickets, outcome });
        }
    }

    /// While heads are wanted, subscribes to them at one upstream: the current one while it can push
    /// them, else the first that can.
    fn choose_head_source(&mut self, cx: &mut Context<'_>) {
        let is_wanted = self.watch.wants_heads();
        let can_push = |client: &UpstreamClient| match client {
            UpstreamClient::Http(_) => false,
            UpstreamClient::WebSocket(client) => {
                client.link.conn().is_some() && client.heads != HeadSubscription::Refused
            }
        };
        let kept = self.head_source.filter(|&source| can_push(&self.clients[source]));
        let source = kept.or_else(|| self.clients.iter().position(can_push));
        self.head_source = source.filter(|_| is_wanted);
        let mut is_pushed = false;
        for (index, client) in self.clients.iter_mut().enumerate() {
            if let UpstreamClient::WebSocket(client) = client {
                client.set_heads_wanted(cx, self.head_source == Some(index));
                is_pushed |= matches!(client.heads, HeadSubscription::Active(_));
            }
        }
        self.watch.set_pushed(is_pushed, cx.now());
    }

    fn update_counts(&self) {
        let counts = &self.counts;
        counts.queued_now.set(self.requests.queued() as u64);
        counts.head.set(self.watch.head().map_or(counts.head.get(), |head| head.number));
        counts.head_reported_at.set(self.watch.head_reported_at.map_or(0, Time::as_nanos));
        counts.pushed.set(u64::from(self.watch.is_pushed()));
        let block_time = self.watch.block_time().unwrap_or_default();
        counts.block_time.set(block_time.as_nanos() as u64);
        counts.losses.set(self.watch.losses);
    }

    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let expiry = if self.requests.len() > 0 { now + EXPIRY_INTERVAL } else { Time::MAX };
        let lookups = self.clients.iter().filter_map(|client| match client {
            UpstreamClient::Http(_) => None,
            UpstreamClient::WebSocket(client) => Some(client.link.due()),
        });
        let due = lookups.fold(self.watch.due().min(expiry), Time::min);
        let is_set = self.timer.is_some_and(|(set, _)| set <= due);
        if due == Time::MAX || is_set {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            cx.cancel(timer);
        }
        let timer = cx.schedule(due.since(now), TIMER);
        self.timer = timer.map(|timer| (due, timer));
    }

    /// Starts the lookups that are due.
    fn look_up(&mut self, now: Time) {
        for client in &mut self.clients {
            if let UpstreamClient::WebSocket(client) = client {
                client.look_up(now);
            }
        }
    }

    /// Wakes the service, so that notices caused by a call are announced after it returns.
    fn announce_later(&self, cx: &mut Context<'_>) {
        if !self.notices.is_empty() {
            cx.wake();
        }
    }

    /// The next mail: of lookups, else of the threads of each upstream in turn.
    fn next_mail(&mut self) -> Option<Mail> {
        if let Ok(mail) = self.mail.as_ref()?.try_recv() {
            return Some(mail);
        }
        let count = self.clients.len();
        (0..count).find_map(|_| {
            self.last_client = (self.last_client + 1) % count;
            let UpstreamClient::Http(threads) = &mut self.clients[self.last_client] else {
                return None;
            };
            threads.take().map(|(id, outcome)| Mail::Answer { id, outcome })
        })
    }

    fn on_mail(&mut self, cx: &mut Context<'_>, mail: Mail) {
        match mail {
            Mail::Answer { id, outcome } => {
                let finished = self.requests.finish(id, outcome, cx.now());
                self.deliver(finished, cx.now());
            }
            Mail::Resolved { upstream, addresses } => {
                if let UpstreamClient::WebSocket(client) = &mut self.clients[upstream]
                    && !client.resolved(cx, self.outbound, addresses)
                {
                    self.requests.set_readiness(upstream, Readiness::Down);
                }
            }
        }
        self.advance(cx);
    }

    /// A message from the WebSocket of an upstream.
    fn on_upstream_message(&mut self, cx: &mut Context<'_>, upstream: usize, text: &str) {
        let now = cx.now();
        let UpstreamClient::WebSocket(client) = &mut self.clients[upstream] else {
            return;
        };
        match Incoming::parse(text) {
            Some(Incoming::Answer(NO_ID, _)) | None => {
                add(&self.counts.upstreams[upstream].malformed, 1);
                client.drop_text(cx);
            }
            Some(Incoming::Answer(HEADS_ID, outcome)) => client.on_subscribed(outcome),
            Some(Incoming::Answer(id, outcome)) => {
                client.on_answer();
                let is_too_large = text.len() > self.settings.answer_bytes_max;
                let outcome = if is_too_large {
                    Err(Failure::TooLarge)
                } else {
                    outcome.map_err(Failure::from)
                };
                let finished = self.requests.finish(AttemptId::from_wire(id), outcome, now);
                self.deliver(finished, now);
            }
            Some(Incoming::Notification(Notification { subscription, result })) => {
                if client.heads.is_active(&subscription) {
                    self.watch.on_pushed_head(&result, now);
                }
            }
            Some(Incoming::Other) => {}
        }
    }

    fn upstream_of(&self, conn: ConnId) -> Option<usize> {
        self.clients.iter().position(|client| match client {
            UpstreamClient::Http(_) => false,
            UpstreamClient::WebSocket(client) => client.link.owns(conn),
        })
    }
}
