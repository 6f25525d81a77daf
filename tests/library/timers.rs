//! Timers of services: order, cancelling, intervals and limits.

use std::time::Duration;

use weir::reactor::budget::SERVICE_TIMERS_MAX;
use weir::reactor::internals::timer::SLOT;

use crate::puppet::{Puppet, Report};

const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(300);
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn timers_fire_in_the_order_in_which_they_are_due() {
    let (mut puppet, strings) = Puppet::new();
    puppet.on_timer = Box::new(|cx, key| {
        if key == 1 {
            assert!(cx.schedule(SOON, 11).is_some(), "from within a timer, too");
        }
    });
    let _server = puppet.serve_plain();
    let started = strings.run(|cx| {
        assert!(cx.schedule(LATER * 2, 3).is_some());
        assert!(cx.schedule(NEVER, 4).is_some());
        assert!(cx.schedule(SOON, 1).is_some());
        cx.now()
    });
    let reports: Vec<Report> = (0..3).map(|_| strings.next()).collect();
    assert_eq!(reports, [Report::Timer(1), Report::Timer(11), Report::Timer(3)]);
    assert!(strings.run(|cx| cx.now()).since(started) >= LATER * 2, "no timer is early");
    strings.expect_no_report();
}

#[test]
fn a_cancelled_timer_does_not_fire_and_its_id_is_not_reused() {
    let (puppet, strings) = Puppet::new();
    let _server = puppet.serve_plain();
    let fired = strings.run(|cx| cx.schedule(SOON, 1).unwrap());
    assert_eq!(strings.next(), Report::Timer(1));
    strings.run(move |cx| {
        assert!(!cx.cancel(fired), "it has fired");
        let cancelled = cx.schedule(SOON, 2).unwrap();
        assert!(cx.cancel(cancelled));
        assert!(!cx.cancel(cancelled), "it was cancelled before");
        // In the slot of the cancelled timer.
        assert!(cx.schedule(LATER, 3).is_some());
        assert!(!cx.cancel(cancelled) && !cx.cancel(fired));
    });
    assert_eq!(strings.next(), Report::Timer(3));
    strings.expect_no_report();
}

#[test]
fn timers_are_limited_and_refusals_counted() {
    let (puppet, strings) = Puppet::new();
    let _server = puppet.serve_plain();
    strings.run(|cx| {
        let mut timers: Vec<_> = (0..SERVICE_TIMERS_MAX as u64)
            .map(|key| cx.schedule(NEVER, key).expect("within the limit"))
            .collect();
        assert_eq!(cx.metrics().timers_refused, 0);
        assert_eq!(cx.schedule(SOON, 0), None);
        assert_eq!(cx.metrics().timers_refused, 1);
        assert!(cx.cancel(timers.pop().unwrap()));
        assert!(cx.schedule(SOON, 1).is_some(), "one was cancelled");
        assert_eq!(cx.schedule(SOON, 0), None);
    });
    assert_eq!(strings.next(), Report::Timer(1));
    assert!(strings.run(|cx| cx.schedule(SOON, 2)).is_some(), "one has fired");
    assert_eq!(strings.next(), Report::Timer(2));
}

#[test]
fn an_interval_fires_until_it_is_cancelled() {
    let (puppet, strings) = Puppet::new();
    let _server = puppet.serve_plain();
    let (started, every) = strings.run(|cx| (cx.now(), cx.schedule_every(SOON, 1).unwrap()));
    for _ in 0..4 {
        assert_eq!(strings.next(), Report::Timer(1));
    }
    // A period of 1 ms is one slot of the wheel.
    assert!(strings.run(|cx| cx.now()).since(started) >= SLOT * 3);
    assert!(strings.run(move |cx| cx.cancel(every)));
    assert!(!strings.run(move |cx| cx.cancel(every)));
    // Reports from before the cancelling.
    strings.run(|cx| cx.schedule(LATER, 2));
    while strings.next() == Report::Timer(1) {}
    strings.expect_no_report();
}

#[test]
fn an_interval_can_be_cancelled_from_its_own_call() {
    let (mut puppet, strings) = Puppet::new();
    let mut own = None;
    puppet.on_timer = Box::new(move |cx, key| match key {
        0 => own = cx.schedule_every(SOON, 1),
        1 => assert!(cx.cancel(own.take().unwrap())),
        _ => {}
    });
    let _server = puppet.serve_plain();
    strings.run(|cx| cx.schedule(SOON, 0));
    assert_eq!([strings.next(), strings.next()], [Report::Timer(0), Report::Timer(1)]);
    strings.run(|cx| cx.schedule(LATER, 2));
    assert_eq!(strings.next(), Report::Timer(2));
}
