//! [`Jwt`]: the gate that admits clients with a valid token, and refreshes identities of open connections.
//!
//! A token is checked on the loop. It waits while the signatures of a turn are used up, and while keys are
//! fetched because none has its `kid`.

mod refresh;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use super::checker::{Checked, Checker};
use super::counts::{AuthCounts, AuthOutcome};
use super::error::AuthError;
use super::keys::set::KeySet;
use super::keys::source::{KeyLoader, read_file};
use super::loading::{Fetch, LOAD_TIMER, Loading};
use super::prolonging::Prolonging;
use super::refusals::{challenged, insufficient_scope, retry_after};
use super::settings::{JwtSettings, KeySource, TokenPlace};
use super::token::error::TokenError;
use super::token::places::{Choice, find};
use crate::protocol::Message;
use crate::protocol::handshake::{Refusal, Response};
use crate::protocol::secret::Secret;
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, Gate, GateRequest, HttpRequest, More, Service,
    TokenRequest, UpgradeRequest, Verdict,
};
use crate::upstream::upstream_counts::add;

/// Maximum number of tokens that wait for a signature or for keys, of at most 8 KiB each.
const WAITING_MAX: usize = 1024;
/// The end of the path of a refresh.
const REFRESH: &str = "/refresh";

/// A gate that verifies tokens.
#[derive(Debug)]
pub struct Jwt {
    token_from: Vec<TokenPlace>,
    forward_token: bool,
    pub(super) checker: Checker,
    /// Until the loop starts.
    loader: Option<KeyLoader>,
    loading: Option<Loading>,
    /// Tokens whose turn to be checked comes.
    ready: VecDeque<Waiting>,
    /// Tokens that wait for keys.
    keyless: Vec<Waiting>,
    prolonging: Prolonging,
    counts: Rc<AuthCounts>,
}

/// A token whose check was put off.
#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    token: Secret<Box<str>>,
    client: IpAddr,
    started: Instant,
    purpose: Purpose,
    /// Whether keys were fetched for it.
    has_fetched: bool,
}

impl Waiting {
    fn new(
        conn: ConnId,
        token: &str,
        client: SocketAddr,
        purpose: Purpose,
        started: Instant,
    ) -> Waiting {
        let client = client.ip();
        Waiting { conn, token: Secret(token.into()), client, started, purpose, has_fetched: false }
    }
}

/// What a token was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A request that the gate decides on.
    Admission,
    /// A request to refresh the connections of its session.
    Refresh,
    /// A message of an open connection.
    Message,
}

