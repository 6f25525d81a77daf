//! `weir serve`: builds the loop from the configuration and runs it until a signal.
//!
//! Handles everything that belongs to the process rather than to a loop: CPU pinning, signals, and
//! output on stdout.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{info, warn};
use rustix::thread::{CpuSet, sched_setaffinity};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{MailSender, Reactor, RouteId, ServiceId, SignalAction};
use weir::services::admin::{self, Admin, SignOut, Source};
use weir::services::nostr::export::{EXPORT, ExportedRelay, RelayExports};
use weir::services::nostr::{Relay, RelayCounts, RelayNames, RelayReload};
use weir::services::proxy::{self, Proxy, ProxyMail, ProxyOperator, ProxyRoutes};
use weir::services::rpc::Rpc;
use weir::services::rpc::gateway::Gateway;
use weir::services::{Echo, Rooms, TRY_IT_PAGE};

use crate::allocator::return_freed_memory;
use crate::audit::{self, AuditLog};
use crate::config::{
    ADMIN_GROUP, Config, Gates, Listen, NetworkConfig, RelayConfig, RouteConfig, RouteService,
    Sources,
};
use crate::descriptors::{Needs, fit_to_descriptors};
use crate::gates::{add_gates, add_refresh};
use crate::observe::{NetworkSource, ProcessSource, ProxySource, RelaySource};
use crate::reload::{Targets, add_reload};
use crate::version::{COMMIT, VERSION};

/// The first port that needs no privilege (ip(7)).
const PORT_UNPRIVILEGED_MIN: u16 = 1024;
/// From a privileged port to its usual replacement: 80 to 8080, 443 to 8443.
const PORT_OFFSET: u16 = 8000;

/// Runs the server until a signal stops it.
///
/// # Errors
/// The server could not start, or its loop failed.
pub(crate) fn serve(config: &Config, sources: Sources) -> Result<(), Box<dyn Error>> {
    config.server.log.install();
    for warning in config.warnings() {
        warn!("{warning}");
    }
    for note in config.notes() {
        info!("{note}");
    }
    // Before the process is pinned: the thread of the log then has the other CPUs.
    let audit = config.server.audit.as_ref().map(audit::open).transpose()?;
    let (log, thread) = audit.unzip();
    let outcome = run(config, sources, log);
    if let Some(thread) = thread {
        thread.finish();
    }
    outcome
}

/// Runs the server; all that reports to the audit log has ended when it returns.
fn run(config: &Config, sources: Sources, audit: Option<AuditLog>) -> Result<(), Box<dyn Error>> {
    if let Some(cpu) = config.server.pin {
        pin(cpu)?;
    }
    let sockets = config.networks.iter().map(|network| network.gateway.http_sockets_max());
    let needs = Needs {
        listeners: config.server.listen.iter().chain(&config.server.admin).count(),
        upstream_sockets: sockets.sum(),
    };
    let settings = fit_to_descriptors(&config.server.settings, needs);
    let mut reactor = Reactor::new(settings.clone())?;
    // Before certificates are read: a later SIGHUP then reloads them in the first turn.
    let has_file = sources.has_file();
    let reload = add_reload(&mut reactor, sources, config, audit.clone())?;
    let has_certificates = config.server.tls.is_some() || !has_file;
    let mut on_hangup: Vec<ServiceId> = has_file.then_some(reload.service).into_iter().collect();
    if let Some(audit) = &audit {
        reactor.set_observer(audit.clone());
        on_hangup.push(audit::add_reopen(&mut reactor, audit.clone())?);
    }
    handle_signals(&mut reactor, has_certificates, on_hangup)?;
    return_freed_memory(&mut reactor)?;
    let (gates, of_gates) = add_gates(&mut reactor, config)?;
    let proxy = add_proxy(&mut reactor, config)?;
    let mut relays = add_relays(&mut reactor, config)?;
    let mut routes = Vec::new();
    for route in &config.routes {
        let settings = route.limits(&gates).ok_or("a gate is missing")?;
        let id = match (&route.service, route.access.auth()) {
            (RouteService::Auth, Some(auth)) => {
                Some(add_refresh(&mut reactor, &route.path, settings, auth, &gates)?)
            }
            _ => add_route(&mut reactor, route, settings, proxy.as_ref(), &relays)?,
        };
        routes.extend(id.map(|id| (route.path.clone(), id)));
    }
    let mail = proxy.as_ref().map(|proxy| proxy.mail.clone());
    let of_relays = relays.iter().map(|relay| (relay.name.clone(), relay.reloads.clone()));
    let of_relays = of_relays.collect();
    let targets = Targets { routes, proxy: mail.clone(), relays: of_relays, gates: gates.clone() };
    reload.targets.set(targets).map_err(|_| "reload targets are set twice")?;
    if let Some(tls) = &config.server.tls {
        reactor.set_tls(tls.clone())?;
    }
    let mut sources: Vec<Box<dyn Source>> = vec![Box::new(ProcessSource::new())];
    sources.extend(of_gates.into_iter().map(|gate| Box::new(gate) as Box<dyn Source>));
    for network in &config.networks {
        let settings =
            network.access.add_to(&network.settings, &gates).ok_or("a gate is missing")?;
        sources.push(Box::new(add_network(&mut reactor, network, settings)?));
    }
    sources.extend(proxy.map(|proxy| Box::new(proxy.source) as Box<dyn Source>));
    let exported = relays.iter_mut().filter_map(|relay| relay.exported.take()).collect();
    for relay in &relays {
        sources.push(Box::new(RelaySource::new(Rc::clone(&relay.counts))));
    }
    sources.push(Box::new(reload.source));
    sources.extend(audit.as_ref().map(|audit| Box::new(audit.source()) as Box<dyn Source>));
    if config.server.admin.is_some() {
        let admin = add_admin(&mut reactor, sources)?;
        if !gates.is_empty() {
            add_sign_out(&mut reactor, gates)?;
        }
        match mail {
            Some(mail) => add_operator(&mut reactor, mail)?,
            None => add_admin_route(&mut reactor, admin::STATUS, admin)?,
        }
        add_exports(&mut reactor, exported)?;
    }
    let addresses = listen(&mut reactor, &config.server.listen, config.server.admin.as_ref())?;
    for relay in relays.iter().filter(|relay| !relay.has_urls) {
        *relay.names.borrow_mut() = RelayNames::of_listeners(addresses.iter().copied());
    }
    let address = addresses.first().copied();
    log_start(page_url(config, address).as_deref(), &settings);
    let report = |outcome| audit.iter().for_each(|audit| audit.config(outcome));
    report("started");
    reactor.run()?;
    report("stopped");
    if let Some(report) = reactor.turn_report() {
        info!("turns: {report}");
    }
    let metrics = reactor.metrics();
    info!("stopped: {metrics} bytes_left={}", metrics.buffered_now);
    Ok(())
}

