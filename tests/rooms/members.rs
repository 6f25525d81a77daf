//! Members of rooms: relays, isolation, presence, names, limits, and members that do not read.

use weir::reactor::settings::{RouteSettings, SlowPolicy};
use weir::services::rooms::{NAME_BYTES_MAX, RoomSettings};

use super::{expect_nothing, join, serve, serve_plain, status};
use crate::support::{BINARY, Client, TEXT, eventually, frame, upgrade};

#[test]
fn a_message_reaches_other_members_and_on_request_its_sender() {
    let server = serve_plain();
    let mut a = join(&server, "r", "");
    let mut b = join(&server, "r", "self=1");
    let mut c = join(&server, "r", "self=0");
    a.text("from a");
    b.expect(TEXT, b"from a");
    c.expect(TEXT, b"from a");
    b.send(BINARY, &[0, 255]);
    for client in [&mut a, &mut b, &mut c] {
        client.expect(BINARY, &[0, 255]);
    }
    c.text("");
    a.expect(TEXT, b"");
    b.expect(TEXT, b"");
    expect_nothing(&mut a, &mut [&mut b, &mut c]);
    expect_nothing(&mut b, &mut [&mut a]);
}

#[test]
fn a_message_reaches_no_other_room() {
    let server = serve_plain();
    let mut a = join(&server, "a", "self=1");
    let mut b = join(&server, "b", "self=1");
    let mut slash = join(&server, "a%2Fb", "self=1");
    // One name in two encodings.
    let mut a_again = join(&server, "%61", "");
    a.text("in a");
    a_again.expect(TEXT, b"in a");
    b.text("in b");
    slash.text("in a/b");
    a.expect(TEXT, b"in a");
    b.expect(TEXT, b"in b");
    slash.expect(TEXT, b"in a/b");
    expect_nothing(&mut a, &mut [&mut a_again]);
}

#[test]
fn the_length_of_names_is_limited() {
    let server = serve_plain();
    let longest = "n".repeat(NAME_BYTES_MAX);
    assert_eq!(status(&server, &longest), "101");
    assert_eq!(status(&server, &format!("{longest}n")), "404");
    // The decoded name counts: two bytes per character.
    assert_eq!(status(&server, &"%C3%A9".repeat(NAME_BYTES_MAX / 2)), "101");
    assert_eq!(status(&server, &"%C3%A9".repeat(NAME_BYTES_MAX / 2 + 1)), "404");
    for none in ["", "a/b", "%FF"] {
        assert_eq!(status(&server, none), "404", "{none:?}");
    }
}

#[test]
fn presence_is_sent_to_new_members_and_on_change() {
    let server = serve_plain();
    let mut watcher = join(&server, "r", "presence=1");
    watcher.expect(TEXT, b"{\"presence\":1}");
    let mut other = join(&server, "r", "");
    watcher.expect(TEXT, b"{\"presence\":2}");
    let _elsewhere = join(&server, "another", "presence=1");
    other.text("no presence for me");
    watcher.expect(TEXT, b"no presence for me");
    other.close(1000, "");
    watcher.expect(TEXT, b"{\"presence\":1}");
    watcher.text("only now");
    let mut late = join(&server, "r", "presence=1&history=1");
    late.expect(TEXT, b"only now");
    late.expect(TEXT, b"{\"presence\":2}");
    watcher.expect(TEXT, b"{\"presence\":2}");
}

#[test]
fn changes_of_presence_are_combined() {
    const CROWD: usize = 60;
    let server = serve_plain();
    let mut watcher = join(&server, "r", "presence=1");
    watcher.expect(TEXT, b"{\"presence\":1}");
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| Client::tcp(server.address)).collect();
    for client in &mut crowd {
        client.raw(upgrade("/rooms/r", "").as_bytes());
    }
    let mut counts = Vec::new();
    while counts.last() != Some(&(CROWD + 1)) {
        let text = String::from_utf8(watcher.frame().payload).unwrap();
        let count = text.strip_prefix("{\"presence\":").and_then(|rest| rest.strip_suffix('}'));
        counts.push(count.unwrap().parse::<usize>().unwrap());
    }
    // Each number is sent once.
    crowd[0].text("all are here");
    watcher.expect(TEXT, b"all are here");
    assert!(counts.is_sorted(), "{counts:?}");
    assert!(counts.len() < CROWD / 2, "{counts:?}");
}

#[test]
fn a_room_above_rooms_max_is_answered_503() {
    let settings = RoomSettings::default().rooms_max(2).history_max(0);
    let server = serve(settings, RouteSettings::default());
    let a = join(&server, "a", "");
    let _b = join(&server, "b", "");
    assert_eq!(status(&server, "c"), "503");
    assert_eq!(status(&server, "a"), "101", "an existing room accepts members");
    drop(a);
    eventually(|| status(&server, "c") == "101", "an empty room without a history is dropped");
}

/// More messages than the kernel and the outbox of a member that does not read hold.
const FLOOD: usize = 240;

/// Sends these messages; `fast` receives each before the next is sent.
fn flood(speaker: &mut Client, fast: &mut Client) {
    let large = vec![b'x'; 64 * 1024];
    let bytes = frame(true, BINARY, &large);
    for _ in 0..FLOOD {
        speaker.raw(&bytes);
        fast.expect(BINARY, &large);
    }
}

/// An outbox for some large messages beyond the kernel's buffers.
fn narrow(slow_policy: SlowPolicy) -> RouteSettings {
    RouteSettings::default()
        .message_bytes_max(100_000)
        .outbox_hard_bytes(512 * 1024)
        .slow_policy(slow_policy)
}

#[test]
fn a_slow_member_is_closed_and_does_not_delay_others() {
    let server = serve(RoomSettings::default(), narrow(SlowPolicy::Close));
    let mut slow = join(&server, "r", "");
    let mut fast = join(&server, "r", "");
    let mut speaker = join(&server, "r", "");
    flood(&mut speaker, &mut fast);
    assert_eq!(slow.expect_close(), (1013, "slow consumer".to_owned()));
    slow.close(1013, "");
    drop(slow);
    speaker.text("after it");
    fast.expect(TEXT, b"after it");
    drop((fast, speaker));
    assert_eq!(server.stop().ended_slow, 1);
}

#[test]
fn a_slow_member_loses_messages_and_does_not_delay_others() {
    let server = serve(RoomSettings::default(), narrow(SlowPolicy::Drop));
    let mut slow = join(&server, "r", "");
    let mut fast = join(&server, "r", "");
    let mut speaker = join(&server, "r", "");
    flood(&mut speaker, &mut fast);
    // It reads the queued messages, and then receives new ones again.
    let mut received = 0;
    let mut sent = 0;
    let last = loop {
        let frame = slow.frame();
        if frame.opcode == TEXT {
            break String::from_utf8(frame.payload).unwrap();
        }
        assert_eq!((frame.opcode, frame.payload.len()), (BINARY, 64 * 1024), "whole frames only");
        received += 1;
        let text = format!("marker {sent}");
        speaker.text(&text);
        fast.expect(TEXT, text.as_bytes());
        sent += 1;
    };
    assert!(received < FLOOD, "{received} of {FLOOD}");
    assert!(last.starts_with("marker "), "{last}");
    drop((slow, fast, speaker));
    let metrics = server.stop();
    assert_eq!(metrics.ended_slow, 0);
    assert!(metrics.messages_refused >= (FLOOD - received) as u64);
}
