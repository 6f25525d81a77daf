//! Log lines about peers: one structured record per event, rate-limited by kind and reason.
//!
//! It owns the format of these lines; their limits are in [`lines`](crate::reactor::parts::lines).
//! A peer can provoke each of them, so that without a limit a flood of bad requests would make the
//! log the bottleneck. Suppressed lines are counted, and the count is logged one second later.
//! Lines that an operator asks for (debug, `log_access`) have no limit.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use log::kv::{ToValue, Value};
use log::{Level, debug, info, log, log_enabled, warn};

use crate::protocol::CloseCode;
use crate::protocol::handshake::{FieldError, Refusal, Request, Response};
use crate::protocol::http::TraceId;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::connection::Connection;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::lines::{Kind, Reason, SUMMARY_DELAY};
use crate::reactor::parts::schedule::Timer;

/// Maximum length of a path or an Origin in a log line, in characters; requests may contain
/// kilobytes.
const LOGGED_CHARS: usize = 256;

impl Core {
    /// Whether a line of this level that a peer can provoke may be logged now. Counts it if not.
    pub(crate) fn may_log(&mut self, level: Level, kind: Kind, reason: Reason) -> bool {
        if !log_enabled!(level) {
            return false;
        }
        let is_allowed = self.log_limits.take(level, kind, reason, self.now);
        self.metrics.lines_held_back += u64::from(!is_allowed);
        if !is_allowed && !self.log_limits.is_summary_due {
            self.log_limits.is_summary_due = true;
            self.schedule.insert(self.now + SUMMARY_DELAY, Timer::Lines);
        }
        is_allowed
    }

    /// Logs how many lines were suppressed, at their level. Reports refusals that were held back.
    pub(crate) fn log_held_back(&mut self) {
        self.observe_held_back();
        for (level, kind, reason, more) in self.log_limits.take_held_back() {
            log!(level, reason = reason, more = more; "{kind}: {more} lines suppressed");
        }
    }

    /// Stores the Origin of a request, for a log line about a response that may come later.
    pub(crate) fn note_origin(&mut self, id: ConnId, request: &Request<'_>) {
        if let Some(handshake) = self.conns.get_mut(id).and_then(|conn| conn.handshake()) {
            handshake.origin = request.header("Origin").map(|origin| cut(origin).into());
        }
    }

    /// Clears what was stored of the last request on the connection. The next one cannot be parsed,
    /// and its log line must not show path and Origin of another request.
    pub(crate) fn forget_request(&mut self, id: ConnId) {
        self.forget_client(id);
        self.traces.remove(id);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.path = self.no_path.clone();
            if let Some(handshake) = conn.handshake() {
                handshake.origin = None;
            }
        }
    }

    /// Stores the path of a request without a route, or before it is routed.
    pub(crate) fn note_path(&mut self, id: ConnId, request: &Request<'_>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.path = cut(request.path()).into();
        }
    }

    /// Logs that the accept rate is reduced.
    pub(crate) fn log_crowding(&mut self) {
        if let Some((connections, most)) = self.admission.take_crowding()
            && self.may_log(Level::Warn, "accepting slowly", "crowded")
        {
            warn!("{connections} of {most} connections: accepting slowly");
        }
    }

    pub(crate) fn log_opened(&self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            let trace = self.logged_trace(id);
            debug!(
                conn:% = id, peer:% = peer(conn), path = path(conn), subject = subject(conn),
                trace = trace;
                "opened"
            );
        }
    }

    /// Logs the refusal of a request.
    pub(crate) fn log_refused(&mut self, id: ConnId, refusal: Refusal) {
        self.observe_refused(id, refusal.status(), refusal.name());
        if self.may_log(Level::Info, "refused", refusal.name()) {
            self.log_refusal(id, refusal.status(), refusal.name(), &refusal);
        }
    }

    /// Logs the refusal of a request by its service.
    pub(crate) fn log_refused_by_service(&mut self, id: ConnId, response: &Response) {
        const REASON: Reason = "service";
        self.observe_refused(id, response.status(), REASON);
        if self.may_log(Level::Info, "refused", REASON) {
            self.log_refusal(id, response.status(), REASON, &"by its service");
        }
    }

    /// Logs that the 101 that a service wants cannot be sent.
    pub(crate) fn log_accept_failed(&mut self, id: ConnId, error: FieldError) {
        const REASON: Reason = "accept";
        if self.may_log(Level::Warn, "upgrade", REASON)
            && let Some(conn) = self.conns.get(id)
        {
            let service = self.service_name(conn.service);
            warn!(
                conn:% = id, peer:% = peer(conn), path = path(conn), subject = subject(conn),
                service = service, reason = REASON, trace = self.logged_trace(id);
                "the service's 101 cannot be sent: {error}"
            );
        }
    }

    fn log_refusal(&mut self, id: ConnId, status: u16, reason: Reason, text: &dyn fmt::Display) {
        let trace = self.logged_trace(id);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let handshake = conn.handshake();
        let origin = handshake.and_then(|handshake| handshake.origin.take());
        let origin = origin.as_deref().map(Escaped);
        info!(
            conn:% = id, peer:% = peer(conn), path = path(conn), subject = subject(conn),
            origin = origin, status = status, reason = reason, trace = trace;
            "refused: {status} {text}"
        );
    }

    fn logged_trace(&self, id: ConnId) -> Option<LoggedTrace> {
        self.trace(id).map(|trace| LoggedTrace(trace.trace_id()))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn log_tls_failure(&mut self, id: ConnId, error: &rustls::Error) {
        const REASON: Reason = "tls_failed";
        if self.may_log(Level::Info, "TLS", REASON)
            && let Some(conn) = self.conns.get(id)
        {
            info!(conn:% = id, peer:% = peer(conn), reason = REASON; "TLS: {error}");
        }
    }

    /// Logs the end of a connection that was removed from the table. Normal ends are logged only if
    /// the operator asks for it.
    pub(crate) fn log_end(&mut self, id: ConnId, conn: &Connection, reason: CloseReason) {
        let level = match end_of(conn, reason) {
            End::Normal if self.settings.log_access => Level::Info,
            End::Normal | End::Logged => Level::Debug,
            End::Fault if self.may_log(Level::Info, "ended", reason.name()) => Level::Info,
            End::Fault => return,
        };
        let traffic = conn.traffic;
        log!(
            level,
            conn:% = id, peer:% = peer(conn), path = path(conn), subject = subject(conn),
            reason = reason.name(), code = reason.close_code().map(CloseCode::get),
            messages_in = traffic.messages_in, messages_out = traffic.messages_out,
            bytes_in = traffic.bytes_in, bytes_out = traffic.bytes_out,
            seconds = seconds(self.now.since(conn.opened)), trace = self.logged_trace(id);
            "ended: {reason}"
        );
    }
}

