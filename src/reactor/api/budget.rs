//! Budgets of one turn, which make it fair, and other constants of the loop.
//!
//! They are not settings of operators; those are in [`settings`](crate::reactor::settings). Work
//! beyond a budget stays queued, and the next turn polls without waiting. Values may change with any
//! release. Relations are asserted at the end.

use std::time::Duration;

/// Readiness events returned by one poll.
pub const EVENTS_PER_POLL: usize = 512;
/// Bytes read from one connection per turn: the size of the scratch buffer. A frame of 64 KiB and
/// its header fit several times.
pub const READ_BYTES: usize = 256 * 1024;
/// Bytes of a read after one that ended early, and of one whose messages are limited by the load: its
/// rest waits in our memory. So a small budget of messages, or a rate, leaves further bytes in the
/// peer's socket.
pub const SHORT_READ_BYTES: usize = 4 * 1024;
/// Bytes of a read from a connection with a rate.
pub const RATED_READ_BYTES_MAX: usize = 64 * 1024;
/// Messages and other frames handled per connection and turn, including frames that complete no
/// message.
pub const MESSAGES_PER_READ: usize = 256;

/// Messages per read of a connection of low priority while the load is elevated, and critical.
pub const LOW_MESSAGES: [usize; 2] = [32, 8];
/// The same for normal priority.
pub const NORMAL_MESSAGES: [usize; 2] = [50, 20];
/// Bytes per read of connections of low and normal priority while the load is elevated.
pub const ELEVATED_READ_BYTES: usize = 64 * 1024;
/// The same while it is critical.
pub const CRITICAL_READ_BYTES: usize = 16 * 1024;

/// The first and the last second after which a client may try again that was closed because of load.
pub const RETRY_SECONDS: (u32, u32) = (5, 15);
/// Slots of the connection table that one sample of the load looks at.
pub const VISITS_PER_SAMPLE: usize = 4096;

/// Work of one read phase, for all connections together, in units of about 100 ns. Connections that
/// were not reached go first in the next turn.
pub const READ_WORK: usize = 64 * 1024;
/// The largest share of [`READ_WORK`] for one connection.
pub const READ_SHARE_MAX: usize = READ_WORK / 4;
/// The smallest share, however many connections are queued.
pub const READ_SHARE_MIN: usize = 256;
/// Connections that are read or flushed between two checks of the work done.
pub const WEIGHED_AT_ONCE: usize = 32;
/// Work of all `on_mail` calls and deferred decisions of one turn.
pub const MAIL_WORK: usize = 32 * 1024;
/// Deferred decisions that one turn carries out even if its mail has used up [`MAIL_WORK`].
pub const DECISIONS_MIN: usize = 32;
/// Work of a decision on a request, or of a token in a message: a turn carries out [`DECISIONS_MIN`] of them.
/// A refusal takes some 20 us with the write of its response, so a hook whose timeout ends for 1,000 clients at
/// once makes no turn of a millisecond. A gate takes up to 50 us to read a token of 8 KiB.
pub const DECISION_WORK: usize = MAIL_WORK / DECISIONS_MIN;
/// Work of the timers of one turn; also of its `on_drain` calls, and of its `on_close` and
/// `on_empty` calls.
pub const HANDLER_WORK: usize = 16 * 1024;
/// Work of a received message, or of the call of a handler.
pub const MESSAGE_WORK: usize = 4;
/// Work of a request head, or of a part of it.
pub const HEAD_WORK: usize = 64;
/// Work of a frame that completes no message.
pub const FRAME_WORK: usize = 1;
/// Work of queueing a message for one connection.
pub const DELIVERY_WORK: usize = 1;
/// Bytes read, written or copied per unit of work.
pub const WORK_BYTES: usize = 256;
/// Compressed bytes inflated per unit of work.
pub const INFLATED_FROM_BYTES: usize = 8;
/// Bytes of inflated output per unit of work.
pub const INFLATED_TO_BYTES: usize = 128;
/// Bytes compressed per unit of work.
pub const DEFLATED_BYTES: usize = 16;
/// A message from this size on is large. A read phase compresses one large message beyond its
/// budget; then connections that are in the middle of receiving a large one wait for the next turn.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Larger messages are sent uncompressed: compressing one cannot be interrupted, and takes some
/// 7 ms for each MiB.
pub const DEFLATED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Slots of the connection table, and timers, allocated at the start: growing copies the table in
/// the middle of a turn and leaves the old one behind. Memory that no connection has used is not
/// resident.
pub const TABLE_SLOTS_RESERVED_MAX: usize = 16 * 1024;
/// The most bytes that a service can hold for one connection
/// ([`Context::hold`](crate::reactor::Context::hold)).
pub const HOLD_BYTES_MAX: usize = 1 << 30;
/// Bytes written to one connection per turn.
pub const WRITE_BYTES: usize = 256 * 1024;
/// Slices of one vectored write.
pub const WRITE_SLICES: usize = 64;
/// Connections flushed in one turn.
pub const FLUSHES: usize = 4096;
/// Bytes written in the flush phase of one turn, for all connections together; checked every
/// [`WEIGHED_AT_ONCE`] connections.
pub const FLUSH_BYTES: usize = 16 * 1024 * 1024;
/// Connections accepted from one listener per turn.
pub const ACCEPTS: usize = 64;
/// [`ACCEPTS`] while the number of connections is above its soft limit (80 %), or the load is above
/// normal.
pub const ACCEPTS_WHEN_CROWDED: usize = 8;
/// Calls of one service's `on_mail` per turn.
pub const MAILS: usize = 1024;
/// Timers fired in one turn.
pub const TIMERS: usize = 2048;
/// How late timers may be, beyond the 128 ms of their wheel, before they wait for input. The
/// process was stopped, or a turn took long, and the input that would meet their deadlines may be
/// in the kernel.
pub const TIMER_LATE: Duration = Duration::from_millis(120);
/// How long late timers wait: enough turns to read that input.
pub const TIMER_GRACE: Duration = Duration::from_millis(250);
/// Reads per turn from clients in their TLS handshake, and as many from connections of services in
/// theirs. Each may cost a signature or a key exchange, together up to 1 ms with RSA.
pub const TLS_HANDSHAKES: usize = 8;
/// Time between two reads of refused connections (429, 503) in their TLS handshake. A handshake
/// takes two reads and up to 1 ms, so that all refused clients together take at most an eighth of
/// the loop's time.
pub const TLS_REFUSED_INTERVAL: Duration = Duration::from_millis(4);
/// Connections closed per turn of a shutdown.
pub const SHUTDOWN_CLOSES: usize = 1024;

