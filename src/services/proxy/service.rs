//! [`Proxy`]: its state, and the events of the loop that change it.
//!
//! Each connection of the service has at most one value here: a client in [`Pending`] until its
//! request is answered or joined, an upstream connection in [`Link`] until it ends.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt as _, SeedableRng as _};

use super::counts::ProxyCounts;
use super::due::Upkeep;
use super::exchange::{Event, Exchange, Kind};
use super::failure::Failure;
use super::idle::IdleConnections;
use super::mail::ProxyMail;
use super::routes::{ProxyRoutes, Route};
use crate::protocol::handshake::{Refusal, Request, Slots};
use crate::protocol::http::{
    IdentityHeaders, ResponseHead, TraceParent, check_request, is_forwarding_header,
};
use crate::protocol::secret::Secret;
use crate::protocol::{CloseCode, Message};
use crate::reactor::{
    CloseReason, ConnId, ConnMap, Context, Decision, ExchangeEnd, HeadDecision, Identity,
    MailReceiver, More, PipeEnd, RequestHead, RouteId, Service, Time, TlsError, UpgradeRequest,
    UpstreamDecision,
};
use crate::upstream::pools::{EndsWhy, LoadedPool, Try, UpstreamId, UpstreamPools};
use crate::upstream::{PoolSettings, PoolsCounts};

/// `Retry-After` is at random within this, so that clients do not come back together.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u8> = 2..=10;

/// Forwards WebSockets and HTTP requests to upstream pools. One service serves all proxy routes of a
/// reactor; [`routes`](Proxy::routes) says what each does.
#[derive(Debug)]
pub struct Proxy {
    pub(super) pools: UpstreamPools,
    pub(super) routes: ProxyRoutes,
    /// The settings of connections to upstreams until they are joined.
    pub(super) outbound: RouteId,
    /// Clients whose request has no response yet.
    pub(super) pending: ConnMap<Pending>,
    /// Connections to upstreams.
    pub(super) links: ConnMap<Link>,
    pub(super) idle: IdleConnections,
    /// Clients that wait for room: for the end of an idle connection.
    pub(super) waiting: VecDeque<ConnId>,
    /// Idle connections that have ended for `waiting`.
    pub(super) room: usize,
    pub(super) upkeep: Upkeep,
    pub(super) mail: Option<MailReceiver<ProxyMail>>,
    pub(super) counts: Rc<ProxyCounts>,
    /// Spreads `Retry-After`; `None` if the system has no entropy.
    random: Option<StdRng>,
}

/// A client whose request has no response yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) exchange: Exchange,
    pub(super) route: Rc<Route>,
    /// The head of the request, as received: each try writes it again. The loop's memory limit counts
    /// it.
    pub(super) head: Secret<Box<[u8]>>,
    pub(super) origin: Origin,
    /// The headers about the client's identity.
    pub(super) identity: Option<Box<IdentityHeaders>>,
    /// The upstreams that were tried.
    pub(super) tried: Vec<UpstreamId>,
    /// The connection of the present try.
    pub(super) upstream: Option<ConnId>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// The address that the connection comes from.
    pub(super) peer: SocketAddr,
    /// The client's address, which differs from the peer's behind a trusted proxy.
    pub(super) client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(super) is_peer_trusted: bool,
    pub(super) is_secure: bool,
    /// Its trace, if the loop traces.
    pub(super) trace: Option<TraceParent>,
}

/// What a connection to an upstream is used for.
#[derive(Debug)]
pub(super) enum Link {
    /// A try of this client's request.
    Try {
        client: ConnId,
        attempt: Try,
        /// When it was dialled, then when it was connected.
        since: Time,
        /// Requests on this connection, this one included.
        requests: u16,
    },
    Tunnel {
        client: ConnId,
        upstream: UpstreamId,
        route: Rc<Route>,
        /// Why weir is ending it, if it is.
        ends: Option<EndsWhy>,
    },
    /// Its tunnel has ended.
    Closing {
        upstream: UpstreamId,
    },
    /// The response to a request is forwarded.
    Response {
        upstream: UpstreamId,
        route: Rc<Route>,
        requests: u16,
        /// How long the connection may be idle after it.
        keep_idle: Duration,
    },
    Idle {
        upstream: UpstreamId,
    },
    /// An idle connection that is closed so that there is room for a waiting client.
    MakesRoom,
    /// An active check.
    Check {
        upstream: UpstreamId,
    },
}

