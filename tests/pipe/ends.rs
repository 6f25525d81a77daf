//! How tunnels end: each failure of either side, what both read, and the reasons that are reported.

use std::time::Duration;

use weir::protocol::passage::Extensions;
use weir::protocol::{CloseCode, ProtocolError};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ClientLost, CloseReason, TunnelSettings};

use super::upstream::{Event, Joined, join, joining, listener, unmasked};
use crate::support::{BINARY, CLOSE, CONTINUATION, Client, PING, TEXT, frame};

const RESTART: CloseReason = CloseReason::UpstreamLost(CloseCode::SERVICE_RESTART);

fn settings() -> Settings {
    Settings::default().close_timeout(Duration::from_millis(600))
}

fn with_route(route: RouteSettings) -> Joined {
    Joined::with(settings(), route, |_| {})
}

fn with_tunnel(tunnel: TunnelSettings) -> Joined {
    Joined::with(settings(), RouteSettings::default(), |joining| joining.tunnel = tunnel)
}

#[test]
fn close_codes_of_the_client_pass_unchanged() {
    for (payload, code) in [
        (&b"\x03\xE8done"[..], CloseCode::new(1000)),
        (b"", None),
        (b"\x0F\xA0", CloseCode::new(4000)),
    ] {
        let mut tunnel = Joined::new();
        tunnel.client.send(CLOSE, payload);
        tunnel.upstream.expect(CLOSE, payload);
        tunnel.upstream.send(CLOSE, payload);
        tunnel.client.expect(CLOSE, payload);
        tunnel.client.expect_end();
        tunnel.client.finish();
        drop(tunnel.upstream.stream.shutdown(std::net::Shutdown::Both));
        let (_, client, upstream) = tunnel.ends();
        assert_eq!(client, CloseReason::PeerClosed(code));
        assert_eq!(upstream, CloseReason::TunnelEnded);
    }
}

#[test]
fn close_codes_of_the_upstream_pass_unchanged() {
    for (payload, code) in [
        (&b"\x03\xF3broken"[..], CloseCode::new(1011)),
        (b"", None),
        (b"\x13\x87", CloseCode::new(4999)),
    ] {
        let mut tunnel = Joined::new();
        tunnel.upstream.send(CLOSE, payload);
        tunnel.client.expect(CLOSE, payload);
        tunnel.client.send(CLOSE, payload);
        tunnel.upstream.expect(CLOSE, payload);
        tunnel.client.expect_end();
        tunnel.client.finish();
        drop(tunnel.upstream.stream.shutdown(std::net::Shutdown::Both));
        let (_, client, upstream) = tunnel.ends();
        assert_eq!(client, CloseReason::UpstreamClosed(code));
        assert_eq!(upstream, CloseReason::PeerClosed(code));
    }
}

/// Frames that the upstream sends before it is lost.
fn unfinished() -> Vec<Vec<u8>> {
    let long = unmasked(true, BINARY, &vec![7; 10 << 20]);
    vec![
        Vec::new(),
        unmasked(true, TEXT, b"whole"),
        // A part of a header, and of a frame that is held.
        vec![0x81],
        unmasked(true, BINARY, &[1; 1000])[..500].to_vec(),
        // Between the fragments of a message of the upstream, and of a frame that weir splits.
        unmasked(false, TEXT, b"first"),
        long[..300_000].to_vec(),
    ]
}

/// Reads frames until a Close comes.
fn expect_lost(client: &mut Client, code: u16) {
    assert_eq!(client.expect_close(), (code, "upstream lost".into()));
}

#[test]
fn the_client_of_an_upstream_that_ends_gets_a_close() {
    for sent in unfinished() {
        // The limit of messages is that of the client's.
        let mut tunnel = with_route(RouteSettings::default());
        tunnel.upstream.raw(&sent);
        drop(tunnel.upstream.stream.shutdown(std::net::Shutdown::Both));
        expect_lost(&mut tunnel.client, 1012);
        tunnel.client.close(1012, "");
        tunnel.client.expect_end();
        tunnel.client.finish();
        let (_, client, upstream) = tunnel.ends();
        assert_eq!((client, upstream), (RESTART, CloseReason::PeerGone));
    }
}

