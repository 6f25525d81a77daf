use super::*;
use crate::protocol::Message;

/// The cost of a room's history with one message of this many payload bytes.
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

/// Adds a message to a room with members.
fn add(histories: &mut Histories, room: &str, text: &str, now: Time) {
    histories.remember(&room.into(), now, SharedFrame::message(Message::Text(text)));
    check(histories);
}

/// Checks that the sums match the histories, and that each history is in the indexes it belongs to.
fn check(histories: &Histories) {
    let idle = histories.rooms.values().filter(|history| history.idle.is_some());
    assert_eq!(histories.idle.len(), idle.clone().count());
    assert_eq!(histories.idle_bytes, idle.map(History::cost).sum::<usize>());
    assert_eq!(histories.bytes, histories.rooms.values().map(History::cost).sum::<usize>());
    assert_eq!(histories.expiring.len(), histories.rooms.len());
    assert!(histories.bytes <= histories.limits.total_bytes_max);
    assert!(histories.rooms.values().all(|history| !history.messages.is_empty()));
}

fn kept(histories: &Histories, room: &str, now: Time) -> Vec<String> {
    let frames = histories.recent(room, usize::MAX, now);
    frames.map(|frame| String::from_utf8(frame.payload().to_vec()).unwrap()).collect()
}

#[test]
fn a_lower_limit_drops_histories_in_steps() {
    let now = second(0);
    let mut histories = histories(6 * cost(1));
    for (room, at) in [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4), ("f", 5)] {
        add(&mut histories, room, room, second(at));
    }
    histories.leave("e");
    histories.leave("c");
    histories.limit_total(2 * cost(1));
    // A room with a new message starts again meanwhile.
    histories.remember(&"f".into(), now, SharedFrame::message(Message::Text("g")));
    assert_eq!(histories.rooms.len(), 5);
    assert!(histories.shrink(2), "one more must be dropped");
    let left = |histories: &Histories| {
        let mut names: Vec<String> = histories.rooms.keys().map(|room| room.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(left(&histories), ["a", "b", "d"], "first those without members");
    assert!(!histories.shrink(2));
    assert_eq!(left(&histories), ["b", "d"], "then that with the oldest message");
    check(&histories);
}

#[test]
fn above_the_total_the_longest_idle_room_without_members_loses_its_history() {
    let now = second(0);
    let mut histories = histories(3 * cost(1));
    for room in ["a", "b", "c"] {
        add(&mut histories, room, room, now);
    }
    // Idle in the order b, a; c has members.
    histories.leave("b");
    histories.leave("a");
    // A member joins b and leaves again: now a has been idle longest.
    histories.enter("b");
    histories.leave("b");
    add(&mut histories, "d", "d", now);
    assert_eq!(kept(&histories, "a", now), [""; 0]);
    for room in ["b", "c", "d"] {
        assert_eq!(kept(&histories, room, now), [room]);
    }
    add(&mut histories, "e", "e", now);
    assert_eq!(kept(&histories, "b", now), [""; 0]);
    assert_eq!(kept(&histories, "c", now), ["c"]);
}

#[test]
fn if_all_rooms_have_members_a_room_loses_its_own_oldest_message() {
    let now = second(0);
    let mut histories = histories(2 * cost(1) + MESSAGE_OVERHEAD_BYTES + 3);
    add(&mut histories, "a", "1", now);
    add(&mut histories, "b", "1", now);
    for text in ["2", "3", "4"] {
        add(&mut histories, "b", text, now);
    }
    assert_eq!(kept(&histories, "a", now), ["1"]);
    assert_eq!(kept(&histories, "b", now), ["3", "4"]);
}

#[test]
fn a_message_that_cannot_fit_displaces_no_other() {
    let now = second(0);
    let mut histories = histories(2 * cost(1));
    add(&mut histories, "a", "1", now);
    add(&mut histories, "b", "1", now);
    histories.leave("b");
    add(&mut histories, "c", &"x".repeat(2 * cost(1)), now);
    add(&mut histories, "c", &"x".repeat(2), now);
    assert_eq!(kept(&histories, "b", now), ["1"]);
    add(&mut histories, "c", "y", now);
    assert_eq!(kept(&histories, "c", now), ["y"]);
    assert_eq!(kept(&histories, "b", now), [""; 0]);
    assert_eq!(kept(&histories, "a", now), ["1"]);
}

#[test]
fn the_number_of_small_histories_is_bounded() {
    let now = second(0);
    let mut histories = histories(100 * cost(1));
    for i in 0..1000 {
        let room = i.to_string();
        add(&mut histories, &room, "x", now);
        histories.leave(&room);
    }
    assert_eq!(histories.rooms.len(), 100);
    assert!(histories.rooms.contains_key("999") && !histories.rooms.contains_key("899"));
}

#[test]
fn messages_expire_oldest_first_and_a_few_rooms_at_a_time() {
    let mut histories = histories(100 * cost(1));
    for (at, room) in [(0, "a"), (1, "b"), (2, "c"), (5, "a"), (6, "d")] {
        add(&mut histories, room, &at.to_string(), second(at));
    }
    histories.leave("b");
    assert!(!histories.expire(second(9), 100), "no message is old enough");
    assert_eq!(histories.rooms.len(), 4);
    assert!(histories.expire(second(12), 2), "the third room is left");
    check(&histories);
    assert!(!histories.rooms.contains_key("b") && histories.rooms.contains_key("c"));
    assert_eq!(kept(&histories, "c", second(12)), [""; 0], "too old, but not dropped yet");
    assert!(!histories.expire(second(12), 2));
    check(&histories);
    assert_eq!(kept(&histories, "a", second(12)), ["5"]);
    assert_eq!(kept(&histories, "d", second(12)), ["6"]);
    assert!(!histories.expire(second(16), 100));
    check(&histories);
    assert_eq!(histories.bytes, 0);
}
