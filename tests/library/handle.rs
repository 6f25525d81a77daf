//! Handles: messages and counts from other threads than the loop's.

use std::sync::mpsc::{TrySendError, channel};
use std::thread;
use std::time::Duration;

use weir::protocol::{CloseCode, Message};
use weir::reactor::budget::{HANDLE_BYTES_MAX, HANDLE_COMMANDS_MAX};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Handle, Reactor, ServiceId, Target};

use crate::puppet::{Puppet, Strings};
use crate::support::{BINARY, Client, DEADLINE, Server, TEXT, eventually};

/// A server with a puppet at `/`, and a handle to it.
fn serve() -> (Server, Strings, Handle, ServiceId) {
    let (puppet, strings) = Puppet::new();
    let (sender, receiver) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(puppet).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        sender.send((reactor.handle(), service)).unwrap();
    });
    let (handle, service) = receiver.recv_timeout(DEADLINE).unwrap();
    (server, strings, handle, service)
}

#[test]
fn messages_reach_only_their_connections() {
    let (server, strings, handle, service) = serve();
    let (mut a, a_id) = strings.client(&server, "/");
    let (mut b, b_id) = strings.client(&server, "/");
    strings.run(move |cx| cx.subscribe(b_id, "news").unwrap());
    handle.try_send(a_id, "to a").unwrap();
    handle.try_publish(service, Target::Topic("news"), "to b").unwrap();
    handle.try_publish(service, Target::List(&[b_id]), Message::Binary(b"\0")).unwrap();
    handle.try_publish(service, Target::All, "to both").unwrap();
    a.expect(TEXT, b"to a");
    a.expect(TEXT, b"to both");
    b.expect(TEXT, b"to b");
    b.expect(BINARY, b"\0");
    b.expect(TEXT, b"to both");
}

#[test]
fn messages_of_one_thread_keep_their_order_and_many_threads_may_send() {
    const THREADS: u32 = 4;
    const MESSAGES: u32 = 2_000;
    let (server, strings, handle, _) = serve();
    let (mut client, conn) = strings.client(&server, "/");
    let send = move |handle: &Handle, thread: u32, number: u32| {
        let text = format!("{thread} {number}");
        while let Err(TrySendError::Full(())) = handle.try_send(conn, &*text) {
            thread::yield_now();
        }
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            thread::spawn(move || (0..MESSAGES).for_each(|number| send(&handle, thread, number)))
        })
        .collect();
    let mut next = [0; THREADS as usize];
    for _ in 0..THREADS * MESSAGES {
        let text = String::from_utf8(client.frame().payload).unwrap();
        let (thread, number) = text.split_once(' ').unwrap();
        let expected = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse(), Ok(*expected));
        *expected += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn the_queue_is_bounded_in_messages_and_in_bytes() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let service = reactor.add_service(Puppet::new().0).unwrap();
    let handle = reactor.handle();
    let full = Err(TrySendError::Full(()));
    let put = |bytes: &[u8]| handle.try_publish(service, Target::All, bytes);
    for _ in 0..HANDLE_COMMANDS_MAX {
        put(b"").unwrap();
    }
    assert_eq!(put(b""), full);
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let half = vec![0; HANDLE_BYTES_MAX / 2];
    put(&half).unwrap();
    put(&half).unwrap();
    assert_eq!(put(b"1"), full);
    // The name of a topic counts, too.
    assert_eq!(handle.try_publish(service, Target::Topic("t"), ""), full);
    put(b"").unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    put(b"1").unwrap();
    drop(reactor);
    assert_eq!(put(b"1"), Err(TrySendError::Disconnected(())));
}

#[test]
fn messages_put_before_a_shutdown_are_sent_before_the_close() {
    let (server, strings, handle, _) = serve();
    let (mut client, conn) = strings.client(&server, "/");
    for number in 0..100 {
        handle.try_send(conn, &*number.to_string()).unwrap();
    }
    handle.shutdown();
    for number in 0..100 {
        client.expect(TEXT, number.to_string().as_bytes());
    }
    assert_eq!(client.expect_close().0, 1001);
}

#[test]
fn a_connection_is_closed_after_the_messages_put_before() {
    let (server, strings, handle, _) = serve();
    let (mut client, conn) = strings.client(&server, "/");
    let (mut other, other_conn) = strings.client(&server, "/");
    let code = CloseCode::new(4000).unwrap();
    handle.try_send(conn, "last").unwrap();
    handle.try_close(conn, code, &"é".repeat(62)).unwrap();
    handle.try_send(conn, "too late").unwrap();
    handle.try_close(conn, CloseCode::NORMAL, "again").unwrap();
    client.expect(TEXT, b"last");
    assert_eq!(client.expect_close(), (4000, "é".repeat(61)));
    drop(client);
    assert_eq!(strings.closed(), (conn, CloseReason::Service(code)));
    // The ended connection's id names no other connection.
    handle.try_close(conn, code, "").unwrap();
    handle.try_send(other_conn, "still open").unwrap();
    other.expect(TEXT, b"still open");
}

#[test]
fn closes_count_against_the_limits_of_the_queue() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let service = reactor.add_service(Puppet::new().0).unwrap();
    let handle = reactor.handle();
    let full = Err(TrySendError::Full(()));
    // Of another reactor: here it names no connection.
    let (server, strings, _, _) = serve();
    let (_client, conn) = strings.client(&server, "/");
    let close = |reason: &str| handle.try_close(conn, CloseCode::NORMAL, reason);
    for _ in 0..HANDLE_COMMANDS_MAX {
        close("").unwrap();
    }
    assert_eq!(close(""), full);
    reactor.turn(Some(Duration::ZERO)).unwrap();
    handle.try_publish(service, Target::All, &*vec![0; HANDLE_BYTES_MAX - 123]).unwrap();
    close(&"x".repeat(1 << 20)).unwrap();
    assert_eq!(close("x"), full);
    drop(reactor);
    assert_eq!(close(""), Err(TrySendError::Disconnected(())));
}

#[test]
fn connections_are_counted_for_other_threads() {
    let (server, strings, handle, _) = serve();
    assert_eq!(handle.connections(), 0);
    let clients: Vec<(Client, ConnId)> = (0..3).map(|_| strings.client(&server, "/")).collect();
    assert_eq!(handle.connections(), 3);
    drop(clients);
    eventually(|| handle.connections() == 0, "all connections have ended");
}
