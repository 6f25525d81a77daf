//! The state of all pools and upstreams as a page and as JSON.
//!
//! Both are written by hand: the feature `proxy` has no JSON library, and names have few special
//! characters.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::time::Duration;

use super::counts::ProxyPoolCounts;
use super::service::Proxy;
use crate::reactor::{Context, Time};
use crate::upstream::{PoolUpstreamCounts, UpstreamState, UpstreamStatus};

/// What the status shows.
pub(super) struct Report<'a> {
    now: Time,
    /// The load of the loop, as JSON.
    load: String,
    pools: Vec<PoolReport<'a>>,
    /// Requests that the loop refused, by reason.
    refused: Vec<(&'static str, u64)>,
    /// Connections that ended, by reason.
    closed: Vec<(&'static str, u64)>,
}

struct PoolReport<'a> {
    name: &'a str,
    /// `None`: no route names the pool.
    counts: Option<Rc<ProxyPoolCounts>>,
    held_bytes: usize,
    upstreams: Vec<UpstreamReport<'a>>,
}

struct UpstreamReport<'a> {
    status: UpstreamStatus<'a>,
    /// Counts that all addresses of a DNS name share.
    counts: Option<Rc<PoolUpstreamCounts>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(proxy: &'a Proxy, cx: &mut Context<'_>) -> Report<'a> {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(reason, count)| (*reason, *count)).collect()
        };
        let metrics = cx.metrics();
        let (refused, closed) = (list(&metrics.refusals), list(&metrics.ends));
        let (now, load) = (cx.now(), cx.load().to_json());
        let by_upstream = proxy.upstream_counts().all();
        let empty = |name| {
            let counts = proxy.counts.get(name);
            let held_bytes = counts.as_ref().map_or(0, |counts| counts.held_bytes(cx));
            PoolReport { name, counts, held_bytes, upstreams: Vec::new() }
        };
        let mut pools: Vec<PoolReport<'a>> = Vec::new();
        for status in proxy.upstreams(now) {
            let entry = status.name.split_once('/').map_or(status.name, |(entry, _)| entry);
            let is_same = |counts: &&Rc<PoolUpstreamCounts>| {
                counts.pool == status.pool && counts.upstream == entry
            };
            let counts = by_upstream.iter().find(is_same).cloned();
            let upstream = UpstreamReport { status, counts };
            match pools.iter_mut().find(|pool| pool.name == status.pool) {
                Some(pool) => pool.upstreams.push(upstream),
                None => {
                    let mut pool = empty(status.pool);
                    pool.upstreams.push(upstream);
                    pools.push(pool);
                }
            }
        }
        for name in proxy.unresolved_pools() {
            if !pools.iter().any(|pool| pool.name == name) {
                pools.push(empty(name));
            }
        }
        Report { now, load, pools, refused, closed }
    }

    /// As JSON. Counts of zero are left out of the lists by reason.
    pub(super) fn json(&self) -> String {
        let pools = Json::array(self.pools.iter().map(|pool| self.pool_json(pool)));
        let object = Json::object([
            ("load", Json(self.load.clone())),
            ("pools", pools),
            ("refused", Json::counts(self.refused.iter().copied())),
            ("closed", Json::counts(self.closed.iter().copied())),
        ]);
        format!("{object}\n")
    }

    fn pool_json(&self, pool: &PoolReport<'_>) -> Json {
        let upstreams = Json::array(pool.upstreams.iter().map(|it| self.upstream_json(it)));
        let counts = pool.counts.as_deref();
        let by_reason = |counts: Vec<(&'static str, u64)>| Json::counts(counts.into_iter());
        Json::object([
            ("name", Json::text(pool.name)),
            ("tunnels_total", Json::number(counts.map_or(0, |counts| counts.tunnels.get()))),
            ("retries_total", Json::number(counts.map_or(0, |counts| counts.retries.get()))),
            ("held_bytes", Json::number(pool.held_bytes as u64)),
            ("refused", by_reason(counts.map_or(Vec::new(), |it| it.refused().collect()))),
            ("closed", by_reason(counts.map_or(Vec::new(), ProxyPoolCounts::closed))),
            ("upstreams", upstreams),
        ])
    }

    fn upstream_json(&self, upstream: &UpstreamReport<'_>) -> Json {
        let status = &upstream.status;
        let check = |(at, result): (Time, Result<(), _>)| {
            Json::object([("seconds_ago", self.ago(at)), ("result", Json::text(&outcome(result)))])
        };
        Json::object([
            ("name", Json::text(status.name)),
            ("state", Json::text(name(status.state))),
            ("reason", Json::text(&status.state.to_string())),
            ("since_seconds", self.ago(status.since)),
            ("weight", Json::number(status.weight.into())),
            ("backup", Json::boolean(status.is_backup)),
            ("tunnels", Json::number(status.tunnels as u64)),
            ("exchanges", Json::number(status.exchanges as u64)),
            ("idle", Json::number(status.idle as u64)),
            ("tries_total", Json::number(status.tries)),
            ("failures_total", Json::number(status.failures)),
            ("tries_by_outcome", Json::counts(tries(upstream).into_iter())),
            ("breaker", Json::text(status.breaker)),
            ("breaker_opened_total", Json::number(status.opened)),
            ("last_check", status.last_check.map_or(Json::null(), check)),
        ])
    }

    fn ago(&self, time: Time) -> Json {
        Json::number(self.now.since(time).as_secs())
    }

    /// As a page for people.
    pub(super) fn page(&self) -> String {
        let mut page = String::from(PAGE_START);
        for pool in &self.pools {
            self.write_pool(&mut page, pool);
        }
        let _ = write!(
            page,
            "<h2>all connections</h2>\n<p>refused: {}\n<p>closed: {}\n{PAGE_END}",
            Counts(&self.refused),
            Counts(&self.closed)
        );
        page
    }

    fn write_pool(&self, page: &mut String, pool: &PoolReport<'_>) {
        let _ = writeln!(page, "<h2>pool {}</h2>", Escaped(pool.name));
        if let Some(counts) = &pool.counts {
            let refused: Vec<_> = counts.refused().collect();
            let _ = writeln!(
                page,
                "<p>tunnels so far: {}; retries: {}; bytes held: {}<p>refused: {}\n<p>closed: {}",
                counts.tunnels.get(),
                counts.retries.get(),
                pool.held_bytes,
                Counts(&refused),
                Counts(&counts.closed())
            );
        }
        if pool.upstreams.is_empty() {
            page.push_str("<p>no name of this pool has been resolved\n");
            return;
        }
        page.push_str(TABLE_START);
        for upstream in &pool.upstreams {
            self.write_upstream(page, upstream);
        }
        page.push_str("</table>\n");
    }

    fn write_upstream(&self, page: &mut String, upstream: &UpstreamReport<'_>) {
        let status = &upstream.status;
        let class = if status.state == UpstreamState::Up { "up" } else { "down" };
        let since = self.now.since(status.since);
        let check = status.last_check.map(|(at, result)| {
            format!("{}, {} ago", outcome(result), Seconds(self.now.since(at)))
        });
        let _ = writeln!(
            page,
            "<tr class={class}><td>{}{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}, opened {} \
             times<td>{}",
            Escaped(status.name),
            if status.is_backup { " (backup)" } else { "" },
            Escaped(&status.state.to_string()),
            Seconds(since),
            status.tunnels,
            status.exchanges,
            status.idle,
            status.tries,
            Counts(&failures(upstream)),
            status.breaker,
            status.opened,
            Escaped(check.as_deref().unwrap_or("none")),
        );
    }
}

