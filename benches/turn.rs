//! Whole turns on sockets on 127.0.0.1: every connection has sent a message and receives it back.
//! Also turns without work while timers wait.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use weir::reactor::Reactor;
use weir::reactor::settings::Settings;
use weir::services::Echo;
use weir_benches::servers::bare::Bare;
use weir_benches::servers::fastwebsockets::Fastwebsockets;
use weir_benches::servers::tungstenite::Tungstenite;
use weir_benches::servers::weir::Weir;
use weir_benches::servers::{Load, Rounds, Server, Work};

pub(crate) fn all(criterion: &mut Criterion) {
    let cases = [
        ("20 B x 200", 200, 1, 20),
        ("20 B x 200, 16 at once", 200, 16, 20),
        ("1024 B x 200", 200, 1, 1024),
        ("16384 B x 50", 50, 1, 16 * 1024),
        ("65536 B x 10", 10, 1, 64 * 1024),
    ];
    let mut group = criterion.benchmark_group("turn");
    for (name, connections, depth, payload_bytes) in cases {
        let load = Load { work: Work::Echo, connections, depth, payload_bytes };
        contenders(&mut group, name, load);
    }
    group.finish();
    timers(criterion);
}

/// The cost of waiting timers for each turn.
fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("idle turn");
    for count in [0, 1_000, 100_000] {
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = reactor.add_service(Echo).unwrap();
        reactor.start().unwrap();
        let mut cx = reactor.context(service);
        for key in 0..count {
            cx.schedule(Duration::from_secs(3600 + key % 600), key).unwrap();
        }
        group.bench_function(format!("{count} timers"), |bencher| {
            bencher.iter(|| reactor.turn(Some(Duration::ZERO)).unwrap());
        });
    }
}

/// Runs the same load on each server in turn.
pub(crate) fn contenders(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: Load) {
    group.throughput(Throughput::Elements(load.deliveries() as u64));
    run::<Weir>(group, name, load);
    run::<Bare>(group, name, load);
    run::<Tungstenite>(group, name, load);
    run::<Fastwebsockets>(group, name, load);
}

fn run<S: Server>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: Load) {
    let mut rounds = Rounds::<S>::new(load).unwrap();
    group.bench_function(BenchmarkId::new(S::NAME, name), |bencher| {
        bencher.iter_custom(|count| rounds.time(count));
    });
}
