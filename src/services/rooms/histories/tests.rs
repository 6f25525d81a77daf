use super::*;
use crate::protocol::Message;

/// What the history of one room with one message of this many payload bytes costs.
fn cost(payload: usize) -> usize {
    HISTORY_OVERHEAD_BYTES + MESSAGE_OVERHEAD_BYTES + 2 + payload
}

fn histories(total_bytes_max: usize) -> Histories {
    let ttl = Some(Duration::from_secs(10));
    Histories::new(Limits { messages_max: 100, bytes_max: 1000, total_bytes_max, ttl })
}

fn second(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// Says this in a room that has members.
fn say(histories: &mut Histories, room: &str, text: &str, now: Time) {
    histories.remember(&room.into(), now, SharedFrame::message(Message::Text(text)));
    check(histories);
}

/// The sums are those of the histories, and each is in the order that it belongs to.
fn check(histories: &Histories) {
    let idle = histories.rooms.values().filter(|history| history.idle.is_some());
    assert_eq!(histories.idle.len(), idle.clone().count());
    assert_eq!(histories.idle_bytes, idle.map(History::cost).sum::<usize>());
    assert_eq!(histories.bytes, histories.rooms.values().map(History::cost).sum::<usize>());
    assert_eq!(histories.expiring.len(), histories.rooms.len());
    assert!(histories.bytes <= histories.limits.total_bytes_max);
    assert!(histories.rooms.values().all(|history| !history.messages.is_empty()));
}

fn said(histories: &Histories, room: &str, now: Time) -> Vec<String> {
    let frames = histories.recent(room, usize::MAX, now);
    frames.map(|frame| String::from_utf8(frame.payload().to_vec()).unwrap()).collect()
}

#[test]
fn past_the_total_the_memberless_room_idle_longest_loses_its_history() {
    let now = second(0);
    let mut histories = histories(3 * cost(1));
    for room in ["a", "b", "c"] {
        say(&mut histories, room, room, now);
    }
    // Idle in the order b, a; c has members.
    histories.leave("b");
    histories.leave("a");
    // A member comes to b and leaves again: now a has been idle longest.
    histories.enter("b");
    histories.leave("b");
    say(&mut histories, "d", "d", now);
    assert_eq!(said(&histories, "a", now), [""; 0]);
    for room in ["b", "c", "d"] {
        assert_eq!(said(&histories, room, now), [room]);
    }
    say(&mut histories, "e", "e", now);
    assert_eq!(said(&histories, "b", now), [""; 0]);
    assert_eq!(said(&histories, "c", now), ["c"]);
}

#[test]
fn without_memberless_rooms_a_room_loses_its_own_oldest_message() {
    let now = second(0);
    let mut histories = histories(2 * cost(1) + MESSAGE_OVERHEAD_BYTES + 3);
    say(&mut histories, "a", "1", now);
    say(&mut histories, "b", "1", now);
    for text in ["2", "3", "4"] {
        say(&mut histories, "b", text, now);
    }
    assert_eq!(said(&histories, "a", now), ["1"]);
    assert_eq!(said(&histories, "b", now), ["3", "4"]);
}

#[test]
fn a_message_that_cannot_fit_displaces_nothing() {
    let now = second(0);
    let mut histories = histories(2 * cost(1));
    say(&mut histories, "a", "1", now);
    say(&mut histories, "b", "1", now);
    histories.leave("b");
    say(&mut histories, "c", &"x".repeat(2 * cost(1)), now);
    say(&mut histories, "c", &"x".repeat(2), now);
    assert_eq!(said(&histories, "b", now), ["1"]);
    say(&mut histories, "c", "y", now);
    assert_eq!(said(&histories, "c", now), ["y"]);
    assert_eq!(said(&histories, "b", now), [""; 0]);
    assert_eq!(said(&histories, "a", now), ["1"]);
}

#[test]
fn rooms_that_remember_one_byte_are_bounded() {
    let now = second(0);
    let mut histories = histories(100 * cost(1));
    for i in 0..1000 {
        let room = i.to_string();
        say(&mut histories, &room, "x", now);
        histories.leave(&room);
    }
    assert_eq!(histories.rooms.len(), 100);
    assert!(histories.rooms.contains_key("999") && !histories.rooms.contains_key("899"));
}

#[test]
fn messages_expire_in_the_order_of_their_age_and_a_few_rooms_at_a_time() {
    let mut histories = histories(100 * cost(1));
    for (at, room) in [(0, "a"), (1, "b"), (2, "c"), (5, "a"), (6, "d")] {
        say(&mut histories, room, &at.to_string(), second(at));
    }
    histories.leave("b");
    assert!(!histories.expire(second(9), 100), "nothing is old enough");
    assert_eq!(histories.rooms.len(), 4);
    assert!(histories.expire(second(12), 2), "the third is left");
    check(&histories);
    assert!(!histories.rooms.contains_key("b") && histories.rooms.contains_key("c"));
    assert_eq!(said(&histories, "c", second(12)), [""; 0], "too old, though not expired yet");
    assert!(!histories.expire(second(12), 2));
    check(&histories);
    assert_eq!(said(&histories, "a", second(12)), ["5"]);
    assert_eq!(said(&histories, "d", second(12)), ["6"]);
    assert!(!histories.expire(second(16), 100));
    check(&histories);
    assert_eq!(histories.bytes, 0);
}
