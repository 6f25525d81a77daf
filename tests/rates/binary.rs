//! Rates of the binary: settings of the file, and metrics.

use super::numbered;
use crate::support::{Admin, Client, Process, TEXT, weir};

#[test]
fn metrics_show_rates_by_route_and_limit() {
    let flags = [
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--messages-rate=5/h",
        "--messages-rate-per-address=3/h",
        "--limits-dry-run=messages_per_address",
    ];
    let process = Process::spawn(&mut weir(flags));
    let line = process.line();
    let address = line.strip_prefix("listening ws://").expect(&line).trim_end_matches('/');
    let admin = Admin::of(&process);
    let mut client = Client::open(address.parse().unwrap(), "/");
    client.raw(&numbered(0..9));
    for number in 0..5 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    admin.await_metric("weir_throttled_now", &[], 1.0);
    let labels = [r#"route="/""#, r#"what="messages""#];
    assert_eq!(admin.metric("weir_throttled_total", &labels), 1.0);
    let dry = [r#"reason="messages_per_address""#];
    assert_eq!(admin.metric("weir_refused_dry_total", &dry), 1.0);
    assert_eq!(admin.metric("weir_refused_dry_total", &[r#"reason="messages""#]), 0.0);
    let table = [r#"table="messages_per_address""#];
    assert_eq!(admin.metric("weir_rate_entries", &table), 1.0);
}
