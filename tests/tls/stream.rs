//! Messages, congestion and ends of TLS connections.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use socket2::SockRef;
use weir::protocol::CloseCode;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, PublishOptions, Target};
use weir_authority::Authority;
use zlib_rs::{DeflateFlush, InflateFlush};

use super::{
    Stream, TLS12, TLS13, connect, echo, open, settings, trusting, trusting_with, watched,
};
use crate::puppet::Puppet;
use crate::support::{
    BINARY, CLOSE, COMPRESSED, CONTINUATION, DEADLINE, PING, PONG, Seen, Server, TEXT, Watched,
    eventually, frame, header, next_end, upgrade,
};

#[test]
fn messages_of_every_size_are_echoed_in_both_versions() {
    let (authority, server, _seen) = echo();
    for versions in [TLS12, TLS13] {
        let config = Arc::new(trusting_with(&authority, default_provider(), versions));
        let mut client = connect(server.address, &config, "localhost").upgraded("/");
        for len in [0, 1, 125, 126, 16_380, 16_384, 16_385, 65_535, 65_536, 300_000] {
            let payload: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
            client.send(BINARY, &payload);
            client.expect(BINARY, &payload);
        }
        client.text("grüße");
        client.expect(TEXT, "grüße".as_bytes());
        client.send(PING, b"?");
        client.expect(PONG, b"?");
    }
    let metrics = server.stop_clean();
    assert_eq!((metrics.tls_handshakes_full, metrics.tls_failed), (2, 0));
}

/// Compressed messages, whole and in fragments, are encrypted like any others.
#[test]
fn compressed_messages_are_echoed() {
    let (authority, server, _seen) = echo();
    let config = Arc::new(trusting(&authority));
    let mut client = connect(server.address, &config, "localhost");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let head = client.request(&upgrade("/", offer));
    assert!(header(&head, "Sec-WebSocket-Extensions").is_some(), "{head}");
    let message = "the same as ever, ".repeat(1000);
    let mut payload = vec![0; message.len()];
    let mut stream = zlib_rs::Deflate::new(6, false, 15);
    stream.compress(message.as_bytes(), &mut payload, DeflateFlush::SyncFlush).unwrap();
    payload.truncate(stream.total_out() as usize - 4);
    client.raw(&frame(true, COMPRESSED | TEXT, &payload));
    let (first, second) = payload.split_at(payload.len() / 2);
    client.raw(&frame(false, COMPRESSED | TEXT, first));
    client.raw(&frame(true, CONTINUATION, second));
    for _ in 0..2 {
        let frame = client.frame();
        assert!(frame.compressed && frame.payload.len() < message.len() / 10, "{frame:?}");
        let wire = [&frame.payload[..], &[0, 0, 0xFF, 0xFF]].concat();
        let mut out = vec![0; message.len() + 1];
        let mut stream = zlib_rs::Inflate::new(false, 15);
        stream.decompress(&wire, &mut out, InflateFlush::SyncFlush).unwrap();
        assert!(out[..stream.total_out() as usize] == *message.as_bytes());
    }
    drop(client);
    let metrics = server.stop_clean();
    assert_eq!((metrics.messages_inflated, metrics.messages_deflated), (2, 2));
}

#[test]
fn records_may_arrive_byte_by_byte_or_many_at_once() {
    let (authority, server, _seen) = echo();
    let mut client = connect(server.address, &Arc::new(trusting(&authority)), "localhost");
    let Stream { conn, sock } = &mut client.stream;
    // Everything, the handshake included, in pieces of one byte.
    let mut records = Vec::new();
    while conn.is_handshaking() {
        while conn.wants_write() {
            conn.write_tls(&mut records).unwrap();
        }
        records.drain(..).for_each(|byte| sock.write_all(&[byte]).unwrap());
        if conn.is_handshaking() {
            conn.read_tls(sock).unwrap();
            conn.process_new_packets().unwrap();
        }
    }
    conn.writer().write_all(upgrade("/", "").as_bytes()).unwrap();
    conn.writer().write_all(&frame(true, TEXT, b"in pieces")).unwrap();
    conn.write_tls(&mut records).unwrap();
    records.drain(..).for_each(|byte| sock.write_all(&[byte]).unwrap());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.expect(TEXT, b"in pieces");

    // A hundred records of one frame each, in one write.
    let Stream { conn, sock } = &mut client.stream;
    for number in 0..100_u8 {
        conn.writer().write_all(&frame(true, BINARY, &[number; 200])).unwrap();
        conn.write_tls(&mut records).unwrap();
    }
    sock.write_all(&records).unwrap();
    for number in 0..100 {
        client.expect(BINARY, &[number; 200]);
    }
    drop(client);
    assert_eq!(server.stop_clean().messages_in, 101);
}

