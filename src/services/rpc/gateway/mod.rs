//! A gateway: one network's upstreams behind the service.
//!
//! Requests go to the first upstream that can take them; news for subscribers are our own, found by
//! asking the upstreams once however many subscribe. [`Calls`] decides who is asked, [`Watch`] what the
//! news are; here they meet the loop: mail from threads, connections, timers, and what becomes of an
//! answer.

mod backend;
mod block;
mod calls;
mod chain;
mod counts;
mod failure;
mod http;
mod logs;
mod methods;
mod pace;
mod question;
mod settings;
mod socket;
mod watch;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use self::calls::{Calls, Finished, Send, TryId};
use self::failure::Failure;
use self::http::Http;
use self::question::Question;
use self::settings::CallLimits;
use self::socket::{HEADS_ID, Socket, Subscription};
use self::watch::{Purpose, Watch};
use super::backend::{Notice, Ticket};
use super::wire::answer::Outcome;
use super::wire::answer::{Incoming, NO_ID, Notification};
use super::wire::error::RpcError;
use crate::reactor::{ConnId, Context, MailReceiver, RouteId, ServiceTimer, Time, TlsError};
use crate::upstream::counts::{UpstreamCounts, add};
use crate::upstream::pool::Readiness;
use crate::upstream::resolve::Addresses;
use crate::upstream::tls::UpstreamTls;
use crate::upstream::url::UpstreamUrl;

pub use self::counts::GatewayCounts;
pub use self::settings::{GatewaySettings, UPSTREAMS_MAX};

/// The timer key of a gateway: it has one timer, for whatever is due next.
const ALARM: u64 = 0;
/// How often calls under way are looked through for what has waited too long.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// Mail from a thread.
#[derive(Debug)]
enum Mail {
    Answer { upstream: usize, thread: usize, id: TryId, outcome: Result<Outcome, Failure> },
    Resolved { upstream: usize, addresses: Addresses },
}

/// Who waits for an answer.
#[derive(Debug)]
enum Asker {
    Client(Ticket),
    /// The news, and the era that they are of.
    Watch(Purpose, u32),
}

/// The way to one upstream.
#[derive(Debug)]
enum Transport {
    Http(Http),
    Socket(Socket),
}

/// The upstreams of one network.
#[derive(Debug)]
pub struct Gateway {
    settings: GatewaySettings,
    /// The limits of connections to upstreams.
    outbound: Rc<Cell<RouteId>>,
    calls: Calls<Asker>,
    /// The request that is being asked.
    question: Question,
    /// By upstream, until it starts.
    security: Vec<Option<UpstreamTls>>,
    links: Vec<Transport>,
    mail: Option<MailReceiver<Mail>>,
    watch: Watch,
    /// The upstream whose pushed heads count.
    pusher: Option<usize>,
    notices: VecDeque<Notice>,
    alarm: Option<(Time, ServiceTimer)>,
    counts: Rc<GatewayCounts>,
}

impl Gateway {
    /// Asks nobody before the loop runs; by then `outbound` is the route that
    /// [`add_outbound`](crate::reactor::Reactor::add_outbound) has given for its service.
    ///
    /// # Errors
    /// Those of [`GatewaySettings::check`].
    pub fn new(
        mut settings: GatewaySettings,
        outbound: Rc<Cell<RouteId>>,
    ) -> Result<Gateway, TlsError> {
        UpstreamUrl::number(&mut settings.upstreams);
        let limits = CallLimits {
            concurrency: settings.concurrency,
            queue_max: settings.queue_max,
            timeout: settings.timeout,
        };
        let named = |url: &UpstreamUrl| {
            Rc::new(UpstreamCounts { name: url.to_string(), ..UpstreamCounts::default() })
        };
        let upstreams = settings.upstreams.iter().map(named).collect();
        let counts = Rc::new(GatewayCounts { upstreams, ..GatewayCounts::default() });
        Ok(Gateway {
            outbound,
            calls: Calls::new(limits, Rc::clone(&counts)),
            question: Question::default(),
            security: settings.security()?,
            links: Vec::new(),
            mail: None,
            watch: Watch::default(),
            pusher: None,
            notices: VecDeque::new(),
            alarm: None,
            counts,
            settings,
        })
    }

    /// What it counts, for whoever shows it.
    pub fn counts(&self) -> Rc<GatewayCounts> {
        Rc::clone(&self.counts)
    }

