//! Publishes one message, or 16 in one read, to 1,000 connections on 127.0.0.1, the sender among
//! them.

use criterion::Criterion;
use weir_benches::servers::{Load, Work};

use crate::turn::contenders;

const SUBSCRIBERS: usize = 1_000;

pub(crate) fn all(criterion: &mut Criterion) {
    let cases = [("64 B", 1, 64), ("64 B, 16 at once", 16, 64), ("4096 B", 1, 4096)];
    let mut group = criterion.benchmark_group("fanout");
    group.sample_size(10);
    for (name, depth, payload_bytes) in cases {
        let load = Load { work: Work::Fanout, connections: SUBSCRIBERS, depth, payload_bytes };
        contenders(&mut group, name, load);
    }
}
