//! Which connections are closed while the load is critical, and when that stops.

use std::time::Duration;

use weir::reactor::budget::{MESSAGES_PER_READ, VISITS_PER_SAMPLE};
use weir::reactor::settings::RouteSettings;
use weir::reactor::{CloseReason, Level, Metrics};

use super::{Loaded, SHARED_BYTES, by_memory, say};
use crate::support::{Client, TEXT, crowd, frame, upgrade};

/// Opens connections that each hold this part of the memory.
fn holding(loaded: &mut Loaded, path: &str, count: usize, part: f64) -> Vec<Client> {
    let bytes = (SHARED_BYTES as f64 * part) as usize;
    let open = |_| {
        let mut client = loaded.server.open(path);
        say(&mut loaded.server, &mut client, &bytes.to_string());
        client
    };
    (0..count).map(open).collect()
}

fn expect_shed(loaded: &mut Loaded, client: &mut Client) {
    loaded.server.turn_until_readable(&client.stream);
    let (code, reason) = client.expect_close();
    assert_eq!(code, 1013);
    let seconds = reason.strip_prefix("server overloaded, retry in ").expect(&reason);
    let seconds: u32 = seconds.strip_suffix(" s").expect(&reason).parse().unwrap();
    assert!((5..=15).contains(&seconds), "{reason}");
    client.close(1013, "");
}

/// Low priority is closed before normal, the one that holds most first; neither those that hold little, nor
/// high priorities.
#[test]
fn the_largest_of_the_lowest_priority_is_closed() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    let mut idle = holding(&mut loaded, "/low", 3, 0.0001);
    let mut large = holding(&mut loaded, "/low", 1, 0.2);
    let mut normal = holding(&mut loaded, "/normal", 1, 0.3);
    let mut small = holding(&mut loaded, "/low", 1, 0.15);
    // 95 %; without the largest of low priority it is 75 %.
    let mut high = holding(&mut loaded, "/high", 1, 0.3);
    loaded.server.turn_until("critical", |metrics| metrics.level_now == 2);
    loaded.server.turn_until("one is closed", |metrics| metrics.shed == 1);
    expect_shed(&mut loaded, &mut large[0]);
    loaded.server.turn_until("it has ended", |metrics| metrics.ended_overloaded == 1);
    assert_eq!(loaded.reports.ends.try_iter().last(), Some(CloseReason::Shed));
    loaded.server.turn_until("the level falls", |metrics| metrics.level_now < 2);
    for client in [&mut idle, &mut normal, &mut small, &mut high].into_iter().flatten() {
        say(&mut loaded.server, client, "still here");
    }
    let metrics = loaded.server.reactor.metrics();
    assert_eq!((metrics.shed, metrics.shed_futile), (1, 0), "{metrics}");
}

/// The limits of a critical load would need a turn for each 8 of them.
#[test]
fn messages_behind_the_close_of_a_shed_connection_are_discarded_at_once() {
    const MESSAGES: usize = 2_000;
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    let mut low = holding(&mut loaded, "/low", 1, 0.3);
    let _high = holding(&mut loaded, "/high", 1, 0.65);
    loaded.server.turn_until("it is closed", |metrics| metrics.shed == 1);
    let late = frame(true, TEXT, b"late").repeat(MESSAGES);
    let all = loaded.server.reactor.metrics().bytes_read + late.len() as u64;
    low[0].raw(&late);
    let turns = loaded.server.turn_until("all is read", |metrics| metrics.bytes_read == all);
    let most = 2 * MESSAGES / MESSAGES_PER_READ;
    assert!(turns as usize <= most, "{turns} turns");
    assert_eq!(loaded.server.reactor.metrics().level_now, Level::Critical as u64);
}

#[test]
fn a_connection_that_its_service_is_busy_for_comes_last() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    let mut busy = holding(&mut loaded, "/low", 1, 0.3);
    say(&mut loaded.server, &mut busy[0], "busy");
    let mut other = holding(&mut loaded, "/normal", 1, 0.2);
    let _high = holding(&mut loaded, "/high", 1, 0.45);
    loaded.server.turn_until("one is closed", |metrics| metrics.shed == 1);
    expect_shed(&mut loaded, &mut other[0]);
    say(&mut loaded.server, &mut busy[0], "still here");
}

#[test]
fn a_connection_that_its_service_is_busy_for_is_closed_if_there_is_no_other() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    let mut busy = holding(&mut loaded, "/low", 1, 0.3);
    say(&mut loaded.server, &mut busy[0], "busy");
    let _high = holding(&mut loaded, "/high", 1, 0.65);
    loaded.server.turn_until("it is closed", |metrics| metrics.shed == 1);
    expect_shed(&mut loaded, &mut busy[0]);
}

/// A sample looks at [`VISITS_PER_SAMPLE`] connections.
#[test]
fn the_whole_table_is_looked_at() {
    let _descriptors = crowd();
    let mut loaded = Loaded::new(by_memory().connections_max(20_000), &RouteSettings::default());
    let _idle: Vec<Client> =
        (0..VISITS_PER_SAMPLE).map(|_| loaded.server.open("/normal")).collect();
    let mut last = holding(&mut loaded, "/low", 1, 0.3);
    let _high = holding(&mut loaded, "/high", 1, 0.65);
    loaded.server.turn_until("the last is closed", |metrics| metrics.shed == 1);
    expect_shed(&mut loaded, &mut last[0]);
}

