//! The tries of a request: choosing an upstream, sending the request to it, and what follows when
//! that fails.
//!
//! [`exchange`](super::exchange) decides what follows which event; here it is carried out. What
//! follows a response head is in [`responses`](super::responses).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log::{Level, debug, info, warn};

use super::exchange::{Action, Event, State};
use super::failure::Failure;
use super::service::{Link, Pending, Proxy};
use crate::protocol::handshake::{EMPTY_SLOTS, Refusal, Request};
use crate::protocol::http::{
    RequestOrigin, binds_connection, cookie, normalized_path, write_request,
};
use crate::protocol::proxy_header::{self, Endpoints};
use crate::reactor::{CloseReason, ConnId, Connect, Context, UpstreamRequest};
use crate::upstream::pools::{Choice, StateChange, Target, Try, TryEnd, UpstreamId, Use, Wish};
use crate::upstream::upstream_counts::add;
use crate::upstream::{HashBy, PoolSettings, ProxyVersion};

/// What is sent to an upstream, and how long that may take.
struct Plan {
    upstream: UpstreamId,
    /// The head of the request, written for this upstream.
    head: Vec<u8>,
    /// The PROXY header of a new connection, if it has one.
    preface: Vec<u8>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    body_timeout: Duration,
}

impl Plan {
    fn request(&self, client: ConnId) -> UpstreamRequest {
        UpstreamRequest::new(self.head.clone(), self.answer_timeout)
            .body_timeout(self.body_timeout)
            .client(client)
    }
}