#[test]
fn a_peer_that_reads_late_congests_the_echo_and_loses_nothing() {
    const MESSAGES: usize = 400;
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let route = RouteSettings::default().write_timeout(DEADLINE).outbox_grace(DEADLINE);
    let (server, seen) = watched(tls, Settings::default(), route);
    let mut client = open(server.address, &authority);
    let payload = vec![0xA5; 60_000];
    let bytes = frame(true, BINARY, &payload);
    // All messages are encrypted first, so that one thread can write the records while the other
    // reads.
    let mut records = Vec::new();
    for _ in 0..MESSAGES {
        let conn = &mut client.stream.conn;
        conn.writer().write_all(&bytes).unwrap();
        while conn.wants_write() {
            conn.write_tls(&mut records).unwrap();
        }
    }
    let mut writer = client.stream.sock.try_clone().unwrap();
    let written = thread::spawn(move || writer.write_all(&records));
    // The client reads once the server is congested.
    let mut drained = false;
    for _ in 0..MESSAGES {
        client.expect(BINARY, &payload);
        drained |= seen.try_iter().any(|seen| matches!(seen, Seen::Drained(_)));
        if !drained {
            thread::yield_now();
        }
    }
    written.join().unwrap().unwrap();
    drop(client);
    let metrics = server.stop_clean();
    assert_eq!((metrics.messages_in, metrics.messages_out), (MESSAGES as u64, MESSAGES as u64));
    assert_eq!((metrics.messages_refused, metrics.messages_dropped), (0, 0));
}