    /// Carries out what has become possible: the news' own requests, requests that can be sent, and
    /// the timer for what comes next.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        // What cannot be asked has no answer, which never is a reason to ask on at once.
        for ask in std::mem::take(&mut self.watch.asks) {
            self.question.set(ask.method, &ask.params);
            if ask.is_repeated {
                self.calls.part();
            }
            let asker = Asker::Watch(ask.purpose, ask.era);
            if let Err((ended, Asker::Watch(purpose, era))) =
                self.calls.ask(&self.question, asker, ask.upstream, now)
            {
                self.watch.take(purpose, era, None, Err(ended.into()), now);
            }
        }
        while let Some((upstream, send)) = self.calls.next(now) {
            if !self.send(cx, upstream, &send) {
                let finished = self.calls.finish(send.id, Err(Failure::Unsent), now);
                self.conclude(finished, now);
            }
        }
        let given_up = self.calls.give_up(now);
        given_up.into_iter().for_each(|finished| self.conclude(Some(finished), now));
        self.choose_pusher(cx);
        if self.watch.notices.iter().any(|notice| matches!(notice, Notice::Head(_))) {
            self.calls.part();
        }
        self.notices.append(&mut self.watch.notices);
        self.show();
        self.set_alarm(cx);
    }

    fn send(&mut self, cx: &mut Context<'_>, upstream: usize, send: &Send) -> bool {
        match &mut self.links[upstream] {
            Transport::Http(http) => http.send(send),
            Transport::Socket(socket) => socket.send(cx, send),
        }
    }

    /// Tells those who have waited.
    fn conclude(&mut self, finished: Option<Finished<Asker>>, now: Time) {
        let Some(Finished { waiters, upstream, outcome }) = finished else {
            return;
        };
        let outcome = outcome.unwrap_or_else(|ended| Err(RpcError::from(ended)));
        let mut tickets = Vec::with_capacity(waiters.len());
        for waiter in waiters {
            match waiter {
                Asker::Client(ticket) => tickets.push(ticket),
                Asker::Watch(purpose, era) => {
                    self.watch.take(purpose, era, upstream, outcome.clone(), now);
                }
            }
        }
        if !tickets.is_empty() {
            self.notices.push_back(Notice::Answer { tickets, outcome });
        }
    }

    /// Has the first upstream that can push heads do so while they are wanted, and no other.
    fn choose_pusher(&mut self, cx: &mut Context<'_>) {
        let wanted = self.watch.wants_heads();
        let can_push = |link: &Transport| match link {
            Transport::Http(_) => false,
            Transport::Socket(socket) => {
                socket.link.conn().is_some() && socket.heads != Subscription::Refused
            }
        };
        let keeps = self.pusher.filter(|&pusher| can_push(&self.links[pusher]));
        self.pusher = keeps.or_else(|| self.links.iter().position(can_push)).filter(|_| wanted);
        let mut is_pushed = false;
        for (index, link) in self.links.iter_mut().enumerate() {
            if let Transport::Socket(socket) = link {
                socket.want_heads(cx, self.pusher == Some(index));
                is_pushed |= matches!(socket.heads, Subscription::Held(_));
            }
        }
        self.watch.set_pushed(is_pushed, cx.now());
    }

    fn show(&self) {
        let counts = &self.counts;
        counts.queued_now.set(self.calls.queued() as u64);
        counts.head.set(self.watch.head().map_or(counts.head.get(), |head| head.number));
        counts.heard.set(self.watch.heard.map_or(0, Time::as_nanos));
        counts.pushed.set(u64::from(self.watch.is_pushed()));
        let block_time = self.watch.block_time().unwrap_or_default();
        counts.block_time.set(block_time.as_nanos() as u64);
        counts.losses.set(self.watch.losses);
    }

    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let expiry = if self.calls.len() > 0 { now + EXPIRY_INTERVAL } else { Time::MAX };
        // What was found out within a call cannot be said within it.
        let unsaid = if self.notices.is_empty() { Time::MAX } else { now };
        let sockets = self.links.iter().filter_map(|link| match link {
            Transport::Http(_) => None,
            Transport::Socket(socket) => Some(socket.link.due()),
        });
        let due = sockets.fold(self.watch.due().min(expiry).min(unsaid), Time::min);
        let is_set = self.alarm.is_some_and(|(set, _)| set <= due);
        if due == Time::MAX || is_set {
            return;
        }
        if let Some((_, timer)) = self.alarm.take() {
            cx.cancel(timer);
        }
        let timer = cx.schedule(due.since(now), ALARM);
        self.alarm = timer.map(|timer| (due, timer));
    }

    fn wake_sockets(&mut self, now: Time) {
        for link in &mut self.links {
            if let Transport::Socket(socket) = link {
                socket.wake(now);
            }
        }
    }

    /// Takes one mail.
    fn take(&mut self, cx: &mut Context<'_>, mail: Mail) {
        match mail {
            Mail::Answer { upstream, thread, id, outcome } => {
                if let Transport::Http(http) = &mut self.links[upstream] {
                    http.rest(thread);
                }
                let finished = self.calls.finish(id, outcome, cx.now());
                self.conclude(finished, cx.now());
            }
            Mail::Resolved { upstream, addresses } => {
                let route = self.outbound.get();
                if let Transport::Socket(socket) = &mut self.links[upstream]
                    && !socket.resolved(cx, route, addresses)
                {
                    self.calls.set_readiness(upstream, Readiness::Down);
                }
            }
        }
        self.go_on(cx);
    }

    /// Takes a message from the WebSocket of an upstream.
    fn take_message(&mut self, cx: &mut Context<'_>, upstream: usize, text: &str) {
        let now = cx.now();
        let Transport::Socket(socket) = &mut self.links[upstream] else {
            return;
        };
        match Incoming::parse(text) {
            Some(Incoming::Answer(NO_ID, _)) | None => {
                add(&self.counts.upstreams[upstream].malformed, 1);
                socket.drop_text(cx);
            }
            Some(Incoming::Answer(HEADS_ID, outcome)) => socket.subscribed(outcome),
            Some(Incoming::Answer(id, outcome)) => {
                socket.heard();
                let is_too_large = text.len() > self.settings.answer_bytes_max;
                let outcome = if is_too_large {
                    Err(Failure::TooLarge)
                } else {
                    outcome.map_err(Failure::from)
                };
                let finished = self.calls.finish(TryId::from_wire(id), outcome, now);
                self.conclude(finished, now);
            }
            Some(Incoming::Notification(Notification { subscription, result })) => {
                if matches!(&socket.heads, Subscription::Held(held) if held == subscription.get()) {
                    self.watch.push(&result, now);
                }
            }
            Some(Incoming::Other) => {}
        }
    }

    fn link_of(&self, conn: ConnId) -> Option<usize> {
        self.links.iter().position(|link| match link {
            Transport::Http(_) => false,
            Transport::Socket(socket) => socket.link.owns(conn),
        })
    }
}
