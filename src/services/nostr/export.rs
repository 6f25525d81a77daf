//! `POST /relay/NAME/export`: all served events of a running relay as JSON lines, oldest first, for
//! operators.
//!
//! A thread reads the store, each slice from a snapshot of its own, and makes pages of whole lines. The
//! next page is read when the client has room for it.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use super::commands::parse_filter;
use super::filter::Filter;
use super::relay::Relay;
use super::store::{Budget, Export, Record, Store, StoreError};
use super::ticket::unix_seconds;
use crate::protocol::Message;
use crate::protocol::handshake::Response;
use crate::protocol::http::check_sender;
use crate::reactor::settings::RouteSettings;
use crate::reactor::{
    CloseReason, ConnId, ConnMap, Context, Decision, Finished, HttpRequest, More, SendOutcome,
    Service, Step, Task, Time, UpgradeRequest, WorkerSettings, Workers,
};

/// The path of the export of the relay `{name}`.
pub const EXPORT: &str = "/relay/{name}/export";
/// Exports at a time, of all relays; more get 503.
const EXPORTS_MAX: usize = 4;
/// Reads that wait or run, those included whose client has gone.
const READS_MAX: usize = 4 * EXPORTS_MAX;
/// Bytes of a page: then it is sent.
const PAGE_BYTES: usize = 64 * 1024;
/// The media type of JSON lines.
const MEDIA_TYPE: &str = "application/jsonl";

/// The service of [`EXPORT`]. Its route belongs in the
/// [listener group](field@crate::reactor::settings::RouteSettings::listener_group) of an address that
/// only operators reach: private messages are exported, too.
///
/// The body of a request is empty, or a filter (NIP-01).
pub struct RelayExports {
    relays: Vec<ExportedRelay>,
    /// `None` before the start.
    exporters: Option<Exporters>,
    exports: ConnMap<Progress>,
}

/// What [`RelayExports`] needs of a relay.
pub struct ExportedRelay {
    name: String,
    store: Store,
    event_bytes_max: usize,
}

impl From<&Relay> for ExportedRelay {
    fn from(relay: &Relay) -> ExportedRelay {
        ExportedRelay {
            name: relay.counts.relay.clone(),
            store: relay.store.clone(),
            event_bytes_max: relay.settings.event_bytes_max,
        }
    }
}

impl fmt::Debug for ExportedRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExportedRelay").field(&self.name).finish()
    }
}

type Exporters = Workers<Box<ExportJob>, Box<ExportDone>, ConnId>;

/// An export on the loop.
struct Progress {
    relay: usize,
    since: Time,
    events: u64,
    is_started: bool,
    /// Waits until the client has read.
    parked: Option<Box<ExportJob>>,
    /// Ends the work of the thread when it is dropped.
    _wanted: Arc<()>,
}

/// An export on its way between the loop and the thread.
struct ExportJob {
    conn: ConnId,
    store: Store,
    export: Export,
    /// Events that may still be sent.
    left: usize,
    wanted: Weak<()>,
}

/// A page.
struct ExportDone {
    conn: ConnId,
    page: Vec<u8>,
    events: u64,
    next: Next,
}

enum Next {
    Rest(Box<ExportJob>),
    End,
    Failed(StoreError),
}

impl RelayExports {
    /// A service for these relays, by the names that they were opened with.
    pub fn new(relays: Vec<ExportedRelay>) -> RelayExports {
        RelayExports { relays, exporters: None, exports: ConnMap::new() }
    }

    /// The limits of the route: its queues hold a page behind what the client has not read.
    pub fn route(&self) -> RouteSettings {
        let route = RouteSettings::default();
        let largest = self.relays.iter().map(|relay| relay.event_bytes_max).max();
        let most = route.outbox_soft_bytes + PAGE_BYTES + largest.unwrap_or_default();
        let hard = route.outbox_hard_bytes.max(2 * most);
        route.outbox_hard_bytes(hard)
    }

    /// The relay and the filter that a request names, or the response that refuses it.
    fn accept(&self, request: &HttpRequest<'_>) -> Result<(usize, Filter), Response> {
        if request.http.method() != "POST" {
            let mut response = Response::text(405, "method not allowed\n");
            response.add("Allow", "POST");
            return Err(response);
        }
        check_sender(request.http).map_err(|why| Response::text(403, why))?;
        let name = request.params.get("name").unwrap_or_default();
        let relay = self.relays.iter().position(|relay| relay.name == name);
        let relay = relay.ok_or_else(|| Response::text(404, "no relay has this name\n"))?;
        let body = str::from_utf8(request.body);
        let body = body.map_err(|_| Response::text(400, "the filter must be UTF-8\n"))?;
        let filter = match body.trim() {
            "" => Filter::default(),
            json => parse_filter(json)
                .map_err(|refusal| Response::text(400, format!("filter: {refusal}\n")))?,
        };
        if self.exports.len() >= EXPORTS_MAX {
            let text = format!("{EXPORTS_MAX} exports run already\n");
            return Err(Response::text(503, text));
        }
        Ok((relay, filter))
    }

