//! The heartbeat of tunnels: weir pings each side, and neither side sees the pings of the other.

use std::io::Write;
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::settings::{Heartbeat, RouteSettings, Settings};
use weir::reactor::{CloseReason, TunnelSettings};

use super::upstream::{Joined, Upstream, join, joining, listener, unmasked};
use crate::support::{BINARY, Client, PING, PONG, TEXT, frame};

fn pinging(interval: u64, pong_timeout: u64) -> Settings {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(interval))
        .pong_timeout(Duration::from_millis(pong_timeout))
        .misses_max(2);
    Settings::default().heartbeat(heartbeat)
}

fn tunnel(settings: Settings) -> Joined {
    Joined::with(settings, RouteSettings::default(), |_| {})
}

/// Expects a ping of weir; returns its payload.
fn ping_to_client(client: &mut Client) -> Vec<u8> {
    let frame = client.frame();
    assert_eq!((frame.opcode, frame.payload.len()), (PING, 12));
    frame.payload
}

fn ping_to_upstream(upstream: &mut Upstream) -> Vec<u8> {
    let frame = upstream.frame();
    assert_eq!((frame.opcode, frame.payload.len()), (PING, 12));
    frame.payload
}

#[test]
fn silent_sides_are_pinged_and_their_pongs_do_not_pass() {
    let mut tunnel = tunnel(pinging(700, 600));
    for _ in 0..3 {
        let payload = ping_to_client(&mut tunnel.client);
        tunnel.client.send(PONG, &payload);
        let payload = ping_to_upstream(&mut tunnel.upstream);
        tunnel.upstream.send(PONG, &payload);
    }
    tunnel.client.text("after");
    tunnel.upstream.send(TEXT, b"after");
    let next = loop {
        let next = tunnel.client.frame();
        if next.opcode != PING {
            break next;
        }
        tunnel.client.send(PONG, &next.payload);
    };
    assert_eq!((next.opcode, &next.payload[..]), (TEXT, &b"after"[..]));
    let next = loop {
        let next = tunnel.upstream.frame();
        if next.opcode != PING {
            break next;
        }
        tunnel.upstream.send(PONG, &next.payload);
    };
    assert_eq!((next.opcode, &next.payload[..]), (TEXT, &b"after"[..]));
    drop((tunnel.client, tunnel.upstream));
    let metrics = tunnel.server.stop_clean();
    assert!(metrics.pongs_matched >= 6, "{metrics}");
}

#[test]
fn a_silent_upstream_is_lost() {
    let mut tunnel = tunnel(pinging(400, 300));
    let close = loop {
        let next = tunnel.client.frame();
        if next.opcode != PING {
            break next;
        }
        tunnel.client.send(PONG, &next.payload);
    };
    assert_eq!(close.payload, [&[0x03, 0xF4], &b"upstream lost"[..]].concat());
    tunnel.client.close(1012, "");
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (_, client, upstream) = tunnel.ends();
    assert_eq!(client, CloseReason::UpstreamSilent(CloseCode::SERVICE_RESTART));
    assert_eq!(upstream, CloseReason::HeartbeatTimeout);
}

/// Each ping that passes does not start the wait for its answer again.
#[test]
fn a_silent_upstream_is_lost_although_its_client_pings_it() {
    let mut tunnel = tunnel(pinging(400, 300));
    let mut writer = tunnel.client.writer();
    let pings = std::thread::spawn(move || {
        while writer.write_all(&frame(true, PING, b"are you there")).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(tunnel.client.expect_close(), (1012, "upstream lost".into()));
    let (_, client, upstream) = {
        tunnel.client.close(1012, "");
        tunnel.ends()
    };
    assert_eq!(client, CloseReason::UpstreamSilent(CloseCode::SERVICE_RESTART));
    assert_eq!(upstream, CloseReason::HeartbeatTimeout);
    pings.join().unwrap();
}

#[test]
fn a_silent_client_is_closed_and_its_upstream_sees_the_end_of_the_stream() {
    let mut tunnel = tunnel(pinging(400, 300).close_timeout(Duration::from_millis(500)));
    let stream = tunnel.upstream.stream.try_clone().unwrap();
    let mut saw_end = false;
    while !saw_end {
        let mut head = [0];
        saw_end = stream.peek(&mut head).unwrap() == 0;
        if !saw_end {
            let payload = ping_to_upstream(&mut tunnel.upstream);
            tunnel.upstream.send(PONG, &payload);
        }
    }
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    loop {
        let next = tunnel.client.frame();
        if next.opcode != PING {
            assert_eq!(next.payload, [&[0x03, 0xE9], &b"heartbeat timeout"[..]].concat());
            break;
        }
    }
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (CloseReason::HeartbeatTimeout, CloseReason::TunnelEnded));
}

/// A peer may answer only the latest ping, so a ping of weir would hide that of the upstream.
#[test]
fn no_ping_is_sent_while_one_of_the_partner_is_unanswered() {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(300))
        .pong_timeout(Duration::from_millis(250))
        .misses_max(100);
    let mut tunnel = tunnel(Settings::default().heartbeat(heartbeat));
    tunnel.upstream.send(PING, b"of the upstream");
    while tunnel.client.frame().payload != b"of the upstream" {}
    // The client says nothing for several intervals. The upstream is pinged in each.
    for _ in 0..6 {
        let payload = ping_to_upstream(&mut tunnel.upstream);
        tunnel.upstream.send(PONG, &payload);
    }
    tunnel.upstream.send(TEXT, b"mark");
    tunnel.client.expect(TEXT, b"mark");
    // From now on the client is pinged again.
    tunnel.client.send(PONG, b"of the upstream");
    ping_to_client(&mut tunnel.client);
    drop((tunnel.client, tunnel.upstream));
    tunnel.server.stop_clean();
}