#[test]
fn the_client_of_an_upstream_that_resets_gets_the_close_that_the_service_chooses() {
    for sent in [Vec::new(), unmasked(true, BINARY, &[1; 1000])[..500].to_vec()] {
        let mut tunnel = Joined::with(settings(), RouteSettings::default(), |joining| {
            joining.lost = CloseCode::TRY_AGAIN_LATER;
        });
        tunnel.upstream.raw(&sent);
        let Joined { server, mut client, upstream, events } = tunnel;
        upstream.reset();
        expect_lost(&mut client, 1013);
        client.close(1013, "");
        client.expect_end();
        drop(client);
        let (_, client, upstream) = events.ends();
        assert_eq!(client, CloseReason::UpstreamLost(CloseCode::TRY_AGAIN_LATER));
        assert_eq!(upstream, CloseReason::PeerReset);
        server.stop_clean();
    }
}

/// More than the kernel and weir hold: the client reads only after the upstream has ended.
#[test]
fn what_a_lost_upstream_has_sent_arrives_before_the_close() {
    let route = RouteSettings::default().write_timeout(Duration::from_secs(60));
    let listener = listener();
    let (server, events) = joining(&listener, Settings::default(), route, |_| {});
    let (mut client, mut upstream) = join(Client::narrow_tcp(server.address), &listener);
    let thread = std::thread::spawn(move || {
        for index in 0..200_u8 {
            upstream.send(BINARY, &vec![index; 40_000]);
        }
    });
    for index in 0..200_u8 {
        client.expect(BINARY, &vec![index; 40_000]);
        if index == 100 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    thread.join().unwrap();
    expect_lost(&mut client, 1012);
    client.close(1012, "");
    client.expect_end();
    drop(client);
    let (end, reason, _) = events.ends();
    assert_eq!((reason, end.from_upstream.messages), (RESTART, 200));
    server.stop_clean();
}

/// 200 clients of upstreams that end at once: each gets a Close.
#[test]
fn every_client_of_lost_upstreams_gets_a_close() {
    let listener = listener();
    let route = RouteSettings::default();
    let (server, _events) = joining(&listener, settings(), route, |_| {});
    let pairs: Vec<_> = (0..200).map(|_| join(Client::tcp(server.address), &listener)).collect();
    let (mut clients, upstreams): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    drop(upstreams);
    clients.iter_mut().for_each(|client| expect_lost(client, 1012));
}

#[test]
fn a_tunnel_that_ends_inside_a_frame_of_an_unknown_extension_ends_without_a_close() {
    let settings = TunnelSettings::default().extensions(Extensions::Unknown).hold_bytes_max(1000);
    let mut tunnel = with_tunnel(settings);
    let sent = unmasked(true, BINARY, &[7; 2000]);
    tunnel.upstream.raw(&sent[..1500]);
    assert_eq!(tunnel.client.bytes(1500), sent[..1500]);
    drop(tunnel.upstream.stream.shutdown(std::net::Shutdown::Both));
    tunnel.client.expect_end();
    tunnel.client.finish();
    assert_eq!(tunnel.ends().1, CloseReason::ClosedMidFrame);
}

#[test]
fn the_upstream_of_a_lost_client_sees_the_end_of_the_stream() {
    let mut tunnel = Joined::new();
    tunnel.client.text("before");
    tunnel.client.raw(&frame(true, TEXT, b"cut")[..5]);
    tunnel.client.finish();
    tunnel.upstream.expect(TEXT, b"before");
    tunnel.upstream.expect_end();
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (CloseReason::PeerGone, CloseReason::TunnelEnded));
}

