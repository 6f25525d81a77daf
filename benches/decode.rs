//! Decodes a masked text message from an in-memory stream: whole, in two parts, and byte by byte.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use weir::protocol::Message;
use weir_benches::codecs::{Codec, Fastwebsockets, Tungstenite, Weir};
use weir_benches::input::{ascii, frame};
use weir_benches::pieces::{Cut, Pieces};

const SIZES: [usize; 7] = [0, 20, 125, 126, 1024, 16 * 1024, 64 * 1024];

pub(crate) fn all(criterion: &mut Criterion) {
    let cuts = [
        ("decode whole", Cut::Whole, &SIZES[..]),
        ("decode in two", Cut::InTwo, &SIZES[..]),
        ("decode bytewise", Cut::Bytewise, &SIZES[1..4]),
    ];
    for (name, cut, sizes) in cuts {
        let mut group = criterion.benchmark_group(name);
        for &size in sizes {
            let stream = Pieces::new(frame(Message::Text(&ascii(size))), cut);
            group.throughput(Throughput::Bytes(size as u64));
            run(&mut group, "weir", size, Weir::new(stream.clone()));
            run(&mut group, "tungstenite", size, Tungstenite::new(stream.clone()));
            run(&mut group, "fastwebsockets", size, Fastwebsockets::new(stream));
        }
        group.finish();
    }
}

fn run(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, size: usize, mut codec: impl Codec) {
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter(|| {
            codec.next(|text| {
                black_box(text);
            });
        });
    });
}
