//! Limits, rates and priorities of routes, and the load levels: each value reaches its own setting.

use weir::reactor::Priority;
use weir::reactor::settings::{Limit, MemoryMax, OverRate, Rate, RefuseBy};

use super::*;

#[test]
fn rates_that_pause_reading_are_checked_and_noted() {
    let error = |line: &str| file(line).unwrap_err();
    assert!(error("messages_rate = '100/s burst 29'").contains("at least 30, 0.3 s of its rate"));
    assert!(error("bytes_rate = '1MB/s burst 200KB'").contains("at least 300000"));
    assert!(error("messages_rate = '1MB/s'").contains("expected a rate"));
    assert!(error("bytes_rate = '5GB/s'").contains("below 4 GiB"));
    assert!(error("connections_max = 5\nlimits_dry_run = 'mesages'").contains("name of a limit"));
    let notes = |lines: &str| {
        let route = format!("[[route]]\npath = '/'\nservice = 'echo'\n{lines}");
        file(&route).unwrap().notes()
    };
    assert_eq!(notes("messages_rate = '6/min burst 6'"), [""; 0]);
    assert_eq!(
        notes("messages_rate = '5/min'"),
        ["/: messages_rate = 5/min burst 5 pauses reading for more than 10 s at a time"]
    );
    let no_effect = "/: over has no effect without a rate of messages or bytes";
    assert_eq!(notes("over = 'close'"), [no_effect]);
    assert_eq!(
        notes("messages_rate_per_subject = '1/s'"),
        ["/: messages_rate_per_subject has no effect without auth"]
    );
    let of_subjects = format!(
        "{}[[route]]\npath = '/'\nservice = 'echo'\nauth = 'users'\nmessages_rate_per_subject = '1/s'",
        auth::AUTH
    );
    assert_eq!(file(&of_subjects).unwrap().notes(), [""; 0]);
}

#[test]
fn limits_of_a_route_reach_the_settings_of_their_names() {
    let config = file(
        "[[route]]
         path = '/'
         service = 'echo'
         connections_max = 10
         requests_per_address = '11/s'
         messages_rate = '12/s'
         bytes_rate = '13/s burst 14'
         messages_rate_per_address = '15/s'
         bytes_rate_per_address = '16/s burst 17'
         messages_rate_per_subject = '18/s'
         over = 'close'
         over_grace = '19s'
         refuse = 'close'
         priority = 'low'
         priority_max = 'critical'",
    );
    let rate = |count: u32, burst| Rate { per_second: f64::from(count), burst };
    let expected = RouteSettings::default()
        .connections_max(10)
        .requests_per_address(rate(11, 11))
        .messages_rate(rate(12, 12))
        .bytes_rate(rate(13, 14))
        .messages_rate_per_address(rate(15, 15))
        .bytes_rate_per_address(rate(16, 17))
        .messages_rate_per_subject(rate(18, 18))
        .over(OverRate::Close)
        .over_grace(Duration::from_secs(19))
        .refuse(RefuseBy::Close)
        .priority(Priority::Low)
        .priority_max(Priority::Critical);
    assert_eq!(config.unwrap().routes[0].settings, expected);
    for priority in Priority::ALL {
        let config = file(&format!("priority = '{priority}'")).unwrap();
        assert_eq!(config.routes[0].settings.priority, priority);
    }
}

#[test]
fn settings_of_the_load_reach_the_settings_of_their_names() {
    let config = file(
        "levels = false
         delay_elevated = '11ms'
         delay_critical = '12ms'
         memory_max = '13 KiB'
         memory_elevated = '54%'
         memory_critical = '65%'
         reserve = '16%'
         shed_max = '17%'
         limits_dry_run = ['pressure', 'bytes_per_address']",
    );
    let expected = Settings::default()
        .levels(false)
        .delay_elevated(Duration::from_millis(11))
        .delay_critical(Duration::from_millis(12))
        .memory_max(MemoryMax::Bytes(13 << 10))
        .memory_elevated_percent(54)
        .memory_critical_percent(65)
        .reserve_percent(16)
        .shed_max_percent(17)
        .limits_dry_run(vec![Limit::Pressure, Limit::BytesPerAddress]);
    assert_eq!(config.unwrap().server.settings, expected);
    for (text, expected) in [("off", MemoryMax::Off), ("auto", MemoryMax::Auto)] {
        let config = file(&format!("memory_max = '{text}'")).unwrap();
        assert_eq!(config.server.settings.memory_max, expected);
        assert!(config.to_string().contains(&format!("memory_max = \"{text}\"\n")), "{config}");
    }
}
