//! The admin address: `GET /metrics`, `GET /healthz`, `GET /readyz`, `GET /status` and the
//! [list of connections](CONNECTIONS), and with gates the [sign-out](SignOut) of subjects.
//!
//! Each scrape collects the counts of every [`Source`] and encodes them in the text format of
//! Prometheus, or in OpenMetrics for a client that asks for it. There is no cost between scrapes:
//! counts are plain integers elsewhere. Names and formats: [`Samples`].

mod connections;
mod format;
mod samples;
mod sign_out;

use std::collections::BTreeSet;
use std::fmt;

use self::format::Format;
use crate::protocol::Message;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::reactor::settings::{Limit, Settings};
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, HttpRequest, Level, Load, Metric, Metrics, Occupancy,
    Priority, ResourceLoad, Service, UpgradeRequest,
};

pub use self::connections::CONNECTIONS;
pub use self::samples::Samples;
pub use self::sign_out::{SIGN_OUT, SignOut};

/// The path of the metrics.
pub const METRICS: &str = "/metrics";
/// Liveness: 200 while the loop runs, also during a shutdown.
pub const HEALTH: &str = "/healthz";
/// Readiness: 200 if new clients should connect here, otherwise 503 with the reason. A full server
/// is ready, and the body states that it is full. A critically loaded one is not.
pub const READY: &str = "/readyz";
/// The load of the loop as JSON: its level, and each resource with its last samples.
pub const STATUS: &str = "/status";
/// A source of metrics.
pub trait Source: fmt::Debug {
    /// Adds the source's metrics as of now.
    fn collect(&self, samples: &mut Samples, cx: &Context<'_>);

    /// Why the source is not ready for clients, in one line; `None` if it is.
    fn failure(&self) -> Option<String> {
        None
    }
}

/// The service of the admin address.
#[derive(Debug)]
pub struct Admin {
    sources: Vec<Box<dyn Source>>,
}

impl Admin {
    /// A service that returns the metrics of the loop and of these sources.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Admin {
        Admin { sources }
    }

    fn metrics(&self, cx: &mut Context<'_>, request: &handshake::Request<'_>) -> Response {
        let mut samples = Samples::default();
        let metrics = cx.metrics();
        count_loop(&mut samples, metrics);
        count_by_reason(&mut samples, metrics);
        count_rates(&mut samples, metrics);
        measure_loop(&mut samples, metrics);
        let waiting = metrics.awaiting_refusal_now as usize;
        compare_limits(&mut samples, waiting, cx.occupancy(), cx.settings());
        show_load(&mut samples, &cx.load(), cx.clients_by_priority());
        for source in &self.sources {
            source.collect(&mut samples, cx);
        }
        let format = Format::of(request.headers("Accept"));
        match samples.into_text(format) {
            Ok(text) => Response::new(200, format.media_type(), text.into_bytes()),
            Err(fmt::Error) => Response::text(500, "the metrics could not be written"),
        }
    }
}

fn count_loop(samples: &mut Samples, metrics: &Metrics) {
    for Metric { name, shown, help, value } in metrics.iter() {
        let Some(shown) = shown else {
            continue;
        };
        let help = help.trim_end_matches('.');
        if name.ends_with("_now") {
            samples.gauge(shown, help, &[], value as f64);
        } else {
            samples.counter(shown, help, &[], value);
        }
    }
}

/// Every reason is present from the start, so that a rate includes its first count.
fn count_by_reason(samples: &mut Samples, metrics: &Metrics) {
    let refusals = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    let families: [(_, _, BTreeSet<&str>, _); 2] = [
        ("refused", "Requests refused, by reason", refusals, &metrics.refusals),
        ("closed", "Connections ended, by reason", CloseReason::NAMES.into(), &metrics.ends),
    ];
    for (name, help, mut reasons, counts) in families {
        reasons.extend(counts.keys());
        for reason in reasons {
            let count = counts.get(reason).copied().unwrap_or(0);
            samples.counter(name, help, &[("reason", reason)], count);
        }
    }
}

/// Rates and dry runs, by limit.
fn count_rates(samples: &mut Samples, metrics: &Metrics) {
    for (route, counts) in &metrics.throttled {
        for (what, count) in counts {
            let help = "Pauses of reading by a rate, by route and limit";
            samples.counter("throttled", help, &[("route", route), ("what", what)], *count);
        }
    }
    let help = "Connections that a rate pauses";
    samples.gauge("throttled_now", help, &[], metrics.throttled_now as f64);
    for limit in Limit::ALL {
        let count = metrics.refused_dry.get(limit.name()).copied().unwrap_or(0);
        let help = "What limits in limits_dry_run would have refused or paused, by limit";
        samples.counter("refused_dry", help, &[("reason", limit.name())], count);
    }
    for (table, entries) in &metrics.rate_tables {
        let help = "Buckets of rates, by table";
        samples.gauge("rate_entries", help, &[("table", table)], *entries as f64);
    }
}

