//! Reads the configuration again on SIGHUP and applies what a running server can change.
//!
//! A thread reads and checks the files. A valid configuration replaces pools, routes of the proxy, lists
//! of relays, limits of routes and the trusted proxies; other changes are logged, since they need a restart. An
//! invalid one is logged and changes nothing.

use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use log::{error, info, warn};
use weir::protocol::Message;
use weir::reactor::{
    ConnId, Context, Finished, MailSender, More, Reactor, RouteId, Service, ServiceId, Step, Task,
    WorkerSettings, Workers,
};
use weir::services::admin::{Samples, Source};
use weir::services::nostr::RelayReload;
use weir::services::proxy::{LoadedPool, ProxyMail, ProxyReload, ProxyRoute};

use crate::audit::AuditLog;
use crate::config::{Config, Dates, Gates, RelayConfig, RouteService, Sources, Start};

/// A configuration that is being read, and one that waits: more signals are equal to one.
const READS_MAX: usize = 2;

/// What a line about a route says that the gates of the new file would allow.
const RUNNING_GATE: &str = "the gate that runs until a restart does not fit";

/// What a reload reaches.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// The routes of services other than the proxy, by path.
    pub(crate) routes: Vec<(String, RouteId)>,
    pub(crate) proxy: Option<MailSender<ProxyMail>>,
    /// The relays, by name.
    pub(crate) relays: Vec<(String, MailSender<RelayReload>)>,
    pub(crate) gates: Gates,
}

/// The outcomes of reloads.
#[derive(Debug, Default)]
struct ReloadCounts {
    succeeded: Cell<u64>,
    refused: Cell<u64>,
}

/// Metrics of reloads.
#[derive(Debug)]
pub(crate) struct ReloadSource(Rc<ReloadCounts>);

/// The reload, before the server has what it reaches.
pub(crate) struct ReloadParts {
    pub(crate) service: ServiceId,
    /// To be set before the loop runs.
    pub(crate) targets: Rc<OnceCell<Targets>>,
    pub(crate) source: ReloadSource,
}

/// What the thread has read.
type Read = Result<Box<Loaded>, String>;

/// A configuration, and what its files contain.
struct Loaded {
    config: Config,
    pools: Vec<LoadedPool>,
    /// The lists of the relays, by name.
    relays: Vec<(String, RelayReload)>,
}

/// The service that reloads the configuration. It has no connections.
struct Reload {
    sources: Sources,
    /// The configuration in force.
    running: Config,
    start: Start,
    targets: Rc<OnceCell<Targets>>,
    /// `None` before the first signal.
    readers: Option<Workers<Sources, Read, ()>>,
    counts: Rc<ReloadCounts>,
    audit: Option<AuditLog>,
}

/// Adds the service that reads the configuration again from `sources`, on
/// [`SignalAction::Call`](weir::reactor::SignalAction::Call).
pub(crate) fn add_reload(
    reactor: &mut Reactor,
    sources: Sources,
    running: &Config,
    audit: Option<AuditLog>,
) -> std::io::Result<ReloadParts> {
    let (targets, counts) = (Rc::<OnceCell<Targets>>::default(), Rc::<ReloadCounts>::default());
    let service = reactor.add_service(Reload {
        sources,
        running: running.clone(),
        start: running.start(),
        targets: Rc::clone(&targets),
        readers: None,
        counts: Rc::clone(&counts),
        audit,
    })?;
    Ok(ReloadParts { service, targets, source: ReloadSource(counts) })
}

/// Reads and checks the configuration and the files that it names. Blocks.
fn read(sources: &Sources) -> Read {
    let config = sources.load(Dates::Ignored).map_err(|error| error.to_string())?;
    let pools: Result<Vec<LoadedPool>, _> =
        config.pools.iter().cloned().map(LoadedPool::load).collect();
    let pools = pools.map_err(|error| error.to_string())?;
    let relays = config.relays.iter().map(|RelayConfig { name, settings }| {
        let lists = RelayReload::read(settings.clone());
        let lists = lists.map_err(|why| format!("relay {name}: {why}"))?;
        Ok((name.clone(), lists))
    });
    let relays = relays.collect::<Result<_, String>>()?;
    Ok(Box::new(Loaded { config, pools, relays }))
}

impl Reload {
    fn finish(&mut self, cx: &mut Context<'_>, read: Read) {
        let Loaded { config, pools, relays } = match read {
            Ok(loaded) => *loaded,
            Err(why) => return self.refuse(&why),
        };
        for line in self.running.needing_restart(&config, &self.start) {
            warn!("needs a restart: {line}");
        }
        if let Err(why) = self.reload_proxy(&config, pools) {
            return self.refuse(&why);
        }
        self.reload_relays(relays);
        self.trust(cx, &config);
        self.change_limits(cx, &config);
        self.counts.succeeded.set(self.counts.succeeded.get() + 1);
        info!("configuration reloaded");
        self.report("reloaded");
    }

