//! Builds the parts of a run from a scenario of the command line.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

use fastrand::Rng;
use weir::reactor::{TlsConnector, TlsError};

use crate::cli::{MixedArgs, ROOMS_PATH, Scenario};
use crate::common::{Common, TlsArgs};
use crate::crowd::{Crowd, Destination};
use crate::mix::Ingredient;
use crate::nostr::args::Nostr;
use crate::nostr::{Author, EventPlan, Events, Filters, Login, authors};
use crate::parts::{
    CallPlan, Calls, Churn, ChurnPlan, Echo, Fanout, FanoutPlan, Heads, Herd, Idle, Live, LivePlan,
    NonReaders, Part, Publish, PublishPlan, Rate, Request, RequestPlan, Shared, Slow, Traffic,
};
use crate::source::Sources;
use crate::speed::Speed;
use crate::target::Target;

/// How long a port is unavailable after its connection has ended (TIME-WAIT).
const PORT_REST_SECONDS: f64 = 60.0;

/// Minimum interval between messages of an open loop. Sleeping and waking up costs as much as two
/// or three messages: a client that did it for each message could not keep up with a fast server.
const BURST_SECONDS: f64 = 100e-6;

/// The parts that load `target`: those of the scenario, and additional idle connections.
///
/// # Errors
/// The name does not resolve, the request is invalid, or the rate is not known yet.
pub(crate) fn parts(scenario: &Scenario, target: &Target) -> Result<Vec<Shared>, Box<dyn Error>> {
    let common = scenario.common();
    let mut parts = busy(scenario, target)?;
    if common.idle > 0 {
        let path = common.request.path.as_deref();
        let destination = destination(common, target, path, 1, common.idle as f64)?;
        parts.push(share(Idle::new("idle", Crowd::new(destination, common.idle, None))));
    }
    Ok(parts)
}

fn busy(scenario: &Scenario, target: &Target) -> Result<Vec<Shared>, Box<dyn Error>> {
    let common = scenario.common();
    let traffic = traffic(common);
    let size = common.connections;
    let path = common.request.path.as_deref();
    let members = |connections, ramp| -> Result<Crowd, Box<dyn Error>> {
        Ok(Crowd::new(destination(common, target, path, 1, size as f64)?, connections, ramp))
    };
    Ok(match scenario {
        Scenario::Echo(_) => vec![share(Echo::new(members(size, None)?, &traffic))],
        Scenario::Rate(args) => {
            let Speed::PerSecond(rate) = args.rate else {
                return Err("a percentage needs a measured capacity".into());
            };
            let burst = args.burst.unwrap_or_else(|| burst_at(rate));
            vec![share(Rate::new(members(size, None)?, &traffic, rate, burst))]
        }
        Scenario::Connect(args) => vec![share(Idle::new("connect", members(size, args.ramp)?))],
        Scenario::Fanout(args) => {
            let plan =
                FanoutPlan { publishers: args.publishers, rooms: args.rooms, rate: args.rate };
            vec![fanout(common, target, fanout_path(common, target), size, plan)?]
        }
        Scenario::Churn(args) if args.reconnect => {
            vec![share(Herd::new(members(size, None)?, common.seed))]
        }
        Scenario::Churn(args) => {
            let plan = ChurnPlan { per_second: args.rate, abrupt: args.abrupt };
            vec![churn(common, target, size, plan)?]
        }
        Scenario::Slow(args) => {
            let slow = (size as f64 * args.share).round() as usize;
            vec![share(Slow::new(members(size, None)?, &traffic, slow))]
        }
        Scenario::Mixed(args) => mixed(args, target)?,
        Scenario::Rpc(args) => {
            let mut parts: Vec<Shared> = Vec::new();
            if !args.no_calls {
                let plan = CallPlan {
                    methods: args.methods.clone(),
                    batch: args.batch,
                    depth: common.depth,
                    in_bursts: args.bursts,
                    seed: common.seed,
                };
                parts.push(share(Calls::new(members(size, None)?, plan)));
            }
            if args.subscribers > 0 {
                // One more connection, which calls weir_mine.
                let crowd = members(args.subscribers + 1, None)?;
                parts.push(share(Heads::new(crowd, args.heads)));
            }
            if args.non_readers > 0 {
                parts.push(share(NonReaders::new(members(args.non_readers, None)?)));
            }
            parts
        }
        Scenario::Nostr(nostr) => {
            let more = if let Nostr::Live(args) = nostr { args.publishers } else { 0 };
            vec![relay(nostr, target, members(size + more, None)?)?]
        }
    })
}

