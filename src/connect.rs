//! `weir check --connect`: connects to each upstream of each pool once, as the proxy does.
//!
//! It runs the proxy in a loop of its own, with the active check `connect` in every pool: TCP, the
//! PROXY header and TLS, as they are set. It sends no request.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, More, Reactor, Service};
use weir::services::proxy::{HealthCheck, LoadedPool, Lookup, Proxy};

use crate::config::Config;

/// A check without a result after this time has failed.
const WAIT: Duration = Duration::from_secs(60);
/// The longest turn: how late the end of the time is seen.
const TURN_MAX: Duration = Duration::from_millis(100);
/// Longer than [`WAIT`]: each upstream is checked once.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The outcome for one upstream.
pub(crate) struct Connected {
    pool: String,
    upstream: String,
    /// Why it failed.
    failure: Option<String>,
}

impl fmt::Display for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connected { pool, upstream, failure } = self;
        write!(f, "pool {pool}: {upstream}: {}", failure.as_deref().unwrap_or("connected"))
    }
}

/// Connects to all upstreams. Blocks for as long as the slowest takes.
///
/// # Errors
/// A TLS file is unusable, or the system provides no poll.
pub(crate) fn connect(config: &Config) -> Result<Vec<Connected>, Box<dyn Error>> {
    let checked = Rc::<RefCell<Checked>>::default();
    let mut reactor = Reactor::new(Settings::default())?;
    let outbound = reactor.add_outbound(reactor.next_service_id(), RouteSettings::default())?;
    let proxy = Proxy::new(Vec::new(), outbound)?;
    let mut outcomes = Vec::new();
    let mut pools = Vec::new();
    for pool in &config.pools {
        let settings = pool.clone().health(HealthCheck::Connect).health_interval(INTERVAL);
        let mut loaded = LoadedPool::load(settings.resolve_interval(None))?;
        let names = proxy.unresolved_names(std::slice::from_ref(&loaded));
        outcomes.extend(look_up(names, &pool.name, &mut loaded));
        pools.push(loaded);
    }
    reactor.add_service(Connecting { proxy, pools, checked: Rc::clone(&checked) })?;
    reactor.start()?;
    let started = Instant::now();
    while !checked.borrow().is_complete && started.elapsed() < WAIT {
        reactor.turn(Some(TURN_MAX))?;
    }
    outcomes.append(&mut checked.borrow_mut().outcomes);
    Ok(outcomes)
}

/// The pools of which no upstream was connected.
pub(crate) fn unreachable<'c>(config: &'c Config, outcomes: &[Connected]) -> Vec<&'c str> {
    let names = config.pools.iter().map(|pool| pool.name.as_str());
    let is_reached = |name: &str| outcomes.iter().any(|it| it.pool == name && it.failure.is_none());
    names.filter(|name| !is_reached(name)).collect()
}

/// Looks up these names of a pool; returns those without an address.
fn look_up(names: Vec<(String, u16)>, name: &str, pool: &mut LoadedPool) -> Vec<Connected> {
    let mut failed = Vec::new();
    for (host, port) in names {
        let upstream = format!("{host}:{port}");
        let lookup = Lookup::of((host, port));
        if let Err(error) = &lookup.found {
            let failure = Some(format!("not resolved: {error}"));
            failed.push(Connected { pool: name.to_owned(), upstream, failure });
        }
        pool.set_addresses(&lookup);
    }
    failed
}

/// What the checks have shown so far.
#[derive(Debug, Default)]
struct Checked {
    outcomes: Vec<Connected>,
    /// Each upstream has a result.
    is_complete: bool,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The proxy, with a look at its upstreams after each event.
struct Connecting {
    proxy: Proxy,
    pools: Vec<LoadedPool>,
    checked: Rc<RefCell<Checked>>,
}

impl Connecting {
    fn look(&self, cx: &Context<'_>) {
        let mut checked = Checked { outcomes: Vec::new(), is_complete: true };
        for status in self.proxy.upstreams(cx.now()) {
            let failure = match status.last_check {
                Some((_, result)) => result.err().map(|failure| failure.to_string()),
                None => Some("no result".to_owned()),
            };
            checked.is_complete &= status.last_check.is_some();
            let (pool, upstream) = (status.pool.to_owned(), status.name.to_owned());
            checked.outcomes.push(Connected { pool, upstream, failure });
        }
        self.checked.replace(checked);
    }
}

impl Service for Connecting {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.proxy.on_start(cx);
        let pools = std::mem::take(&mut self.pools);
        self.proxy.set_pools(cx, pools);
        self.look(cx);
    }

    fn on_connect(&mut self, cx: &mut Context<'_>, upstream: ConnId) {
        self.proxy.on_connect(cx, upstream);
        self.look(cx);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        self.proxy.on_close(cx, conn, why);
        self.look(cx);
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        self.proxy.on_mail(cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        self.proxy.on_timer(cx, key);
        self.look(cx);
    }
}
