//! Tunnels that need more memory than there is.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::CloseReason;
use weir::reactor::settings::{RouteSettings, Settings};

use super::resets::holds;
use super::upstream::{Events, join, joining, listener, unmasked};
use crate::support::{BINARY, CLOSE, Client, Server, eventually, frame};

/// A server whose connections may hold 256 KiB.
fn with_little_memory(listener: &TcpListener) -> (Server, Events) {
    let settings = Settings::default()
        .close_timeout(Duration::from_millis(600))
        .connections_max(4)
        .outbound_max(4)
        .buffered_bytes_max(256 * 1024);
    let route = RouteSettings::default().write_timeout(Duration::from_secs(60));
    joining(listener, settings, route, |_| {})
}

#[test]
fn a_tunnel_that_needs_more_memory_than_there_is_ends() {
    let listener = listener();
    let (server, events) = with_little_memory(&listener);
    let (client, mut upstream) = join(Client::narrow_tcp(server.address), &listener);
    let mut writer = upstream.stream.try_clone().unwrap();
    let thread = thread::spawn(move || {
        let bytes = unmasked(true, BINARY, &[0; 20_000]);
        while writer.write_all(&bytes).is_ok() {}
    });
    assert_eq!(upstream.expect_close().0, 1001);
    upstream.close(1001, "");
    let _ = upstream.stream.shutdown(std::net::Shutdown::Both);
    thread.join().unwrap();
    let (_, reason, _) = events.ends();
    assert_eq!(reason, CloseReason::Overloaded);
    drop(client);
    server.stop_clean();
}

/// No frame is missing before its upstream's Close.
#[test]
fn a_closing_client_whose_frame_does_not_fit_ends_with_it() {
    let listener = listener();
    socket2::SockRef::from(&listener).set_recv_buffer_size(16 * 1024).unwrap();
    let (server, events) = with_little_memory(&listener);
    let (mut client, mut upstream) = join(Client::tcp(server.address), &listener);
    let (id, _) = events.joined();
    events.run(move |cx| cx.close(id, CloseCode::SERVICE_RESTART, "moved"));
    assert_eq!(client.expect_close(), (1012, "moved".into()));
    let mut writer = client.writer();
    let thread = thread::spawn(move || {
        let mut numbers = 0_u32..;
        let message = |number: u32| frame(true, BINARY, &number.to_be_bytes().repeat(5_000));
        while writer.write_all(&message(numbers.next().unwrap())).is_ok() {}
    });
    eventually(|| holds(&events, |cx| cx.metrics().buffered_refused > 0), "memory is used up");
    for number in 0_u32.. {
        let next = upstream.frame();
        if next.opcode == CLOSE {
            assert_eq!(next.payload, 1001_u16.to_be_bytes());
            break;
        }
        assert_eq!(next.payload[..4], number.to_be_bytes(), "a frame is missing");
    }
    upstream.close(1001, "");
    let _ = upstream.stream.shutdown(std::net::Shutdown::Both);
    thread.join().unwrap();
    drop(client);
    assert_eq!(events.ends().1, CloseReason::Service(CloseCode::SERVICE_RESTART));
    server.stop_clean();
}