impl Jwt {
    /// A gate of this name, with the keys of its files. Keys of a server are fetched when the loop starts.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(name: &str, settings: &JwtSettings) -> Result<Jwt, AuthError> {
        let counts = Rc::new(AuthCounts::new(name));
        let secret = match &settings.secret_file {
            None => KeySet::default(),
            Some(path) => read_file(path)
                .and_then(|text| KeySet::secret(&text, &settings.algorithms))
                .map_err(|error| AuthError::Keys(path.clone(), error))?,
        };
        let mut checker = Checker::new(settings, secret, Rc::clone(&counts));
        let source = settings.keys.as_ref();
        let loader =
            source.map(|it| KeyLoader::new(it, settings.ca_file.as_deref())).transpose()?;
        if let (Some(KeySource::File(path)), Some(loader)) = (source, &loader) {
            let keys = loader.load().map_err(|error| AuthError::Keys(path.clone(), error))?;
            checker.set_keys(keys);
            add(&counts.keys_loaded, 1);
        }
        Ok(Jwt {
            token_from: settings.token_from.clone(),
            forward_token: settings.forward_token,
            checker,
            loader,
            loading: None,
            ready: VecDeque::new(),
            keyless: Vec::new(),
            prolonging: Prolonging::default(),
            counts,
        })
    }

    /// The counts of the gate.
    pub fn counts(&self) -> Rc<AuthCounts> {
        Rc::clone(&self.counts)
    }

    /// The token of a request, which is overwritten in all places.
    fn take_token<'a>(
        &self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &GateRequest<'a>,
    ) -> Choice<'a> {
        let found = find(request.http, &self.token_from);
        if !self.forward_token {
            for part in found.parts.0 {
                cx.redact(conn, part);
            }
        }
        found.token
    }

    /// Checks a token, or puts it off: then `None`.
    fn check(&mut self, cx: &mut Context<'_>, waiting: Waiting) -> Option<(Waiting, Checked)> {
        let checked = match self.checker.check(cx, &waiting.token, waiting.client) {
            Checked::NextTurn if self.ready.len() < WAITING_MAX => {
                self.ready.push_front(waiting);
                return None;
            }
            Checked::UnknownKey => match self.fetch(cx, &waiting) {
                Fetch::Running if self.keyless.len() < WAITING_MAX => {
                    self.keyless.push(waiting);
                    return None;
                }
                Fetch::Running => Checked::NextTurn,
                // The key may exist: 503, and no failure of the client.
                Fetch::Failed => Checked::UnknownKey,
                Fetch::Recent if !waiting.has_fetched => Checked::Invalid(TokenError::UnknownKey),
                Fetch::Recent | Fetch::Never => {
                    self.checker.count_failure(cx, TokenError::UnknownKey, waiting.client);
                    Checked::Invalid(TokenError::UnknownKey)
                }
            },
            checked => checked,
        };
        Some((waiting, checked))
    }

    /// Whether the keys are fetched for a token that no key is for. That happens once for a token.
    fn fetch(&mut self, cx: &mut Context<'_>, waiting: &Waiting) -> Fetch {
        match &mut self.loading {
            None => Fetch::Never,
            Some(loading) if waiting.has_fetched => loading.last_fetch(),
            Some(loading) => loading.fetch_for_token(cx),
        }
    }

    /// Checks a token that has just arrived; one that others wait before is put behind them.
    fn check_new(&mut self, cx: &mut Context<'_>, waiting: Waiting) -> Option<(Waiting, Checked)> {
        if self.ready.is_empty() || self.ready.len() >= WAITING_MAX {
            let checked = self.check(cx, waiting);
            if !self.ready.is_empty() {
                cx.wake();
            }
            return checked;
        }
        self.ready.push_back(waiting);
        None
    }

    fn verdict(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        started: Instant,
        checked: Checked,
    ) -> Verdict {
        self.counts.took.count(started.elapsed());
        let (outcome, verdict) = match checked {
            Checked::Valid(identity) => (AuthOutcome::Ok, Verdict::Pass(Some(identity))),
            Checked::Invalid(error) => {
                self.log_invalid(cx, conn, error);
                let invalid = "Bearer error=\"invalid_token\"";
                (error.into(), challenged(Refusal::Unauthorized, invalid))
            }
            Checked::Limited(wait) => {
                (AuthOutcome::Failures, retry_after(Refusal::GateFailures, wait))
            }
            Checked::NoKeys | Checked::UnknownKey => {
                (AuthOutcome::UnknownKey, Verdict::Refuse(Refusal::GateFailed, None))
            }
            Checked::NextTurn => {
                (AuthOutcome::HookFull, Verdict::Refuse(Refusal::GateFailed, None))
            }
        };
        self.counts.count(outcome);
        verdict
    }

    /// The client does not learn why its token is invalid.
    fn log_invalid(&self, cx: &mut Context<'_>, conn: ConnId, error: TokenError) {
        let outcome = AuthOutcome::from(error).name();
        if cx.may_log(log::Level::Info, outcome) {
            let gate = self.counts.gate.as_str();
            log::info!(conn:% = conn, gate = gate, outcome = outcome; "token refused: {error}");
        }
    }

    /// Checks the next token that waits; false if there is none, or the turn's signatures are used up.
    fn check_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(waiting) = self.ready.pop_front() else {
            return false;
        };
        let before = self.ready.len();
        let Some((waiting, checked)) = self.check(cx, waiting) else {
            let is_put_back = self.ready.len() > before;
            if is_put_back {
                cx.wake();
            }
            return !is_put_back;
        };
        match waiting.purpose {
            Purpose::Admission => {
                let verdict = self.verdict(cx, waiting.conn, waiting.started, checked);
                cx.verdict(waiting.conn, verdict);
            }
            Purpose::Message => {
                let verdict = self.message_verdict(cx, &waiting, checked);
                cx.verdict(waiting.conn, verdict);
            }
            Purpose::Refresh => {
                if let Some(response) = self.refresh(cx, &waiting, checked) {
                    cx.respond(waiting.conn, response);
                }
            }
        }
        true
    }

    /// Takes keys that were loaded; false if there are none.
    fn take_keys(&mut self, cx: &mut Context<'_>) -> bool {
        let has_keys = self.checker.has_keys();
        let loaded = self.loading.as_mut().and_then(|loading| loading.take(cx, has_keys));
        let Some(loaded) = loaded else {
            return false;
        };
        let gate = self.counts.gate.as_str();
        match loaded {
            Ok(keys) => {
                add(&self.counts.keys_loaded, 1);
                let count = keys.len();
                if self.checker.set_keys(keys) {
                    log::info!(gate = gate, keys = count; "keys loaded");
                }
            }
            Err(error) => {
                add(&self.counts.keys_failed, 1);
                let kept = if has_keys { "the old ones stay" } else { "there are none" };
                log::error!(gate = gate; "keys not loaded, {kept}: {error}");
            }
        }
        let retried = self.keyless.drain(..).map(|it| Waiting { has_fetched: true, ..it });
        self.ready.extend(retried);
        true
    }
}

