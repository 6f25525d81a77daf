use super::*;
use crate::services::nostr::testing::{event, filter, filters, quoted_key};

mod model;

const NOW: Time = Time::from_nanos(1_000_000_000_000);

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::of(text)
}

fn subscriptions() -> Subscriptions<u32> {
    Subscriptions::new(SubscriptionLimits::default())
}

/// An event of kind 1, or an ephemeral one.
fn note(number: usize) -> Arc<Event> {
    Arc::new(event(number, 1, 1, 1000, "[]"))
}

fn ephemeral(number: usize) -> Arc<Event> {
    Arc::new(event(number, 1, 20_001, 1000, "[]"))
}

fn scan(opened: Result<Opened, Refused>) -> Query {
    match opened.unwrap() {
        Opened::Scan(query) => query,
        Opened::Live => panic!("no scan"),
    }
}

fn announce(
    subscriptions: &mut Subscriptions<u32>,
    event: &Arc<Event>,
    serial: Option<u64>,
) -> Vec<u32> {
    let recipients = subscriptions.announce(Arc::clone(event), serial, NOW);
    recipients.groups().flat_map(|(_, conns)| conns).collect()
}

#[test]
fn an_event_of_the_time_of_the_scan_follows_eose_once() {
    let mut subscriptions = subscriptions();
    let query = scan(subscriptions.request(1, id("a"), filters("{}")));
    assert_eq!(subscriptions.page(query.id), Some((1, &id("a"))));
    // The scan's snapshot has commit 7, whose mail arrives during the scan, and not commit 8.
    assert!(announce(&mut subscriptions, &note(7), Some(7)).is_empty());
    assert!(announce(&mut subscriptions, &note(8), Some(8)).is_empty());
    let ended = subscriptions.end(query.id, 7, NOW).unwrap();
    assert!(ended.eose && ended.catch_up.is_none());
    assert_eq!((ended.conn, ended.id, ended.events), (1, id("a"), vec![note(8)]));
    assert_eq!(announce(&mut subscriptions, &note(9), Some(9)), [1]);
    assert!(!query.lease.is_valid());
}

#[test]
fn a_commit_whose_mail_arrives_after_the_scan_is_not_sent_again() {
    let mut subscriptions = subscriptions();
    let query = scan(subscriptions.request(1, id("a"), filters("{}")));
    assert!(subscriptions.end(query.id, 8, NOW).unwrap().events.is_empty());
    assert!(announce(&mut subscriptions, &note(8), Some(8)).is_empty());
    assert_eq!(announce(&mut subscriptions, &note(9), Some(9)), [1]);
    assert_eq!(announce(&mut subscriptions, &ephemeral(10), None), [1]);
}

