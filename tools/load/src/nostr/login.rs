//! AUTH (NIP-42): each connection as one of the authors, if asked for.

use std::collections::HashMap;

use super::author::{Author, unix_seconds};
use super::event::EventKey;

/// Kind of the event that answers a challenge.
const AUTH_KIND: u16 = 22_242;

/// The logins of a part's members.
#[derive(Debug)]
pub(crate) struct Login {
    url: String,
    authors: Vec<Author>,
    pending: HashMap<EventKey, usize>,
    is_done: Vec<bool>,
}

impl Login {
    pub(crate) fn new(url: &str, authors: Vec<Author>, members: usize) -> Login {
        Login {
            url: url.to_owned(),
            authors,
            pending: HashMap::new(),
            is_done: vec![false; members],
        }
    }

    pub(crate) fn is_done(&self, member: usize) -> bool {
        self.is_done[member]
    }

    /// The AUTH message that answers a challenge. Challenges are quoted: relays send no escapes.
    pub(crate) fn answer(&mut self, member: usize, challenge: &str) -> String {
        let author = &self.authors[member % self.authors.len()];
        let quoted = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#);
        let (url, challenge) = (quoted(&self.url), quoted(challenge));
        let tags = format!(r#"[["relay","{url}"],["challenge","{challenge}"]]"#);
        let mut message = r#"["AUTH","#.to_owned();
        let id = author.sign(&mut message, unix_seconds(), AUTH_KIND, &tags, "");
        message.push(']');
        if let Some(key) = EventKey::of(&hex::encode(id)) {
            self.pending.insert(key, member);
        }
        message
    }

    /// The member whose AUTH an OK answers, if it answers one.
    pub(crate) fn answered(&mut self, id: &str, is_accepted: bool) -> Option<usize> {
        let member = self.pending.remove(&EventKey::of(id)?)?;
        self.is_done[member] |= is_accepted;
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::nostr::authors;

    #[test]
    fn a_challenge_is_answered_once() {
        let mut login = Login::new("ws://a/", authors(1, 1), 2);
        let message: Value = serde_json::from_str(&login.answer(1, "c\"h")).unwrap();
        assert_eq!((&message[0], &message[1]["kind"]), (&"AUTH".into(), &AUTH_KIND.into()));
        assert_eq!(message[1]["tags"][1], serde_json::json!(["challenge", "c\"h"]));
        let id = message[1]["id"].as_str().unwrap();
        assert_eq!((login.answered(id, true), login.answered(id, true)), (Some(1), None));
        assert!(login.is_done(1) && !login.is_done(0));
    }
}