#[test]
fn the_upstream_of_a_lost_client_gets_a_close_if_that_is_set() {
    let tunnel = with_tunnel(TunnelSettings::default().client_lost(ClientLost::Close));
    socket2::SockRef::from(&tunnel.client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    let Joined { server, client, mut upstream, events } = tunnel;
    drop(client);
    assert_eq!(upstream.expect_close(), (1001, String::new()));
    upstream.close(1001, "");
    drop(upstream);
    let (_, client, upstream) = events.ends();
    assert_eq!((client, upstream), (CloseReason::PeerReset, CloseReason::TunnelEnded));
    server.stop_clean();
}

#[test]
fn a_client_whose_close_the_upstream_does_not_answer_gets_its_own_code() {
    for ends_stream in [true, false] {
        let mut tunnel = with_route(RouteSettings::default());
        tunnel.client.close(1000, "bye");
        assert_eq!(tunnel.upstream.expect_close(), (1000, "bye".into()));
        if ends_stream {
            let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
        }
        assert_eq!(tunnel.client.expect_close(), (1000, String::new()));
        tunnel.client.expect_end();
        tunnel.client.finish();
        let (_, client, upstream) = tunnel.ends();
        assert_eq!(client, CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
        let expected = if ends_stream { CloseReason::PeerGone } else { CloseReason::TunnelEnded };
        assert_eq!(upstream, expected);
    }
}

#[test]
fn an_upstream_that_ends_right_after_its_close_has_closed() {
    let mut tunnel = with_route(RouteSettings::default());
    tunnel.upstream.send(TEXT, b"last");
    tunnel.upstream.close(1001, "restart");
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Write);
    tunnel.client.expect(TEXT, b"last");
    assert_eq!(tunnel.client.expect_close(), (1001, "restart".into()));
    tunnel.client.close(1001, "");
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (_, client, upstream) = tunnel.ends();
    let code = Some(CloseCode::GOING_AWAY);
    assert_eq!(client, CloseReason::UpstreamClosed(code));
    assert_eq!(upstream, CloseReason::PeerClosed(code));
}

#[test]
fn an_upstream_that_resets_after_its_close_has_closed() {
    let mut tunnel = with_route(RouteSettings::default());
    tunnel.upstream.close(1012, "restart");
    assert_eq!(tunnel.client.expect_close(), (1012, "restart".into()));
    let Joined { server, mut client, upstream, events } = tunnel;
    upstream.reset();
    client.close(1012, "");
    client.expect_end();
    drop(client);
    let (_, client, upstream) = events.ends();
    let code = Some(CloseCode::SERVICE_RESTART);
    assert_eq!(client, CloseReason::UpstreamClosed(code));
    assert_eq!(upstream, CloseReason::PeerClosed(code));
    server.stop_clean();
}

#[test]
fn an_upstream_whose_close_the_client_does_not_answer_gets_an_answer() {
    let mut tunnel = with_route(RouteSettings::default());
    tunnel.upstream.close(4001, "no");
    assert_eq!(tunnel.client.expect_close(), (4001, "no".into()));
    assert_eq!(tunnel.upstream.expect_close(), (4001, String::new()));
    tunnel.client.expect_end();
    tunnel.client.finish();
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    let (_, client, _) = tunnel.ends();
    assert_eq!(client, CloseReason::UpstreamClosed(CloseCode::new(4001)));
}

#[test]
fn an_upstream_that_breaks_framing_ends_the_tunnel() {
    let mut tunnel = with_route(RouteSettings::default());
    tunnel.upstream.send(TEXT, b"before");
    // Masked, as only a client's frames are.
    tunnel.upstream.raw(&frame(true, TEXT, b"bad"));
    tunnel.client.expect(TEXT, b"before");
    assert_eq!(tunnel.client.expect_close(), (1011, "bad gateway".into()));
    assert_eq!(tunnel.upstream.expect_close().0, 1002);
    tunnel.client.close(1011, "");
    tunnel.client.expect_end();
    tunnel.client.finish();
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    let (_, client, upstream) = tunnel.ends();
    assert_eq!(client, CloseReason::UpstreamProtocol);
    assert_eq!(upstream, CloseReason::Protocol(ProtocolError::Masked));
}

#[test]
fn a_client_that_violates_the_protocol_ends_the_tunnel() {
    let route = || {
        RouteSettings::default()
            .message_bytes_max(1000)
            .fragment_timeout(Duration::from_millis(300))
    };
    let too_big = [frame(false, BINARY, &[0; 600]), frame(true, CONTINUATION, &[0; 401])].concat();
    for (bytes, error) in [
        (unmasked(true, TEXT, b"bad"), ProtocolError::Unmasked),
        (frame(false, PING, b""), ProtocolError::FragmentedControl),
        (frame(true, CONTINUATION, b""), ProtocolError::UnexpectedContinuation),
        (frame(true, BINARY, &[0; 1001])[..8].to_vec(), ProtocolError::MessageTooBig),
        (too_big, ProtocolError::MessageTooBig),
        (frame(true, TEXT, b"held")[..8].to_vec(), ProtocolError::FragmentTimeout),
    ] {
        let mut tunnel = with_route(route());
        tunnel.client.text("before");
        tunnel.client.raw(&bytes);
        tunnel.upstream.expect(TEXT, b"before");
        let mut next = tunnel.upstream.frame();
        if next.opcode == BINARY {
            next = tunnel.upstream.frame();
        }
        assert_eq!((next.opcode, &next.payload[..2]), (CLOSE, &[3, 0xE9][..]), "{error:?}");
        tunnel.upstream.close(1001, "");
        let code = error.close_code().get();
        assert_eq!(tunnel.client.expect_close(), (code, error.as_str().into()), "{error:?}");
        let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
        tunnel.client.expect_end();
        tunnel.client.finish();
        let (_, client, upstream) = tunnel.ends();
        assert_eq!(client, CloseReason::Protocol(error));
        assert_eq!(upstream, CloseReason::TunnelEnded);
    }
}

#[test]
fn a_client_that_does_not_read_is_closed_after_the_write_timeout() {
    let route = RouteSettings::default().write_timeout(Duration::from_millis(400));
    let listener = listener();
    let (server, events) = joining(&listener, settings(), route, |_| {});
    let (client, mut upstream) = join(Client::narrow_tcp(server.address), &listener);
    let mut writer = upstream.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let bytes = unmasked(true, BINARY, &[0; 50_000]);
        while std::io::Write::write_all(&mut writer, &bytes).is_ok() {}
    });
    assert_eq!(upstream.expect_close().0, 1001);
    upstream.close(1001, "");
    let _ = upstream.stream.shutdown(std::net::Shutdown::Both);
    thread.join().unwrap();
    let (_, reason, other) = events.ends();
    assert_eq!((reason, other), (CloseReason::WriteTimeout, CloseReason::TunnelEnded));
    drop(client);
    server.stop_clean();
}