impl Proxy {
    /// Passes an event to a request and carries out what follows, until it has to wait.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>, client: ConnId, event: Event) {
        let mut event = event;
        loop {
            match self.step(client, event) {
                Action::Choose => event = self.try_next(cx, client),
                Action::Answer(failure) => return self.answer(cx, client, failure),
                // Joining and forwarding need a response head: `handle_response` does it.
                Action::Wait
                | Action::Join
                | Action::Forward
                | Action::ForwardInterim
                | Action::ChooseOrForward => return,
            }
        }
    }

    /// Starts the first try of a request.
    pub(super) fn start(&mut self, cx: &mut Context<'_>, client: ConnId) {
        let event = self.try_next(cx, client);
        self.advance(cx, client, event);
    }

    pub(super) fn step(&mut self, client: ConnId, event: Event) -> Action {
        let Some(pending) = self.pending.get_mut(client) else {
            return Action::Wait;
        };
        let (exchange, action) = pending.exchange.step(event);
        pending.exchange = exchange;
        action
    }

    /// Chooses an upstream and sends the request to it.
    pub(super) fn try_next(&mut self, cx: &mut Context<'_>, client: ConnId) -> Event {
        let Some(pending) = self.pending.get_mut(client) else {
            return Event::Failed(Failure::Local);
        };
        let head = std::mem::take(&mut pending.head);
        let event = self.try_with(cx, client, &head);
        if let Some(pending) = self.pending.get_mut(client) {
            pending.head = head;
        }
        event
    }

    fn try_with(&mut self, cx: &mut Context<'_>, client: ConnId, head: &[u8]) -> Event {
        let mut slots = EMPTY_SLOTS;
        let parsed = self.pending.get(client).map(|pending| pending.parse(head, &mut slots));
        let Some(Ok(request)) = parsed else {
            // It was valid when it arrived.
            return Event::Failed(Failure::Local);
        };
        let plan = match self.plan(cx, client, &request) {
            Ok(plan) => plan,
            Err(failure) => return Event::Failed(failure),
        };
        if self.send_on_idle(cx, client, &plan) {
            return Event::SentOnIdle;
        }
        self.dial(cx, client, plan)
    }

    fn plan(
        &mut self,
        cx: &Context<'_>,
        client: ConnId,
        request: &Request<'_>,
    ) -> Result<Plan, Failure> {
        let pending = self.pending.get(client).ok_or(Failure::Local)?;
        let pool = self.pools.find(&pending.route.settings.pool).ok_or(Failure::NoUpstream)?;
        let settings = self.pools.settings(pool).ok_or(Failure::NoUpstream)?;
        let (octets, path);
        let key = match &settings.hash_by {
            HashBy::Address => {
                octets = Octets::of(pending.origin.client);
                Some(octets.as_bytes())
            }
            HashBy::Path => {
                path = normalized_path(request.path());
                Some(path.as_bytes())
            }
            HashBy::Header(name) => request.header(name).map(str::as_bytes),
        };
        let sticky = settings.sticky_cookie.as_ref().and_then(|name| cookie(request, name));
        let is_tunnel = pending.exchange.is_upgrade();
        let wish = Wish { is_tunnel, key, sticky, tried: &pending.tried };
        let upstream = match self.pools.choose(pool, &wish, cx.now()) {
            Choice::Chosen(upstream) => upstream,
            Choice::NoneUp => return Err(Failure::NoUpstream),
            Choice::AllFull => return Err(Failure::Full),
            Choice::NeverResolved => return Err(Failure::Resolve),
        };
        let settings = self.pools.settings(pool).ok_or(Failure::NoUpstream)?;
        let target = self.pools.target(upstream).ok_or(Failure::NoUpstream)?;
        let head = upstream_head(pending, request, settings, &target).ok_or(Failure::Local)?;
        Ok(Plan {
            upstream,
            head,
            preface: preface(settings.send_proxy, pending, target.address),
            connect_timeout: settings.connect_timeout,
            answer_timeout: settings.answer_timeout,
            body_timeout: settings.body_timeout,
        })
    }

    /// Sends the request on an idle connection, the youngest first.
    fn send_on_idle(&mut self, cx: &mut Context<'_>, client: ConnId, plan: &Plan) -> bool {
        let upstream = plan.upstream;
        if self.pending.get(client).is_none_or(|pending| pending.exchange.repeats_try()) {
            return false;
        }
        while let Some(idle) = self.idle.take_youngest(upstream) {
            // Before the request: an end that shows now is not that of an idle connection.
            self.links.remove(idle.conn);
            if cx.send_request(idle.conn, plan.request(client)) {
                let attempt = self.pools.start(upstream, true, cx.now());
                self.begin_try(cx, client, idle.conn, attempt, idle.requests + 1);
                return true;
            }
            self.pools.release(upstream, Use::Idle);
        }
        false
    }

    fn dial(&mut self, cx: &mut Context<'_>, client: ConnId, plan: Plan) -> Event {
        let upstream = plan.upstream;
        let Some(target) = self.pools.target(upstream) else {
            return Event::Failed(Failure::NoUpstream);
        };
        let to = Connect::to(target.address).tls(target.tls).preface(&plan.preface);
        match cx.dial(to, self.outbound, plan.connect_timeout) {
            Ok(conn) => {
                if !cx.send_request(conn, plan.request(client)) {
                    // The head does not fit, or the client has gone: no body was read.
                    cx.abort(conn);
                    return Event::Failed(Failure::Overloaded);
                }
                let attempt = self.pools.start(upstream, false, cx.now());
                self.begin_try(cx, client, conn, attempt, 1);
                Event::Dialled
            }
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                self.make_room(cx, client)
            }
            Err(error) if is_local(&error) => {
                if cx.may_log(Level::Warn, "proxy_local") {
                    warn!("no connection to an upstream: {error}");
                }
                Event::Failed(Failure::Local)
            }
            Err(_) => {
                let attempt = self.pools.start(upstream, false, cx.now());
                if let Some(pending) = self.pending.get_mut(client) {
                    pending.tried.push(upstream);
                }
                self.end_try(cx, attempt, TryEnd::Connect);
                Event::Failed(Failure::Connect)
            }
        }
    }

    fn begin_try(
        &mut self,
        cx: &Context<'_>,
        client: ConnId,
        conn: ConnId,
        attempt: Try,
        requests: u16,
    ) {
        if let Some(pending) = self.pending.get_mut(client) {
            if !pending.tried.is_empty() {
                add(&pending.route.counts.retries, 1);
            }
            pending.tried.push(attempt.upstream());
            pending.upstream = Some(conn);
        }
        self.links.insert(cx, conn, Link::Try { client, attempt, since: cx.now(), requests });
    }

    /// Closes the oldest idle connection: the request continues when it has ended.
    fn make_room(&mut self, cx: &mut Context<'_>, client: ConnId) -> Event {
        let Some((upstream, conn)) = self.idle.take_oldest() else {
            return Event::Failed(Failure::Full);
        };
        self.pools.release(upstream, Use::Idle);
        // Also if it has just ended: then its end is about to be reported.
        if let Some(link) = self.links.get_mut(conn) {
            *link = Link::MakesRoom;
        }
        cx.abort(conn);
        self.waiting.push_back(client);
        Event::NoRoom
    }

    /// Records the end of a try and releases its connection.
    pub(super) fn end_try(&mut self, cx: &mut Context<'_>, attempt: Try, end: TryEnd) {
        self.record(cx, attempt, end);
        self.pools.release(attempt.upstream(), Use::Exchange);
    }

    /// Records the end of a try whose connection stays in use.
    pub(super) fn record(&mut self, cx: &mut Context<'_>, attempt: Try, end: TryEnd) {
        let upstream = attempt.upstream();
        let change = self.pools.record(attempt, end, cx.now());
        let is_failure = !matches!(end, TryEnd::Answered | TryEnd::Cancelled);
        let name = self.pools.target(upstream).map_or("", |target| target.name);
        if is_failure && cx.may_log(Level::Info, "proxy_try_failed") {
            info!(upstream = name, reason = end.name(); "try failed");
        }
        match change {
            Some(StateChange::BreakerOpened) => {
                warn!(upstream = name, reason = end.name(); "breaker opened");
            }
            Some(StateChange::BreakerClosed) => info!(upstream = name; "breaker closed"),
            Some(StateChange::Up | StateChange::Down(_)) | None => {}
        }
    }

    /// A connection to an upstream is established. Its request has been queued already.
    pub(super) fn handle_connected(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        match self.links.get_mut(conn) {
            Some(Link::Try { client, attempt, since, .. }) => {
                let (client, upstream) = (*client, attempt.upstream());
                self.pools.count_connect(upstream, cx.now().since(*since));
                *since = cx.now();
                self.advance(cx, client, Event::Connected);
            }
            Some(Link::Check { .. }) => self.handle_check_connected(cx, conn),
            _ => {}
        }
    }

    /// A connection to an upstream has ended.
    pub(super) fn handle_link_end(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        link: Link,
        why: CloseReason,
    ) {
        match link {
            Link::Try { client, attempt, .. } => self.handle_try_end(cx, client, attempt, why),
            // It could not be joined.
            Link::Tunnel { upstream, .. } => self.pools.release(upstream, Use::Tunnel),
            Link::Closing { upstream } => self.pools.release(upstream, Use::Closing),
            Link::Response { upstream, .. } => self.pools.release(upstream, Use::Exchange),
            Link::Idle { upstream } => {
                self.idle.remove(upstream, conn);
                self.pools.release(upstream, Use::Idle);
            }
            Link::MakesRoom => {
                self.room += 1;
                // The room is free in the next turn.
                cx.wake();
            }
            Link::Check { upstream } => self.handle_check_end(cx, upstream, why),
        }
    }

    fn handle_try_end(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        attempt: Try,
        why: CloseReason,
    ) {
        let Some(pending) = self.pending.get_mut(client) else {
            return self.end_try(cx, attempt, TryEnd::Cancelled);
        };
        pending.upstream = None;
        if why == CloseReason::Aborted {
            // The loop has dropped it, since the client has ended or was answered.
            return self.end_try(cx, attempt, TryEnd::Cancelled);
        }
        let failure = failure(why, pending.exchange.state == State::Connecting);
        let is_stale = pending.exchange.is_stale(failure);
        if is_stale {
            // It may be chosen again.
            pending.tried.pop();
        }
        self.end_try(cx, attempt, if is_stale { TryEnd::Cancelled } else { failure.try_end() });
        self.advance(cx, client, Event::Failed(failure));
    }

    /// A client has ended before its request had a response, or the loop has answered it.
    pub(super) fn handle_client_end(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        why: CloseReason,
    ) {
        let Some(pending) = self.pending.remove(client) else {
            return;
        };
        let is_late = matches!(
            why,
            CloseReason::Refused(Refusal::UpstreamTimeout) | CloseReason::HandshakeTimeout
        );
        let late = match pending.exchange.state {
            State::Connecting => Failure::ConnectTimeout,
            _ => Failure::AnswerTimeout,
        };
        if is_late {
            pending.route.counts.refuse(late);
        }
        let Some(conn) = pending.upstream else {
            return;
        };
        if let Some(Link::Try { attempt, .. }) = self.links.remove(conn) {
            self.end_try(cx, attempt, if is_late { late.try_end() } else { TryEnd::Cancelled });
            cx.abort(conn);
        }
    }

    /// Ends a request's wait for a response: its head is not needed any more.
    pub(super) fn take_pending(&mut self, cx: &mut Context<'_>, client: ConnId) -> Option<Pending> {
        cx.hold(client, 0);
        self.pending.remove(client)
    }

    /// Answers a request that gets no response of an upstream.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, client: ConnId, failure: Failure) {
        let Some(pending) = self.take_pending(cx, client) else {
            return;
        };
        pending.route.counts.refuse(failure);
        if cx.may_log(Level::Warn, failure.name()) {
            let pool = pending.route.settings.pool.as_str();
            warn!(pool = pool, reason = failure.name(), status = failure.status(); "request failed");
        }
        let retry_after = self.retry_after_seconds();
        cx.respond(client, failure.response(retry_after));
    }
}

