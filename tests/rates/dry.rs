//! Limits in a dry run: of the same arrivals they count as many as they refuse when they are enforced.

use weir::protocol::Message;
use weir::reactor::settings::{GateSettings, Limit, Rate, RouteSettings, Settings};
use weir::reactor::{
    ConnId, Context, Gate, GateRequest, Identity, Level, Metrics, Priority, Reactor, Service,
    Verdict,
};

use super::{add_echo, only, pauses};
use crate::levels::{Loaded, by_memory};
use crate::support::{BINARY, ByHand, Client, upgrade};

/// Passes each request with the subject in its header `X-Subject`.
struct Named;

impl Service for Named {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Gate for Named {
    fn on_gate(&mut self, _: &mut Context<'_>, _: ConnId, request: &GateRequest<'_>) -> Verdict {
        let subject = request.http.header("X-Subject").unwrap();
        Verdict::Pass(Some(Box::new(Identity::new(subject).unwrap())))
    }
}

/// An echo behind a gate that admits so many connections of a subject.
fn add_gated(reactor: &mut Reactor, of_subject: usize, route: RouteSettings) {
    let settings = GateSettings::default().connections_per_subject(of_subject);
    let gate = reactor.add_gate(Named, settings).unwrap();
    add_echo(reactor, "/", route.gate(gate));
}

/// The nth connection: each second one has the same address and the same subject.
fn connect(server: &mut ByHand, n: u8) -> Client {
    let mut client = Client::from([127, 0, 0, 1 + n % 2].into(), server.address);
    client.raw(upgrade("/", &format!("X-Subject: s{}\r\n", n % 2)).as_bytes());
    server.turn_until_readable(&client.stream);
    client
}

/// Connections, of which most end early: what is refused depends on which have ended.
fn connections(settings: Settings, of_subject: usize, route: RouteSettings) -> Metrics {
    let mut server = ByHand::new(settings, |reactor| add_gated(reactor, of_subject, route));
    let mut open = Vec::new();
    for n in 0..24 {
        let mut client = connect(&mut server, n);
        // A refused client leaves at once.
        let is_open = client.head().starts_with("HTTP/1.1 101 ");
        open.push(is_open.then_some(client));
        if n % 3 == 2 {
            open.drain(..2);
        }
        let left = open.iter().flatten().count() as u64;
        server.turn_until("others have gone", |metrics| metrics.connections_now == left);
    }
    drop(open);
    server.stop_clean()
}

/// Messages of six connections in turn, each of 600 bytes. No token returns.
fn messages(settings: Settings, route: RouteSettings) -> Metrics {
    let mut server = ByHand::new(settings, |reactor| add_gated(reactor, 6, route));
    let mut clients: Vec<(Client, bool)> = (0..6)
        .map(|n| {
            let mut client = connect(&mut server, n);
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            (client, false)
        })
        .collect();
    for _ in 0..4 {
        for (client, is_paused) in &mut clients {
            let (read, paused) =
                (server.reactor.metrics().messages_in, server.reactor.metrics().throttled_now);
            client.send(BINARY, &[0; 600]);
            if !*is_paused {
                server.turn_until("it is read, or reading pauses", |metrics| {
                    metrics.messages_in > read || metrics.throttled_now > paused
                });
                *is_paused = server.reactor.metrics().throttled_now > paused;
            }
        }
    }
    server.reactor.metrics().clone()
}

/// Upgrades of each priority at each level. Nothing is shed.
fn at_each_level(settings: &Settings) -> Metrics {
    let settings = by_memory().shed_max_percent(0).limits_dry_run(settings.limits_dry_run.clone());
    let mut loaded = Loaded::new(settings, &RouteSettings::default());
    let mut clients = Vec::new();
    for level in [Level::Normal, Level::Elevated, Level::Critical] {
        loaded.become_loaded(level);
        for priority in Priority::ALL {
            clients.push(request(&mut loaded.server, priority));
        }
    }
    loaded.server.reactor.metrics().clone()
}

/// Three connections fill the share of all beside that of the fixture. Then some of each priority come.
fn into_the_reserve(settings: &Settings) -> Metrics {
    let settings = by_memory().levels(false).limits_dry_run(settings.limits_dry_run.clone());
    let settings = settings.connections_max(8).reserve_percent(50);
    let mut loaded = Loaded::new(settings, &RouteSettings::default());
    let [low, normal, high, critical] = Priority::ALL;
    let arriving = [normal, normal, normal, low, high, normal, critical];
    let _clients = arriving.map(|priority| request(&mut loaded.server, priority));
    loaded.server.reactor.metrics().clone()
}

/// An upgrade with any response.
fn request(server: &mut ByHand, priority: Priority) -> Client {
    let mut client = Client::tcp(server.address);
    client.raw(upgrade(&format!("/{priority}"), "").as_bytes());
    server.turn_until_readable(&client.stream);
    client
}

/// Arrivals that reach this limit.
fn run(limit: Limit, dry: Vec<Limit>) -> Metrics {
    const MANY: usize = 100;
    let (settings, route) = (Settings::default().limits_dry_run(dry), RouteSettings::default());
    let slow = |burst| Rate { per_second: 0.0001, burst };
    match limit {
        Limit::AddressFull => connections(settings.connections_per_address(3), MANY, route),
        Limit::RateLimited => connections(settings.rate_per_address(slow(9)), MANY, route),
        Limit::Requests => connections(settings, MANY, route.requests_per_address(slow(7))),
        Limit::RouteFull => connections(settings, MANY, route.connections_max(4)),
        Limit::SubjectFull => connections(settings, 3, route),
        Limit::Pressure => at_each_level(&settings),
        Limit::Reserved => into_the_reserve(&settings),
        Limit::Messages => messages(settings, route.messages_rate(only(2))),
        Limit::Bytes => messages(settings, route.bytes_rate(only(1000))),
        Limit::MessagesPerAddress => messages(settings, route.messages_rate_per_address(only(5))),
        Limit::BytesPerAddress => messages(settings, route.bytes_rate_per_address(only(3000))),
        Limit::MessagesPerSubject => messages(settings, route.messages_rate_per_subject(slow(5))),
        _ => panic!("no arrivals reach the limit {limit}"),
    }
}

fn count(counts: &std::collections::BTreeMap<&'static str, u64>, limit: Limit) -> u64 {
    counts.get(limit.name()).copied().unwrap_or(0)
}

#[test]
fn each_limit_in_a_dry_run_counts_what_it_refuses_of_the_same_arrivals() {
    for &limit in Limit::ALL {
        let (real, dry) = (run(limit, Vec::new()), run(limit, vec![limit]));
        let refused = count(&real.refusals, limit) + pauses(&real, limit.name());
        assert!(refused > 0, "{limit}: nothing was refused");
        assert_eq!(count(&dry.refused_dry, limit), refused, "{limit}");
        assert_eq!((dry.refused, pauses(&dry, limit.name())), (0, 0), "{limit} is not enforced");
        assert_eq!(real.refused_dry.values().sum::<u64>(), 0, "{limit} is enforced");
    }
}

#[test]
fn several_limits_in_a_dry_run_count_what_they_refuse_of_the_same_arrivals() {
    let rate = |burst| Rate { per_second: 0.0001, burst };
    let limits = Settings::default().connections_per_address(3).rate_per_address(rate(9));
    let route = RouteSettings::default().requests_per_address(rate(7));
    let names = [Limit::AddressFull, Limit::RateLimited, Limit::Requests];
    let real = connections(limits.clone(), 100, route.clone());
    let dry = connections(limits.limits_dry_run(names.to_vec()), 100, route);
    for limit in names {
        let counted = count(&dry.refused_dry, limit);
        assert_eq!(counted, count(&real.refusals, limit), "{limit}");
        assert!(counted > 0, "{limit}");
    }
    assert_eq!((dry.refused, dry.opened), (0, 24));
}
