//! Checks tokens: the cache of valid ones, the budget of signatures, keys and claims.
//!
//! It decides nothing about requests: [`jwt`](super::jwt) does.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::cache::Cache;
use super::counts::AuthCounts;
use super::failures::Failures;
use super::keys::set::{KeySet, sha256};
use super::settings::{Algorithm, JwtSettings};
use super::signed_out::SignedOut;
use super::token::claims::{Rules, Token};
use super::token::error::TokenError;
use super::token::parse::{TOKEN_BYTES_MAX, Unverified};
use crate::reactor::{Context, Identity, Time};
use crate::upstream::upstream_counts::add;

/// Signatures with public keys that are computed in one turn: each takes 50 to 100 µs, an HMAC 3 µs.
const SIGNATURES_PER_TURN: usize = 16;

/// What is known of a token.
#[derive(Debug, PartialEq)]
pub(super) enum Checked {
    Valid(Box<Identity>),
    Invalid(TokenError),
    /// Too many forged tokens came from its address; they are checked again after this time.
    Limited(Duration),
    /// No keys were loaded yet.
    NoKeys,
    /// No key has its `kid`.
    UnknownKey,
    /// The signatures of this turn are used up.
    NextTurn,
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Checker {
    algorithms: Vec<Algorithm>,
    rules: Rules,
    /// `None` until they are loaded from their server.
    keys: Option<KeySet>,
    /// The secret, which keys are added to.
    secret: KeySet,
    cache: Cache<Token>,
    signed_out: SignedOut,
    failures: Failures,
    /// The turn that `signatures` counts for.
    turn: Time,
    signatures: usize,
    counts: Rc<AuthCounts>,
}

impl Checker {
    pub(super) fn new(settings: &JwtSettings, secret: KeySet, counts: Rc<AuthCounts>) -> Checker {
        Checker {
            algorithms: settings.algorithms.clone(),
            rules: Rules {
                audience: settings.audience.clone(),
                issuer: settings.issuer.clone(),
                needs_exp: settings.needs_exp,
                leeway: settings.leeway,
                claims: settings.claims.clone(),
            },
            keys: settings.keys.is_none().then(|| secret.clone()),
            secret,
            cache: Cache::default(),
            signed_out: SignedOut::default(),
            failures: Failures::new(settings.failures_per_address),
            turn: Time::ZERO,
            signatures: 0,
            counts,
        }
    }

    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Uses these keys from now on. Tokens that were verified with others are verified again.
    pub(super) fn set_keys(&mut self, keys: KeySet) -> bool {
        let keys = self.secret.clone().and(keys);
        let is_new = self.keys.as_ref() != Some(&keys);
        if is_new {
            self.keys = Some(keys);
            self.cache.clear();
        }
        is_new
    }

    /// Refuses the tokens that a subject has until now.
    pub(super) fn sign_out(&mut self, cx: &mut Context<'_>, subject: &str) {
        let now = cx.unix_time().as_secs_f64();
        if let Some(dropped) = self.signed_out.add(subject, now) {
            log::warn!(
                gate = self.counts.gate.as_str(), subject = &*dropped;
                "too many subjects were signed out: older tokens of this one are accepted again"
            );
        }
    }

    /// Checks a token of a client. An outcome that follows from the token counts as a failure of the
    /// client, if only a forger causes it.
    pub(super) fn check(&mut self, cx: &mut Context<'_>, token: &str, client: IpAddr) -> Checked {
        let unix_now = cx.unix_time().as_secs_f64();
        self.check_at(cx, unix_now, token, client)
    }

    fn check_at(
        &mut self,
        cx: &Context<'_>,
        unix_now: f64,
        token: &str,
        client: IpAddr,
    ) -> Checked {
        let checked = self.check_uncounted(cx, unix_now, token, client);
        if let Checked::Invalid(error) = checked {
            self.count_failure(cx, error, client);
        }
        checked
    }

    pub(super) fn count_failure(&mut self, cx: &Context<'_>, error: TokenError, client: IpAddr) {
        if error.is_forgery() {
            self.failures.count(client, cx.now());
        }
    }

    fn check_uncounted(
        &mut self,
        cx: &Context<'_>,
        unix_now: f64,
        token: &str,
        client: IpAddr,
    ) -> Checked {
        if token.len() > TOKEN_BYTES_MAX {
            return Checked::Invalid(TokenError::Malformed("the token is too long"));
        }
        let hash = sha256(token.as_bytes());
        if let Some(known) = self.cache.get(&hash) {
            add(&self.counts.cache_hits, 1);
            // It was valid: a wall clock that is set back does not end it.
            if let Err(error) = known.times.check_end(unix_now, self.rules.leeway) {
                self.cache.remove(&hash);
                return Checked::Invalid(error);
            }
            return self.of_subject(cx, known);
        }
        if let Some(wait) = self.failures.wait(client, cx.now()) {
            return Checked::Limited(wait);
        }
        match self.verify(cx.now(), token, unix_now) {
            Ok(signed) => {
                let checked = self.of_subject(cx, &signed);
                self.cache.put(hash, signed);
                checked
            }
            Err(checked) => checked,
        }
    }

    /// Checks whether the subject of a token was signed out. Only after its signature: others must not
    /// find out about that. The token stays in the cache, so that its signature is verified once.
    fn of_subject(&self, cx: &Context<'_>, signed: &Token) -> Checked {
        match self.signed_out.check(signed) {
            Ok(()) => Checked::Valid(self.identity(cx, signed)),
            Err(error) => Checked::Invalid(error),
        }
    }

    /// Checks the claims before the signature: both must hold, and a token that has expired, or is for
    /// others, then costs no signature, however often it is sent. Its sender learns the same from both.
    ///
    /// # Errors
    /// Everything but a valid token.
    fn verify(&mut self, now: Time, token: &str, unix_now: f64) -> Result<Token, Checked> {
        let token = Unverified::parse(token).map_err(Checked::Invalid)?;
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Checked::Invalid(TokenError::Algorithm));
        }
        let claimed = self.rules.check(&token, unix_now).map_err(Checked::Invalid)?;
        let keys = self.keys.as_ref().ok_or(Checked::NoKeys)?;
        let tries = keys.tries(&token);
        if tries == 0 {
            return Err(Checked::UnknownKey);
        }
        if !token.algorithm.is_symmetric() {
            if self.turn != now {
                (self.turn, self.signatures) = (now, 0);
            }
            if self.signatures + tries > SIGNATURES_PER_TURN {
                return Err(Checked::NextTurn);
            }
            self.signatures += tries;
        }
        add(&self.counts.cache_misses, 1);
        keys.verify(&token).map_err(Checked::Invalid)?;
        Ok(claimed)
    }

    /// The identity of a valid token. It ends with the token and the leeway.
    fn identity(&self, cx: &Context<'_>, token: &Token) -> Box<Identity> {
        let mut identity = token.identity.clone();
        identity.expires = token.times.exp.map(|exp| {
            let unix = Duration::try_from_secs_f64(exp + self.rules.leeway.as_secs_f64());
            cx.time_at(unix.unwrap_or(Duration::MAX))
        });
        Box::new(identity)
    }
}

#[cfg(test)]
mod tests;
