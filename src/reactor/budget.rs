//! How much of each kind of work one turn does: the constants behind fairness.
//!
//! Not for operators: what they may set is in [`settings`](super::settings). What a budget cuts off
//! stays queued for the next turn, which then polls without waiting.

use std::time::Duration;

/// Readiness events taken from the kernel at once.
pub const EVENTS_PER_POLL: usize = 512;
/// Bytes read from one connection and turn: the scratch buffer, so that a frame of 64 KiB and its
/// header fit one read several times over.
pub const READ_BYTES: usize = 256 * 1024;
/// Messages and other frames, those that complete no message included, handled for one connection and
/// turn.
pub const MESSAGES_PER_READ: usize = 256;

/// Work of one read phase, over all connections, in units of about 100 ns. What is not reached goes
/// first in the next turn.
pub const READ_WORK: usize = 64 * 1024;
/// The largest part of it that one connection may have.
pub const READ_SHARE_MAX: usize = READ_WORK / 4;
/// The smallest, however many wait.
pub const READ_SHARE_MIN: usize = 256;
/// Connections that are read or flushed between two looks at what that has come to.
pub const WEIGHED_AT_ONCE: usize = 32;
/// Work of all `on_mail` calls and late decisions of one turn.
pub const MAIL_WORK: usize = 32 * 1024;
/// Work of the timers of one turn, of its `on_drain` calls, and of its `on_close` and `on_empty` calls,
/// each.
pub const CALLS_WORK: usize = 16 * 1024;
/// Units that a message received costs, or the call of a handler.
pub const MESSAGE_WORK: usize = 4;
/// Units that a request's head costs, or a part of it.
pub const HEAD_WORK: usize = 64;
/// Units that a frame costs which completes no message.
pub const FRAME_WORK: usize = 1;
/// Units that a message costs for each connection that it is queued for.
pub const DELIVERY_WORK: usize = 1;
/// Bytes that one unit reads, writes or copies.
pub const WORK_BYTES: usize = 256;
/// Bytes that one unit inflates from.
pub const INFLATED_FROM_BYTES: usize = 8;
/// Bytes that one unit inflates to.
pub const INFLATED_TO_BYTES: usize = 128;
/// Bytes that one unit compresses.
pub const DEFLATED_BYTES: usize = 16;
/// A message from this size on is large: in one read phase, one is compressed beside the budget, and
/// then connections that are in the middle of receiving a large one wait for the next turn.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Messages above this size are sent as they are: to compress one cannot be interrupted, and takes some
/// 7 ms for each MiB.
pub const DEFLATED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes written to one connection and turn.
pub const WRITE_BYTES: usize = 256 * 1024;
/// Slices of one vectored write.
pub const WRITE_SLICES: usize = 64;
/// Connections flushed in one turn.
pub const FLUSHES: usize = 4096;
/// Bytes written in the flush phase of one turn, over all connections, but for the last ones of it.
pub const FLUSH_BYTES: usize = 16 * 1024 * 1024;
/// Connections accepted from one listener and turn.
pub const ACCEPTS: usize = 64;
/// The same while the table of connections is above its soft limit.
pub const ACCEPTS_WHEN_CROWDED: usize = 8;
/// Times one service's `on_mail` is called in one turn.
pub const MAILS: usize = 1024;
/// Timers fired in one turn.
pub const TIMERS: usize = 2048;
/// How late timers may be, beyond the 128 ms of their wheel, before they wait for input: the process was
/// stopped, or a turn took long, and what would meet their deadlines may be in the kernel.
pub const TIMER_LATE: Duration = Duration::from_millis(120);
/// How long they wait then: turns enough to read what is there.
pub const TIMER_GRACE: Duration = Duration::from_millis(250);
/// Reads in one turn from connections whose TLS handshake is under way: each may cost a signature or a
/// key exchange, up to a millisecond together with RSA.
pub const TLS_HANDSHAKES: usize = 8;
/// Time from one read of a refused connection (429, 503) in its TLS handshake to the next read of any
/// such connection. A handshake takes two reads and up to a millisecond, so that all refused clients
/// together take an eighth of the loop's time at the most.
pub const TLS_REFUSED_INTERVAL: Duration = Duration::from_millis(4);
/// Connections told to go away in one turn of a shutdown.
pub const SHUTDOWN_CLOSES: usize = 1024;