/// What waits for the peer is memory, too. It would be sent before the Close.
#[test]
fn the_queue_of_a_connection_is_cut_by_memory() {
    let route = RouteSettings::default()
        .outbox_soft_bytes(SHARED_BYTES / 2)
        .outbox_hard_bytes(SHARED_BYTES)
        .write_timeout(Duration::from_secs(60));
    let mut loaded = Loaded::new(by_memory(), &route);
    let mut client = Client::narrow_tcp(loaded.server.address);
    client.raw(upgrade("/low", "").as_bytes());
    let opened = loaded.server.reactor.metrics().opened;
    loaded.server.turn_until("it is open", |metrics| metrics.opened > opened);
    // Its answers are not read.
    let message = "x".repeat(60_000);
    let (held, before) = (SHARED_BYTES as u64 / 4, loaded.server.reactor.metrics().clone());
    let mut sent = 0;
    while loaded.server.reactor.metrics().buffered_now < before.buffered_now + held {
        client.text(&message);
        sent += 1;
        let read = before.messages_in + sent;
        loaded.server.turn_until("it is read", |metrics| metrics.messages_in >= read);
        assert!(sent < 1000, "the kernel takes everything");
    }
    let _high = holding(&mut loaded, "/high", 1, 0.7);
    loaded.server.turn_until("it is closed", |metrics| metrics.shed == 1);
    let metrics = loaded.server.reactor.metrics();
    assert!(metrics.messages_dropped > 30, "{} messages", metrics.messages_dropped);
}

/// What a connection has sent before the load was critical does not count.
#[test]
fn by_delay_the_connection_that_sends_most_now_is_closed() {
    const BEFORE: usize = 4_000;
    let [elevated, critical] = [1, 2].map(Duration::from_nanos);
    let settings = by_memory().delay_elevated(elevated).delay_critical(critical);
    let mut loaded = Loaded::new(settings, &RouteSettings::default());
    let (mut before, mut now) = (loaded.server.open("/low"), loaded.server.open("/low"));
    before.raw(&frame(true, TEXT, b"before").repeat(BEFORE));
    loaded.server.turn_until("all are read", |metrics| metrics.messages_in == BEFORE as u64);
    assert_eq!(loaded.server.reactor.metrics().level_now, 0, "too late for this test");
    let mut sent = 0;
    while loaded.server.reactor.metrics().shed == 0 {
        now.text("now");
        sent += 1;
        assert!(sent < BEFORE, "{}", loaded.server.reactor.metrics());
        for _ in 0..2 {
            loaded.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
    }
    while now.frame().opcode == TEXT {}
    for _ in 0..BEFORE {
        before.expect(TEXT, b"before");
    }
    say(&mut loaded.server, &mut before, "still here");
}

/// The memory is held by one connection of high priority alone: nothing else is closed, and after one round
/// that is reported.
#[test]
fn shedding_stops_if_others_are_the_cause() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    let mut others = holding(&mut loaded, "/low", 20, 0.0001);
    loaded.become_loaded(Level::Critical);
    loaded.server.turn_until("it stops", |metrics| metrics.shed_futile == 1);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("two seconds more", |metrics| metrics.turns > turns + 100);
    for client in &mut others {
        say(&mut loaded.server, client, "still here");
    }
    let metrics = loaded.server.reactor.metrics();
    assert_eq!((metrics.shed, metrics.shed_futile, metrics.level_now), (0, 1, 2), "{metrics}");
}

/// The memory is held by a connection of high priority alone. Messages that take long then make the delay
/// critical, too: the connection that sends them is closed.
#[test]
fn a_critical_delay_is_shed_by_although_shedding_by_memory_has_stopped() {
    let millis = Duration::from_millis;
    // Other work of the machine is shorter.
    let settings = by_memory().delay_elevated(millis(200)).delay_critical(millis(400));
    let mut loaded = Loaded::new(settings, &RouteSettings::default());
    let mut idle = holding(&mut loaded, "/low", 2, 0.0001);
    let mut costly = holding(&mut loaded, "/low", 1, 0.0001);
    loaded.become_loaded(Level::Critical);
    loaded.server.turn_until("shedding by memory stops", |metrics| metrics.shed_futile == 1);
    assert_eq!(loaded.server.reactor.metrics().shed, 0);
    let read = loaded.server.reactor.metrics().messages_in;
    for sent in 1..=20 {
        costly[0].text("sleep 600");
        let is_read = |metrics: &Metrics| metrics.messages_in == read + sent || metrics.shed > 0;
        loaded.server.turn_until("it is read", is_read);
        if loaded.server.reactor.metrics().shed > 0 {
            break;
        }
    }
    let metrics = loaded.server.reactor.metrics();
    assert_eq!((metrics.shed, metrics.shed_futile), (1, 1), "{metrics}");
    for client in &mut idle {
        say(&mut loaded.server, client, "still here");
    }
    loaded.server.turn_until("it has ended", |metrics| metrics.ended_overloaded == 1);
}

#[test]
fn nothing_is_closed_if_shed_max_is_zero() {
    let mut loaded = Loaded::new(by_memory().shed_max_percent(0), &RouteSettings::default());
    let mut low = holding(&mut loaded, "/low", 3, 0.2);
    loaded.become_loaded(Level::Normal);
    let _high = holding(&mut loaded, "/high", 1, 0.35);
    loaded.server.turn_until("critical", |metrics| metrics.level_now == 2);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("two seconds more", |metrics| metrics.turns > turns + 100);
    for client in &mut low {
        say(&mut loaded.server, client, "still here");
    }
    assert_eq!(loaded.server.reactor.metrics().shed, 0);
}