    /// Starts an export; false if no thread can take it.
    fn start(&mut self, cx: &Context<'_>, conn: ConnId, relay: usize, filter: Filter) -> bool {
        let wanted = Arc::new(());
        let job = ExportJob {
            conn,
            store: self.relays[relay].store.clone(),
            left: filter.limit().unwrap_or(usize::MAX),
            export: Export::new(filter, false),
            wanted: Arc::downgrade(&wanted),
        };
        let progress = Progress {
            relay,
            since: cx.now(),
            events: 0,
            is_started: false,
            parked: None,
            _wanted: wanted,
        };
        self.put(job.into()) && self.exports.insert(cx, conn, progress)
    }

    /// Puts the reading of the next page into the queue; false if that is full.
    fn put(&self, job: Box<ExportJob>) -> bool {
        let exporters = self.exporters.as_ref();
        exporters.is_some_and(|exporters| exporters.try_put(Task::new(job.conn, job)).is_ok())
    }

    fn send(&mut self, cx: &mut Context<'_>, done: ExportDone) {
        let ExportDone { conn, page, events, next } = done;
        let Some(progress) = self.exports.get_mut(conn) else {
            return;
        };
        if !progress.is_started {
            if let Next::Failed(error) = &next {
                let text = format!("the store cannot be read: {error}\n");
                self.exports.remove(conn);
                return cx.respond(conn, Response::text(503, text));
            }
            if !cx.begin_response(conn, Response::new(200, MEDIA_TYPE, &b""[..])) {
                self.exports.remove(conn);
                return;
            }
            progress.is_started = true;
        }
        progress.events += events;
        let outcome = cx.send_part(conn, &page);
        let goes_on = match next {
            Next::Rest(job) if outcome == SendOutcome::Congested => {
                progress.parked = Some(job);
                true
            }
            Next::Rest(job) => outcome == SendOutcome::Queued && self.put(job),
            Next::End if outcome.is_queued() => {
                cx.end_response(conn);
                return self.finish(cx, conn, "exported");
            }
            Next::End => false,
            Next::Failed(error) => {
                log::error!("an export cannot read the store: {error}");
                false
            }
        };
        if !goes_on {
            self.fail(cx, conn);
        }
    }

    /// Breaks an export off: its client sees that the last chunk is missing.
    fn fail(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.finish(cx, conn, "export broken off");
        cx.abort(conn);
    }

    fn finish(&mut self, cx: &Context<'_>, conn: ConnId, how: &str) {
        if let Some(Progress { relay, since, events, .. }) = self.exports.remove(conn) {
            let (relay, took) = (&self.relays[relay].name, cx.now().since(since));
            let seconds = took.as_secs_f64();
            log::info!(relay:% = relay, conn:% = conn, events = events, seconds = seconds; "{how}");
        }
    }
}

/// Reads the store until a page is full.
fn run(mut job: Box<ExportJob>) -> Step<Box<ExportJob>, Box<ExportDone>> {
    let (conn, mut page, mut events) = (job.conn, Vec::new(), 0);
    let done = |page, events, next| Step::Done(Box::new(ExportDone { conn, page, events, next }));
    if job.wanted.strong_count() == 0 {
        return Step::Forwarded;
    }
    if job.left == 0 {
        return done(page, events, Next::End);
    }
    let ExportJob { store, export, left, .. } = &mut *job;
    let more = export.slice(store, Budget::default(), unix_seconds(), &mut |record: &Record| {
        record.write_json(&mut page);
        page.push(b'\n');
        events += 1;
        *left -= 1;
        match *left > 0 && page.len() < PAGE_BYTES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    match more {
        Ok(true) if page.is_empty() => Step::Again(job),
        Ok(true) if job.left > 0 => done(page, events, Next::Rest(job)),
        Ok(_) => done(page, events, Next::End),
        Err(error) => done(page, events, Next::Failed(error)),
    }
}

impl Service for RelayExports {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let settings = WorkerSettings::new("relay export", 1, READS_MAX);
        self.exporters = Some(cx.workers(settings, run));
    }

    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "POST"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let (relay, filter) = match self.accept(request) {
            Ok(accepted) => accepted,
            Err(response) => return Some(response),
        };
        let is_started = self.start(cx, conn, relay, filter);
        (!is_started).then(|| Response::text(503, "too many exports wait for a thread\n"))
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        Decision::Respond(Response::text(404, "this path does not serve WebSocket\n"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        match self.exporters.as_mut().and_then(Workers::take) {
            Some(Finished::Done(done)) => self.send(cx, *done),
            Some(Finished::Lost(conn)) => self.fail(cx, conn),
            None => return More::No,
        }
        More::Yes
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let parked = self.exports.get_mut(conn).and_then(|progress| progress.parked.take());
        if let Some(job) = parked
            && !self.put(job)
        {
            self.fail(cx, conn);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _: CloseReason) {
        self.finish(cx, conn, "export broken off by its client");
    }
}

impl fmt::Debug for RelayExports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RelayExports").field(&self.relays).finish()
    }
}