    fn report(&self, outcome: &'static str) {
        if let Some(audit) = &self.audit {
            audit.config(outcome);
        }
    }

    fn refuse(&self, why: &str) {
        self.counts.refused.set(self.counts.refused.get() + 1);
        error!("configuration not reloaded, the old one stays: {why}");
        self.report("not reloaded");
    }

    fn trust(&mut self, cx: &mut Context<'_>, config: &Config) {
        let (running, new) = (&mut self.running.server.settings, &config.server.settings);
        if running.trusted_proxies != new.trusted_proxies
            || running.client_address_from != new.client_address_from
        {
            running.trusted_proxies = new.trusted_proxies.clone();
            running.client_address_from = new.client_address_from;
            cx.set_trusted_proxies(new.trusted_proxies.clone(), new.client_address_from);
        }
    }

    /// Changes the limits of the routes that were there at the start, but the proxy's.
    fn change_limits(&mut self, cx: &mut Context<'_>, config: &Config) {
        let Some(targets) = self.targets.get() else {
            return;
        };
        let new = config.routes_by_path();
        let ids: HashMap<&str, RouteId> =
            targets.routes.iter().map(|(path, id)| (path.as_str(), *id)).collect();
        for running in &mut self.running.routes {
            let path = running.path.as_str();
            let (Some(id), Some(new)) = (ids.get(path), new.get(path)) else {
                continue;
            };
            let is_same = running.settings == new.settings && running.access == new.access;
            if !running.has_service_of(new) || is_same {
                continue;
            }
            let Some(settings) = new.limits(&targets.gates) else {
                error!(path = path; "limits not changed: a new gate needs a restart");
                continue;
            };
            if let Err(error) = new.check_access(&self.running.auths) {
                error!(path = path; "limits not changed: {RUNNING_GATE}: {error}");
                continue;
            }
            match cx.set_route(*id, settings) {
                Ok(()) => {
                    running.settings.clone_from(&new.settings);
                    running.access.clone_from(&new.access);
                }
                Err(error) => error!(path = path; "limits not changed: {error}"),
            }
        }
    }

    /// Passes new lists to the relays that run.
    fn reload_relays(&self, relays: Vec<(String, RelayReload)>) {
        let Some(targets) = self.targets.get() else {
            return;
        };
        for (name, lists) in relays {
            let Some((_, relay)) = targets.relays.iter().find(|(other, _)| *other == name) else {
                continue;
            };
            if relay.try_send(lists).is_err() {
                error!(relay = name; "lists not changed: the relay has not taken the last ones");
            }
        }
    }

    /// Passes pools and routes to the proxy.
    fn reload_proxy(&mut self, config: &Config, pools: Vec<LoadedPool>) -> Result<(), String> {
        let Some(targets) = self.targets.get() else {
            return Ok(());
        };
        let Some(proxy) = &targets.proxy else {
            return Ok(());
        };
        let others = self.running.routes.iter().filter(|route| !route.is_proxy());
        let taken: HashSet<&str> = others.map(|route| route.path.as_str()).collect();
        let (mut routes, mut running) = (Vec::new(), Vec::new());
        for route in &config.routes {
            if let RouteService::Proxy(settings) = &route.service
                && !taken.contains(route.path.as_str())
            {
                let limits = route.limits(&targets.gates);
                let limits = limits.ok_or("a new gate needs a restart")?;
                let checked = route.check_access(&self.running.auths);
                checked.map_err(|error| format!("{}: {RUNNING_GATE}: {error}", route.path))?;
                routes.push(ProxyRoute {
                    path: route.path.clone(),
                    limits,
                    settings: settings.clone(),
                });
                running.push(route.clone());
            }
        }
        proxy.try_send(ProxyReload { pools, routes }.into()).map_err(|_| "the proxy is busy")?;
        self.running.routes.retain(|route| !route.is_proxy());
        self.running.routes.append(&mut running);
        self.running.pools.clone_from(&config.pools);
        Ok(())
    }
}

impl Service for Reload {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_signal(&mut self, cx: &mut Context<'_>, _: i32) {
        let readers = self.readers.get_or_insert_with(|| {
            let settings = WorkerSettings::new("configuration", 1, READS_MAX);
            cx.workers(settings, |sources| Step::Done(read(&sources)))
        });
        if readers.try_put(Task::new((), self.sources.clone())).is_err() {
            info!("a reload is waiting already");
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.readers.as_mut().and_then(Workers::take) {
            Some(Finished::Done(read)) => self.finish(cx, read),
            Some(Finished::Lost(())) => self.refuse("reading it panicked"),
            None => return More::No,
        }
        More::Yes
    }
}

impl Source for ReloadSource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        let help = "Reloads of the configuration, by outcome";
        for (outcome, count) in [("success", &self.0.succeeded), ("failure", &self.0.refused)] {
            samples.counter("config_reloads", help, &[("outcome", outcome)], count.get());
        }
    }
}