impl Gate for Jwt {
    fn on_gate(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &GateRequest<'_>,
    ) -> Verdict {
        let started = Instant::now();
        let token = match self.take_token(cx, conn, request) {
            Choice::Missing => {
                self.counts.count(AuthOutcome::Missing);
                return Verdict::Refuse(Refusal::Unauthorized, None);
            }
            Choice::Several => {
                self.counts.count(AuthOutcome::Malformed);
                return challenged(Refusal::TokenTwice, "Bearer error=\"invalid_request\"");
            }
            Choice::One(token) => token,
        };
        let waiting = Waiting::new(conn, &token, request.peer, Purpose::Admission, started);
        match self.check_new(cx, waiting) {
            Some((waiting, checked)) => self.verdict(cx, conn, waiting.started, checked),
            None => Verdict::Later,
        }
    }

    fn on_token(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &TokenRequest<'_>,
    ) -> Verdict {
        let started = Instant::now();
        let waiting = Waiting::new(conn, request.token, request.peer, Purpose::Message, started);
        match self.check_new(cx, waiting) {
            Some((waiting, checked)) => self.message_verdict(cx, &waiting, checked),
            None => Verdict::Later,
        }
    }

    fn on_exempt(&mut self, cx: &mut Context<'_>, conn: ConnId, request: &GateRequest<'_>) {
        let _ = self.take_token(cx, conn, request);
    }

    fn on_forbidden(&mut self, _: &mut Context<'_>, _: ConnId) -> Option<Box<Response>> {
        self.counts.count(AuthOutcome::Require);
        Some(insufficient_scope())
    }

    fn on_signed_out(&mut self, cx: &mut Context<'_>, subject: &str) {
        self.checker.sign_out(cx, subject);
        for client in self.prolonging.sign_out(subject) {
            cx.respond(client, Response::from(Refusal::Unauthorized));
        }
    }
}

impl Service for Jwt {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.loading = self.loader.take().map(|loader| Loading::new(cx, loader));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if let (LOAD_TIMER, Some(loading)) = (key, &mut self.loading) {
            loading.start(cx);
        }
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        let is_more = self.take_keys(cx) || self.check_waiting(cx) || self.prolong(cx);
        if is_more { More::Yes } else { More::No }
    }

    /// A route to the gate serves no WebSocket.
    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &UpgradeRequest<'_>) -> Decision {
        Decision::Refuse(Refusal::NotFound)
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    /// Drops its token: its request has ended.
    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: CloseReason) {
        self.ready.retain(|waiting| waiting.conn != conn);
        self.keyless.retain(|waiting| waiting.conn != conn);
    }

    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let started = Instant::now();
        if !request.http.path().ends_with(REFRESH) {
            return Some(Response::text(404, "not found"));
        }
        let token = match find(request.http, &[TokenPlace::Header]).token {
            Choice::One(token) => token,
            Choice::Missing | Choice::Several => {
                self.counts.count(AuthOutcome::Missing);
                return Some(Response::from(Refusal::Unauthorized));
            }
        };
        let waiting = Waiting::new(conn, &token, request.peer, Purpose::Refresh, started);
        let (waiting, checked) = self.check_new(cx, waiting)?;
        self.refresh(cx, &waiting, checked)
    }
}