/// Connections at once at all listeners for operators together: a liveness probe, a few scrapers, and a
/// person who looks. One more is answered 503.
pub const OPERATORS_MAX: usize = 16;
/// Descriptors kept for operators of a process that has no other left: enough for probes that follow
/// each other within a turn.
pub const OPERATOR_SPARES: usize = 4;
/// Connections that wait for their 503 or 429 beside those that were admitted; further ones are
/// dropped unanswered.
pub const REFUSED_MAX: usize = 256;
/// Plain requests answered on one connection.
pub const HTTP_REQUESTS_MAX: u8 = 100;
/// How long a service may take to answer a plain request; past it the socket is closed. A service's own
/// deadlines come first.
pub const HTTP_ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a listener rests when descriptors or memory ran out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log may say so: one rest follows the other while the want lasts. Each is counted.
pub const ACCEPT_PAUSE_TOLD: Duration = Duration::from_secs(60);
/// How long we read on after both Close frames, for the peer's FIN: a reset would eat ours.
pub const LINGER: Duration = Duration::from_secs(1);
/// A full send buffer of Linux may hold a segment more than its size, and takes nothing before that
/// fits: to make room is to make it for this, too.
pub const SEGMENT_BYTES: usize = 64 * 1024;
/// Frames from this size on are shared between outboxes rather than copied into each.
pub const SHARE_BYTES_MIN: usize = 512;
/// Bytes of small messages for one topic's members that are gathered in one turn, for up to 255 topics.
/// What is more is queued for each member singly.
pub const BATCH_BYTES_MAX: usize = 16 * 1024;
/// Members that are not served by a batch: so many have room in its memory while nobody needs it.
pub const STRAYS_KEPT: usize = 1024;
/// Small frames are gathered in chunks of about this size.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Outboxes that nobody needs just now: kept for the next message, not freed.
pub const SPARE_OUTBOXES: usize = 1024;
/// Bytes of an outbox's chunk that is still worth keeping: a full one, grown by doubling.
pub const SPARE_CHUNK_BYTES: usize = 2 * CHUNK_BYTES;
/// Bytes that all kept outboxes together may have.
pub const SPARE_BYTES: usize = 8 * 1024 * 1024;
/// How often memory that is kept for the next message is looked at: what was not needed from one look
/// to the next is freed.
pub const TRIM_INTERVAL: Duration = Duration::from_secs(1);
/// Messages from this size on are written past an empty outbox: a copy into it would cost more than
/// a system call that no other message shares.
pub const WRITE_AT_ONCE_BYTES_MIN: usize = 16 * 1024;
/// Chunks that a kept outbox has room for: a few shared frames.
pub const SPARE_CHUNKS: usize = 16;
/// Plaintext that is sealed before the kernel is asked to take it: four full TLS records. No more than
/// this and the records' own bytes wait sealed for a peer that does not read.
pub const SEAL_BYTES: usize = 64 * 1024;
/// What the records of [`SEAL_BYTES`] may take besides, with an alert or a key update before them.
pub const SEAL_OVERHEAD_BYTES: usize = 1024;
/// Bytes of records that are not complete: a certificate chain may fill several.
pub const TLS_PARTIAL_BYTES_MAX: usize = 96 * 1024;
/// TLS sessions remembered for clients that resume without a ticket.
pub const TLS_SESSIONS_MAX: usize = 4096;
/// Keys and values of one connection's metadata, and the bytes of them all.
pub const METADATA_ENTRIES_MAX: usize = 16;
/// Bytes of all keys and values of one connection.
pub const METADATA_BYTES_MAX: usize = 4096;
/// Timers that all services together may have set.
pub const SERVICE_TIMERS_MAX: usize = 100_000;
/// Addresses whose rate of new connections is remembered.
pub const RATE_ADDRESSES_MAX: usize = 65_536;
/// Keys remembered where the operator forbids their reuse.
pub const REMEMBERED_KEYS_MAX: usize = 65_536;

const _: () = assert!(READ_SHARE_MIN / MESSAGE_WORK >= 64);
const _: () = assert!(LARGE_BYTES <= DEFLATED_BYTES_MAX);
const _: () = assert!(READ_SHARE_MAX / MESSAGE_WORK >= MESSAGES_PER_READ);
// A part of a TLS record that was kept must not fill a read.
const _: () = assert!(READ_SHARE_MIN * WORK_BYTES > 16 * 1024);
const _: () = assert!(READ_BYTES > 2 * (64 * 1024 + 14));
const _: () = assert!(CHUNK_BYTES <= WRITE_BYTES);
const _: () = assert!(SEAL_BYTES <= WRITE_BYTES);
// A read must go on behind what is kept of the last one.
const _: () = assert!(2 * TLS_PARTIAL_BYTES_MAX <= READ_BYTES);
const _: () = assert!(SHARE_BYTES_MIN <= BATCH_BYTES_MAX && BATCH_BYTES_MAX <= CHUNK_BYTES);
const _: () = assert!(SPARE_CHUNK_BYTES <= SPARE_BYTES);