/// The service of all proxy routes, and what it shares.
struct ProxyParts {
    service: ServiceId,
    routes: ProxyRoutes,
    source: ProxySource,
    mail: MailSender<ProxyMail>,
}

/// Mail that waits for the proxy: reloads, and requests of operators.
const PROXY_MAIL_MAX: usize = 64;

/// Adds the proxy, if there is a route to it.
fn add_proxy(reactor: &mut Reactor, config: &Config) -> Result<Option<ProxyParts>, Box<dyn Error>> {
    if !config.routes.iter().any(RouteConfig::is_proxy) {
        return Ok(None);
    }
    let id = reactor.next_service_id();
    let outbound = reactor.add_outbound(id, RouteSettings::default())?;
    let (mail, mailbox) = reactor.mailbox(id, PROXY_MAIL_MAX);
    let proxy = Proxy::new(config.pools.clone(), outbound)?.mailbox(mailbox);
    let routes = proxy.routes();
    let source = ProxySource::new(proxy.counts(), proxy.upstream_counts());
    let service = reactor.add_service(proxy)?;
    Ok(Some(ProxyParts { service, routes, source, mail }))
}

/// A relay's service, and what it shares.
struct RelayParts {
    name: String,
    service: ServiceId,
    counts: Rc<RelayCounts>,
    /// The names by which clients may reach it.
    names: Rc<RefCell<RelayNames>>,
    /// Whether the names are set.
    has_urls: bool,
    /// Takes new lists.
    reloads: MailSender<RelayReload>,
    /// For exports on the admin address.
    exported: Option<ExportedRelay>,
}

/// Reloads that a relay has not taken.
const RELAY_MAIL_MAX: usize = 4;

/// Opens and adds the relays that a route names.
fn add_relays(reactor: &mut Reactor, config: &Config) -> Result<Vec<RelayParts>, Box<dyn Error>> {
    let mut parts = Vec::new();
    for RelayConfig { name, settings } in &config.relays {
        let is_of_relay = |route: &&RouteConfig| match &route.service {
            RouteService::Nostr(relay) => relay == name,
            _ => false,
        };
        let Some(route) = config.routes.iter().find(is_of_relay) else {
            continue;
        };
        let relay = Relay::open(name, settings.clone(), &route.settings, Some(disk_free))?;
        let (reloads, mailbox) = reactor.mailbox(reactor.next_service_id(), RELAY_MAIL_MAX);
        let relay = relay.mailbox(mailbox);
        let (counts, names) = (relay.counts(), relay.names());
        let exported = Some(ExportedRelay::from(&relay));
        let service = reactor.add_service(relay)?;
        let (name, has_urls) = (name.clone(), !settings.urls.is_empty());
        parts.push(RelayParts { name, service, counts, names, has_urls, reloads, exported });
    }
    Ok(parts)
}

