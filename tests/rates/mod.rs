//! Rates of messages and bytes: what passes, what waits, and which connections are closed.
//!
//! Most buckets here return no token during a test, so that counts do not depend on the machine.

mod binary;
mod charges;
mod crowds;
mod dry;
mod limits;
mod over;
mod plenty;
mod reading;
mod shared;

use weir::reactor::settings::{Rate, RouteSettings};
use weir::reactor::{Metrics, Reactor};
use weir::services::Echo;

use crate::support::{ByHand, TEXT, frame};

/// A bucket of so many tokens, of which none returns during a test.
fn only(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: 0.0001, burst })
}

fn rate(per_second: f64, burst: u32) -> Option<Rate> {
    Some(Rate { per_second, burst })
}

/// Numbered text messages, back to back.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(|number| frame(true, TEXT, number.to_string().as_bytes())).collect()
}

/// An echo at `/`, turned by hand.
fn echo(route: RouteSettings) -> ByHand {
    ByHand::new(Default::default(), |reactor| add_echo(reactor, "/", route))
}

fn add_echo(reactor: &mut Reactor, path: &str, route: RouteSettings) {
    let echo = reactor.add_service(Echo).unwrap();
    reactor.add_route(path, echo, route).unwrap();
}

/// Pauses by this limit, over all routes.
fn pauses(metrics: &Metrics, limit: &str) -> u64 {
    metrics.throttled.values().filter_map(|counts| counts.get(limit)).sum()
}
