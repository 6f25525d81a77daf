//! The filters of requests: from a file, or made for the events of `publish`.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use fastrand::Rng;
use serde_json::Value;

use super::author::Author;

/// What a generated filter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    Kind,
    Author,
    AuthorKind,
    /// Ids of stored events, as many as the limit
    Id,
    /// Nothing: all events
    All,
}

/// The filters to draw from.
#[derive(Debug)]
pub(crate) enum Filters {
    /// The filters of each REQ, joined by commas; used in rotation.
    Given { filters: Vec<String>, next: usize },
    /// Made of these.
    Made { by: By, kind: u16, authors: Vec<Author>, limit: usize, ids: Vec<String>, rng: Rng },
}

impl Filters {
    /// Reads a file with one filter, or an array of filters, per line.
    ///
    /// # Errors
    /// The file cannot be read or a line is neither.
    pub(crate) fn read(path: &Path) -> Result<Filters, String> {
        let name = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let filters = lines
            .map(|(at, line)| {
                joined(line).ok_or_else(|| {
                    format!("{name}:{}: expected a filter or an array of filters", at + 1)
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if filters.is_empty() {
            return Err(format!("{name}: expected a filter"));
        }
        Ok(Filters::Given { filters, next: 0 })
    }

    /// The filter of the request that finds ids; `None` if none are needed.
    pub(crate) fn of_ids(&self) -> Option<String> {
        match self {
            Filters::Made { by: By::Id, kind, .. } => {
                Some(format!(r#"{{"kinds":[{kind}],"limit":500}}"#))
            }
            _ => None,
        }
    }

    /// Adds the id of a stored event.
    pub(crate) fn learn(&mut self, id: &str) {
        if let Filters::Made { ids, .. } = self {
            ids.push(id.to_owned());
        }
    }

    /// Whether requests want no stored events.
    pub(crate) fn is_empty_handed(&self) -> bool {
        matches!(self, Filters::Made { limit: 0, .. })
    }

    /// The filters of the next request.
    pub(crate) fn draw(&mut self) -> String {
        match self {
            Filters::Given { filters, next } => {
                *next = (*next + 1) % filters.len();
                filters[*next].clone()
            }
            Filters::Made { by, kind, authors, limit, ids, rng } => {
                let author = &authors[rng.usize(..authors.len())].public_key;
                let named = match by {
                    By::Kind => format!(r#""kinds":[{kind}],"#),
                    By::Author => format!(r#""authors":["{author}"],"#),
                    By::AuthorKind => format!(r#""authors":["{author}"],"kinds":[{kind}],"#),
                    By::Id => format!(r#""ids":[{}],"#, drawn(ids, *limit, rng)),
                    By::All => String::new(),
                };
                format!(r#"{{{named}"limit":{limit}}}"#)
            }
        }
    }
}

/// Up to `count` consecutive ids from a random place on, as JSON strings.
fn drawn(ids: &[String], count: usize, rng: &mut Rng) -> String {
    let start = rng.usize(..=ids.len());
    let quoted: Vec<String> = ids
        .iter()
        .cycle()
        .skip(start)
        .take(count.min(ids.len()))
        .map(|id| format!(r#""{id}""#))
        .collect();
    quoted.join(",")
}

/// The filters of a line, joined by commas.
fn joined(line: &str) -> Option<String> {
    let filters = match serde_json::from_str(line).ok()? {
        Value::Array(filters) if !filters.is_empty() => filters,
        filter @ Value::Object(_) => vec![filter],
        _ => return None,
    };
    let are_filters = filters.iter().all(Value::is_object);
    are_filters.then(|| filters.iter().map(Value::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::authors;

    fn made(by: By, limit: usize) -> Filters {
        let (authors, rng) = (authors(1, 2), Rng::with_seed(1));
        Filters::Made { by, kind: 1, authors, limit, ids: Vec::new(), rng }
    }

    #[test]
    fn made_filters_name_what_was_published() {
        for (by, names) in [
            (By::Kind, &["kinds", "limit"][..]),
            (By::Author, &["authors", "limit"]),
            (By::AuthorKind, &["authors", "kinds", "limit"]),
            (By::All, &["limit"]),
        ] {
            let filter: Value = serde_json::from_str(&made(by, 20).draw()).unwrap();
            let members: Vec<&String> = filter.as_object().unwrap().keys().collect();
            assert_eq!(members, names, "{by:?}");
            assert_eq!(filter["limit"], 20);
        }
        let mut by_id = made(By::Id, 2);
        assert!(by_id.of_ids().is_some() && made(By::Kind, 2).of_ids().is_none());
        ["a", "b", "c"].into_iter().for_each(|id| by_id.learn(id));
        let filter: Value = serde_json::from_str(&by_id.draw()).unwrap();
        assert_eq!(filter["ids"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_line_is_a_filter_or_several() {
        assert_eq!(joined(r#"{"kinds": [1]}"#).as_deref(), Some(r#"{"kinds":[1]}"#));
        assert_eq!(joined(r#"[{"limit":1},{}]"#).as_deref(), Some(r#"{"limit":1},{}"#));
        for line in ["[]", "1", "[1]", r#"{"kinds""#] {
            assert_eq!(joined(line), None, "{line}");
        }
    }
}
