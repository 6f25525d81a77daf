//! Tests of the binary against weir loops in this process: every scenario, its output and its exit
//! code.
//!
//! Assertions are about counts, names and exit codes, never about times. Every run has a deadline.

mod outcomes;
mod relay;
mod scenarios;
mod support;

use serde_json::Value;

const SHORT: &str = "--duration 200ms --warmup 20ms";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}