const PAGE_START: &str = "<!doctype html><meta charset=utf-8><title>weir: upstreams</title>\n\
    <style>body{font:14px/1.5 sans-serif;margin:1.5em}table{border-collapse:collapse}\
    td,th{border:1px solid #999;padding:.2em .6em;text-align:left}.down{background:#fdd}</style>\n\
    <h1>Upstreams</h1>\n";

const TABLE_START: &str = "<table><tr><th>upstream<th>state<th>for<th>tunnels<th>requests<th>idle\
    <th>tries<th>failed, by reason<th>breaker<th>last check\n";

const PAGE_END: &str = "<p>The same as JSON: <a href=\"?format=json\">?format=json</a>. To drain \
    an upstream: <code>curl -X POST 'http://ADDRESS/drain?upstream=NAME'</code>; \
    <code>/undrain</code> ends that.\n";

/// The name of a state, for programs.
fn name(state: UpstreamState) -> &'static str {
    match state {
        UpstreamState::Up => "up",
        UpstreamState::Avoided => "avoided",
        UpstreamState::BreakerOpen => "breaker_open",
        UpstreamState::Down(_) => "down",
        UpstreamState::Drained => "drained",
        UpstreamState::Unlisted => "unlisted",
        UpstreamState::Removed => "removed",
    }
}

