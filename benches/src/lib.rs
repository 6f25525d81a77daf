//! Benchmarks of weir's parts, compared with the same work on the codecs of its peers.
//!
//! ```sh
//! cargo bench -p weir-benches                # all, under three minutes
//! cargo bench -p weir-benches -- decode      # benchmarks with "decode" in their name
//! cargo bench -p weir-benches -- '/weir/20'  # benchmarks that match a pattern
//! cargo run -p weir-benches                  # the ratios of the last measurement
//! cargo test -p weir-benches                 # equal work, and allocations per message
//! ```
//!
//! A name is `group/contender/case`. criterion prints three times: the middle one is the result,
//! the outer two are its confidence interval. Absolute times drift with the machine by a third and
//! more. The contenders of a case run within seconds of each other, so compare ratios, from several
//! runs, on a quiet machine. One iteration is 1,000 deliveries or 200 echoes; criterion prints the
//! rate per message below.
//!
//! # Comparisons
//!
//! | group | one iteration | same work |
//! |-------|---------------|-----------|
//! | `decode` | a masked text message from an in-memory [stream](pieces) | read, header, limit on the message, unmasking, UTF-8, one callback |
//! | `mask` | a payload, in place | fastwebsockets only: its function is a copy of tungstenite's, which is private |
//! | `utf8` | a text, whole or in pieces | only the check that each uses in that case |
//! | `encode` | a server's frame into a reused buffer | header and payload; for several receivers each contender encodes as often as it must |
//! | `event` | a Nostr event of 648 bytes | weir only, beside libsecp256k1's verification alone: the floor |
//! | `store` | a synced commit of 1 or 1,000 Nostr events; the newest 500 of a kind as JSON | weir only |
//! | `live` | a Nostr event, looked up among subscriptions | weir only: without, and beside, 10,000 home feeds that do not match |
//! | `timer` | an operation on a wheel with 100,000 timers | weir only: the peers have none |
//! | `turn` | one message, or sixteen, echoed on each of some connections | everything from the poll to the last `send`; sockets on 127.0.0.1, [served](servers) on this thread |
//! | `fanout` | one message, or sixteen, to 1,000 subscribers | the same |
//!
//! Every contender's message limit is 1 MiB, and inputs are the same in every run. Tungstenite
//! reads with 8 KiB instead of the default 128 KiB, which it would zero before each read. Servers
//! mostly receive whole frames in one read; parts come from large messages and slow networks.
//!
//! Outboxes are private to weir's reactor, so `fanout` publishes through a real reactor to real
//! sockets, and drives it turn by turn. Only the server is timed: its clients write before and read
//! after.

pub mod codecs;
pub mod input;
pub mod pieces;
pub mod servers;
pub mod table;

use std::time::Duration;

use criterion::Criterion;

/// The message limit of every contender.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Settings with which the whole suite takes less than three minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .nresamples(10_000)
        .without_plots()
        .configure_from_args()
}
