//! The binary against loops of weir's in this process: every scenario, what it prints, how it exits.
//!
//! What is asserted are counts, names and exit codes, never a time. Every run has a deadline.

mod outcomes;
mod scenarios;
mod support;

use serde_json::Value;

const SHORT: &str = "--duration 200ms --warmup 20ms";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}
