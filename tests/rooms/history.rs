//! What a room remembers: how much, how long, and for whom.

use std::time::Duration;

use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::Rooms;
use weir::services::rooms::{HISTORIES_BYTES_MAX, RoomSettings};

use super::{join, serve, serve_plain, silent, status};
use crate::puppet::Puppet;
use crate::support::{BINARY, CLOSE, Client, Server, TEXT, eventually};

fn remembering(edit: impl FnOnce(&mut RoomSettings)) -> Server {
    let mut settings = RoomSettings::default();
    edit(&mut settings);
    serve(settings, RouteSettings::default())
}

/// What a newcomer hears of the past: all that comes before the answer to his Close, which overtakes
/// nothing.
fn past(server: &Server, room: &str, how: &str) -> Vec<String> {
    let mut client = join(server, room, how);
    client.close(1000, "");
    let mut heard = Vec::new();
    loop {
        let frame = client.frame();
        if frame.opcode == CLOSE {
            return heard;
        }
        heard.push(String::from_utf8(frame.payload).unwrap());
    }
}

/// A room in which these were said, one after the other; its speaker.
fn said(server: &Server, room: &str, texts: &[&str]) -> Client {
    let mut speaker = join(server, room, "self=1");
    for text in texts {
        speaker.text(text);
        speaker.expect(TEXT, text.as_bytes());
    }
    speaker
}

#[test]
fn a_newcomer_gets_as_much_as_he_asks_for() {
    let server = serve_plain();
    let mut speaker = said(&server, "r", &["1", "2", "3"]);
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

    // What he hears is of its kind, and then he is a member like any other.
    speaker.send(BINARY, &[0xFF]);
    speaker.expect(BINARY, &[0xFF]);
    let mut newcomer = join(&server, "r", "history=2");
    newcomer.expect(TEXT, b"3");
    newcomer.expect(BINARY, &[0xFF]);
    silent(&mut speaker, &mut [&mut newcomer]);
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let server = remembering(|settings| settings.history_max = 2);
    let _speaker = said(&server, "r", &["1", "2", "3", "4"]);
    assert_eq!(past(&server, "r", "history=9"), ["3", "4"]);

    let server = remembering(|settings| settings.history_max = 0);
    let _speaker = said(&server, "r", &["1"]);
    assert_eq!(past(&server, "r", "history=9"), [""; 0]);
}

#[test]
fn the_oldest_go_when_they_take_too_much() {
    // Each of these is a frame of 100 bytes.
    let texts = ["1", "2", "3", "4"].map(|digit| digit.repeat(98));
    let texts = texts.each_ref().map(|text| &**text);
    let server = remembering(|settings| settings.history_bytes_max = 299);
    let mut speaker = said(&server, "r", &texts);
    assert_eq!(past(&server, "r", "history=9"), texts[2..]);
    // What does not fit at all is not remembered, and makes nobody forget.
    let large = "x".repeat(298);
    speaker.text(&large);
    speaker.expect(TEXT, large.as_bytes());
    assert_eq!(past(&server, "r", "history=9"), texts[2..]);

    let server = remembering(|settings| settings.history_bytes_max = 300);
    let _speaker = said(&server, "r", &texts);
    assert_eq!(past(&server, "r", "history=9"), texts[1..]);
}

#[test]
fn a_room_without_members_remembers_and_does_not_count_towards_rooms_max() {
    // A puppet on the same loop sees when nobody is left.
    let (puppet, strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        reactor.add_service(puppet).unwrap();
        let rooms = Rooms::new(RoomSettings { rooms_max: 1, ..RoomSettings::default() });
        let service = reactor.add_service(rooms).unwrap();
        reactor.add_route("/rooms/{name}", service, RouteSettings::default()).unwrap();
    });
    let is_empty = || strings.run(|cx| cx.metrics().connections_now) == 0;
    for room in 0..10 {
        let room = room.to_string();
        drop(said(&server, &room, &[&room]));
        eventually(is_empty, "nobody is left");
    }
    let member = join(&server, "occupied", "");
    assert_eq!(status(&server, "another"), "503", "rooms with members count");
    drop(member);
    eventually(is_empty, "nobody is left");
    for room in 0..10 {
        let room = room.to_string();
        assert_eq!(past(&server, &room, "history=9"), [&*room]);
        eventually(is_empty, "nobody is left");
    }
}

#[test]
fn what_is_too_old_is_not_replayed_even_before_it_is_swept() {
    let server = remembering(|settings| settings.history_ttl = Some(Duration::from_nanos(1)));
    let _speaker = said(&server, "r", &["old"]);
    assert_eq!(past(&server, "r", "history=9"), [""; 0]);
}

/// A message that takes a small part of what all histories together may hold.
const MESSAGE: usize = 1024 * 1024;

/// A server of which each room remembers up to 40 such messages.
fn with_large_histories() -> Server {
    let settings = RoomSettings { history_bytes_max: 40 * MESSAGE, ..RoomSettings::default() };
    let route = RouteSettings {
        outbox_soft: 80 * MESSAGE,
        outbox_hard: 90 * MESSAGE,
        ..RouteSettings::default()
    };
    serve(settings, route)
}

#[test]
fn all_rooms_together_remember_no_more_than_so_much() {
    let server = with_large_histories();
    let text = "x".repeat(MESSAGE - 100);
    let _first = said(&server, "first", &vec![&*text; 50]);
    let _second = said(&server, "second", &vec![&*text; 50]);
    let remembered = |room| past(&server, room, "history=99").len();
    assert_eq!(remembered("first"), 40);
    assert_eq!(remembered("second"), HISTORIES_BYTES_MAX / MESSAGE - 40);
}

#[test]
fn past_the_total_a_room_without_members_loses_its_history_to_one_with_members() {
    let server = with_large_histories();
    let text = "x".repeat(MESSAGE - 100);
    let first = said(&server, "first", &vec![&*text; 40]);
    let _second = said(&server, "second", &[&*text; 10]);
    drop(first);
    let _third = said(&server, "third", &vec![&*text; 30]);
    let remembered = |room| past(&server, room, "history=99").len();
    assert_eq!(remembered("first"), 0);
    assert_eq!(remembered("second"), 10);
    assert_eq!(remembered("third"), 30);
}