#[test]
fn an_upstream_that_does_not_read_is_dropped_after_the_write_timeout() {
    let route = RouteSettings::default().write_timeout(Duration::from_millis(400));
    let mut tunnel = with_route(route);
    let mut writer = tunnel.client.writer();
    let thread = std::thread::spawn(move || {
        let bytes = frame(true, BINARY, &[0; 50_000]);
        while std::io::Write::write_all(&mut writer, &bytes).is_ok() {}
    });
    expect_lost(&mut tunnel.client, 1013);
    let _ = tunnel.client.stream.shutdown(std::net::Shutdown::Both);
    thread.join().unwrap();
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (CloseReason::UpstreamStuck, CloseReason::WriteTimeout));
}

#[test]
fn a_tunnel_without_data_is_closed_after_the_idle_timeout() {
    let route = RouteSettings::default().idle_timeout(Duration::from_millis(500));
    let mut tunnel = Joined::with(Settings::default(), route, |_| {});
    tunnel.client.text("data");
    tunnel.upstream.expect(TEXT, b"data");
    tunnel.client.send(PING, b"no data");
    tunnel.upstream.expect(PING, b"no data");
    assert_eq!(tunnel.client.expect_close(), (1001, "idle timeout".into()));
    // A planned end: the client's frames still pass until its Close, and the upstream's own timeout
    // does not end the connection before.
    std::thread::sleep(Duration::from_millis(1000));
    tunnel.client.text("still");
    tunnel.upstream.expect(TEXT, b"still");
    tunnel.upstream.send(TEXT, b"discarded");
    tunnel.client.close(1001, "");
    assert_eq!(tunnel.upstream.expect_close(), (1001, String::new()));
    tunnel.upstream.close(1001, "");
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (CloseReason::IdleTimeout, CloseReason::TunnelEnded));
}

#[test]
fn a_service_closes_either_side_of_a_tunnel() {
    for closes_client in [true, false] {
        let mut tunnel = with_route(RouteSettings::default());
        let (client, upstream) = tunnel.events.joined();
        let id = if closes_client { client } else { upstream };
        tunnel.events.run(move |cx| cx.close(id, CloseCode::SERVICE_RESTART, "moved"));
        assert_eq!(tunnel.client.expect_close(), (1012, "moved".into()));
        tunnel.client.text("still");
        tunnel.client.close(1012, "");
        tunnel.upstream.expect(TEXT, b"still");
        assert_eq!(tunnel.upstream.expect_close(), (1001, String::new()));
        tunnel.upstream.close(1001, "");
        let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
        tunnel.client.expect_end();
        tunnel.client.finish();
        let (_, client, upstream) = tunnel.ends();
        assert_eq!(client, CloseReason::Service(CloseCode::SERVICE_RESTART));
        assert_eq!(upstream, CloseReason::TunnelEnded);
    }
}

#[test]
fn a_planned_end_does_not_wait_for_a_silent_client() {
    let mut tunnel = with_route(RouteSettings::default());
    let (client, _) = tunnel.events.joined();
    tunnel.events.run(move |cx| cx.close(client, CloseCode::SERVICE_RESTART, ""));
    assert_eq!(tunnel.client.expect_close().0, 1012);
    assert_eq!(tunnel.upstream.expect_close(), (1001, String::new()));
    tunnel.upstream.close(1001, "");
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    let (_, client, _) = tunnel.ends();
    assert_eq!(client, CloseReason::Service(CloseCode::SERVICE_RESTART));
}

