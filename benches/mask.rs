//! Unmasking in place.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use weir::protocol::mask;
use weir_benches::input::KEY;

pub(crate) fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in [20, 125, 1024, 16 * 1024, 64 * 1024] {
        let mut payload = vec![0x5A; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("weir", size), |bencher| {
            bencher.iter(|| mask::apply(black_box(KEY), 0, black_box(&mut payload)));
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
            bencher.iter(|| fastwebsockets::unmask(black_box(&mut payload), black_box(KEY)));
        });
    }
}