/// The load of a Nostr relay.
fn relay(nostr: &Nostr, target: &Target, crowd: Crowd) -> Result<Shared, Box<dyn Error>> {
    let common = nostr.common();
    let login = |is_wanted: bool, authors: &[Author]| {
        is_wanted.then(|| Login::new(&target.url, authors.to_vec(), crowd.len()))
    };
    let plan = |count, kind, is_live| EventPlan {
        count,
        kind,
        sizes: common.size.clone(),
        seed: common.seed,
        is_live,
    };
    Ok(match nostr {
        Nostr::Publish(args) => {
            let authors = authors(common.seed, args.nostr.authors as usize);
            let plan = PublishPlan {
                // Relays refuse ephemeral events that are not new.
                events: Events::sign(
                    &plan(args.count as usize, args.nostr.kind, is_ephemeral(args.nostr.kind)),
                    &authors,
                ),
                depth: common.depth,
                duplicates: args.duplicates,
                login: login(args.nostr.auth, &authors),
                seed: common.seed,
            };
            share(Publish::new(crowd, plan))
        }
        Nostr::Request(args) => {
            let authors = authors(common.seed, args.nostr.authors as usize);
            let login = login(args.nostr.auth, &authors);
            let filters = match &args.filters {
                Some(path) => Filters::read(path)?,
                None => Filters::Made {
                    by: args.by,
                    kind: args.nostr.kind,
                    authors,
                    limit: args.limit,
                    ids: Vec::new(),
                    rng: Rng::with_seed(common.seed),
                },
            };
            share(Request::new(crowd, RequestPlan { filters, depth: common.depth, login }))
        }
        Nostr::Live(args) => {
            let publishers = authors(common.seed, args.publishers);
            let plan = LivePlan {
                events: Events::sign(&plan(args.events(), args.kind, true), &publishers),
                login: login(args.auth, &publishers),
                publishers,
                matching: (common.connections as f64 * args.matching).round() as usize,
                follows: args.follows,
                kind: args.kind,
                rate: args.rate,
                depth: common.depth,
                seed: common.seed,
            };
            share(Live::new(crowd, plan))
        }
    })
}

/// Whether relays do not store events of this kind (NIP-01).
fn is_ephemeral(kind: u16) -> bool {
    (20_000..30_000).contains(&kind)
}

/// The default number of messages that are due at the same time.
fn burst_at(per_second: f64) -> u64 {
    ((per_second * BURST_SECONDS) as u64).max(1)
}

fn mixed(args: &MixedArgs, target: &Target) -> Result<Vec<Shared>, Box<dyn Error>> {
    let common = &args.common;
    let traffic = traffic(common);
    let path = common.request.path.as_deref();
    let mut parts = Vec::new();
    for (ingredient, size) in args.mix.divide(common.connections) {
        let destination = destination(common, target, path, 1, common.connections as f64)?;
        let crowd = || Crowd::new(destination, size, None);
        parts.push(match ingredient {
            Ingredient::Echo => share(Echo::new(crowd(), &traffic)),
            Ingredient::Rate => share(Rate::new(crowd(), &traffic, args.rate, args.burst)),
            Ingredient::Slow => share(Slow::new(crowd(), &traffic, size)),
            Ingredient::Fanout => {
                let plan = FanoutPlan { publishers: 1, rooms: 1, rate: None };
                fanout(common, target, Some(&args.fanout_path), size, plan)?
            }
            Ingredient::Churn => {
                let plan = ChurnPlan { per_second: args.churn, abrupt: 0.2 };
                churn(common, target, size, plan)?
            }
        });
    }
    Ok(parts)
}

/// The path of a fan-out: --path, else the URL's path if it has one, else that of a room.
fn fanout_path<'a>(common: &'a Common, target: &Target) -> Option<&'a str> {
    let asked = common.request.path.as_deref();
    asked.or((target.path == "/").then_some(ROOMS_PATH))
}

fn fanout(
    common: &Common,
    target: &Target,
    path: Option<&str>,
    subscribers: usize,
    plan: FanoutPlan,
) -> Result<Shared, Box<dyn Error>> {
    let size = plan.publishers + subscribers;
    let destination = destination(common, target, path, plan.rooms, size as f64)?;
    let crowd = Crowd::new(destination, size, None);
    Ok(share(Fanout::new(crowd, &traffic(common), plan)))
}

fn churn(
    common: &Common,
    target: &Target,
    size: usize,
    plan: ChurnPlan,
) -> Result<Shared, Box<dyn Error>> {
    let ports = size as f64 + plan.per_second * PORT_REST_SECONDS;
    let path = common.request.path.as_deref();
    let destination = destination(common, target, path, 1, ports)?;
    Ok(share(Churn::new(Crowd::vacant(destination, size), &traffic(common), plan)))
}

fn share(part: impl Part + 'static) -> Shared {
    Rc::new(RefCell::new(part))
}

fn traffic(common: &Common) -> Traffic {
    Traffic {
        kind: common.kind(),
        sizes: common.size.clone(),
        depth: common.depth,
        seed: common.seed,
    }
}

/// The destination of connections: each room in rotation, if `path` contains `{room}`.
fn destination(
    common: &Common,
    target: &Target,
    path: Option<&str>,
    rooms: usize,
    ports: f64,
) -> Result<Destination, Box<dyn Error>> {
    let reached = target.reach(common.connect_timeout);
    let address = reached.map_err(|error| format!("{}: {error}", target.host))?;
    let path = path.unwrap_or(&target.path);
    let request = |room: usize| {
        let path = path.replace("{room}", &room.to_string());
        common.request.to(&target.host, &path).map(Rc::new)
    };
    let requests = (0..rooms).map(request).collect::<Result<_, _>>()?;
    let sources = common.source.clone();
    let sources = sources.unwrap_or_else(|| Sources::automatic(address, ports as usize));
    let tls =
        if target.is_secure { Some(connector(&common.tls, target.server_name())?) } else { None };
    Ok(Destination { address, sources, tls, requests })
}

fn connector(args: &TlsArgs, name: &str) -> Result<TlsConnector, TlsError> {
    let connector = match &args.ca {
        Some(file) => TlsConnector::trusting(name, file)?,
        None if args.insecure => TlsConnector::insecure(name)?,
        None => TlsConnector::public(name)?,
    };
    Ok(if args.no_resumption { connector.without_resumption() } else { connector })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_high_rate_is_sent_in_bursts() {
        assert_eq!([1.0, 10_000.0, 50_000.0, 225_000.0].map(burst_at), [1, 1, 5, 22]);
    }
}
