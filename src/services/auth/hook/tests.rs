use super::*;
use crate::services::auth::testing::reactor;

/// The timer gives a verdict on some, and the mail of each further turn on some more.
#[test]
fn requests_whose_time_has_passed_are_refused_in_steps() {
    let (mut reactor, service) = reactor();
    let settings = HookSettings::new("http://127.0.0.1:1/".parse().unwrap());
    let mut hook = Hook::new("hook", settings.timeout(Duration::ZERO)).unwrap();
    let mut cx = reactor.context(service);
    let all = 2 * EXPIRIES_PER_TURN + 5;
    for number in 0..all {
        let (conn, started) = (ConnId::numbered(number), Instant::now());
        let asked = Asked { conn, since: Time::ZERO, started, key: None };
        hook.asked.insert(number as u64, asked);
    }
    hook.is_timer_set = true;
    assert_eq!((hook.on_mail(&mut cx), hook.asked.len()), (More::No, all), "it has not fired");
    hook.on_timer(&mut cx, TIMEOUT_TIMER);
    assert_eq!(hook.asked.len(), all - EXPIRIES_PER_TURN);
    assert_eq!(hook.asked.first_key_value().unwrap().0, &(EXPIRIES_PER_TURN as u64), "the oldest");
    for left in [5, 0, 0] {
        assert_eq!((hook.on_mail(&mut cx), hook.asked.len()), (More::No, left));
    }
    assert_eq!(hook.counts.outcome(AuthOutcome::HookFailed), all as u64);
}
