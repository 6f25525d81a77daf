//! Rates of messages and bytes on tunnels: those of the client's side.

use std::time::Duration;

use weir::reactor::settings::{OverRate, Rate, RouteSettings, Settings};
use weir::reactor::{CloseReason, Excess};

use super::upstream::Joined;
use crate::support::{BINARY, CONTINUATION, PING, TEXT, frame};

fn only(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: 0.0001, burst })
}

fn closing(route: RouteSettings) -> RouteSettings {
    route.over(OverRate::Close).over_grace(Duration::from_millis(100))
}

#[test]
fn final_frames_and_control_frames_of_a_client_take_tokens() {
    let route = closing(RouteSettings::default().messages_rate(only(5)));
    let mut tunnel = Joined::with(Settings::default(), route, |_| {});
    let fragments = [frame(false, TEXT, b"a"), frame(false, CONTINUATION, b"b")];
    let sent = [
        frame(true, TEXT, b"1"),
        fragments.concat(),
        frame(true, CONTINUATION, b"c"),
        frame(true, PING, b"p"),
        frame(true, TEXT, b"2"),
        frame(true, TEXT, b"3"),
        frame(true, TEXT, b"4"),
    ];
    tunnel.client.raw(&sent.concat());
    let opcodes = [TEXT, TEXT, CONTINUATION, CONTINUATION, PING, TEXT, TEXT];
    assert_eq!(opcodes.map(|_| tunnel.upstream.frame().opcode), opcodes);
    // The sixth one waits until the grace time is over.
    assert_eq!(tunnel.client.expect_close(), (1008, "too many messages".into()));
    tunnel.client.close(1008, "");
    assert_eq!(tunnel.upstream.expect_close().0, 1001);
    tunnel.upstream.close(1001, "");
    tunnel.client.finish();
    drop(tunnel.upstream.stream.shutdown(std::net::Shutdown::Both));
    assert_eq!(tunnel.ends().1, CloseReason::Rate(Excess::Messages));
}

#[test]
fn an_upstream_has_no_rate() {
    let route = RouteSettings::default().messages_rate(only(1)).bytes_rate(only(10));
    let mut tunnel = Joined::with(Settings::default(), route, |_| {});
    for _ in 0..20 {
        tunnel.upstream.send(BINARY, &[1; 1000]);
    }
    for _ in 0..20 {
        tunnel.client.expect(BINARY, &[1; 1000]);
    }
}

#[test]
fn all_frames_pass_in_order_at_their_rate() {
    let rate = Rate { per_second: 100.0, burst: 30 };
    let route = RouteSettings::default().messages_rate(rate);
    let mut tunnel = Joined::with(Settings::default(), route, |_| {});
    let frames = (0..90).map(|number: usize| frame(true, TEXT, number.to_string().as_bytes()));
    tunnel.client.raw(&frames.collect::<Vec<_>>().concat());
    for number in 0..90 {
        tunnel.upstream.expect(TEXT, number.to_string().as_bytes());
    }
}

#[test]
fn bytes_of_a_client_take_tokens() {
    let route = closing(RouteSettings::default().bytes_rate(only(100_000)));
    let mut tunnel = Joined::with(Settings::default(), route, |_| {});
    for _ in 0..3 {
        tunnel.client.send(BINARY, &[1; 60_000]);
    }
    tunnel.upstream.expect(BINARY, &[1; 60_000]);
    assert_eq!(tunnel.client.expect_close(), (1008, "too many bytes".into()));
}