fn measure_loop(samples: &mut Samples, metrics: &Metrics) {
    let took = [
        ("turn_seconds", "Time of a turn of the loop, without the poll", &metrics.turns_took),
        (
            "handshake_seconds",
            "Time from accept, or from the last response, to the open WebSocket",
            &metrics.handshakes_took,
        ),
        ("round_trip_seconds", "Time from a ping to its pong", &metrics.round_trips),
        (
            "decode_seconds",
            "Time to decode the part of a frame that one read returned; one message in 256",
            &metrics.decodes_took,
        ),
    ];
    for (name, help, durations) in took {
        samples.durations(name, help, &[], durations);
    }
    let help = "Size of received messages after decompression; one message in 256";
    samples.sizes("message_bytes", help, &[], &metrics.messages_sized);
}

/// Connections by kind, and their limits.
fn compare_limits(
    samples: &mut Samples,
    waiting: usize,
    occupancy: Occupancy,
    settings: &Settings,
) {
    let kinds = [
        ("client", occupancy.clients, occupancy.clients_max),
        ("outbound", occupancy.outbound, occupancy.outbound_max),
        ("operator", occupancy.operators, occupancy.operators_max),
        ("refused", waiting, settings.refused_max),
    ];
    for (kind, now, max) in kinds {
        let labels = [("kind", kind)];
        samples.gauge("connections", "Connections, by kind", &labels, now as f64);
        let help = "Limit on connections, by kind";
        samples.gauge("connections_limit", help, &labels, max as f64);
    }
    let limits = [
        ("buffered_limit_bytes", "Limit on buffered bytes", settings.buffered_bytes_max),
        (
            "deflate_windows_limit_bytes",
            "Limit on the bytes that compression windows may grow to",
            settings.deflate_windows_bytes_max,
        ),
        ("topics_limit", "Limit on joined topics of all connections", settings.topics_max),
    ];
    for (name, help, limit) in limits {
        samples.gauge(name, help, &[], limit as f64);
    }
    let help = "Whether the server is shutting down, 0 or 1";
    samples.gauge("draining", help, &[], f64::from(u8::from(occupancy.is_draining)));
}

/// The load by resource, and clients by priority.
fn show_load(samples: &mut Samples, load: &Load, clients: [usize; Priority::ALL.len()]) {
    for ResourceLoad { resource, pressure, value, .. } in &load.resources {
        match pressure {
            Some(pressure) => {
                let help = "Load of a resource; 1 is elevated";
                samples.gauge("pressure", help, &[("resource", resource.name())], *pressure);
            }
            None => {
                let help = "Part of the time in which the loop works, 0 to 1";
                samples.gauge("busy_ratio", help, &[], *value);
            }
        }
    }
    for (level, changes) in Level::ALL.iter().zip(load.changes) {
        let help = "Changes of the load level, by the level reached";
        samples.counter("level_changes", help, &[("to", level.name())], changes);
    }
    for (priority, count) in Priority::ALL.iter().zip(clients) {
        let help = "Connections of clients, by priority";
        let labels = [("priority", priority.name())];
        samples.gauge("priority_connections", help, &labels, count as f64);
    }
}

impl Service for Admin {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        Some(match request.http.path() {
            METRICS => self.metrics(cx, request.http),
            HEALTH => Response::text(200, "ok\n"),
            READY => self.readiness(cx),
            STATUS => status(cx),
            CONNECTIONS => connections::respond(cx, request.http),
            _ => Response::text(404, "no such path"),
        })
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        Decision::Respond(Response::text(404, "this path does not serve WebSocket"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Admin {
    fn readiness(&self, cx: &Context<'_>) -> Response {
        match self.sources.iter().find_map(|source| source.failure()) {
            Some(failure) => Response::text(503, format!("{failure}\n")),
            None => readiness(cx),
        }
    }
}

fn status(cx: &Context<'_>) -> Response {
    let text = format!("{{\"load\":{}}}\n", cx.load().to_json());
    Response::new(200, "application/json", text.into_bytes())
}

fn readiness(cx: &Context<'_>) -> Response {
    let occupancy = cx.occupancy();
    let Occupancy { clients, clients_max, outbound, .. } = occupancy;
    if occupancy.is_draining {
        let left = clients + outbound;
        return Response::text(503, format!("shutting down: {left} connections left\n"));
    }
    if let Some((service, name)) = cx.recovering().next() {
        let text = format!("service {} ({name}) panicked in on_mail\n", service.number());
        return Response::text(503, text);
    }
    if cx.load().level == Level::Critical {
        return Response::text(503, "the load is critical\n");
    }
    if occupancy.is_full {
        let text = format!("ready, but full: {clients} of {clients_max} connections\n");
        return Response::text(200, text);
    }
    Response::text(200, "ready\n")
}