impl Proxy {
    /// A service for these pools, without a route. `outbound` are the settings of its connections to
    /// upstreams, added for this service ([`Reactor::add_outbound`](crate::reactor::Reactor::add_outbound)).
    ///
    /// # Errors
    /// A TLS file of a pool is unusable, or a host is not a name that a certificate can have.
    pub fn new(pools: Vec<PoolSettings>, outbound: RouteId) -> Result<Proxy, TlsError> {
        let loaded: Result<Vec<LoadedPool>, TlsError> =
            pools.into_iter().map(LoadedPool::load).collect();
        let counts = Rc::<ProxyCounts>::default();
        Ok(Proxy {
            pools: UpstreamPools::new(loaded?, Time::ZERO),
            routes: ProxyRoutes::new(Rc::clone(&counts)),
            outbound,
            pending: ConnMap::new(),
            links: ConnMap::new(),
            idle: IdleConnections::default(),
            waiting: VecDeque::new(),
            room: 0,
            upkeep: Upkeep::default(),
            mail: None,
            counts,
            random: StdRng::try_from_rng(&mut SysRng).ok(),
        })
    }

    /// The routes of the service, to be set once the reactor has added them.
    pub fn routes(&self) -> ProxyRoutes {
        self.routes.clone()
    }

    /// The counts by pool, shared with the source of metrics.
    pub fn counts(&self) -> Rc<ProxyCounts> {
        Rc::clone(&self.counts)
    }

    /// The counts by upstream, shared with the source of metrics.
    pub fn upstream_counts(&self) -> Rc<PoolsCounts> {
        self.pools.counts()
    }

    pub(super) fn retry_after_seconds(&mut self) -> u8 {
        match &mut self.random {
            Some(random) => random.random_range(RETRY_AFTER_SECONDS),
            None => *RETRY_AFTER_SECONDS.end(),
        }
    }

    /// Starts a request. `Err` refuses it.
    fn start_request(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        kind: Kind,
        arrived: &Arrived<'_>,
    ) -> Result<(), Refusal> {
        let route = self.routes.get(arrived.route).ok_or(Refusal::NotFound)?;
        if route.settings.websocket_only && kind != Kind::Upgrade {
            return Err(Refusal::UpgradeRequired);
        }
        check_request(arrived.http)?;
        let pool = self.pools.find(&route.settings.pool).ok_or(Refusal::NotFound)?;
        let tries = self.pools.settings(pool).map_or(0, |settings| settings.tries);
        let pending = Pending {
            exchange: Exchange::new(kind, tries),
            route,
            head: Secret(arrived.head.into()),
            origin: arrived.origin,
            identity: arrived.identity.map(|identity| headers_of(identity, cx.now())),
            tried: Vec::new(),
            upstream: None,
        };
        let identity_bytes = pending.identity.as_ref().map_or(0, |headers| headers.held_bytes());
        let fits = cx.hold(client, pending.head.len() + identity_bytes);
        match self.pending.insert(cx, client, pending) {
            true if fits => self.start(cx, client),
            true => self.answer(cx, client, Failure::Overloaded),
            false => {}
        }
        Ok(())
    }
}

/// A request as the loop passes it, of either kind.
struct Arrived<'a> {
    http: &'a Request<'a>,
    head: &'a [u8],
    route: RouteId,
    origin: Origin,
    identity: Option<&'a Identity>,
}

/// The headers about an identity.
fn headers_of(identity: &Identity, now: Time) -> Box<IdentityHeaders> {
    let left = identity.expires.map(|expires| expires.since(now).as_secs());
    Box::new(IdentityHeaders::new(identity.subject(), left, identity.metadata.iter()))
}

