//! Fixtures of the tests: a reactor on a thread or turned by hand, the real binary, services that report
//! their events, and a client that writes frames by hand, so that it can also send invalid ones.

mod by_hand;
mod client;
mod process;
mod scrape;
mod server;
mod watched;
mod wire;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use self::by_hand::ByHand;
pub use self::client::Client;
pub use self::process::{Process, clean, weir};
pub use self::scrape::Admin;
pub use self::server::{Server, serving};
pub use self::watched::{Seen, Watched, next_end, only_end};
pub use self::wire::{
    BINARY, CLOSE, COMPRESSED, CONTINUATION, Frame, KEY, PING, PONG, TEXT, expect_spread_retry,
    frame, header, upgrade,
};

/// A wait that takes longer has failed, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The environment variables that name an HTTP proxy.
pub const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Waits for a condition that another thread or process fulfils.
pub fn eventually(condition: impl FnMut() -> bool, what: &str) {
    eventually_within(DEADLINE, condition, what);
}

/// Waits for a condition that takes longer by design.
pub fn eventually_within(deadline: Duration, mut condition: impl FnMut() -> bool, what: &str) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A lock for tests that open ten thousand connections: this process has descriptors for one at a time.
pub fn crowd() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Port 0 of 127.0.0.1: the kernel chooses a free port.
pub fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}
