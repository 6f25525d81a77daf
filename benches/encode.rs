//! Encodes a server's frames: copied for one receiver; for 100 receivers shared, if that is
//! cheaper.
//!
//! tungstenite and fastwebsockets have no shared frames: they encode a frame for each receiver.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use fastwebsockets::Payload;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use weir::protocol::{Encoder, Message, SharedFrame};
use weir::reactor::budget::SHARE_BYTES_MIN;

const RECEIVERS: usize = 100;

pub(crate) fn all(criterion: &mut Criterion) {
    copied(criterion);
    shared(criterion);
}

fn copied(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode copied");
    for size in [0, 20, 125, 126, 1024, 16 * 1024, 64 * 1024] {
        let payload = Bytes::from(vec![b'x'; size]);
        let mut out = Vec::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("weir", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                Encoder::server(&mut out).message(Message::Binary(black_box(&payload)));
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("tungstenite", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                tungstenite_frame(black_box(&payload), &mut out);
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
            bencher.iter(|| {
                fastwebsockets_frame(black_box(&payload), &mut out);
                black_box(&out);
            });
        });
    }
}

fn shared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode for 100");
    for size in [64, 1024, 16 * 1024] {
        let payload = Bytes::from(vec![b'x'; size]);
        let mut queues = vec![Vec::new(); RECEIVERS];
        let mut frames = Vec::with_capacity(RECEIVERS);
        group.throughput(Throughput::Elements(RECEIVERS as u64));
        group.bench_function(BenchmarkId::new("weir", size), |bencher| {
            bencher.iter(|| {
                frames.clear();
                let frame = SharedFrame::message(Message::Binary(black_box(&payload)));
                for queue in &mut queues {
                    if frame.as_bytes().len() < SHARE_BYTES_MIN {
                        queue.clear();
                        queue.extend_from_slice(frame.as_bytes());
                    } else {
                        frames.push(frame.clone());
                    }
                }
                black_box((&queues, &frames));
            });
        });
        group.bench_function(BenchmarkId::new("tungstenite", size), |bencher| {
            bencher.iter(|| {
                for queue in &mut queues {
                    queue.clear();
                    tungstenite_frame(black_box(&payload), queue);
                }
                black_box(&queues);
            });
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
            bencher.iter(|| {
                for queue in &mut queues {
                    fastwebsockets_frame(black_box(&payload), queue);
                }
                black_box(&queues);
            });
        });
    }
}

fn tungstenite_frame(payload: &Bytes, out: &mut Vec<u8>) {
    use tungstenite::protocol::frame::Frame;
    Frame::message(payload.clone(), OpCode::Data(Data::Binary), true).format(out).unwrap();
}

fn fastwebsockets_frame(payload: &[u8], out: &mut Vec<u8>) {
    use fastwebsockets::Frame;
    Frame::binary(Payload::Borrowed(payload)).write(out);
}
