//! Pause and resume: a paused connection delivers nothing, and loses nothing.

use std::io::{ErrorKind, Write};

use weir::reactor::SendOutcome;

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{BINARY, Client, Server, TEXT, eventually, frame, upgrade};

/// Waits until the loop has read all bytes sent to it before: another client connects and leaves.
pub(super) fn round(server: &Server, strings: &Strings) {
    let (client, id) = strings.client(server, "/");
    drop(client);
    while strings.closed().0 != id {}
}

#[test]
fn messages_of_a_paused_connection_are_delivered_after_the_pause() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_message = Box::new(|cx, id, message| {
        if message.as_bytes() == b"pause" {
            cx.pause(id);
        }
    });
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    // In one write, so that the messages after the pause are already read.
    let mut bytes = frame(true, TEXT, b"pause");
    bytes.extend(frame(true, TEXT, b"1"));
    bytes.extend(frame(true, TEXT, b"2"));
    client.raw(&bytes);
    assert_eq!(strings.next(), Report::Text(id, "pause".to_owned()));
    client.text("3");
    round(&server, &strings);
    strings.expect_no_report();

    // Sending is not paused.
    assert_eq!(strings.run(move |cx| cx.send(id, "hello")), SendOutcome::Queued);
    client.expect(TEXT, b"hello");

    strings.run(move |cx| cx.resume(id));
    for text in ["1", "2", "3"] {
        assert_eq!(strings.next(), Report::Text(id, text.to_owned()));
    }
    // Resuming a connection that is not paused changes nothing.
    strings.run(move |cx| cx.resume(id));
    client.text("4");
    assert_eq!(strings.next(), Report::Text(id, "4".to_owned()));
}

#[test]
fn a_pause_in_on_open_applies_to_frames_sent_with_the_request() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_open = Box::new(|cx, id| cx.pause(id));
    let server = puppet.serve_plain();
    let mut client = Client::tcp(server.address);
    let mut bytes = upgrade("/", "").into_bytes();
    for text in [b"1", b"2"] {
        bytes.extend(frame(true, TEXT, text));
    }
    client.raw(&bytes);
    client.head();
    let id = strings.opened();
    strings.expect_no_report();
    strings.run(move |cx| cx.resume(id));
    for text in ["1", "2"] {
        assert_eq!(strings.next(), Report::Text(id, text.to_owned()));
    }
}

#[test]
fn a_pause_applies_behind_a_frame_read_in_several_parts() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_message = Box::new(|cx, id, _| cx.pause(id));
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    let large = vec![b'x'; 100_000];
    let mut bytes = frame(true, BINARY, &large);
    bytes.extend(frame(true, TEXT, b"behind"));
    let read = strings.run(|cx| cx.metrics().bytes_read);
    client.raw(&bytes[..60_000]);
    let pieces = read + 60_000;
    eventually(|| strings.run(|cx| cx.metrics().bytes_read) == pieces, "the first part is read");
    client.raw(&bytes[60_000..]);
    assert_eq!(strings.next(), Report::Binary(id, large));
    strings.expect_no_report();
    strings.run(move |cx| cx.resume(id));
    assert_eq!(strings.next(), Report::Text(id, "behind".to_owned()));
}

#[test]
fn a_paused_peer_gets_back_pressure() {
    /// More than the kernel holds for one connection.
    const MESSAGES: u32 = 512;
    const BYTES: usize = 64 * 1024;
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    let read = strings.run(move |cx| {
        cx.pause(id);
        cx.metrics().bytes_read
    });
    let numbered = |number: u32| {
        let mut payload = vec![0; BYTES];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        payload
    };
    let mut rest: Vec<u8> = (0..MESSAGES).flat_map(|n| frame(true, BINARY, &numbered(n))).collect();
    client.stream.set_nonblocking(true).unwrap();
    loop {
        match client.stream.write(&rest) {
            Ok(len) => drop(rest.drain(..len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(!rest.is_empty(), "the kernel takes all bytes for a paused connection");
    }
    round(&server, &strings);
    assert_eq!(strings.run(move |cx| cx.record(id).unwrap().traffic.messages_in), 0);
    // Only the request of this round's other client was read.
    let request = upgrade("/", "").len() as u64;
    assert_eq!(strings.run(|cx| cx.metrics().bytes_read), read + request);

    client.stream.set_nonblocking(false).unwrap();
    strings.run(move |cx| cx.resume(id));
    client.raw(&rest);
    for number in 0..MESSAGES {
        assert_eq!(strings.next(), Report::Binary(id, numbered(number)));
    }
}

#[test]
fn a_paused_connection_can_be_closed() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_open = Box::new(|cx, id| cx.pause(id));
    let server = puppet.serve_plain();
    let (mut client, id) = strings.client(&server, "/");
    client.text("never delivered");
    strings.run(move |cx| cx.close(id, weir::protocol::CloseCode::POLICY, "enough"));
    assert_eq!(client.expect_close(), (1008, "enough".to_owned()));
    client.close(1008, "");
    client.expect_end();
    let why = weir::reactor::CloseReason::Service(weir::protocol::CloseCode::POLICY);
    assert_eq!(strings.next(), Report::Closed(id, why));
}