/// Connections at all listeners for operators together: a liveness probe, a few scrapers, and a
/// person. Further ones get 503.
pub const OPERATORS_MAX: usize = 16;
/// Descriptors reserved for operators when the process has no other left: enough for several probes
/// within one turn.
pub const OPERATOR_SPARES: usize = 4;
/// Connections that wait for their 503 or 429, besides the admitted ones. Further ones are dropped
/// without an answer.
pub const REFUSED_MAX: usize = 256;
/// HTTP requests answered on one connection.
pub const HTTP_REQUESTS_MAX: u8 = 100;
/// Interim responses (1xx) of an upstream to one request.
pub const INTERIM_RESPONSES_MAX: u8 = 16;
/// How long a service may take to respond to an HTTP request; then the socket is closed. The
/// service's own deadlines are shorter.
pub const HTTP_ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a listener pauses after descriptors or memory ran out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval between log lines about such pauses. Pauses follow each other while resources are
/// short; each is counted.
pub const ACCEPT_PAUSE_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How long we read on after both Close frames, for the peer's FIN: a reset would discard our
/// Close.
pub const LINGER: Duration = Duration::from_secs(1);
/// A full send buffer of Linux may hold one segment more than its size, and accepts nothing until
/// that fits. Making room in it must include this segment.
pub const SEGMENT_BYTES: usize = 64 * 1024;
/// Frames from this size on are shared between outboxes, not copied into each.
pub const SHARE_BYTES_MIN: usize = 512;
/// Bytes of small messages to one topic that a batch gathers in one turn, for up to 255 topics.
/// Further messages are queued for each member individually.
pub const BATCH_BYTES_MAX: usize = 16 * 1024;
/// Individual members of a topic, which its batch does not serve, that a spare batch keeps room
/// for.
pub const INDIVIDUALS_KEPT: usize = 1024;
/// The approximate size of chunks that gather small frames.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Spare outboxes kept for later messages.
pub const SPARE_OUTBOXES: usize = 1024;
/// The largest chunk that a spare outbox keeps: a full one, grown by doubling.
pub const SPARE_CHUNK_BYTES: usize = 2 * CHUNK_BYTES;
/// Bytes that all spare outboxes together may hold.
pub const SPARE_BYTES: usize = 8 * 1024 * 1024;
/// Interval between checks of spare memory: memory that was not used between two checks is freed.
pub const TRIM_INTERVAL: Duration = Duration::from_secs(1);
/// Messages from this size on are written at once if the outbox is empty: the copy into it would
/// cost more than a system call that no other message shares.
pub const WRITE_AT_ONCE_BYTES_MIN: usize = 16 * 1024;
/// Chunks that a spare outbox has room for: a few shared frames.
pub const SPARE_CHUNKS: usize = 16;
/// Plaintext encrypted between two writes: four full TLS records. At most this and the overhead of
/// its records wait encrypted for a peer that does not read.
pub const SEAL_BYTES: usize = 64 * 1024;
/// The overhead of the records of [`SEAL_BYTES`], including an alert or a key update before them.
pub const SEAL_OVERHEAD_BYTES: usize = 1024;
/// Bytes of incomplete TLS input: the certificate chain of a handshake may fill several records.
pub const TLS_PARTIAL_BYTES_MAX: usize = 96 * 1024;
/// TLS sessions stored for clients that resume without a ticket.
pub const TLS_SESSIONS_MAX: usize = 4096;
/// Metadata entries of one connection.
pub const METADATA_ENTRIES_MAX: usize = 16;
/// Bytes of all metadata keys and values of one connection.
pub const METADATA_BYTES_MAX: usize = 4096;
/// Bytes of the subject of an [`Identity`](crate::reactor::Identity).
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Bytes of a topic's name.
pub const TOPIC_NAME_BYTES_MAX: usize = 256;
/// Tokens that services have presented and no gate has decided on.
pub const PRESENTED_MAX: usize = 1024;
/// Bytes of such a token.
pub const PRESENTED_BYTES_MAX: usize = 8 * 1024;
/// Subjects whose sign-out is remembered for requests that their gates still decide on.
pub const SIGN_OUTS_MAX: usize = 4096;
/// Connections of a signed-out subject that are closed per turn.
pub const SIGN_OUT_CLOSES: usize = 1024;
/// Interval between comparisons of the wall clock with the loop's time, while identities can expire.
pub const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Identities whose expiry is moved per step after the wall clock was set.
pub const WALL_CLOCK_MOVES: usize = 4096;
/// How long the peer of an upgrade that was refused by a Close has for its own Close.
pub const REFUSED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Timers that all services together may set.
pub const SERVICE_TIMERS_MAX: usize = 100_000;
/// Commands that wait for the loop, put by [`Handle`](crate::reactor::Handle)s.
pub const HANDLE_COMMANDS_MAX: usize = 1024;
/// Bytes of the commands that handles may queue: messages, names of their receivers, close reasons.
pub const HANDLE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Addresses with a token bucket of their own, over all rates per address.
pub const RATE_ADDRESSES_MAX: usize = 65_536;
/// Addresses with a bucket of their own that open connections share, over all rates and routes.
pub const RATE_SHARED_MAX: usize = 65_536;
/// Keys remembered if the operator forbids their reuse.
pub const REMEMBERED_KEYS_MAX: usize = 65_536;

const _: () =
    assert!(SHORT_READ_BYTES <= RATED_READ_BYTES_MAX && RATED_READ_BYTES_MAX <= READ_BYTES);
const _: () = assert!(READ_SHARE_MIN / MESSAGE_WORK >= 64);
const _: () = assert!(LARGE_BYTES <= DEFLATED_BYTES_MAX);
const _: () = assert!(READ_SHARE_MAX / MESSAGE_WORK >= MESSAGES_PER_READ);
// A stored part of a TLS record must not fill a read.
const _: () = assert!(READ_SHARE_MIN * WORK_BYTES > 16 * 1024);
const _: () = assert!(READ_BYTES > 2 * (64 * 1024 + 14));
const _: () = assert!(CHUNK_BYTES <= WRITE_BYTES);
const _: () = assert!(SEAL_BYTES <= WRITE_BYTES);
// A read appends to the stored part of the last one.
const _: () = assert!(2 * TLS_PARTIAL_BYTES_MAX <= READ_BYTES);
const _: () = assert!(SHARE_BYTES_MIN <= BATCH_BYTES_MAX && BATCH_BYTES_MAX <= CHUNK_BYTES);
const _: () = assert!(SPARE_CHUNK_BYTES <= SPARE_BYTES);
