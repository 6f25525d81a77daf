//! The memory allocator of the binary, and the service that makes it return freed memory.
//!
//! glibc's allocator keeps freed memory that lies below a live allocation. After 9,900 clients that
//! did not read had disconnected, it kept 180 to 559 of 559 MiB for as long as the process ran.
//! mimalloc returned all except 3 MiB, and takes no more time per message (`benches/README.md`).
//! Embedders choose their own allocator.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use mimalloc::MiMalloc;
use weir::protocol::Message;
use weir::reactor::{ConnId, Context, Reactor, Service};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How often freed memory is returned. mimalloc returns memory a second after it was freed, so that
/// a busy server can use it again.
const PERIOD: Duration = Duration::from_secs(5);

/// More than fits beside other blocks, so that the block gets pages of its own. Never written, so
/// never resident.
const BLOCK_BYTES: usize = 1024 * 1024;

/// mimalloc has no thread of its own: it looks for memory to return when pages are freed. On a
/// server that has become idle none are, so this service allocates and frees a block.
struct Purge;

impl Service for Purge {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        // The limit on timers is per process and far above the services that the binary adds.
        let _ = cx.schedule_every(PERIOD, 0);
    }

    fn on_timer(&mut self, _: &mut Context<'_>, _: u64) {
        drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// Lets the loop return freed memory to the system every few seconds.
pub(crate) fn return_freed_memory(reactor: &mut Reactor) -> io::Result<()> {
    reactor.add_service(Purge)?;
    Ok(())
}
