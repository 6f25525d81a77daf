//! One message, or sixteen in one read, to 1,000 connections on 127.0.0.1, the speaker among them.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use weir_benches::servers::bare::Bare;
use weir_benches::servers::fastwebsockets::Fastwebsockets;
use weir_benches::servers::tungstenite::Tungstenite;
use weir_benches::servers::weir::Weir;
use weir_benches::servers::{Load, Rounds, Server, Work};

const SUBSCRIBERS: usize = 1_000;

pub(crate) fn all(criterion: &mut Criterion) {
    let cases = [("64 B", 1, 64), ("64 B, 16 at once", 16, 64), ("4096 B", 1, 4096)];
    let mut group = criterion.benchmark_group("fanout");
    group.sample_size(10);
    for (name, depth, payload_bytes) in cases {
        let load = Load { work: Work::Fanout, connections: SUBSCRIBERS, depth, payload_bytes };
        group.throughput(Throughput::Elements(load.deliveries() as u64));
        run::<Weir>(&mut group, name, load);
        run::<Bare>(&mut group, name, load);
        run::<Tungstenite>(&mut group, name, load);
        run::<Fastwebsockets>(&mut group, name, load);
    }
}

fn run<S: Server>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: Load) {
    let mut rounds = Rounds::<S>::new(load).unwrap();
    group.bench_function(BenchmarkId::new(S::NAME, name), |bencher| {
        bencher.iter_custom(|count| rounds.time(count));
    });
}
