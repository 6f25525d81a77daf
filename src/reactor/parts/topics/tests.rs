//! Topics alone: first and last members, limits, and memory after mass leaves.

use super::*;

const LIMITS: TopicLimits = TopicLimits { topics_max: 4, topics_per_connection_max: 3 };

fn sorted(topics: &Topics<u64>, service: u16, name: &str) -> Vec<u64> {
    let mut members = topics.members(service, name).to_vec();
    members.sort_unstable();
    members
}

#[test]
fn the_first_and_the_last_member_are_reported() {
    let mut topics = Topics::new(LIMITS);
    let (mut a, mut b) = (Memberships::default(), Memberships::default());
    assert_eq!(topics.join(0, "news", 1, &mut a), Ok(Joined::First));
    assert_eq!(topics.join(0, "news", 2, &mut b), Ok(Joined::Joined));
    assert_eq!(topics.join(0, "news", 1, &mut a), Ok(Joined::Already));
    assert_eq!(sorted(&topics, 0, "news"), [1, 2]);
    assert_eq!(topics.leave(0, "news", &mut a), Left::Left);
    assert_eq!(topics.leave(0, "news", &mut a), Left::NotMember);
    assert_eq!(topics.members(0, "news"), [2]);
    assert_eq!(topics.leave(0, "news", &mut b), Left::Last);
    assert_eq!(topics.leave(0, "news", &mut b), Left::NotMember);
    assert!(a.is_empty() && b.is_empty() && topics.is_empty());
    assert_eq!(topics.count(0, "news"), 0);
}

#[test]
fn topic_names_belong_to_one_service() {
    let mut topics = Topics::new(LIMITS);
    let (mut a, mut b) = (Memberships::default(), Memberships::default());
    assert_eq!(topics.join(0, "x", 1, &mut a), Ok(Joined::First));
    assert_eq!(topics.join(5, "x", 2, &mut b), Ok(Joined::First));
    assert_eq!(topics.leave(5, "x", &mut a), Left::NotMember);
    assert_eq!(topics.leave(3, "x", &mut a), Left::NotMember);
    assert_eq!((topics.members(0, "x"), topics.members(5, "x")), (&[1][..], &[2][..]));
    assert_eq!(topics.len(), 2);
}

#[test]
fn a_leave_unlinks_first_middle_and_last_membership() {
    for gone in ["a", "b", "c"] {
        let mut topics = Topics::new(LIMITS);
        let mut list = Memberships::default();
        for name in ["a", "b", "c"] {
            topics.join(0, name, 1, &mut list).expect("within the limits");
        }
        assert_eq!(topics.leave(0, gone, &mut list), Left::Last);
        let mut names = Vec::new();
        topics.leave_all(&mut list, |_, name| names.push(name.to_owned()));
        names.sort_unstable();
        let rest: Vec<&str> = ["a", "b", "c"].into_iter().filter(|&name| name != gone).collect();
        assert_eq!(names, rest);
    }
}

#[test]
fn leave_all_reports_only_topics_left_without_members() {
    let mut topics = Topics::new(LIMITS);
    let (mut a, mut b) = (Memberships::default(), Memberships::default());
    topics.join(0, "shared", 1, &mut a).expect("within the limits");
    topics.join(2, "own", 1, &mut a).expect("within the limits");
    topics.join(0, "shared", 2, &mut b).expect("within the limits");
    let mut gone = Vec::new();
    topics.leave_all(&mut a, |service, name| gone.push((service, name.to_owned())));
    assert_eq!(gone, [(2, "own".to_owned())]);
    assert!(a.is_empty());
    topics.leave_all(&mut a, |_, _| panic!("nothing is left to leave"));
    assert_eq!(topics.members(0, "shared"), [2]);
}

#[test]
fn limits_hold_but_a_repeated_join_succeeds() {
    let mut topics = Topics::new(LIMITS);
    let (mut a, mut b) = (Memberships::default(), Memberships::default());
    let long = "x".repeat(TOPIC_NAME_BYTES_MAX + 1);
    assert_eq!(topics.join(0, &long, 1, &mut a), Err(JoinError::NameTooLong));
    for name in ["1", "2", &long[1..]] {
        assert_eq!(topics.join(0, name, 1, &mut a), Ok(Joined::First));
    }
    assert_eq!(topics.join(0, "4", 1, &mut a), Err(JoinError::TooManyMemberships));
    assert_eq!(topics.join(0, "1", 1, &mut a), Ok(Joined::Already));
    assert_eq!(topics.join(0, "4", 2, &mut b), Ok(Joined::First));
    assert_eq!(topics.join(1, "1", 2, &mut b), Err(JoinError::TooManyTopics));
    assert_eq!(topics.join(0, "1", 2, &mut b), Ok(Joined::Joined));
    assert_eq!(topics.leave(0, "4", &mut b), Left::Last);
    assert_eq!(topics.join(1, "1", 2, &mut b), Ok(Joined::First));
}

#[test]
fn memory_is_freed_after_a_mass_leave() {
    const CROWD: u64 = 100_000;
    let mut topics = Topics::new(LIMITS);
    let mut lists: Vec<Memberships> = (0..CROWD).map(|_| Memberships::default()).collect();
    for (member, list) in (0..).zip(&mut lists) {
        topics.join(0, "crowd", member, list).expect("within the limits");
    }
    for list in &mut lists[10..] {
        assert_eq!(topics.leave(0, "crowd", list), Left::Left);
    }
    let (_, crowd) = topics.topics.iter().next().expect("the topic has members");
    assert!(crowd.members.capacity() <= 4 * MEMBERS_KEPT);
    assert!(crowd.memberships.capacity() <= 4 * MEMBERS_KEPT);
    assert_eq!(sorted(&topics, 0, "crowd"), (0..10).collect::<Vec<u64>>());
    for list in &mut lists[..10] {
        topics.leave_all(list, |_, _| {});
    }
    assert_eq!(topics.memberships.capacity() + topics.topics.capacity(), 0);
}

#[test]
fn memory_of_names_is_freed_with_their_topics() {
    let limits = TopicLimits { topics_max: 10_000, topics_per_connection_max: 10_000 };
    let mut topics = Topics::new(limits);
    let (mut one, mut many) = (Memberships::default(), Memberships::default());
    topics.join(0, "stays", 1, &mut one).expect("within the limits");
    for topic in 1..10_000 {
        topics.join(0, &topic.to_string(), 2, &mut many).expect("within the limits");
    }
    topics.leave_all(&mut many, |_, _| {});
    assert_eq!((topics.len(), topics.count(0, "stays")), (1, 1));
    assert!(topics.names[0].capacity() < 100);
}