#[test]
fn encrypted_output_that_waits_is_bounded_and_counted() {
    let authority = Authority::new();
    let tls = settings(&authority.server(&["localhost"]));
    let route = RouteSettings::default()
        .write_timeout(DEADLINE)
        .outbox_grace(DEADLINE)
        .slow_policy(weir::reactor::settings::SlowPolicy::Drop);
    let hard = route.outbox_hard_bytes;
    // The service sends more than a kernel holds for a peer that does not read.
    let (service, seen) = Watched::new(|cx, conn, _| {
        let chunk = vec![7; 50_000];
        for _ in 0..1_000 {
            let _ = cx.send(conn, &chunk[..]);
            assert!(cx.queued_bytes(conn) <= 3 << 20);
        }
    });
    let server = Server::secure(tls, Settings::default(), move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = open(server.address, &authority);
    client.text("go");
    drop(seen);
    let mut count = 0;
    // The message arrives whole, however it was split into records.
    loop {
        client.expect(BINARY, &vec![7; 50_000]);
        count += 1;
        if count == hard / 50_000 {
            break;
        }
    }
    client.close(1000, "");
    let (code, _) = client.expect_close();
    assert_eq!(code, 1000);
    drop(client);
    let metrics = server.stop_clean();
    assert!(metrics.messages_refused > 0, "{metrics}");
}

#[test]
fn a_publication_is_encrypted_for_each_member_of_a_topic() {
    let authority = Authority::new();
    let (puppet, strings) = Puppet::new();
    let tls = settings(&authority.server(&["localhost"]));
    let server = Server::secure(tls, Settings::default(), |reactor| {
        puppet.place(reactor, "/", RouteSettings::default());
    });
    let mut clients: Vec<_> = (0..3).map(|_| open(server.address, &authority)).collect();
    let ids: Vec<ConnId> = clients.iter().map(|_| strings.opened()).collect();
    strings.run(move |cx| {
        for &id in &ids {
            cx.subscribe(id, "t").unwrap();
        }
        for text in ["one", "two", "three"] {
            let published = cx.publish(Target::Topic("t"), text, PublishOptions::default());
            assert_eq!(published.sent, 3);
        }
    });
    for client in &mut clients {
        ["one", "two", "three"].iter().for_each(|text| client.expect(TEXT, text.as_bytes()));
    }
    drop(clients);
    assert_eq!(server.stop_clean().messages_out, 9);
}

#[test]
fn a_close_ends_with_close_notify_on_both_sides() {
    let (authority, server, seen) = echo();
    let mut client = open(server.address, &authority);
    client.close(1000, "bye");
    assert_eq!(client.expect_close(), (1000, "bye".to_owned()));
    // rustls reports an end without close_notify as an error.
    client.expect_end();
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(next_end(&seen), CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
    drop(client);
    assert_eq!(server.stop_clean().tls_truncated, 0);
}

#[test]
fn close_notify_of_a_peer_is_answered_with_close_notify() {
    let (authority, server, seen) = echo();
    let mut client = open(server.address, &authority);
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    client.expect_end();
    assert_eq!(next_end(&seen), CloseReason::PeerGone);
    drop(client);
    assert_eq!(server.stop_clean().tls_truncated, 0);
}

#[test]
fn messages_before_close_notify_are_answered() {
    let (authority, server, seen) = echo();
    let mut client = open(server.address, &authority);
    let Stream { conn, sock } = &mut client.stream;
    let mut records = Vec::new();
    for number in 0..20 {
        conn.writer().write_all(&frame(true, BINARY, &[number; 10_000])).unwrap();
        while conn.wants_write() {
            conn.write_tls(&mut records).unwrap();
        }
    }
    conn.send_close_notify();
    conn.write_tls(&mut records).unwrap();
    sock.write_all(&records).unwrap();
    for number in 0..20 {
        client.expect(BINARY, &[number; 10_000]);
    }
    client.expect_end();
    assert_eq!(next_end(&seen), CloseReason::PeerGone);
    drop(client);
    server.stop_clean();
}

#[test]
fn a_stream_without_close_notify_ends_as_truncated() {
    let (authority, server, seen) = echo();
    let client = open(server.address, &authority);
    client.stream.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next_end(&seen), CloseReason::Truncated);
    let metrics = server.stop_clean();
    assert_eq!((metrics.tls_truncated, metrics.ended_peer_lost), (1, 1));
}

#[test]
fn a_record_with_a_wrong_mac_ends_the_connection_with_an_alert() {
    let (authority, server, seen) = echo();
    let mut client = open(server.address, &authority);
    client.text("before");
    client.expect(TEXT, b"before");
    let Stream { conn, sock } = &mut client.stream;
    let mut records = Vec::new();
    conn.writer().write_all(&frame(true, TEXT, b"good")).unwrap();
    conn.write_tls(&mut records).unwrap();
    conn.writer().write_all(&frame(true, TEXT, b"bad")).unwrap();
    conn.write_tls(&mut records).unwrap();
    *records.last_mut().unwrap() ^= 1;
    sock.write_all(&records).unwrap();
    let error = client.stream.read(&mut [0; 100]).unwrap_err().to_string();
    assert!(error.contains("BadRecordMac"), "{error}");
    assert_eq!(next_end(&seen), CloseReason::TlsFailed);
    drop(client);
    assert_eq!(server.stop_clean().tls_failed, 1);
}

#[test]
fn a_peer_may_request_new_keys() {
    let (authority, server, _seen) = echo();
    let mut client = open(server.address, &authority);
    for round in 0..5 {
        client.stream.conn.refresh_traffic_keys().unwrap();
        let payload = vec![round; 40_000];
        client.send(BINARY, &payload);
        client.expect(BINARY, &payload);
    }
    drop(client);
    assert_eq!(server.stop_clean().tls_failed, 0);
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let authority = Authority::new();
    // Echoes; on request, sends the number of bytes that all connections hold.
    let (service, _seen) = Watched::new(|cx, conn, message| {
        let held = cx.metrics().buffered_now.to_string();
        let is_question = message.as_bytes() == b"held?";
        let _ = cx.send(conn, if is_question { held.as_bytes() } else { message.as_bytes() });
    });
    let tls = settings(&authority.server(&["localhost"]));
    let server = Server::secure(tls, Settings::default(), move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let mut clients: Vec<_> = (0..20).map(|_| open(server.address, &authority)).collect();
    for client in &mut clients {
        let payload = vec![1; 100_000];
        client.send(BINARY, &payload);
        client.expect(BINARY, &payload);
    }
    let held = |clients: &mut [super::Secure]| -> usize {
        clients[1].text("held?");
        String::from_utf8(clients[1].frame().payload).unwrap().parse().unwrap()
    };
    assert_eq!(held(&mut clients), 0);

    // Half a record is held until its other half arrives.
    let mut records = Vec::new();
    let Stream { conn, sock } = &mut clients[0].stream;
    conn.writer().write_all(&frame(true, BINARY, &[2; 1000])).unwrap();
    conn.write_tls(&mut records).unwrap();
    let (first, second) = records.split_at(500);
    sock.write_all(first).unwrap();
    eventually(|| held(&mut clients) == 500, "half a record is held");
    clients[0].stream.sock.write_all(second).unwrap();
    clients[0].expect(BINARY, &[2; 1000]);
    assert_eq!(held(&mut clients), 0);
    drop(clients);
    server.stop_clean();
}

#[test]
fn a_shutdown_closes_tls_connections_with_close_notify() {
    let (authority, mut server, _seen) = echo();
    let mut client = open(server.address, &authority);
    server.shutdown();
    assert_eq!(client.expect_close().0, 1001);
    client.send(CLOSE, &1001_u16.to_be_bytes());
    client.expect_end();
    drop(client);
    assert_eq!(server.join().tls_truncated, 0);
}

/// Nothing reads from a paused connection, but its reset is noticed.
#[test]
fn a_reset_ends_a_paused_tls_connection() {
    let authority = Authority::new();
    let (service, seen) = Watched::new(|cx, conn, _| cx.pause(conn));
    let server = Server::secure(
        settings(&authority.server(&["localhost"])),
        Settings::default(),
        move |reactor| {
            let service = reactor.add_service(service).unwrap();
            reactor.add_route("/", service, RouteSettings::default()).unwrap();
        },
    );
    let mut client = open(server.address, &authority);
    client.text("pause");
    assert!(matches!(seen.recv_timeout(DEADLINE), Ok(Seen::Opened(_))));
    assert!(matches!(seen.recv_timeout(DEADLINE), Ok(Seen::Message(..))));
    SockRef::from(&client.stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client.stream.sock);
    assert_eq!(next_end(&seen), CloseReason::PeerReset);
    server.stop_clean();
}