/// The id of a trace in a log line.
struct LoggedTrace(TraceId);

impl ToValue for LoggedTrace {
    fn to_value(&self) -> Value<'_> {
        Value::from_display(&self.0)
    }
}

/// How important the end of a connection is for the log.
enum End {
    /// A normal end.
    Normal,
    /// Nothing was served, or an earlier line has the details.
    Logged,
    Fault,
}

fn end_of(conn: &Connection, reason: CloseReason) -> End {
    match reason {
        CloseReason::PeerClosed(_)
        | CloseReason::Service(_)
        | CloseReason::Aborted
        | CloseReason::Shutdown
        | CloseReason::UpstreamClosed(_)
        | CloseReason::TunnelEnded
        | CloseReason::HttpDone => End::Normal,
        CloseReason::Refused(_) | CloseReason::TlsFailed => End::Logged,
        CloseReason::PeerGone | CloseReason::Truncated if !conn.is_announced() => End::Logged,
        // Proxies reset the connections of their health checks.
        CloseReason::PeerReset if !conn.is_announced() && conn.quota() == Quota::Proxies => {
            End::Logged
        }
        _ => End::Fault,
    }
}

pub(super) fn peer(conn: &Connection) -> LoggedPeer {
    LoggedPeer(SocketAddr::from(conn.peer))
}

/// An address in a log line, without the port 0 of a client whose port is not known.
pub(super) struct LoggedPeer(SocketAddr);

impl fmt::Display for LoggedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            0 => self.0.ip().fmt(f),
            _ => self.0.fmt(f),
        }
    }
}

pub(super) fn path(conn: &Connection) -> Escaped<'_> {
    Escaped(conn.logged_path())
}

/// The subject of its identity.
pub(super) fn subject(conn: &Connection) -> Option<Escaped<'_>> {
    conn.subject().map(Escaped)
}

/// Seconds, rounded to milliseconds.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The part of a peer's text that is logged.
fn cut(text: &str) -> &str {
    text.char_indices().nth(LOGGED_CHARS).map_or(text, |(at, _)| &text[..at])
}

/// A peer's text in a log line: truncated, with control and other invisible characters escaped, so
/// that it can neither forge a line nor control a terminal.
pub(super) struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        cut(self.0).chars().try_for_each(|c| match c {
            ' '..='~' => write!(f, "{c}"),
            _ => write!(f, "{}", c.escape_debug()),
        })
    }
}

impl ToValue for Escaped<'_> {
    fn to_value(&self) -> Value<'_> {
        Value::from_display(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_peers_is_cut_and_escaped() {
        let shown = |text: &str| Escaped(text).to_string();
        assert_eq!(shown("/a'b\"c\\d%20é"), "/a'b\"c\\d%20é");
        assert_eq!(shown("\u{1b}[2J\r\n\0"), r"\u{1b}[2J\r\n\0");
        // The control characters beyond ASCII, and those that turn the direction of writing.
        assert_eq!(shown("\u{9b}\u{202e}"), r"\u{9b}\u{202e}");
        assert_eq!(shown(&"é".repeat(300)), "é".repeat(256));
        assert_eq!(shown(&"\n".repeat(300)), "\\n".repeat(256));
    }
}
