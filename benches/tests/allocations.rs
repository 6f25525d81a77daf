//! Allocations per message in steady state: none for an echo, none per receiver of a published
//! message.
//!
//! A whole reactor and its clients run on one thread. An allocator counts the thread's allocations
//! and reallocations, within `turn` only.

use weir_benches::servers::weir::Weir;
use weir_benches::servers::{Load, Rounds, Server, Work};

/// Rounds after which queues and pools have reached their size.
const WARM_UP: usize = 20;
const ROUNDS: usize = 50;

/// Allocations in [`ROUNDS`] rounds of this load.
fn allocations(load: Load) -> u64 {
    let mut rounds = Rounds::<Weir>::new(load).unwrap();
    for _ in 0..WARM_UP {
        rounds.round(Server::serve);
    }
    let mut count = 0;
    for _ in 0..ROUNDS {
        rounds.round(|server| {
            count += allocation_counter::measure(|| server.serve()).count_total;
        });
    }
    count
}

fn echo(connections: usize, depth: usize, payload_bytes: usize) -> Load {
    Load { work: Work::Echo, connections, depth, payload_bytes }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0; 100])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn an_echo_of_20_bytes_allocates_nothing() {
    assert_eq!(allocations(echo(50, 1, 20)), 0);
}

#[test]
fn sixteen_echoes_at_once_allocate_nothing() {
    assert_eq!(allocations(echo(50, 16, 20)), 0);
}

#[test]
fn a_large_echo_allocates_nothing() {
    for payload_bytes in [4 * 1024, 16 * 1024, 64 * 1024] {
        assert_eq!(allocations(echo(4, 1, payload_bytes)), 0, "{payload_bytes} bytes");
    }
    assert_eq!(allocations(echo(4, 16, 4 * 1024)), 0);
}

/// The frame's vector and its shared copy, however many connections get it. A frame that outboxes share
/// has a record by which the memory ledger counts it once.
#[test]
fn a_published_message_only_allocates_its_frame() {
    for (payload_bytes, each) in [(64, 2), (16 * 1024, 3)] {
        for connections in [1, 100] {
            let load = Load { work: Work::Fanout, connections, depth: 1, payload_bytes };
            assert_eq!(allocations(load), each * ROUNDS as u64, "{payload_bytes} bytes");
        }
    }
}