/// A slow side answers pings in order, so that the pong to an earlier one comes after the next ping.
#[test]
fn late_pongs_to_pings_of_weir_do_not_pass() {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(300))
        .pong_timeout(Duration::from_millis(250))
        .misses_max(100);
    let mut tunnel = tunnel(Settings::default().heartbeat(heartbeat));
    let first = ping_to_upstream(&mut tunnel.upstream);
    let second = ping_to_upstream(&mut tunnel.upstream);
    assert_eq!(first[..8], second[..8]);
    tunnel.upstream.send(PONG, &first);
    tunnel.upstream.send(PONG, &second);
    tunnel.upstream.send(PONG, &first);
    tunnel.upstream.send(TEXT, b"mark");
    let of_client = loop {
        let next = tunnel.client.frame();
        if next.opcode != PING {
            break next;
        }
    };
    assert_eq!((of_client.opcode, &of_client.payload[..]), (TEXT, &b"mark"[..]));
    // Each side has a marker of its own: a ping with that of the other passes, and so does its pong.
    tunnel.client.send(PING, &second);
    while tunnel.upstream.frame().payload != second {}
    tunnel.client.send(PONG, &second);
    while tunnel.upstream.frame().opcode != PONG {}
    drop((tunnel.client, tunnel.upstream));
    tunnel.server.stop_clean();
}

/// A client that does not read could not answer: it is not pinged, and is closed by the write timeout
/// alone.
#[test]
fn a_side_with_blocked_output_is_not_pinged() {
    // Nor do the limits of slow consumers apply: messages are not dropped, but paused.
    let route = RouteSettings::default()
        .write_timeout(Duration::from_secs(60))
        .outbox_grace(Duration::from_millis(300));
    let listener = listener();
    let (server, events) = joining(&listener, pinging(300, 250), route, |_| {});
    let (mut client, mut upstream) = join(Client::narrow_tcp(server.address), &listener);
    let mut writer = upstream.stream.try_clone().unwrap();
    let message = vec![0; 50_000];
    let sent = unmasked(true, BINARY, &message);
    let count = 160;
    let thread = std::thread::spawn(move || {
        for _ in 0..count {
            writer.write_all(&sent).unwrap();
        }
    });
    // Weir has stopped reading from the upstream, and no side is pinged: for several intervals there
    // is nothing to read for the upstream.
    std::thread::sleep(Duration::from_millis(2000));
    for _ in 0..count {
        let next = client.frame();
        if next.opcode == PING {
            client.send(PONG, &next.payload);
        }
    }
    thread.join().unwrap();
    upstream.send(TEXT, b"still open");
    while client.frame().payload != b"still open" {}
    drop((client, upstream));
    let metrics = server.stop_clean();
    assert_eq!(metrics.ended_timeout, 0, "{metrics}");
    drop(events);
}

#[test]
fn tunnels_without_heartbeat_are_not_pinged() {
    let mut tunnel = Joined::with(pinging(200, 150), RouteSettings::default(), |joining| {
        joining.tunnel = TunnelSettings::default().pings(false);
    });
    std::thread::sleep(Duration::from_millis(1000));
    tunnel.client.text("still open");
    tunnel.upstream.expect(TEXT, b"still open");
    tunnel.upstream.send(TEXT, b"and unpinged");
    tunnel.client.expect(TEXT, b"and unpinged");
}