#[test]
fn limit_0_is_live_at_once() {
    let mut subscriptions = subscriptions();
    let opened = subscriptions.request(1, id("a"), filters(r#"{"limit":0}"#)).unwrap();
    assert!(matches!(opened, Opened::Live));
    assert_eq!(announce(&mut subscriptions, &note(1), Some(1)), [1]);
    let mixed: Arc<[Filter]> = Arc::new([filter(r#"{"limit":0}"#), filter(r#"{"kinds":[7]}"#)]);
    assert!(matches!(subscriptions.request(1, id("b"), mixed).unwrap(), Opened::Scan(_)));
}

#[test]
fn limit_0_gets_no_event_that_was_acknowledged_before() {
    let mut subscriptions = subscriptions();
    let mut open = |conn: u32, acknowledged| {
        subscriptions.acknowledge(acknowledged);
        subscriptions.request(conn, id("a"), filters(r#"{"limit":0}"#)).unwrap();
    };
    open(1, 6);
    open(2, 7);
    // Events 6 and 7 wait for their announcement.
    let mut recipients = |serial| {
        let mut recipients = announce(&mut subscriptions, &note(1), Some(serial));
        recipients.sort_unstable();
        recipients
    };
    assert_eq!([6, 7, 8].map(&mut recipients), [vec![], vec![1], vec![1, 2]]);
}

#[test]
fn a_request_with_an_open_id_replaces_the_subscription_and_its_scan() {
    let mut subscriptions = subscriptions();
    let first = scan(subscriptions.request(1, id("a"), filters(r#"{"kinds":[1]}"#)));
    let other = scan(subscriptions.request(2, id("a"), filters(r#"{"kinds":[1]}"#)));
    let second = scan(subscriptions.request(1, id("a"), filters(r#"{"kinds":[20001]}"#)));
    assert_eq!(
        [first, other, second].each_ref().map(|query| query.lease.is_valid()),
        [false, true, true]
    );
    assert_eq!(subscriptions.counts().subscriptions, 2);
}

#[test]
fn pages_and_ends_of_another_number_are_dropped() {
    let mut subscriptions = subscriptions();
    let first = scan(subscriptions.request(1, id("a"), filters("{}")));
    assert!(subscriptions.close(1, &id("a")));
    assert!(!subscriptions.close(1, &id("a")));
    // The slot is used again.
    let second = scan(subscriptions.request(3, id("b"), filters("{}")));
    assert!(subscriptions.page(first.id).is_none());
    assert!(subscriptions.end(first.id, 1, NOW).is_none());
    assert!(subscriptions.fail(first.id).is_none());
    assert_eq!(subscriptions.fail(second.id), Some((3, id("b"))));
    assert_eq!((subscriptions.count(3), subscriptions.counts().subscriptions), (0, 0));
}

#[test]
fn an_ended_connection_leaves_nothing() {
    let mut subscriptions = subscriptions();
    let queries: Vec<Query> =
        ["a", "b"].map(|name| scan(subscriptions.request(1, id(name), filters("{}")))).into();
    scan(subscriptions.request(2, id("a"), filters("{}")));
    subscriptions.end(queries[1].id, 0, NOW).unwrap();
    assert_eq!((subscriptions.count(1), subscriptions.scans(1)), (2, 1));
    subscriptions.forget(1);
    assert!(!queries[0].lease.is_valid());
    assert_eq!((subscriptions.count(1), subscriptions.ended()), (0, 2));
    assert!(subscriptions.connections.len() == 1);
    assert!(announce(&mut subscriptions, &note(1), Some(1)).is_empty());
    subscriptions.release();
    assert_eq!((subscriptions.ended(), subscriptions.counts().subscriptions), (0, 1));
}

#[test]
fn the_values_of_an_ended_connection_are_removed_in_steps() {
    let authors = (0..2_000).map(quoted_key).collect::<Vec<_>>().join(",");
    let feed = filters(&format!(r#"{{"authors":[{authors}],"limit":0}}"#));
    let mut subscriptions = subscriptions();
    for name in 0..20 {
        subscriptions.request(1, id(&name.to_string()), Arc::clone(&feed)).unwrap();
    }
    subscriptions.request(2, id("a"), Arc::clone(&feed)).unwrap();
    subscriptions.forget(1);
    assert_eq!(announce(&mut subscriptions, &note(1), Some(1)), [2]);
    let mut steps = 0;
    while subscriptions.ended() > 0 {
        let before = subscriptions.counts().values;
        subscriptions.release();
        let removed = before - subscriptions.counts().values;
        assert!((1..=RELEASED_VALUES_MAX).contains(&removed), "{removed} values in one step");
        steps += 1;
    }
    assert_eq!((steps, subscriptions.counts().values), (10, 2_000));
    // A subscription with more values is removed nevertheless.
    let large: Arc<[Filter]> = vec![feed[0].clone(); 3].into();
    subscriptions.request(3, id("a"), large).unwrap();
    subscriptions.forget(3);
    subscriptions.forget(2);
    subscriptions.release();
    assert_eq!(subscriptions.ended(), 1);
    subscriptions.release();
    assert_eq!(subscriptions.counts(), LiveCounts::default());
}

#[test]
fn at_its_limit_a_connection_can_still_replace_a_subscription() {
    let limits = SubscriptionLimits { per_connection_max: 2, ..SubscriptionLimits::default() };
    let mut subscriptions = Subscriptions::new(limits);
    for name in ["a", "b", "b", "a"] {
        subscriptions.request(1, id(name), filters("{}")).unwrap();
    }
    let refused = subscriptions.request(1, id("c"), filters("{}")).unwrap_err();
    assert_eq!(refused, Refused::PerConnection(2));
    assert_eq!(refused.to_string(), "at most 2 subscriptions per connection");
    subscriptions.request(2, id("c"), filters("{}")).unwrap();
    subscriptions.close(1, &id("b"));
    subscriptions.request(1, id("c"), filters("{}")).unwrap();
}

#[test]
fn a_refused_replacement_ends_the_subscription() {
    let live = LiveLimits { values_max: 2, ..LiveLimits::default() };
    let limits = SubscriptionLimits { live, ..SubscriptionLimits::default() };
    let mut subscriptions = Subscriptions::new(limits);
    subscriptions.request(1, id("a"), filters(r#"{"kinds":[1,2]}"#)).unwrap();
    let refused = subscriptions.request(1, id("a"), filters(r#"{"kinds":[1,2,3]}"#)).unwrap_err();
    assert_eq!(refused, Refused::Live(LiveFull::Values(2)));
    assert_eq!(subscriptions.count(1), 0);
}

#[test]
fn recipients_are_grouped_by_subscription_id() {
    let mut subscriptions = subscriptions();
    for conn in 0..30 {
        let name = format!("sub {}", conn % 3);
        subscriptions.request(conn, id(&name), filters(r#"{"limit":0}"#)).unwrap();
    }
    scan(subscriptions.request(30, id("scanning"), filters("{}")));
    scan(subscriptions.request(31, id("other"), filters(r#"{"kinds":[9]}"#)));
    let recipients = subscriptions.announce(note(1), Some(1), NOW);
    assert_eq!((recipients.len(), recipients.is_empty(), recipients.waiting()), (30, false, 1));
    let mut groups: Vec<(SubscriptionId, Vec<u32>)> =
        recipients.groups().map(|(id, conns)| (id.clone(), conns.collect())).collect();
    groups.sort_by_key(|(_, conns)| conns.iter().min().copied());
    assert_eq!(groups.len(), 3);
    for (rest, (group, mut conns)) in (0..).zip(groups) {
        assert_eq!(group, id(&format!("sub {rest}")));
        conns.sort_unstable();
        assert_eq!(conns, (0..30).filter(|conn| conn % 3 == rest).collect::<Vec<u32>>());
    }
}

#[test]
fn a_catch_up_scan_follows_if_more_than_1000_events_are_to_be_compared() {
    for (announced, catches_up) in [(1000, false), (1001, true)] {
        let mut subscriptions = subscriptions();
        let notes = scan(subscriptions.request(1, id("notes"), filters(r#"{"kinds":[1]}"#)));
        let likes = scan(subscriptions.request(1, id("likes"), filters(r#"{"kinds":[7]}"#)));
        for serial in 1..=announced {
            announce(&mut subscriptions, &note(1), Some(serial));
        }
        let ended = subscriptions.end(notes.id, 0, NOW).unwrap();
        assert_eq!(ended.catch_up.is_some(), catches_up);
        assert_eq!(ended.events.len(), if catches_up { 0 } else { 1000 });
        // No event matched.
        let ended = subscriptions.end(likes.id, 0, NOW).unwrap();
        assert!(ended.events.is_empty() && ended.catch_up.is_none());
    }
}

#[test]
fn a_catch_up_scan_follows_if_the_events_are_more_bytes_than_are_sent_at_once() {
    let tags = format!(r#"[["t","{}"]]"#, "x".repeat(1000));
    let large = Arc::new(event(1, 1, 1, 1000, &tags));
    let read_bytes_max = 10 * (size_of::<Event>() + tags.len() + 2);
    for (announced, catches_up) in [(10, false), (11, true)] {
        let ring = RingLimits { read_bytes_max, ..RingLimits::default() };
        let mut subscriptions = Subscriptions::with_ring(SubscriptionLimits::default(), ring);
        let query = scan(subscriptions.request(1, id("a"), filters("{}")));
        for serial in 1..=announced {
            announce(&mut subscriptions, &large, Some(serial));
        }
        let ended = subscriptions.end(query.id, 0, NOW).unwrap();
        assert_eq!(ended.catch_up.is_some(), catches_up);
        assert_eq!(ended.events.len(), if catches_up { 0 } else { 10 });
    }
}

#[test]
fn a_catch_up_scan_starts_after_the_last_serial_and_sends_no_second_eose() {
    let ring = RingLimits { entries_max: 2, ..RingLimits::default() };
    let mut subscriptions = Subscriptions::with_ring(SubscriptionLimits::default(), ring);
    let query = scan(subscriptions.request(1, id("a"), filters("{}")));
    announce(&mut subscriptions, &ephemeral(1), None);
    for serial in 5..=6 {
        announce(&mut subscriptions, &note(2), Some(serial));
    }
    announce(&mut subscriptions, &ephemeral(3), None);
    let ended = subscriptions.end(query.id, 4, NOW).unwrap();
    // The ring has lost the first ephemeral event, and no scan can return it.
    assert_eq!((ended.eose, ended.events), (true, vec![ephemeral(3)]));
    assert_eq!(subscriptions.dropped(), 1);
    let catch_up = ended.catch_up.unwrap();
    assert_eq!(catch_up.after, 4);
    assert!(catch_up.query.lease.is_valid() && subscriptions.end(query.id, 6, NOW).is_none());
    announce(&mut subscriptions, &note(4), Some(7));
    let ended = subscriptions.end(catch_up.query.id, 6, NOW).unwrap();
    assert_eq!((ended.eose, ended.events), (false, vec![note(4)]));
    assert!(ended.catch_up.is_none());
    assert_eq!(announce(&mut subscriptions, &note(5), Some(8)), [1]);
}

#[test]
fn the_ring_is_limited_in_bytes() {
    let bytes_max = 10 * (size_of::<Event>() + 1000);
    let ring = RingLimits { bytes_max, ..RingLimits::default() };
    let mut subscriptions: Subscriptions<u32> =
        Subscriptions::with_ring(SubscriptionLimits::default(), ring);
    let tags = format!(r#"[["t","{}"]]"#, "x".repeat(1000));
    let large = Arc::new(event(1, 1, 1, 1000, &tags));
    for serial in 1..=100 {
        announce(&mut subscriptions, &large, Some(serial));
        assert!(subscriptions.ring_bytes() <= bytes_max);
    }
    assert!(subscriptions.ring_bytes() > bytes_max / 2);
}

#[test]
fn kept_ephemeral_events_are_offered_to_later_requests() {
    let keep = Duration::from_secs(60);
    let limits = SubscriptionLimits { ephemeral_keep: Some(keep), ..SubscriptionLimits::default() };
    let mut subscriptions = Subscriptions::new(limits);
    let at = |seconds| NOW + Duration::from_secs(seconds);
    subscriptions.announce(ephemeral(1), None, at(0));
    subscriptions.announce(note(2), Some(1), at(10));
    subscriptions.announce(ephemeral(3), None, at(20));
    let query = scan(subscriptions.request(1, id("a"), filters(r#"{"kinds":[20001]}"#)));
    subscriptions.announce(ephemeral(4), None, at(30));
    let events = subscriptions.end(query.id, 1, at(61)).unwrap().events;
    assert_eq!(events, [ephemeral(3), ephemeral(4)]);
    // limit 0: only events from now on.
    let none = subscriptions.request(1, id("b"), filters(r#"{"limit":0}"#)).unwrap();
    assert!(matches!(none, Opened::Live));
}
