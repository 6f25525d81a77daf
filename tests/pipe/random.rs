//! Random lives of tunnels: whatever both sides and the service do, each tunnel and each connection ends
//! once, and nothing is left.

use std::net::Shutdown;
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::protocol::passage::Extensions;
use weir::reactor::settings::{Heartbeat, RouteSettings, Settings};
use weir::reactor::{ClientLost, ConnId, TunnelSettings};

use super::upstream::{Event, Events, Upstream, join, joining, listener, unmasked};
use crate::support::{BINARY, CLOSE, CONTINUATION, Client, PING, PONG, TEXT, frame};

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// One side's next bytes: frames of all kinds, parts of them, and invalid ones.
fn bytes(numbers: &mut Numbers, encode: fn(bool, u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let len = [0, 1, 5, 125, 126, 300, 5000, 30_000][numbers.below(8)];
    let payload = vec![numbers.below(256) as u8; len];
    match numbers.below(12) {
        0 => encode(true, PING, b"ping"),
        1 => encode(true, PONG, b"pong"),
        2 => encode(true, CLOSE, &[&4000_u16.to_be_bytes(), &b"bye"[..]].concat()),
        3 => [encode(false, TEXT, &payload), encode(true, CONTINUATION, b"")].concat(),
        4 => encode(false, BINARY, &payload),
        5 => {
            let whole = encode(true, BINARY, &payload);
            let part = numbers.below(whole.len());
            whole[..part].to_vec()
        }
        6 => vec![0xFF],
        _ => encode(true, TEXT, &payload),
    }
}

/// A few steps of a tunnel, and its end.
fn live(
    numbers: &mut Numbers,
    mut client: Client,
    mut upstream: Upstream,
    ids: (ConnId, ConnId),
    events: &Events,
) {
    for _ in 0..1 + numbers.below(6) {
        // Errors show that the other side has ended already.
        match numbers.below(14) {
            0 => drop(client.stream.shutdown(Shutdown::Write)),
            1 => drop(upstream.stream.shutdown(Shutdown::Write)),
            2 => events.run(move |cx| cx.close(ids.0, CloseCode::SERVICE_RESTART, "moved")),
            3 => events.run(move |cx| cx.close(ids.1, CloseCode::SERVICE_RESTART, "moved")),
            4 => events.run(move |cx| cx.abort(ids.0)),
            5 => events.run(move |cx| cx.abort(ids.1)),
            6 => std::thread::sleep(Duration::from_millis(numbers.below(30) as u64)),
            7..10 => drop(std::io::Write::write_all(&mut client.stream, &bytes(numbers, frame))),
            _ => drop(std::io::Write::write_all(&mut upstream.stream, &bytes(numbers, unmasked))),
        }
    }
    for stream in [&client.stream, &upstream.stream] {
        if numbers.below(3) == 0 {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    match numbers.below(3) {
        0 => drop(client),
        1 => drop(upstream),
        _ => {}
    }
}

#[test]
fn every_tunnel_ends_once_and_leaves_nothing() {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(40))
        .pong_timeout(Duration::from_millis(30));
    for (round, extensions) in
        [Extensions::Nothing, Extensions::Deflate, Extensions::Unknown].into_iter().enumerate()
    {
        let settings =
            Settings::default().heartbeat(heartbeat).close_timeout(Duration::from_millis(100));
        let route = RouteSettings::default()
            .message_bytes_max(20_000)
            .fragment_timeout(Duration::from_millis(100))
            .idle_timeout(Duration::from_millis(150));
        let listener = listener();
        let (server, events) = joining(&listener, settings, route, |joining| {
            let tunnel = TunnelSettings::default().extensions(extensions).hold_bytes_max(1000);
            joining.tunnel = match round % 2 {
                0 => tunnel,
                _ => tunnel.client_lost(ClientLost::Close),
            };
        });
        let mut numbers = Numbers(round as u64);
        let count = 150;
        let (mut ended, mut clients, mut upstreams) = (0, 0, 0);
        let mut note = |event: Event| match event {
            Event::Ended(_) => ended += 1,
            Event::ClientClosed(_) => clients += 1,
            Event::UpstreamClosed(_) => upstreams += 1,
            Event::Connected | Event::Status(_) | Event::Joined(..) | Event::Lost => {}
        };
        for _ in 0..count {
            let (client, upstream) = join(Client::tcp(server.address), &listener);
            let ids = loop {
                match events.next() {
                    Event::Joined(client, upstream) => break (client, upstream),
                    event => note(event),
                }
            };
            live(&mut numbers, client, upstream, ids, &events);
        }
        server.stop_clean();
        events.rest().into_iter().for_each(note);
        assert_eq!((ended, clients, upstreams), (count, count, count));
    }
}
