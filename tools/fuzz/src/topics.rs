//! Topics, compared with a map from topic to its set of members.

use std::collections::{BTreeMap, BTreeSet};

use weir::reactor::budget::TOPIC_NAME_BYTES_MAX;
use weir::reactor::internals::topics::{Memberships, TopicLimits, Topics};
use weir::reactor::{JoinError, Joined, Left};

use crate::bytes::Bytes;

const CONNECTIONS: usize = 48;
const SERVICES: usize = 3;
/// More topics than the limits allow, so that the limits are reached.
const NAMES: usize = 12;
const LIMITS: TopicLimits = TopicLimits { topics_max: 16, topics_per_connection_max: 6 };

type Topic = (u16, String);

/// Connections join, leave and end. Each result, each report of a first or last member, and all
/// members of all topics must equal the model's.
pub fn topics(data: &[u8]) {
    let mut run = Run {
        topics: Topics::new(LIMITS),
        lists: std::iter::repeat_with(Memberships::default).take(CONNECTIONS).collect(),
        model: BTreeMap::new(),
    };
    let mut input = Bytes(data);
    while run.step(&mut input).is_some() {}
    for member in 0..CONNECTIONS {
        run.leave_all(member);
    }
    assert!(run.topics.is_empty() && run.model.is_empty());
}

struct Run {
    topics: Topics<usize>,
    lists: Vec<Memberships>,
    model: BTreeMap<Topic, BTreeSet<usize>>,
}

impl Run {
    fn step(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let op = input.below(16)?;
        let member = input.below(CONNECTIONS)?;
        match op {
            0..=8 => self.join(member, topic(input)?),
            9..=14 => self.leave(member, topic(input)?),
            _ => self.leave_all(member),
        }
        self.check();
        Some(())
    }

    fn join(&mut self, member: usize, topic: Topic) {
        let expected = self.joins(member, &topic);
        let list = &mut self.lists[member];
        assert_eq!(self.topics.join(topic.0, &topic.1, member, list), expected);
        if expected.is_ok() {
            self.model.entry(topic).or_default().insert(member);
        }
    }

    /// The expected result of a join.
    fn joins(&self, member: usize, topic: &Topic) -> Result<Joined, JoinError> {
        if topic.1.len() > TOPIC_NAME_BYTES_MAX {
            return Err(JoinError::NameTooLong);
        }
        let members = self.model.get(topic);
        if members.is_some_and(|members| members.contains(&member)) {
            return Ok(Joined::Already);
        }
        let joined = self.model.values().filter(|members| members.contains(&member)).count();
        if joined == LIMITS.topics_per_connection_max {
            Err(JoinError::TooManyMemberships)
        } else if members.is_some() {
            Ok(Joined::Joined)
        } else if self.model.len() == LIMITS.topics_max {
            Err(JoinError::TooManyTopics)
        } else {
            Ok(Joined::First)
        }
    }

    fn leave(&mut self, member: usize, topic: Topic) {
        let members = self.model.entry(topic.clone()).or_default();
        let expected = match (members.remove(&member), members.is_empty()) {
            (true, true) => Left::Last,
            (true, false) => Left::Left,
            (false, _) => Left::NotMember,
        };
        if members.is_empty() {
            self.model.remove(&topic);
        }
        let list = &mut self.lists[member];
        assert_eq!(self.topics.leave(topic.0, &topic.1, list), expected);
    }

    fn leave_all(&mut self, member: usize) {
        let mut expected = BTreeSet::new();
        self.model.retain(|topic, members| {
            if members.remove(&member) && members.is_empty() {
                expected.insert(topic.clone());
            }
            !members.is_empty()
        });
        let mut gone = BTreeSet::new();
        self.topics.leave_all(&mut self.lists[member], |service, name| {
            assert!(gone.insert((service, name.to_owned())), "reported twice: {service} {name}");
        });
        assert_eq!(gone, expected);
        assert!(self.lists[member].is_empty());
    }

    fn check(&self) {
        assert_eq!(self.topics.len(), self.model.len());
        for ((service, name), expected) in &self.model {
            let members = self.topics.members(*service, name);
            assert_eq!(members.len(), expected.len(), "a member is listed twice");
            assert_eq!(&members.iter().copied().collect::<BTreeSet<usize>>(), expected);
        }
    }
}

fn topic(input: &mut Bytes<'_>) -> Option<Topic> {
    let service = input.below(SERVICES)? as u16;
    let name = match input.below(NAMES + 1)? {
        NAMES => "x".repeat(usize::from(input.u16()?) % (2 * TOPIC_NAME_BYTES_MAX)),
        short => short.to_string(),
    };
    Some((service, name))
}
