//! Rates of messages and bytes on TLS connections: they count the decrypted input.

use std::time::Duration;

use weir::reactor::settings::{OverRate, Rate, RouteSettings, Settings};
use weir_authority::Authority;

use super::{open, settings, watched};
use crate::support::{BINARY, Seen, TEXT, frame};

fn only(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: 0.0001, burst })
}

#[test]
fn a_burst_passes_in_order_and_the_rest_is_not_read() {
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let route = RouteSettings::default().messages_rate(only(300));
    let (server, seen) = watched(tls, Settings::default(), route);
    let mut client = open(server.address, &authority);
    let numbers = (0..20_000).map(|number: usize| frame(true, TEXT, number.to_string().as_bytes()));
    client.raw(&numbers.collect::<Vec<_>>().concat());
    for number in 0..300 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.messages_in, metrics.throttled["/"]["messages"]), (300, 1));
    let handled = seen.iter().filter(|seen| matches!(seen, Seen::Message(..))).count();
    assert_eq!(handled, 300);
}

#[test]
fn bytes_are_counted_without_the_records_around_them() {
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    // 100 messages of 26 bytes, each in a record of at least 22 bytes more.
    let route = RouteSettings::default().bytes_rate(only(100 * 26));
    let route = route.over(OverRate::Close).over_grace(Duration::from_millis(50));
    let (server, _seen) = watched(tls, Settings::default(), route);
    let mut client = open(server.address, &authority);
    for len in [20; 99].into_iter().chain([3000]) {
        client.send(BINARY, &vec![7; len]);
        client.expect(BINARY, &vec![7; len]);
    }
    client.send(BINARY, b"one too many");
    assert_eq!(client.expect_close(), (1008, "too many bytes".into()));
    let metrics = server.stop();
    assert_eq!((metrics.messages_in, metrics.throttled["/"]["bytes"]), (100, 1));
}
