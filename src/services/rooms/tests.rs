use super::*;
use crate::reactor::Reactor;
use crate::reactor::settings::Settings;

/// Rooms that have a history, of so many.
fn kept(rooms: &Rooms, count: usize) -> usize {
    (0..count).filter(|room| rooms.histories.name(&room.to_string()).is_some()).count()
}

/// Each history has almost 64 KiB, so that 1,024 of them fit.
#[test]
fn a_high_load_level_leaves_less_memory_for_histories() {
    const ROOMS: usize = 1_100;
    const MESSAGE_BYTES: usize = 65_000;
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let service = reactor.add_service(Rooms::new(RoomSettings::default())).unwrap();
    let mut rooms = Rooms::new(RoomSettings::default());
    let frame = SharedFrame::message(Message::Binary(&[0; MESSAGE_BYTES]));
    let add = |rooms: &mut Rooms, now| {
        for room in 0..ROOMS {
            let name = room.to_string();
            rooms.histories.remember(&name.as_str().into(), now, frame.clone());
            rooms.histories.leave(&name);
        }
    };
    let full = HISTORIES_BYTES_MAX / MESSAGE_BYTES;
    let expect_about = |count: usize, expected: usize, level: Level| {
        let range = expected * 99 / 100..=expected;
        assert!(range.contains(&count), "{count} histories while the load is {level}");
    };
    let mut cx = reactor.context(service);
    add(&mut rooms, cx.now());
    expect_about(kept(&rooms, ROOMS), full, Level::Normal);
    for (level, expected) in [(Level::Elevated, full / 2), (Level::Critical, full / 4)] {
        rooms.on_load_level(&mut cx, level);
        expect_about(kept(&rooms, ROOMS), expected, level);
        // New messages replace others only.
        add(&mut rooms, cx.now());
        expect_about(kept(&rooms, ROOMS), expected, level);
    }
    rooms.on_load_level(&mut cx, Level::Normal);
    add(&mut rooms, cx.now());
    expect_about(kept(&rooms, ROOMS), full, Level::Normal);
}
