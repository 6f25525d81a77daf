//! The members of a JSON object, each name at most once: header and claims of a token.
//!
//! RFC 7515, 4 and RFC 7519, 4 let a parser take the last of two equal names. Another program may take
//! the first one, so such a token is refused.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Maximum number of members; issuers write 10 to 30. A text is parsed before its signature is
/// verified, and must cost less than that: 128 members take 22 µs, and as many as 8 KiB hold, 130 µs.
const MEMBERS_MAX: usize = 128;

/// The members of an object. Their values are not parsed yet.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A name that is borrowed from the text unless it has an escape.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// Parses an object. `None`: the text is no JSON object, has a name twice, or more than
    /// [`MEMBERS_MAX`] members.
    pub(super) fn parse(json: &'a [u8]) -> Option<Members<'a>> {
        serde_json::from_slice(json).ok()
    }

    /// The value of a member as it was written.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.get())
    }

    /// The value of a member of one type; `Err` if it has another type.
    pub(super) fn read<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, ()> {
        self.get(name).map(serde_json::from_str).transpose().map_err(|_| ())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Members<'a>, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((name, value));
                }
                match has_twice(&members) {
                    true => Err(A::Error::custom("a name occurs twice")),
                    false => Ok(Members(members)),
                }
            }
        }

        from.deserialize_map(Object)
    }
}

fn has_twice(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_decoded_names() {
        let members = Members::parse(br#" {"\u0061lg": "x\n", "n": [1, 2]} "#).unwrap();
        assert_eq!(members.read::<String>("alg"), Ok(Some("x\n".to_owned())));
        assert_eq!(members.get("n"), Some("[1, 2]"));
        assert_eq!(members.read::<String>("n"), Err(()));
        assert_eq!(members.read::<String>("missing"), Ok(None));
    }

    #[test]
    fn members_are_limited_in_number() {
        let object = |count: usize| {
            let members: Vec<String> = (0..count).map(|name| format!(r#""{name}":1"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Members::parse(object(MEMBERS_MAX).as_bytes()).is_some());
        assert!(Members::parse(object(MEMBERS_MAX + 1).as_bytes()).is_none());
    }

    #[test]
    fn other_values_and_repeated_names_are_refused() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            "{} {}",
            "{}x",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":2,"\u0061":1}"#,
            r#"{"a":01}"#,
            "\u{feff}{}",
            r#"{'a':1}"#,
        ] {
            assert!(Members::parse(text.as_bytes()).is_none(), "{text}");
        }
        let members = Members::parse(br#"{"a":"\ud800"}"#).unwrap();
        assert_eq!(members.read::<String>("a"), Err(()), "values are parsed when they are read");
        assert!(Members::parse(br#"{"\ud800":1}"#).is_none());
        assert!(Members::parse(b"{\"\xff\":1}").is_none());
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_none());
    }
}