fn outcome(result: Result<(), impl fmt::Display>) -> String {
    result.map_or_else(|failure| failure.to_string(), |()| "ok".to_owned())
}

fn tries(upstream: &UpstreamReport<'_>) -> Vec<(&'static str, u64)> {
    upstream.counts.iter().flat_map(|counts| counts.tries()).collect()
}

/// The tries that failed, by reason.
fn failures(upstream: &UpstreamReport<'_>) -> Vec<(&'static str, u64)> {
    const NO_FAILURE: [&str; 2] = ["answered", "cancelled"];
    let mut tries = tries(upstream);
    tries.retain(|(outcome, _)| !NO_FAILURE.contains(outcome));
    tries
}

/// Counts above zero, as in `connect 3, tls 1`.
struct Counts<'a>(&'a [(&'static str, u64)]);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (reason, count) in self.0.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{reason} {count}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// Whole seconds, as in `1h 2m 3s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h ")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m ")?;
        }
        write!(f, "{}s", seconds % 60)
    }
}

/// A text in HTML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A written JSON value (RFC 8259).
struct Json(String);

impl Json {
    fn null() -> Json {
        Json("null".to_owned())
    }

    fn boolean(value: bool) -> Json {
        Json(value.to_string())
    }

    fn number(value: u64) -> Json {
        Json(value.to_string())
    }

    fn text(text: &str) -> Json {
        let mut out = String::with_capacity(text.len() + 2);
        out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if c < ' ' => out += &format!("\\u{:04x}", u32::from(c)),
                c => out.push(c),
            }
        }
        out.push('"');
        Json(out)
    }

    fn array(values: impl Iterator<Item = Json>) -> Json {
        let values: Vec<String> = values.map(|value| value.0).collect();
        Json(format!("[{}]", values.join(",")))
    }

    fn object<'k>(members: impl IntoIterator<Item = (&'k str, Json)>) -> Json {
        let member = |(key, value): (&str, Json)| format!("{}:{value}", Json::text(key));
        let members: Vec<String> = members.into_iter().map(member).collect();
        Json(format!("{{{}}}", members.join(",")))
    }

    fn counts(counts: impl Iterator<Item = (&'static str, u64)>) -> Json {
        let counts = counts.filter(|(_, count)| *count > 0);
        Json::object(counts.map(|(reason, count)| (reason, Json::number(count))))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_json_and_html() {
        let text = "a\"b\\c\u{1}<&>";
        assert_eq!(Json::text(text).0, "\"a\\\"b\\\\c\\u0001<&>\"");
        assert_eq!(Escaped(text).to_string(), "a&quot;b\\c\u{1}&lt;&amp;&gt;");
    }

    #[test]
    fn durations_are_written_in_hours_minutes_and_seconds() {
        let shown = |seconds| Seconds(Duration::from_secs(seconds)).to_string();
        assert_eq!(
            [0, 59, 60, 3600, 90_061].map(shown),
            ["0s", "59s", "1m 0s", "1h 0m 0s", "25h 1m 1s"]
        );
    }
}