/// The head of the request for an upstream. `None`: it must not be sent, which was checked when it
/// arrived.
fn upstream_head(
    pending: &Pending,
    request: &Request<'_>,
    settings: &PoolSettings,
    target: &Target<'_>,
) -> Option<Vec<u8>> {
    let from = RequestOrigin {
        peer: pending.origin.peer.ip(),
        client: pending.origin.client,
        is_peer_trusted: pending.origin.is_peer_trusted,
        is_secure: pending.origin.is_secure,
        upstream: target.authority,
        keep_alive: settings.idle_max() > 0 && !binds_connection(request),
        trace: pending.origin.trace,
        identity: pending.identity.as_deref(),
    };
    let mut head = Vec::new();
    let written = write_request(request, &pending.route.rules, &from, &mut head);
    if let Err(refusal) = written {
        debug!(reason = refusal.name(); "request not forwarded");
    }
    written.is_ok().then_some(head)
}

/// The PROXY header for a connection that serves this client. An address that the client reached is
/// not known if it came by another proxy: the upstream's own stands for it.
fn preface(version: Option<ProxyVersion>, pending: &Pending, upstream: SocketAddr) -> Vec<u8> {
    let mut header = Vec::new();
    if let Some(version) = version {
        let (client, peer) = (pending.origin.client, pending.origin.peer);
        let port = if client == peer.ip() { peer.port() } else { 0 };
        let source = SocketAddr::new(client, port);
        let endpoints = Endpoints { source, destination: upstream };
        write_proxy_header(version, Some(endpoints), &mut header);
    }
    header
}