/// Free bytes of the disk with this path.
pub(crate) fn disk_free(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Adds a route; returns its id if it is not one of the proxy.
fn add_route(
    reactor: &mut Reactor,
    route: &RouteConfig,
    settings: RouteSettings,
    proxy: Option<&ProxyParts>,
    relays: &[RelayParts],
) -> Result<Option<RouteId>, Box<dyn Error>> {
    let service = match (&route.service, proxy) {
        (RouteService::Echo, _) => reactor.add_service(Echo)?,
        (RouteService::Rooms(rooms), _) => reactor.add_service(Rooms::new(rooms.clone()))?,
        (RouteService::Proxy(forwarding), Some(proxy)) => {
            let id = reactor.add_route(&route.path, proxy.service, settings)?;
            proxy.routes.set(id, forwarding.clone())?;
            return Ok(None);
        }
        // `add_proxy` adds the service for any such route, and `add_refresh` needs none.
        (RouteService::Proxy(_), None) | (RouteService::Auth, _) => return Ok(None),
        (RouteService::Nostr(name), _) => match relays.iter().find(|relay| relay.name == *name) {
            Some(relay) => relay.service,
            // `add_relays` opens each relay that a route names.
            None => return Ok(None),
        },
    };
    let id = reactor.add_route(&route.path, service, settings)?;
    if route.page {
        reactor.add_page(&route.path, TRY_IT_PAGE);
    }
    Ok(Some(id))
}

fn add_network(
    reactor: &mut Reactor,
    network: &NetworkConfig,
    settings: RouteSettings,
) -> Result<NetworkSource, Box<dyn Error>> {
    let outbound = reactor.add_outbound(reactor.next_service_id(), network.gateway.outbound())?;
    let gateway = Gateway::new(network.gateway.clone(), outbound)?;
    let shown = gateway.counts();
    let service = Rpc::new(gateway, network.rpc.clone());
    let source =
        NetworkSource::new(&network.gateway.network, service.counts(), network.rpc.clone(), shown);
    let service = reactor.add_service(service)?;
    reactor.add_route(&network.path(), service, settings)?;
    Ok(source)
}

fn add_admin(
    reactor: &mut Reactor,
    sources: Vec<Box<dyn Source>>,
) -> Result<ServiceId, Box<dyn Error>> {
    let service = reactor.add_service(Admin::new(sources))?;
    for path in [admin::METRICS, admin::HEALTH, admin::READY, admin::CONNECTIONS] {
        add_admin_route(reactor, path, service)?;
    }
    Ok(service)
}

fn add_admin_route(
    reactor: &mut Reactor,
    path: &str,
    service: ServiceId,
) -> Result<(), Box<dyn Error>> {
    let settings = RouteSettings::default().listener_group(ADMIN_GROUP);
    reactor.add_route(path, service, settings)?;
    Ok(())
}

/// Adds the sign-out of subjects to the admin address.
fn add_sign_out(reactor: &mut Reactor, gates: Gates) -> Result<(), Box<dyn Error>> {
    let service = reactor.add_service(SignOut::new(gates))?;
    add_admin_route(reactor, admin::SIGN_OUT, service)
}

/// Adds the state of the proxy's pools and of the load, and drains, to the admin address.
fn add_operator(reactor: &mut Reactor, proxy: MailSender<ProxyMail>) -> Result<(), Box<dyn Error>> {
    let service = reactor.add_service(ProxyOperator::new(proxy))?;
    for path in [proxy::STATUS, proxy::DRAIN, proxy::UNDRAIN] {
        add_admin_route(reactor, path, service)?;
    }
    Ok(())
}

/// Adds exports of the relays to the admin address.
fn add_exports(reactor: &mut Reactor, relays: Vec<ExportedRelay>) -> Result<(), Box<dyn Error>> {
    if relays.is_empty() {
        return Ok(());
    }
    let exports = RelayExports::new(relays);
    let settings = exports.route().listener_group(ADMIN_GROUP);
    let service = reactor.add_service(exports)?;
    reactor.add_route(EXPORT, service, settings)?;
    Ok(())
}

/// Binds all listeners, then prints a line for each on standard output, with its actual port.
/// Returns the addresses without the admin address.
fn listen(
    reactor: &mut Reactor,
    all: &[ListenSettings],
    admin: Option<&ListenSettings>,
) -> Result<Vec<SocketAddr>, Box<dyn Error>> {
    let mut lines = String::new();
    let mut addresses = Vec::with_capacity(all.len());
    for settings in all {
        let address = listen_on(reactor, settings)?;
        addresses.push(address);
        let scheme = Listen::from(settings).scheme();
        lines += &format!("listening {scheme}://{address}/\n");
    }
    if let Some(settings) = admin {
        let address = listen_on(reactor, settings)?;
        lines += &format!("admin http://{address}/\n");
    }
    io::stdout().write_all(lines.as_bytes()).map_err(|error| format!("stdout: {error}"))?;
    Ok(addresses)
}

/// The URL of the first route with a page, at the first listener if a browser can connect to it.
fn page_url(config: &Config, address: Option<SocketAddr>) -> Option<String> {
    let route = config.routes.iter().find(|route| route.page)?;
    let first = config.server.listen.first().filter(|listen| !listen.proxy_header)?;
    let scheme = if first.secure { "https" } else { "http" };
    Some(format!("{scheme}://{}{}", address?, route.path))
}

/// Logs the build and the limits in force. The connection limits may be below the configured ones
/// if the process may not have enough file descriptors.
pub(crate) fn log_start(page: Option<&str>, settings: &Settings) {
    info!(
        version = VERSION, commit = COMMIT, page = page,
        connections_max = settings.connections_max, outbound_max = settings.outbound_max,
        connections_per_address = settings.connections_per_address,
        buffered_max = settings.buffered_bytes_max, head_max = settings.head_bytes_max,
        topics_max = settings.topics_max;
        "started"
    );
}

/// Binds one listener; an error suggests a remedy.
pub(crate) fn listen_on(
    reactor: &mut Reactor,
    settings: &ListenSettings,
) -> Result<SocketAddr, String> {
    let address = settings.address;
    reactor.listen(settings).map_err(|error| format!("{error}{}", hint(&error, address)))
}

/// The remedy for an address that cannot be bound.
fn hint(error: &io::Error, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another process uses it (`ss -ltnp 'sport = :{port}'` shows which)")
        }
        io::ErrorKind::PermissionDenied if port < PORT_UNPRIVILEGED_MIN => {
            let other = SocketAddr::new(ip, port + PORT_OFFSET);
            format!(
                "; ports below {PORT_UNPRIVILEGED_MIN} need the capability CAP_NET_BIND_SERVICE \
                 (systemd: AmbientCapabilities=); or choose another port, such as {other}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface has this address (`ip address` lists them)".to_owned()
        }
        _ => String::new(),
    }
}