/// What the request without upgrade is, as far as retries depend on it.
fn kind(request: &Request<'_>) -> Kind {
    let is_safe = matches!(request.method(), "GET" | "HEAD" | "OPTIONS");
    if is_safe && !request.has_body() { Kind::Repeatable } else { Kind::Once }
}

impl Pending {
    /// Parses the head of the request again, as the loop has: without the headers that only a
    /// trusted proxy may send.
    pub(super) fn parse<'a, 'b>(
        &self,
        head: &'b [u8],
        slots: &'a mut Slots<'b>,
    ) -> Result<Request<'a>, Refusal> {
        match self.origin.is_peer_trusted {
            true => Request::parse(head, slots),
            false => Request::parse_without(head, slots, is_forwarding_header),
        }
    }
}

impl Origin {
    /// `peer` is the client's address, which a trusted proxy has stated if there is one in `via`.
    fn new(peer: SocketAddr, via: Option<SocketAddr>, is_secure: bool) -> Origin {
        Origin {
            peer: via.unwrap_or(peer),
            client: peer.ip(),
            is_peer_trusted: via.is_some(),
            is_secure,
            trace: None,
        }
    }
}

impl Service for Proxy {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.start_upkeep(cx);
    }

    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        let UpgradeRequest { http, head, route, peer, via, is_secure, identity, .. } = *request;
        let origin = Origin { trace: cx.trace(client), ..Origin::new(peer, via, is_secure) };
        let arrived = Arrived { http, head, route, origin, identity };
        match self.start_request(cx, client, Kind::Upgrade, &arrived) {
            Ok(()) => Decision::Defer,
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn streams_http(&self) -> bool {
        true
    }

    fn on_request_head(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        request: &RequestHead<'_>,
    ) -> HeadDecision {
        let RequestHead { http, head, route, peer, via, is_secure, identity, .. } = *request;
        let origin = Origin { trace: cx.trace(client), ..Origin::new(peer, via, is_secure) };
        let arrived = Arrived { http, head, route, origin, identity };
        match self.start_request(cx, client, kind(http), &arrived) {
            Ok(()) => HeadDecision::Defer,
            Err(refusal) => HeadDecision::Refuse(refusal),
        }
    }

    fn on_connect(&mut self, cx: &mut Context<'_>, upstream: ConnId) {
        self.handle_connected(cx, upstream);
    }

    fn on_response_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        match self.links.get(upstream) {
            Some(Link::Try { .. }) => self.handle_response(cx, upstream, head),
            Some(Link::Check { .. }) => self.handle_check_response(cx, upstream, head),
            _ => UpstreamDecision::Drop,
        }
    }

    fn on_upstream_lost(&mut self, cx: &mut Context<'_>, _: ConnId, upstream: ConnId) -> CloseCode {
        self.code_of_lost(upstream, cx.now())
    }

    fn on_pipe_end(&mut self, cx: &mut Context<'_>, _: ConnId, upstream: ConnId, end: &PipeEnd) {
        self.handle_pipe_end(cx, upstream, end);
    }

    fn on_exchange_end(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        upstream: ConnId,
        end: &ExchangeEnd,
    ) {
        self.handle_exchange_end(cx, upstream, end);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.handle_check_open(cx, conn);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        if let Some(link) = self.links.remove(conn) {
            self.handle_link_end(cx, conn, link, why);
        } else if self.pending.contains(conn) {
            self.handle_client_end(cx, conn, why);
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        if self.room > 0 {
            self.room -= 1;
            if let Some(client) = self.waiting.pop_front() {
                self.advance(cx, client, Event::Room);
            }
            return More::Yes;
        }
        match (self.take_mail(cx), self.take_lookup(cx)) {
            (More::No, More::No) => More::No,
            _ => More::Yes,
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        self.upkeep.forget_timer();
        self.keep_up(cx);
    }
}