/// Writes a PROXY header; without endpoints for a connection of weir's own.
pub(super) fn write_proxy_header(
    version: ProxyVersion,
    endpoints: Option<Endpoints>,
    out: &mut Vec<u8>,
) {
    let version = match version {
        ProxyVersion::V1 => proxy_header::ProxyVersion::V1,
        ProxyVersion::V2 => proxy_header::ProxyVersion::V2,
    };
    version.write(endpoints, out);
}

/// The failure that the end of a connection means for its try.
fn failure(why: CloseReason, is_connecting: bool) -> Failure {
    match why {
        CloseReason::Overloaded => Failure::Overloaded,
        _ if is_local_end(why) => Failure::Local,
        CloseReason::ConnectFailed(_) => Failure::Connect,
        CloseReason::TlsFailed => Failure::Tls,
        CloseReason::HandshakeTimeout if is_connecting => Failure::ConnectTimeout,
        CloseReason::HandshakeTimeout | CloseReason::WriteTimeout => Failure::AnswerTimeout,
        CloseReason::UpgradeFailed(_) => Failure::BadAnswer,
        _ if is_connecting => Failure::Connect,
        _ => Failure::Reset,
    }
}

/// Whether this machine lacks what the connection needed, or weir has ended it for a reason of its own.
pub(super) fn is_local_end(why: CloseReason) -> bool {
    matches!(
        why,
        CloseReason::ConnectFailed(io::ErrorKind::AddrNotAvailable)
            | CloseReason::Overloaded
            | CloseReason::Shutdown
    )
}

