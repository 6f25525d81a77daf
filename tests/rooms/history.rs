//! Histories of rooms: their limits, their age, and rooms without members.

use std::time::Duration;

use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::Rooms;
use weir::services::rooms::{HISTORIES_BYTES_MAX, RoomSettings};

use super::{expect_nothing, join, serve, serve_plain, status};
use crate::puppet::Puppet;
use crate::support::{BINARY, CLOSE, Client, Server, TEXT, eventually};

fn with_history(edit: impl FnOnce(&mut RoomSettings)) -> Server {
    let mut settings = RoomSettings::default();
    edit(&mut settings);
    serve(settings, RouteSettings::default())
}

/// The history that a new member is sent: all messages before the answer to its Close.
fn past(server: &Server, room: &str, how: &str) -> Vec<String> {
    let mut client = join(server, room, how);
    client.close(1000, "");
    let mut received = Vec::new();
    loop {
        let frame = client.frame();
        if frame.opcode == CLOSE {
            return received;
        }
        received.push(String::from_utf8(frame.payload).unwrap());
    }
}

/// A room whose history has these messages; the member that sent them.
fn filled(server: &Server, room: &str, texts: &[&str]) -> Client {
    let mut speaker = join(server, room, "self=1");
    for text in texts {
        speaker.text(text);
        speaker.expect(TEXT, text.as_bytes());
    }
    speaker
}

#[test]
fn a_new_member_gets_as_many_messages_as_it_requests() {
    let server = serve_plain();
    let mut speaker = filled(&server, "r", &["1", "2", "3"]);
    for (how, texts) in [
        ("history=2", &["2", "3"][..]),
        ("history=3", &["1", "2", "3"]),
        ("history=99", &["1", "2", "3"]),
        ("history=1&self=1", &["3"]),
        ("history=0", &[]),
        ("", &[]),
        ("history=many", &[]),
        ("history=-1", &[]),
    ] {
        assert_eq!(past(&server, "r", how), texts, "{how}");
    }
    assert_eq!(past(&server, "another", "history=9"), [""; 0]);

    // Each message has its kind, and the new member gets later messages, too.
    speaker.send(BINARY, &[0xFF]);
    speaker.expect(BINARY, &[0xFF]);
    let mut newcomer = join(&server, "r", "history=2");
    newcomer.expect(TEXT, b"3");
    newcomer.expect(BINARY, &[0xFF]);
    expect_nothing(&mut speaker, &mut [&mut newcomer]);
}

#[test]
fn the_oldest_messages_are_dropped_above_history_max() {
    let server = with_history(|settings| settings.history_max = 2);
    let _speaker = filled(&server, "r", &["1", "2", "3", "4"]);
    assert_eq!(past(&server, "r", "history=9"), ["3", "4"]);

    let server = with_history(|settings| settings.history_max = 0);
    let _speaker = filled(&server, "r", &["1"]);
    assert_eq!(past(&server, "r", "history=9"), [""; 0]);
}

#[test]
fn the_oldest_messages_are_dropped_above_history_bytes_max() {
    // Each message is a frame of 100 bytes.
    let texts = ["1", "2", "3", "4"].map(|digit| digit.repeat(98));
    let texts = texts.each_ref().map(|text| &**text);
    let server = with_history(|settings| settings.history_bytes_max = 299);
    let mut speaker = filled(&server, "r", &texts);
    assert_eq!(past(&server, "r", "history=9"), texts[2..]);
    // A message above the limit is not kept, and drops no other.
    let large = "x".repeat(298);
    speaker.text(&large);
    speaker.expect(TEXT, large.as_bytes());
    assert_eq!(past(&server, "r", "history=9"), texts[2..]);

    let server = with_history(|settings| settings.history_bytes_max = 300);
    let _speaker = filled(&server, "r", &texts);
    assert_eq!(past(&server, "r", "history=9"), texts[1..]);
}

#[test]
fn a_room_without_members_keeps_its_history_and_does_not_count_towards_rooms_max() {
    // A puppet on the same loop counts the connections.
    let (puppet, strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        reactor.add_service(puppet).unwrap();
        let rooms = Rooms::new(RoomSettings::default().rooms_max(1));
        let service = reactor.add_service(rooms).unwrap();
        reactor.add_route("/rooms/{name}", service, RouteSettings::default()).unwrap();
    });
    let is_empty = || strings.run(|cx| cx.metrics().connections_now) == 0;
    for room in 0..10 {
        let room = room.to_string();
        drop(filled(&server, &room, &[&room]));
        eventually(is_empty, "all members have left");
    }
    let member = join(&server, "occupied", "");
    assert_eq!(status(&server, "another"), "503", "rooms with members count");
    drop(member);
    eventually(is_empty, "all members have left");
    for room in 0..10 {
        let room = room.to_string();
        assert_eq!(past(&server, &room, "history=9"), [&*room]);
        eventually(is_empty, "all members have left");
    }
}

#[test]
fn an_expired_message_is_not_sent_even_before_it_is_dropped() {
    let server = with_history(|settings| settings.history_ttl = Some(Duration::from_nanos(1)));
    let _speaker = filled(&server, "r", &["old"]);
    assert_eq!(past(&server, "r", "history=9"), [""; 0]);
}

/// The size of a message, a small part of the limit of all histories.
const MESSAGE: usize = 1024 * 1024;

/// A server whose rooms keep up to 40 such messages each.
fn with_large_histories() -> Server {
    let settings = RoomSettings::default().history_bytes_max(40 * MESSAGE);
    let route =
        RouteSettings::default().outbox_soft_bytes(80 * MESSAGE).outbox_hard_bytes(90 * MESSAGE);
    serve(settings, route)
}

#[test]
fn the_histories_of_all_rooms_have_a_common_limit() {
    let server = with_large_histories();
    let text = "x".repeat(MESSAGE - 100);
    let _first = filled(&server, "first", &vec![&*text; 50]);
    let _second = filled(&server, "second", &vec![&*text; 50]);
    let remembered = |room| past(&server, room, "history=99").len();
    assert_eq!(remembered("first"), 40);
    assert_eq!(remembered("second"), HISTORIES_BYTES_MAX / MESSAGE - 40);
}

#[test]
fn at_the_common_limit_rooms_without_members_lose_their_history_first() {
    let server = with_large_histories();
    let text = "x".repeat(MESSAGE - 100);
    let first = filled(&server, "first", &vec![&*text; 40]);
    let _second = filled(&server, "second", &[&*text; 10]);
    drop(first);
    let _third = filled(&server, "third", &vec![&*text; 30]);
    let remembered = |room| past(&server, room, "history=99").len();
    assert_eq!(remembered("first"), 0);
    assert_eq!(remembered("second"), 10);
    assert_eq!(remembered("third"), 30);
}
