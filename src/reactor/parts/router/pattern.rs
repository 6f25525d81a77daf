//! The grammar of route patterns, in one place.
//!
//! Parses a pattern and compares it with the path of a request. Knows neither services nor hosts.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::reactor::api::request::Params;
use crate::reactor::api::route::PatternError;

/// The path of a route: exact (`/chat`), with parameters (`/rooms/{name}`), or a prefix
/// (`/files/*`).
///
/// A pattern starts with `/`. Each segment is plain text or a parameter. Plain text is compared
/// with the percent-decoded segment of a request. A parameter is a name of ASCII letters, digits
/// and `_` in braces, and takes any value except an empty one. `*` as the last segment stands for
/// all paths with this prefix. Patterns that match the same requests are equal: names of parameters
/// do not count.
///
/// ```
/// use weir::reactor::{PatternError, RoutePattern};
///
/// let pattern: RoutePattern = "/rooms/{name}".parse()?;
/// assert_eq!(pattern.params().collect::<Vec<_>>(), ["name"]);
/// assert_eq!(pattern, "/rooms/{other}".parse()?);
/// assert_eq!("/rooms/{a}{b}".parse::<RoutePattern>(), Err(PatternError::BadName));
/// # Ok::<(), PatternError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RoutePattern {
    segments: Vec<Segment>,
    /// Whether further segments may follow.
    is_prefix: bool,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(Box<str>),
    Param(Rc<str>),
}

impl FromStr for RoutePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<RoutePattern, PatternError> {
        let mut rest = text.strip_prefix('/').ok_or(PatternError::NoSlash)?.split('/');
        let is_prefix = rest.clone().next_back() == Some("*");
        if is_prefix {
            rest.next_back();
        }
        let segments = rest.map(Segment::parse).collect::<Result<_, _>>()?;
        let pattern = RoutePattern { segments, is_prefix };
        let mut names = HashSet::new();
        let are_distinct = pattern.params().all(|name| names.insert(name));
        if are_distinct { Ok(pattern) } else { Err(PatternError::NameTwice) }
    }
}

impl RoutePattern {
    /// The names of its parameters, in their order.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(&**name),
            Segment::Literal(_) => None,
        })
    }

    /// Whether it matches a single path.
    pub fn is_exact(&self) -> bool {
        !self.is_prefix && self.params().next().is_none()
    }

    /// The values of the parameters in `path`; `None` if it does not match.
    pub(super) fn matches(&self, path: &str) -> Option<Params> {
        let mut given = path.strip_prefix('/')?.split('/');
        let mut params = Params::default();
        for segment in &self.segments {
            let value = percent_decode_str(given.next()?).decode_utf8().ok()?;
            match segment {
                Segment::Literal(literal) if **literal == *value => {}
                Segment::Param(name) if !value.is_empty() => {
                    params.0.push((Rc::clone(name), value.into()));
                }
                _ => return None,
            }
        }
        (self.is_prefix || given.next().is_none()).then_some(params)
    }

    /// Sort key, most specific first: exact paths before prefixes, literals before parameters,
    /// longer paths before shorter ones.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let params = self.params().count();
        (self.is_prefix, Reverse(self.segments.len() - params), params)
    }

    /// The segments that are no parameters.
    fn literals(&self) -> impl Iterator<Item = Option<&str>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Some(&**text),
            Segment::Param(_) => None,
        })
    }
}

impl PartialEq for RoutePattern {
    fn eq(&self, other: &RoutePattern) -> bool {
        self.is_prefix == other.is_prefix && self.literals().eq(other.literals())
    }
}

impl Eq for RoutePattern {}

impl Hash for RoutePattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_prefix.hash(state);
        self.literals().for_each(|literal| literal.hash(state));
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Segment, PatternError> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !name.is_empty() && name.bytes().all(is_name_byte) => {
                Ok(Segment::Param(name.into()))
            }
            Some(_) => Err(PatternError::BadName),
            None if text.contains(['{', '}', '*']) => Err(PatternError::BadSegment),
            None => Ok(Segment::Literal(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RoutePattern, PatternError> {
        text.parse()
    }

    #[test]
    fn malformed_patterns_are_rejected() {
        let valid =
            ["/", "/a", "/a/", "/a/{b}/c", "/{a}/{b}", "/a/*", "/*", "/x~y", "/caf\u{e9} 1"];
        for text in valid {
            assert!(parse(text).is_ok(), "{text}");
        }
        for (text, error) in [
            ("", PatternError::NoSlash),
            ("chat", PatternError::NoSlash),
            ("*", PatternError::NoSlash),
            ("/a/{}", PatternError::BadName),
            ("/{a b}", PatternError::BadName),
            ("/{a}{b}", PatternError::BadName),
            ("/{a}/{b}/{a}", PatternError::NameTwice),
            ("/*/a", PatternError::BadSegment),
            ("/*/*", PatternError::BadSegment),
            ("/a*", PatternError::BadSegment),
            ("/{a}b", PatternError::BadSegment),
            ("/{a", PatternError::BadSegment),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn patterns_that_match_the_same_requests_are_equal() {
        let same = HashSet::from(["/a/{b}/*", "/a/{c}/*"].map(|text| parse(text).unwrap()));
        assert_eq!(same.len(), 1);
        for other in ["/a/{b}", "/a/b/*", "/{a}/b/*", "/a/*", "/a/{b}/{c}/*"] {
            assert!(!same.contains(&parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn parameters_and_prefixes_make_a_pattern_inexact() {
        for (text, is_exact) in [("/", true), ("/a/b", true), ("/*", false), ("/a/{b}/c", false)] {
            assert_eq!(parse(text).unwrap().is_exact(), is_exact, "{text}");
        }
    }
}
