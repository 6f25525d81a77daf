//! What a read takes from a connection, by level and priority.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::time::Duration;

use weir::reactor::budget::{
    CRITICAL_READ_BYTES, LOW_MESSAGES, MESSAGES_PER_READ, NORMAL_MESSAGES, SHORT_READ_BYTES,
};
use weir::reactor::settings::{ListenSettings, RouteSettings};
use weir::reactor::{Level, Priority};
use weir_authority::Authority;

use super::{Loaded, by_memory};
use crate::support::{BINARY, TEXT, any, frame};

/// Messages that a client has waiting.
const WAITING: usize = 2_000;

/// The most messages and bytes that one turn reads while one client of this priority has messages waiting.
fn most_per_turn(loaded: &mut Loaded, priority: Priority) -> (u64, u64) {
    let mut client = loaded.server.open(&format!("/{priority}"));
    let all = frame(true, TEXT, b"small").repeat(WAITING);
    client.raw(&all);
    let before = loaded.server.reactor.metrics().messages_in;
    let (mut messages, mut bytes) = (0, 0);
    let mut last = loaded.server.reactor.metrics().clone();
    while last.messages_in < before + WAITING as u64 {
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let now = loaded.server.reactor.metrics().clone();
        messages = messages.max(now.messages_in - last.messages_in);
        bytes = bytes.max(now.bytes_read - last.bytes_read);
        last = now;
    }
    (messages, bytes)
}

#[test]
fn messages_per_read_depend_on_level_and_priority() {
    let all = MESSAGES_PER_READ;
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    // Opened before: at the highest level, low and normal are not admitted.
    let [low, normal] = [LOW_MESSAGES, NORMAL_MESSAGES];
    for (level, limits) in
        [(Level::Normal, [all, all, all]), (Level::Elevated, [all, normal[0], all])]
    {
        loaded.become_loaded(level);
        let priorities = [Priority::Low, Priority::Normal, Priority::High].into_iter().zip(limits);
        for (priority, limit) in priorities.skip(usize::from(level > Level::Normal)) {
            let (messages, bytes) = most_per_turn(&mut loaded, priority);
            assert_eq!(messages, limit as u64, "{priority} while the load is {level}");
            let is_small = bytes <= SHORT_READ_BYTES as u64;
            assert_eq!(is_small, limit < all, "{bytes} bytes");
        }
    }
    assert_eq!((low, normal), ([32, 8], [50, 20]));
}

/// A connection of low priority that was opened before the load was critical.
#[test]
fn a_critical_load_reads_little_of_low_priority() {
    let mut loaded = Loaded::new(by_memory().shed_max_percent(0), &RouteSettings::default());
    let mut client = loaded.server.open("/low");
    loaded.become_loaded(Level::Critical);
    client.raw(&frame(true, TEXT, b"small").repeat(WAITING));
    let (mut before, mut most) = (loaded.server.reactor.metrics().clone(), 0);
    let end = before.messages_in + WAITING as u64;
    while before.messages_in < end {
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let after = loaded.server.reactor.metrics().clone();
        most = most.max(after.messages_in - before.messages_in);
        assert!(after.bytes_read - before.bytes_read <= SHORT_READ_BYTES as u64);
        before = after;
    }
    assert_eq!(most, LOW_MESSAGES[1] as u64);
    // All of them are answered, in order.
    loaded.server.turn_until("the last turn's answers", |metrics| metrics.turns > before.turns);
    for _ in 0..WAITING {
        client.expect(TEXT, b"small");
    }
}

#[test]
fn a_large_frame_is_read_in_small_parts_while_the_load_is_critical() {
    let mut loaded = Loaded::new(by_memory().shed_max_percent(0), &RouteSettings::default());
    let mut client = loaded.server.open("/low");
    loaded.become_loaded(Level::Critical);
    let message: Vec<u8> = (b'a'..=b'z').cycle().take(300_000).collect();
    let mut bytes = frame(true, BINARY, &message);
    // The next message follows directly.
    bytes.extend(frame(true, TEXT, b"next"));
    let mut rest = &bytes[..];
    client.stream.set_nonblocking(true).unwrap();
    let end = loaded.server.reactor.metrics().messages_in + 2;
    let mut before = loaded.server.reactor.metrics().clone();
    while before.messages_in < end {
        match client.stream.write(rest) {
            Ok(len) => rest = &rest[len..],
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let after = loaded.server.reactor.metrics().clone();
        let read = after.bytes_read - before.bytes_read;
        assert!(read <= (CRITICAL_READ_BYTES + SHORT_READ_BYTES) as u64, "{read} bytes in a turn");
        before = after;
    }
    client.stream.set_nonblocking(false).unwrap();
    loaded.server.turn_until_readable(&client.stream);
    let reading = std::thread::spawn(move || {
        client.expect(BINARY, &message);
        client.expect(TEXT, b"next");
        client
    });
    let started = std::time::Instant::now();
    while !reading.is_finished() {
        assert!(started.elapsed() < crate::support::DEADLINE);
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
    }
    drop(reading.join().unwrap());
}

#[test]
fn a_limited_read_of_a_tls_connection_takes_few_bytes() {
    let authority = Authority::new();
    let tls = crate::tls::settings(&authority.server(&["localhost"]));
    let listen = ListenSettings::new(any()).secure(true);
    let settings = by_memory().shed_max_percent(0);
    let mut loaded = Loaded::listening(listen, settings, &RouteSettings::default(), |reactor| {
        reactor.set_tls(tls).unwrap();
    });
    let address = loaded.server.address;
    let config = crate::tls::trusting(&authority);
    let opening = std::thread::spawn(move || {
        crate::tls::connect(address, &Arc::new(config), "localhost").upgraded("/normal")
    });
    while !opening.is_finished() {
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
    }
    let mut client = opening.join().unwrap();
    loaded.become_loaded(Level::Critical);
    let sending = std::thread::spawn(move || {
        client.raw(&frame(true, TEXT, b"small").repeat(WAITING));
        client
    });
    let mut before = loaded.server.reactor.metrics().clone();
    let end = before.messages_in + WAITING as u64;
    while before.messages_in < end {
        loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        let after = loaded.server.reactor.metrics().clone();
        assert!(after.bytes_read - before.bytes_read <= SHORT_READ_BYTES as u64);
        assert!(after.messages_in - before.messages_in <= NORMAL_MESSAGES[1] as u64);
        before = after;
    }
    drop(sending.join().unwrap());
}