/// Pins this thread, and threads that it starts later, to one CPU.
fn pin(cpu: usize) -> Result<(), String> {
    let mut cpus = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return Err(format!("pin to CPU {cpu}: the highest number is {}", CpuSet::MAX_CPU - 1));
    }
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).map_err(|error| format!("pin to CPU {cpu}: {error}"))
}

/// Keeps SIGHUP and SIGUSR1 from ending the process before its loop handles them. By default they
/// end a process; here they request a reload or a report.
pub(crate) fn catch_early_signals() -> io::Result<()> {
    for signal in [SIGUSR1, SIGHUP] {
        // The loop's own handler logs and acts; before it exists there is nothing to reload or
        // report.
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// Installs the signal handlers. The first SIGINT or SIGTERM starts a graceful shutdown; the second
/// one ends the process at once, even if the loop is stuck. SIGUSR1 logs a report of the turns if
/// `turn_stats` is set. SIGHUP reloads certificates, calls the services in `on_hangup`, and never ends
/// the process.
pub(crate) fn handle_signals(
    reactor: &mut Reactor,
    has_certificates: bool,
    on_hangup: impl IntoIterator<Item = ServiceId>,
) -> io::Result<()> {
    const FAILED: i32 = 1;
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag set by the first.
        signal_hook::flag::register_conditional_shutdown(signal, FAILED, Arc::clone(&second))?;
        signal_hook::flag::register(signal, Arc::clone(&second))?;
    }
    let down = SignalAction::Shutdown;
    let mut actions = vec![(SIGINT, down), (SIGTERM, down), (SIGUSR1, SignalAction::ReportTurns)];
    if has_certificates {
        actions.push((SIGHUP, SignalAction::ReloadCertificates));
    }
    let calls = on_hangup.into_iter().map(|service| (SIGHUP, SignalAction::Call(service)));
    actions.extend(calls);
    reactor.handle_signals(&actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privileged_port_is_explained() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let hint = |port| hint(&denied, SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(
            hint(443).contains("CAP_NET_BIND_SERVICE") && hint(443).ends_with("127.0.0.1:8443")
        );
        assert_eq!(hint(1024), "");
    }
}