/// Whether this machine lacks what a connection needs: the upstream has nothing to do with it.
pub(super) fn is_local(error: &io::Error) -> bool {
    let lacking = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| lacking.contains(&code))
}

/// The octets of an address: 4 or 16.
struct Octets([u8; 16], usize);

impl Octets {
    fn of(address: IpAddr) -> Octets {
        match address {
            IpAddr::V4(address) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&address.octets());
                Octets(octets, 4)
            }
            IpAddr::V6(address) => Octets(address.octets(), 16),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_the_fault_of_an_upstream() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL] {
            assert!(is_local(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [libc::ECONNREFUSED, libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES] {
            assert!(!is_local(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(!is_local(&io::ErrorKind::QuotaExceeded.into()));
        let lacking = CloseReason::ConnectFailed(io::ErrorKind::AddrNotAvailable);
        for (why, expected) in [
            (lacking, Failure::Local),
            (CloseReason::Overloaded, Failure::Overloaded),
            (CloseReason::Shutdown, Failure::Local),
        ] {
            for is_connecting in [true, false] {
                assert_eq!(failure(why, is_connecting), expected, "{why} {is_connecting}");
            }
        }
    }

    #[test]
    fn the_end_of_a_connection_counts_by_its_reason_and_time() {
        let refused = CloseReason::ConnectFailed(io::ErrorKind::ConnectionRefused);
        let late = CloseReason::HandshakeTimeout;
        for (why, is_connecting, expected) in [
            (refused, true, Failure::Connect),
            (CloseReason::TlsFailed, true, Failure::Tls),
            (late, true, Failure::ConnectTimeout),
            (late, false, Failure::AnswerTimeout),
            (CloseReason::WriteTimeout, false, Failure::AnswerTimeout),
            (CloseReason::PeerGone, true, Failure::Connect),
            (CloseReason::PeerGone, false, Failure::Reset),
            (CloseReason::PeerReset, false, Failure::Reset),
            (CloseReason::Truncated, false, Failure::Reset),
        ] {
            assert_eq!(failure(why, is_connecting), expected, "{why} {is_connecting}");
        }
    }

    #[test]
    fn hash_keys_are_the_octets_of_an_address() {
        assert_eq!(Octets::of([127, 0, 0, 1].into()).as_bytes(), [127, 0, 0, 1]);
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(Octets::of(address).as_bytes().len(), 16);
    }
}
