//! A rule of retention: `90d`, `90d kinds 1,30000-39999`, `1y authors npub1..,npub1..`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use weir::services::nostr::keys::parse_key;
use weir::services::nostr::settings::{KindRange, RetentionRule};

use crate::config::values::Span;

const SECONDS_OF_DAY: u64 = 24 * 60 * 60;

/// A rule in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retention(pub(super) RetentionRule);

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Retention, String> {
        let mut words = text.split_whitespace().peekable();
        let mut age = Vec::new();
        while let Some(word) = words.next_if(|word| !matches!(*word, "kinds" | "authors")) {
            age.push(word);
        }
        let Span(age) = age.join(" ").parse()?;
        if age.as_secs() == 0 {
            return Err("the age must be at least 1s".to_owned());
        }
        let mut rule = RetentionRule { kinds: Vec::new(), authors: Vec::new(), age: age.as_secs() };
        while let Some(word) = words.next() {
            let list =
                words.next().ok_or_else(|| format!("{word} needs a list, as in kinds 1,7"))?;
            let values = list.split(',');
            match word {
                "kinds" if rule.kinds.is_empty() => {
                    let kinds = values.map(|kind| kind.parse().map(KindRange::kinds));
                    rule.kinds = kinds.collect::<Result<_, _>>()?;
                }
                "authors" if rule.authors.is_empty() => {
                    let keys = values.map(|key| parse_key(key).ok_or(key));
                    let keys: Result<_, _> = keys.collect();
                    rule.authors = keys.map_err(|key| format!("{key} is not a public key"))?;
                }
                _ => return Err(format!("{word:?} twice, or neither kinds nor authors")),
            }
        }
        Ok(Retention(rule))
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RetentionRule { kinds, authors, age } = &self.0;
        match age % SECONDS_OF_DAY {
            0 => write!(f, "{}d", age / SECONDS_OF_DAY)?,
            _ => write!(f, "{}", Span(Duration::from_secs(*age)))?,
        }
        for (number, range) in kinds.iter().enumerate() {
            f.write_str(if number == 0 { " kinds " } else { "," })?;
            match range.start() == range.end() {
                true => write!(f, "{}", range.start())?,
                false => write!(f, "{}-{}", range.start(), range.end())?,
            }
        }
        for (number, key) in authors.iter().enumerate() {
            f.write_str(if number == 0 { " authors " } else { "," })?;
            key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_rule_has_an_age_and_may_have_kinds_and_authors() {
        let rule = |text: &str| text.parse::<Retention>().unwrap();
        let day = SECONDS_OF_DAY;
        let all = RetentionRule { kinds: Vec::new(), authors: Vec::new(), age: 90 * day };
        assert_eq!(rule("90d").0, all);
        let kinds = vec![1..=1, 30_000..=39_999];
        let of_kinds = RetentionRule { kinds, ..all.clone() };
        assert_eq!(rule(" 90d  kinds 1,30000-39999").0, of_kinds);
        let key = parse_key(KEY).unwrap();
        let of_author = RetentionRule { authors: vec![key], age: 36 * 3600, ..of_kinds };
        let text = format!("1d 12h authors {KEY} kinds 1,30000-39999");
        assert_eq!(rule(&text).0, of_author);
        for text in ["90d", "90d kinds 1,30000-39999", &text, "1s kinds 0-65535"] {
            assert_eq!(rule(&rule(text).to_string()), rule(text), "{text}");
        }
        assert_eq!(rule("90d kinds 1").to_string(), "90d kinds 1");
    }

    #[test]
    fn malformed_rules_are_rejected() {
        for text in [
            "",
            "90",
            "kinds 1",
            "0s",
            "90d kinds",
            "90d kinds x",
            "90d kinds 2-1",
            "90d authors a",
            "90d kinds 1 kinds 2",
            "90d kinds 1 7",
            "90d ids a",
        ] {
            assert!(text.parse::<Retention>().is_err(), "{text}");
        }
    }
}
