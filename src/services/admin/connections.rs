//! `GET /connections`: the open WebSockets of clients as JSON, in pages.
//!
//! A page looks at a part of the loop's table, and is limited in connections and bytes. It shows
//! addresses and subjects, which web pages in an operator's browser must not read. So the host of a request
//! must not be a DNS name, which another site could make lead here.

use std::borrow::Cow;
use std::fmt::Write;

use crate::protocol::handshake::{Request, Response};
use crate::protocol::http::check_sender;
use crate::reactor::{Context, Record, Time};

/// The path of the list: `?from=N` continues at the `next` of the last page, `limit=N` limits the
/// connections of a page, `subject=NAME` selects those of a subject.
pub const CONNECTIONS: &str = "/connections";

/// Connections of a page, if the request states no number; and the most that it may state.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Slots of the table that a page looks at, so that it takes less than about a millisecond.
const SLOTS_PER_PAGE: usize = 4096;
/// A page ends with the connection that reaches this size.
const PAGE_BYTES: usize = 256 * 1024;
/// Maximum length of a path, in characters: a request may have kilobytes.
const PATH_CHARS: usize = 256;

/// The page that a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Query<'a> {
    from: usize,
    limit: usize,
    subject: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    /// `None` if a number is malformed or out of range.
    fn of(request: &Request<'a>) -> Option<Query<'a>> {
        let number = |name, default| match request.query_value(name) {
            Some(text) => text.parse().ok(),
            None => Some(default),
        };
        let from = number("from", 0)?;
        let limit =
            number("limit", LIMIT_DEFAULT).filter(|limit| (1..=LIMIT_MAX).contains(limit))?;
        Some(Query { from, limit, subject: request.query_value("subject") })
    }

    fn selects(&self, record: &Record<'_>) -> bool {
        self.subject.as_ref().is_none_or(|subject| record.subject() == Some(&**subject))
    }
}

/// The response to a request for a page.
pub(super) fn respond(cx: &Context<'_>, request: &Request<'_>) -> Response {
    if let Err(why) = check_sender(request) {
        return Response::text(403, why);
    }
    match Query::of(request) {
        Some(query) => Response::new(200, "application/json", page(cx, &query).into_bytes()),
        None => Response::text(400, "from and limit must be numbers, limit from 1 to 1000\n"),
    }
}

fn page(cx: &Context<'_>, query: &Query<'_>) -> String {
    let end = query.from.saturating_add(SLOTS_PER_PAGE);
    let mut next = (end < cx.slots()).then_some(end);
    let mut text = String::from("{\"connections\":[");
    let selected = cx.clients(query.from..end).filter(|record| query.selects(record));
    for (count, record) in selected.enumerate() {
        if count == query.limit || text.len() >= PAGE_BYTES {
            next = Some(record.id.slot());
            break;
        }
        text += if count > 0 { ",\n" } else { "\n" };
        text += &object(&record, cx.now());
    }
    let next = next.map_or("null".to_owned(), |slot| slot.to_string());
    text += &format!("],\"next\":{next}}}\n");
    text
}

/// One connection. Its members have the names of the fields in log lines.
fn object(record: &Record<'_>, now: Time) -> String {
    let path: String = record.path.chars().take(PATH_CHARS).collect();
    let trace = record.trace.map(|trace| trace.trace_id().to_string());
    let traffic = record.traffic;
    let seconds = |since| now.since(since).as_secs_f64();
    let round_trip = record.round_trip.map(|trip| trip.as_secs_f64());
    let members = [
        ("conn", quoted(&record.id.to_string())),
        ("peer", quoted(&record.peer.to_string())),
        ("route", quoted(record.route)),
        ("path", quoted(&path)),
        ("protocol", optional(record.protocol.map(quoted))),
        ("subject", optional(record.subject().map(quoted))),
        ("priority", quoted(record.priority.name())),
        ("seconds", format!("{:.3}", seconds(record.opened))),
        ("silent_seconds", format!("{:.3}", seconds(record.last_heard))),
        ("messages_in", traffic.messages_in.to_string()),
        ("messages_out", traffic.messages_out.to_string()),
        ("bytes_in", traffic.bytes_in.to_string()),
        ("bytes_out", traffic.bytes_out.to_string()),
        ("queued_bytes", record.queued_bytes.to_string()),
        ("round_trip_seconds", optional(round_trip.map(|seconds| format!("{seconds:.6}")))),
        ("trace", optional(trace.as_deref().map(quoted))),
    ];
    let members = members.map(|(key, value)| format!("\"{key}\":{value}"));
    format!("{{{}}}", members.join(","))
}

fn optional(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
}

/// A string of JSON (RFC 8259, 7).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string does not fail.
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    /// The page that a request with this query asks for: the first connection, the limit, the subject.
    fn asked(query: &str) -> Option<(usize, usize, Option<String>)> {
        let head = format!("GET /connections{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut slots = EMPTY_SLOTS;
        let request = Request::parse(head.as_bytes(), &mut slots).unwrap();
        let query = Query::of(&request)?;
        Some((query.from, query.limit, query.subject.map(Cow::into_owned)))
    }

    #[test]
    fn a_query_has_a_start_a_limit_and_a_subject() {
        assert_eq!(asked(""), Some((0, LIMIT_DEFAULT, None)));
        let all = "?limit=1000&from=4096&subject=a%20%22b";
        assert_eq!(asked(all), Some((4096, 1000, Some("a \"b".to_owned()))));
        for bad in ["?limit=0", "?limit=1001", "?limit=x", "?limit=", "?from=-1", "?from=1e3"] {
            assert_eq!(asked(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_are_strings_of_json() {
        assert_eq!(quoted("a\"b\\c\u{1}é"), "\"a\\\"b\\\\c\\u0001é\"");
    }
}
