//! One event, from the loop to the text of its line.

use std::net::SocketAddr;
use std::time::SystemTime;

use serde::Serialize;
use weir::protocol::http::TraceParent;
use weir::reactor::{ConnId, Event, EventConn, EventKind};

/// Characters of a request's target in a line.
const TARGET_CHARS: usize = 256;

/// An event that waits for the thread.
#[derive(Debug)]
pub(super) struct Entry {
    time: SystemTime,
    event: &'static str,
    conn: Option<Conn>,
    reason: Option<String>,
    /// HTTP status of a refusal.
    status: Option<u16>,
    /// Close code that was sent or received.
    code: Option<u16>,
    /// Refusals that are one line.
    count: Option<u64>,
}

/// The connection of an event.
#[derive(Debug)]
struct Conn {
    id: ConnId,
    client: SocketAddr,
    via: Option<SocketAddr>,
    route: Option<Box<str>>,
    subject: Option<Box<str>>,
    trace: Option<TraceParent>,
}

impl Entry {
    pub(super) fn of(event: &Event<'_>) -> Entry {
        let mut entry = Entry::new(event.kind.name());
        entry.conn = event.conn.as_ref().map(Conn::of);
        match event.kind {
            EventKind::Refused { status, reason } => {
                entry.status = status;
                entry.reason = Some(reason.to_owned());
            }
            EventKind::RefusedMore { reason, count } => {
                entry.reason = Some(reason.to_owned());
                entry.count = Some(count);
            }
            EventKind::Closed(reason) => {
                entry.code = reason.close_code().map(|code| code.get());
                entry.reason = Some(reason.name().to_owned());
            }
            EventKind::Admin { method, target } => {
                let target: String = target.chars().take(TARGET_CHARS).collect();
                entry.reason = Some(format!("{method} {target}"));
            }
            EventKind::Level { level, resource } => {
                entry.reason = Some(format!("{level} by {resource}"));
            }
            _ => {}
        }
        entry
    }

    /// What became of the configuration.
    pub(super) fn config(outcome: &str) -> Entry {
        Entry { reason: Some(outcome.to_owned()), ..Entry::new("config") }
    }

    fn new(event: &'static str) -> Entry {
        let time = SystemTime::now();
        let (conn, reason, status, code, count) = (None, None, None, None, None);
        Entry { time, event, conn, reason, status, code, count }
    }

    /// The text of the line, a JSON object. `lost` events were lost before it.
    pub(super) fn to_json(&self, sequence: u64, lost: u64) -> String {
        let conn = self.conn.as_ref();
        let line = Line {
            time: humantime::format_rfc3339_micros(self.time).to_string(),
            sequence,
            event: self.event,
            conn: conn.map(|conn| conn.id.to_string()),
            peer: conn.and_then(|conn| conn.via).map(shown),
            client: conn.map(|conn| shown(conn.client)),
            route: conn.and_then(|conn| conn.route.as_deref()),
            subject: conn.and_then(|conn| conn.subject.as_deref()),
            trace: conn.and_then(|conn| conn.trace).map(|trace| trace.trace_id().to_string()),
            reason: self.reason.as_deref(),
            status: self.status,
            code: self.code,
            count: self.count,
            lost: (lost > 0).then_some(lost),
        };
        // Strings and numbers always have a form in JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl Conn {
    fn of(conn: &EventConn<'_>) -> Conn {
        Conn {
            id: conn.id,
            client: conn.client,
            via: conn.via,
            route: conn.route.map(Box::from),
            subject: conn.subject.map(Box::from),
            trace: conn.trace,
        }
    }
}

/// An address, without the port 0 of a client whose port is not known.
fn shown(address: SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    sequence: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn: Option<String>,
    /// The trusted proxy that the request came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}