#[test]
fn an_upstream_that_closes_during_a_planned_end_is_answered() {
    let mut tunnel = with_route(RouteSettings::default());
    let (client, _) = tunnel.events.joined();
    tunnel.events.run(move |cx| cx.close(client, CloseCode::SERVICE_RESTART, "moved"));
    assert_eq!(tunnel.client.expect_close(), (1012, "moved".into()));
    tunnel.upstream.close(4000, "mine");
    assert_eq!(tunnel.upstream.expect_close(), (4000, String::new()));
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    tunnel.client.close(1012, "");
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (_, client, upstream) = tunnel.ends();
    assert_eq!(client, CloseReason::Service(CloseCode::SERVICE_RESTART));
    assert_eq!(upstream, CloseReason::PeerClosed(CloseCode::new(4000)));
}

#[test]
fn an_upstream_that_is_lost_during_a_planned_end_changes_nothing_for_the_client() {
    let mut tunnel = with_route(RouteSettings::default());
    let (client, _) = tunnel.events.joined();
    tunnel.events.run(move |cx| cx.close(client, CloseCode::SERVICE_RESTART, "moved"));
    assert_eq!(tunnel.client.expect_close(), (1012, "moved".into()));
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    // The service is not asked for a code: the next event is the end of the tunnel.
    assert!(matches!(tunnel.events.next(), Event::Ended(_)));
    assert_eq!(tunnel.events.next(), Event::UpstreamClosed(CloseReason::PeerGone));
    tunnel.client.text("to nobody");
    tunnel.client.close(1012, "");
    tunnel.client.expect_end();
    drop(tunnel.client);
    let reason = CloseReason::Service(CloseCode::SERVICE_RESTART);
    assert_eq!(tunnel.events.next(), Event::ClientClosed(reason));
    tunnel.server.stop_clean();
}

#[test]
fn a_service_closes_a_client_whose_close_has_passed() {
    let mut tunnel = with_route(RouteSettings::default());
    let (client, _) = tunnel.events.joined();
    tunnel.client.close(1000, "bye");
    assert_eq!(tunnel.upstream.expect_close(), (1000, "bye".into()));
    tunnel.events.run(move |cx| cx.close(client, CloseCode::SERVICE_RESTART, "moved"));
    assert_eq!(tunnel.client.expect_close(), (1012, "moved".into()));
    tunnel.client.expect_end();
    tunnel.client.finish();
    // It has got a Close already, and no second one follows.
    tunnel.upstream.close(1000, "");
    tunnel.upstream.expect_end();
    drop(tunnel.upstream);
    let (_, client, upstream) = tunnel.events.ends();
    assert_eq!(client, CloseReason::Service(CloseCode::SERVICE_RESTART));
    assert_eq!(upstream, CloseReason::TunnelEnded);
    drop(tunnel.client);
    tunnel.server.stop_clean();
}

#[test]
fn a_service_aborts_either_side_of_a_tunnel() {
    let mut tunnel = with_route(RouteSettings::default());
    let (_, upstream) = tunnel.events.joined();
    tunnel.events.run(move |cx| cx.abort(upstream));
    expect_lost(&mut tunnel.client, 1012);
    tunnel.client.close(1012, "");
    tunnel.client.expect_end();
    tunnel.client.finish();
    assert_eq!(tunnel.events.next(), Event::Lost);
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (RESTART, CloseReason::Aborted));

    let mut tunnel = with_route(RouteSettings::default());
    let (client, _) = tunnel.events.joined();
    tunnel.events.run(move |cx| cx.abort(client));
    tunnel.client.expect_gone();
    tunnel.upstream.expect_end();
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    assert_eq!(tunnel.ends().1, CloseReason::Aborted);
}

#[test]
fn a_shutdown_closes_clients_first_and_their_upstreams_follow() {
    let mut tunnel = with_route(RouteSettings::default());
    tunnel.server.shutdown();
    assert_eq!(tunnel.client.expect_close(), (1001, "server going down".into()));
    tunnel.client.text("still");
    tunnel.upstream.expect(TEXT, b"still");
    tunnel.client.close(1001, "");
    assert_eq!(tunnel.upstream.expect_close(), (1001, String::new()));
    tunnel.upstream.close(1001, "");
    let _ = tunnel.upstream.stream.shutdown(std::net::Shutdown::Both);
    tunnel.client.expect_end();
    tunnel.client.finish();
    let (_, client, upstream) = tunnel.ends();
    assert_eq!((client, upstream), (CloseReason::Shutdown, CloseReason::TunnelEnded));
}
