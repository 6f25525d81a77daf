//! `weir node`: a node of the embedded development chain, leader or follower, on its own loop.
//!
//! Starts the services, routes and listeners of its [options](NodeOptions), and runs the loop.

mod flags;
mod options;

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use log::info;
use weir::reactor::Reactor;
use weir::reactor::settings::{ListenSettings, RouteSettings};
use weir::services::admin::{self, Admin, Source};
use weir::services::rpc::node::{Node, P2P_PATH, peer_route};
use weir::services::rpc::{Backend as _, Rpc};

pub(crate) use self::options::NodeOptions;
use crate::allocator::return_freed_memory;
use crate::descriptors::{Needs, fit_to_descriptors};
use crate::logging::LogSettings;
use crate::observe::{PeerSource, ProcessSource, RpcSource};
use crate::serve::{handle_signals, listen_on, log_start};

/// Listeners of a node: RPC, health, P2P. A follower sends one request at a time to its leader.
const NEEDS: Needs = Needs { listeners: 3, upstream_sockets: 1 };
/// The listener group of the health address.
const HEALTH_GROUP: u16 = 1;
/// The listener group of the P2P address.
const P2P_GROUP: u16 = 2;

/// Runs the node until a signal stops it.
///
/// # Errors
/// The node could not start, or its loop failed.
pub(crate) fn node(options: &NodeOptions) -> Result<(), Box<dyn Error>> {
    LogSettings { filter: options.log.clone(), format: options.log_format }.install();
    let settings = fit_to_descriptors(&options.settings(), NEEDS);
    let mut reactor = Reactor::new(settings.clone())?;
    let named = |error| format!("{}: {error}", options.data_dir.display());
    let node = Node::open(options.node()).map_err(named)?;
    let rpc = Rpc::new(node, options.rpc());
    let health = reactor.add_service(rpc.backend().health(rpc.counts()))?;
    for path in ["/healthz", "/readyz"] {
        reactor.add_route(path, health, watched())?;
    }
    if options.boot_peers.0.is_empty() {
        let outbound = reactor.add_outbound(reactor.next_service_id(), RouteSettings::default())?;
        if let Some(subscription) = rpc.backend().leader_subscription(outbound) {
            reactor.add_service(subscription)?;
        }
    }
    let mut sources: Vec<Box<dyn Source>> = vec![
        Box::new(ProcessSource::new()),
        Box::new(RpcSource::new(rpc.backend().network(), rpc.counts(), options.rpc())),
    ];
    if options.has_peers() {
        sources.push(Box::new(add_peers(&mut reactor, rpc.backend(), options)?));
    }
    let admin = reactor.add_service(Admin::new(sources))?;
    reactor.add_route(admin::METRICS, admin, watched())?;
    let rpc = reactor.add_service(rpc)?;
    reactor.add_route("/", rpc, options.route())?;
    // Before listening: a process that reads our listener line may send a signal at once.
    handle_signals(&mut reactor, true, None)?;
    return_freed_memory(&mut reactor)?;
    listen(&mut reactor, options)?;
    log_start(None, &settings);
    reactor.run()?;
    let metrics = reactor.metrics();
    info!("stopped: {metrics} bytes_left={}", metrics.buffered_now);
    Ok(())
}

/// Adds the service that exchanges notifications of new blocks with peers.
fn add_peers(
    reactor: &mut Reactor,
    node: &Node,
    options: &NodeOptions,
) -> Result<PeerSource, Box<dyn Error>> {
    let outbound = reactor.add_outbound(reactor.next_service_id(), peer_route(P2P_GROUP))?;
    let peers = node.peers(options.chain_name(), options.boot_peers.clone(), outbound);
    let source = PeerSource::new(node.network(), peers.counts());
    let peers = reactor.add_service(peers)?;
    reactor.add_route(P2P_PATH, peers, peer_route(P2P_GROUP))?;
    Ok(source)
}

/// Settings of the routes on the health address.
fn watched() -> RouteSettings {
    RouteSettings::default().listener_group(HEALTH_GROUP)
}

fn health_listener(address: SocketAddr) -> ListenSettings {
    ListenSettings::new(address).listener_group(HEALTH_GROUP).for_operators(true)
}

/// Binds all listeners, then prints a line for each on standard output, with its actual port.
fn listen(reactor: &mut Reactor, options: &NodeOptions) -> Result<(), Box<dyn Error>> {
    let mut lines = String::new();
    let listeners = [
        ("ws", ListenSettings::new(options.rpc_addr)),
        ("http", health_listener(options.health_addr)),
    ];
    for (scheme, settings) in listeners {
        let address = listen_on(reactor, &settings)?;
        lines += &format!("listening {scheme}://{address}/\n");
    }
    if let Some(address) = options.p2p_addr {
        let settings = ListenSettings::new(address).listener_group(P2P_GROUP);
        let address = listen_on(reactor, &settings)?;
        lines += &format!("p2p ws://{address}{P2P_PATH}\n");
    }
    io::stdout().write_all(lines.as_bytes()).map_err(|error| format!("stdout: {error}"))?;
    Ok(())
}
