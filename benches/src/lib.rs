//! What weir's parts cost, beside the same work on the codecs of its peers: what the benches share.
//!
//! ```sh
//! cargo bench -p weir-benches                # all of them, under three minutes
//! cargo bench -p weir-benches -- decode      # what has "decode" in its name
//! cargo bench -p weir-benches -- '/weir/20'  # what matches a pattern
//! cargo run -p weir-benches                  # the ratios of what was measured last
//! cargo test -p weir-benches                 # equal work, and allocations per message
//! ```
//!
//! A name is `group/contender/case`. Of the three times that criterion prints, the middle one counts
//! and the outer two say how far it can be trusted. Absolute times drift with the machine's mood by a
//! third and more; contenders of one case run within seconds of each other, so read ratios, from
//! several runs, on a quiet machine. A thousand deliveries, or two hundred echoes, are one iteration:
//! criterion prints the rate per message beneath.
//!
//! # What is compared
//!
//! | group | one iteration | same work |
//! |-------|---------------|-----------|
//! | `decode` | a masked text message from an in-memory [stream](pieces) | read, header, limit on the message, unmasking, UTF-8, one owner told |
//! | `mask` | a payload, in place | fastwebsockets only: its function is a copy of tungstenite's, which keeps its own private |
//! | `utf8` | a text, whole or in pieces | only the check, as each does it for that case |
//! | `encode` | a server's frame into a buffer that is used again | header and payload; what is sent to many is encoded as often as each has to |
//! | `timer` | an operation on a wheel with 100,000 timers | weir alone: the peers have none |
//! | `turn` | one message, or sixteen, echoed on each of some connections | everything from the poll to the last `send`; sockets on 127.0.0.1, [served](servers) on this thread |
//! | `fanout` | one message, or sixteen, to 1,000 subscribers | the same |
//!
//! Every contender's limit on a message is 1 MiB and every input the same from run to run.
//! Tungstenite reads with 8 KiB instead of the default 128 KiB, which it zeroes before each read and
//! is slower for. A whole frame in one piece is what a server mostly sees; pieces are what large
//! messages and slow networks make of it.
//!
//! Outboxes are private to weir's reactor, so `fanout` publishes through a real one to real sockets
//! and drives it turn by turn. Only the server is timed: its clients write before and read after.

pub mod codecs;
pub mod input;
pub mod pieces;
pub mod servers;
pub mod table;

use std::time::Duration;

use criterion::Criterion;

/// What a peer's message may have, as every contender is told.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Short enough that the whole suite takes less than three minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .nresamples(10_000)
        .without_plots()
        .configure_from_args()
}
