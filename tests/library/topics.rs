//! Topics: membership, reports of the first and the last member, and limits.

use weir::reactor::budget::TOPIC_NAME_BYTES_MAX;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{JoinError, Joined, Left};

use crate::puppet::{Puppet, Report};

#[test]
fn subscribe_and_unsubscribe_return_first_and_last() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (_a, a) = strings.client(&server, "/");
    let (_b, b) = strings.client(&server, "/");
    let did = strings.run(move |cx| {
        let joins = [(a, "t"), (b, "t"), (a, "t"), (a, "u")]
            .map(|(id, name)| (cx.subscribe(id, name).unwrap(), cx.members("t"), cx.members("u")));
        let leaves = [(a, "t"), (a, "t"), (b, "t"), (b, "t"), (b, "u")]
            .map(|(id, name)| (cx.unsubscribe(id, name), cx.members("t"), cx.members("u")));
        (joins, leaves)
    });
    assert_eq!(
        did.0,
        [
            (Joined::First, 1, 0),
            (Joined::Joined, 2, 0),
            (Joined::Already, 2, 0),
            (Joined::First, 2, 1)
        ]
    );
    assert_eq!(
        did.1,
        [
            (Left::Left, 1, 1),
            (Left::NotMember, 1, 1),
            (Left::Last, 0, 1),
            (Left::NotMember, 0, 1),
            (Left::NotMember, 0, 1)
        ]
    );
    // An unsubscribe returns that the topic is empty, and does not call `on_empty`.
    strings.expect_no_report();
}

#[test]
fn on_empty_reports_the_end_of_the_last_member() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (mut a, a_id) = strings.client(&server, "/");
    let (b, b_id) = strings.client(&server, "/");
    strings.run(move |cx| {
        for (id, topic) in [(a_id, "both"), (b_id, "both"), (b_id, "b's own"), (b_id, "left")] {
            cx.subscribe(id, topic).unwrap();
        }
        cx.unsubscribe(b_id, "left")
    });
    a.close(1000, "");
    assert!(matches!(strings.next(), Report::Closed(id, _) if id == a_id));
    strings.expect_no_report();
    assert_eq!(strings.run(|cx| cx.members("both")), 1);

    drop(b);
    assert!(matches!(strings.next(), Report::Closed(id, _) if id == b_id));
    let (Report::Empty(one), Report::Empty(other)) = (strings.next(), strings.next()) else {
        panic!("two topics are left empty");
    };
    let mut empty = [one, other];
    empty.sort_unstable();
    assert_eq!(empty, ["b's own", "both"]);
    strings.expect_no_report();
    assert_eq!(strings.run(|cx| (cx.members("both"), cx.members("b's own"))), (0, 0));
}

#[test]
fn a_topic_can_be_joined_again_in_on_empty() {
    let (mut puppet, strings) = Puppet::new();
    let mut left = Vec::new();
    puppet.on_empty = Box::new(move |cx, topic| left.push((topic.to_owned(), cx.members(topic))));
    let server = puppet.serve_plain();
    for _ in 0..3 {
        let (client, id) = strings.client(&server, "/");
        assert_eq!(strings.run(move |cx| cx.subscribe(id, "t")), Ok(Joined::First));
        drop(client);
        strings.closed();
        assert_eq!(strings.next(), Report::Empty("t".to_owned()));
    }
}

#[test]
fn joins_above_a_limit_are_errors_and_counted() {
    let settings = Settings::default().topics_max(3).topics_per_connection_max(2);
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve(settings, RouteSettings::default());
    let (_a, a) = strings.client(&server, "/");
    let (_b, b) = strings.client(&server, "/");
    let longest = "n".repeat(TOPIC_NAME_BYTES_MAX);
    let refused = strings.run(move |cx| {
        assert_eq!(cx.subscribe(a, &longest), Ok(Joined::First));
        assert_eq!(cx.subscribe(a, &format!("{longest}n")), Err(JoinError::NameTooLong));
        assert_eq!(cx.metrics().joins_refused, 1);
        assert_eq!(cx.subscribe(a, "2"), Ok(Joined::First));
        assert_eq!(cx.subscribe(a, "3"), Err(JoinError::TooManyMemberships));
        assert_eq!(cx.members("3"), 0);
        assert_eq!(cx.subscribe(b, "3"), Ok(Joined::First));
        assert_eq!(cx.subscribe(b, "4"), Err(JoinError::TooManyTopics));
        // The limits do not apply to an existing topic, or to a member that joins again.
        assert_eq!(cx.subscribe(b, "2"), Ok(Joined::Joined));
        assert_eq!(cx.subscribe(b, "2"), Ok(Joined::Already));
        // Leaving a topic makes room.
        assert_eq!(cx.unsubscribe(b, "3"), Left::Last);
        assert_eq!(cx.subscribe(b, "4"), Ok(Joined::First));
        cx.metrics().joins_refused
    });
    assert_eq!(refused, 3);
}

#[test]
fn a_closing_connection_cannot_join() {
    let (puppet, strings) = Puppet::new();
    let server = puppet.serve_plain();
    let (_a, a) = strings.client(&server, "/");
    let joined = strings.run(move |cx| {
        cx.close(a, weir::protocol::CloseCode::NORMAL, "");
        cx.subscribe(a, "t")
    });
    assert_eq!(joined, Err(JoinError::NotOpen));
}
