//! A bounded run of every fuzz target from a fixed seed, as part of the ordinary tests.
//!
//! A failure prints the seed of its input: `WEIR_FUZZ_SEED=<seed> cargo test -p weir-fuzz <target>`
//! runs only that input. `WEIR_FUZZ_RUNS=<n>` runs more inputs.

use std::env;
use std::time::{Duration, Instant};

const SEED: u64 = 0x7765_6972;
const RUNS: u64 = 100;
/// Maximum input length; lengths vary from 0 to this.
const INPUT_BYTES_MAX: u64 = 4096;
/// Deadline of one input: beyond it the target hangs.
const INPUT_DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn body() {
    run(weir_fuzz::body);
}

#[test]
fn body_pass() {
    run(weir_fuzz::body_pass);
}

#[test]
fn decoder() {
    run(weir_fuzz::decoder);
}

#[test]
fn forwarded() {
    run(weir_fuzz::forwarded);
}

#[test]
fn handshake() {
    run(weir_fuzz::handshake);
}

#[test]
fn inflate() {
    run(weir_fuzz::inflate);
}

#[test]
fn jwt() {
    run(weir_fuzz::jwt);
}

#[test]
fn ledger() {
    run(weir_fuzz::ledger);
}

#[test]
fn nostr_event() {
    run(weir_fuzz::nostr_event);
}

#[test]
fn nostr_filter() {
    run(weir_fuzz::nostr_filter);
}

#[test]
fn nostr_message() {
    run(weir_fuzz::nostr_message);
}

#[test]
fn offer() {
    run(weir_fuzz::offer);
}

#[test]
fn passage() {
    run(weir_fuzz::passage);
}

#[test]
fn proxy_header() {
    run(weir_fuzz::proxy_header);
}

#[test]
fn rate() {
    run(weir_fuzz::rate);
}

#[test]
fn relay() {
    run(weir_fuzz::relay);
}

#[test]
fn timer() {
    run(weir_fuzz::timer);
}

#[test]
fn tls() {
    run(weir_fuzz::tls);
}

#[test]
fn topics() {
    run(weir_fuzz::topics);
}

fn run(target: fn(&[u8])) {
    if let Some(seed) = number("WEIR_FUZZ_SEED") {
        return run_one(target, seed);
    }
    for seed in SEED..SEED + number("WEIR_FUZZ_RUNS").unwrap_or(RUNS) {
        run_one(target, seed);
    }
}

fn number(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().expect("a decimal number"))
}

fn run_one(target: fn(&[u8]), seed: u64) {
    let _replay = Replay(seed);
    let start = Instant::now();
    target(&input(seed));
    assert!(start.elapsed() < INPUT_DEADLINE, "took {:?}", start.elapsed());
}

/// Prints how to reproduce a panic.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to replay: WEIR_FUZZ_SEED={}", self.0);
        }
    }
}

/// The input for a seed, from the splitmix64 generator: equally good for any seed.
fn input(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let len = next() % (INPUT_BYTES_MAX + 1);
    (0..len).map(|_| next() as u8).collect()
}
