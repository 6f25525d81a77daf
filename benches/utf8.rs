//! UTF-8 validation of whole texts, and of texts in parts that cut characters.
//!
//! For whole texts tungstenite uses std, fastwebsockets and weir use simdutf8. For parts, both
//! peers use the crate `utf-8`; only its check is timed, not the string that they collect.

use std::hint::black_box;
use std::str;

use criterion::{BenchmarkId, Criterion, Throughput};
use fastwebsockets::{Frame, Payload};
use utf8::{DecodeError, Incomplete};
use weir::protocol::utf8::Utf8;
use weir_benches::input::{ascii, mixed};

const SIZES: [usize; 3] = [125, 1024, 64 * 1024];
/// Odd, so that it cuts characters.
const PIECE_BYTES: usize = 509;

pub(crate) fn all(criterion: &mut Criterion) {
    whole(criterion);
    incremental(criterion);
}

fn whole(criterion: &mut Criterion) {
    for (name, text) in [("utf8 ascii", ascii as fn(usize) -> String), ("utf8 mixed", mixed)] {
        let mut group = criterion.benchmark_group(name);
        for size in SIZES {
            let text = text(size).into_bytes();
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new("weir", size), |bencher| {
                bencher.iter(|| in_pieces(black_box(&text), usize::MAX));
            });
            group.bench_function(BenchmarkId::new("tungstenite", size), |bencher| {
                bencher.iter(|| str::from_utf8(black_box(&text)).is_ok());
            });
            group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
                bencher.iter(|| Frame::text(Payload::Borrowed(black_box(&text))).is_utf8());
            });
        }
    }
}

fn incremental(criterion: &mut Criterion) {
    let texts =
        [("utf8 ascii in pieces", ascii as fn(usize) -> String), ("utf8 mixed in pieces", mixed)];
    for (name, text) in texts {
        let mut group = criterion.benchmark_group(name);
        for size in [1024, 64 * 1024] {
            let text = text(size).into_bytes();
            assert!(in_pieces(&text, PIECE_BYTES) && peers_in_pieces(&text, PIECE_BYTES));
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new("weir", size), |bencher| {
                bencher.iter(|| in_pieces(black_box(&text), PIECE_BYTES));
            });
            for peer in ["tungstenite", "fastwebsockets"] {
                group.bench_function(BenchmarkId::new(peer, size), |bencher| {
                    bencher.iter(|| peers_in_pieces(black_box(&text), PIECE_BYTES));
                });
            }
        }
    }
}

fn in_pieces(text: &[u8], piece_bytes: usize) -> bool {
    let mut utf8 = Utf8::default();
    text.chunks(piece_bytes).all(|piece| utf8.push(piece).is_ok()) && utf8.finish().is_ok()
}

/// The check of tungstenite's and fastwebsockets' fragment collectors.
fn peers_in_pieces(text: &[u8], piece_bytes: usize) -> bool {
    let mut unfinished: Option<Incomplete> = None;
    for mut piece in text.chunks(piece_bytes) {
        if let Some(mut character) = unfinished.take() {
            match character.try_complete(piece) {
                Some((Ok(_), rest)) => piece = rest,
                Some((Err(_), _)) => return false,
                None => {
                    unfinished = Some(character);
                    continue;
                }
            }
        }
        match utf8::decode(piece) {
            Ok(_) => {}
            Err(DecodeError::Incomplete { incomplete_suffix, .. }) => {
                unfinished = Some(incomplete_suffix);
            }
            Err(DecodeError::Invalid { .. }) => return false,
        }
    }
    unfinished.is_none()
}
