//! What follows from a level, with a clock that the tests move.

use std::time::Duration;

use super::*;
use crate::reactor::api::settings::{Heartbeat, RouteHeartbeat, RouteSettings};
use crate::reactor::api::time::Time;
use crate::reactor::conn::due::Due;
use crate::reactor::effects::testing::Rig;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes a sample.
fn sample(rig: &mut Rig) {
    rig.pass(SAMPLE_INTERVAL);
    rig.core().sample_load(&mut Rounds::default());
}

/// Raises the level by what `ballast` holds, in two samples.
fn rise(rig: &mut Rig, ballast: ConnId, level: Level) {
    rig.hold(ballast, [0.1, 0.87, 0.95][level as usize]);
    sample(rig);
    assert_eq!(rig.core().load.work_level(), level.lowered());
    sample(rig);
    assert_eq!(rig.core().load.work_level(), level);
}

/// Sends a message, whose queue is a spare one afterwards.
fn make_spare(rig: &mut Rig, id: ConnId) {
    rig.send(id, "x");
    rig.core().flush(id);
    assert!(has_spares(rig), "a queue was not kept");
}

fn has_spares(rig: &mut Rig) -> bool {
    !rig.core().outboxes.spares.is_empty()
}

#[test]
fn spare_queues_are_freed_at_once_when_the_level_rises_and_each_second_while_it_is_critical() {
    let mut rig = Rig::new(&RouteSettings::default());
    let (ballast, id) = (rig.open("/high"), rig.open("/high"));
    for level in [Level::Elevated, Level::Critical] {
        make_spare(&mut rig, id);
        rig.hold(ballast, [0.0, 0.87, 0.95][level as usize]);
        sample(&mut rig);
        assert!(has_spares(&mut rig), "before the load is {level}");
        let freed = rig.core().metrics.spares_freed;
        sample(&mut rig);
        assert_eq!(rig.core().load.work_level(), level);
        assert!(!has_spares(&mut rig), "as soon as the load is {level}");
        assert_eq!(rig.core().metrics.spares_freed, freed + 1);
        for _ in 0..2 {
            make_spare(&mut rig, id);
            for _ in 0..3 {
                sample(&mut rig);
                assert!(has_spares(&mut rig), "less than a second later");
            }
            sample(&mut rig);
            assert_eq!(has_spares(&mut rig), level == Level::Elevated, "a second later");
        }
    }
}

/// When a connection must have read what is queued for it, in whole seconds after `since`: by its state, and
/// by its timer.
fn grace(rig: &mut Rig, id: ConnId, route: &RouteSettings, since: Time) -> (f64, f64) {
    let settings = rig.core().settings.clone();
    let shift = rig.core().load.grace_shift;
    let (due, kind) = rig.conn(id).deadline(&settings, route, shift);
    assert_eq!(kind, Due::Grace);
    let timer = rig.conn(id).timer.unwrap();
    let armed = rig.core().schedule.due(timer).unwrap();
    [due, armed].map(|time| time.since(since).as_secs_f64().round()).into()
}

#[test]
fn outbox_grace_is_halved_and_quartered_from_the_next_arming() {
    let route = RouteSettings::default().outbox_soft_bytes(100_000).outbox_grace(seconds(8));
    let mut rig = Rig::new(&route);
    let (ballast, id) = (rig.open("/high"), rig.open("/high"));
    while rig.conn(id).outbox.above_soft_since().is_none() {
        rig.send(id, &"x".repeat(1000));
    }
    let since = rig.core().now;
    rig.core().arm(id);
    assert_eq!(grace(&mut rig, id, &route, since), (8.0, 8.0));
    for (level, before, after) in [(Level::Elevated, 8.0, 4.0), (Level::Critical, 4.0, 2.0)] {
        rise(&mut rig, ballast, level);
        assert_eq!(grace(&mut rig, id, &route, since), (after, before), "{level}");
        rig.core().arm(id);
        assert_eq!(grace(&mut rig, id, &route, since), (after, after), "{level}");
    }
}

#[test]
fn pings_keep_their_interval_at_each_level() {
    let heartbeat = Heartbeat::default().interval(seconds(40)).pong_timeout(seconds(20));
    let route = RouteSettings::default().heartbeat(RouteHeartbeat::Own(heartbeat));
    let mut rig = Rig::new(&route);
    let (ballast, id) = (rig.open("/high"), rig.open("/low"));
    let settings = rig.core().settings.clone();
    let (due, kind) = rig.conn(id).deadline(&settings, &route, 0);
    assert_eq!(kind, Due::Ping);
    for level in [Level::Elevated, Level::Critical] {
        rise(&mut rig, ballast, level);
        let early = due.since(rig.core().now) - Duration::from_nanos(1);
        for (time, overdue) in [(Duration::ZERO, None), (early, None), (early * 2, Some(Due::Ping))]
        {
            let now = rig.core().now;
            rig.pass(time);
            assert_eq!(rig.core().overdue(id), overdue, "{level}");
            rig.core().now = now;
        }
    }
}
