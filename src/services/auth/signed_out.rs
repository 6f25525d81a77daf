//! Subjects that an operator has signed out: their older tokens are refused.

use std::collections::{HashMap, VecDeque};

use super::token::claims::Token;
use super::token::error::TokenError;

/// Maximum number of subjects.
const SUBJECTS_MAX: usize = 4096;

/// The last [`SUBJECTS_MAX`] subjects, each with the time at which it was signed out.
#[derive(Debug, Default)]
pub(super) struct SignedOut {
    /// Seconds since 1970.
    at: HashMap<Box<str>, f64>,
    /// Invariant: the keys of `at`, each once.
    order: VecDeque<Box<str>>,
}

impl SignedOut {
    /// Notes a subject; returns the one that was dropped for it, whose older tokens are accepted again.
    pub(super) fn add(&mut self, subject: &str, unix_now: f64) -> Option<Box<str>> {
        if let Some(at) = self.at.get_mut(subject) {
            *at = unix_now;
            return None;
        }
        let is_full = self.order.len() == SUBJECTS_MAX;
        let dropped = if is_full { self.order.pop_front() } else { None };
        if let Some(dropped) = &dropped {
            self.at.remove(dropped);
        }
        self.at.insert(subject.into(), unix_now);
        self.order.push_back(subject.into());
        dropped
    }

    /// # Errors
    /// The token was issued before its subject was signed out, or does not say when.
    pub(super) fn check(&self, token: &Token) -> Result<(), TokenError> {
        // Without a look at the subject if nobody was signed out.
        if self.at.is_empty() {
            return Ok(());
        }
        match self.at.get(token.identity.subject()) {
            Some(at) if token.times.iat.is_none_or(|iat| iat <= *at) => Err(TokenError::SignedOut),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_subject_is_dropped() {
        let mut signed_out = SignedOut::default();
        for number in 0..SUBJECTS_MAX {
            assert_eq!(signed_out.add(&number.to_string(), 1.0), None);
        }
        assert_eq!(signed_out.add("0", 2.0), None, "it is there already");
        assert_eq!(signed_out.add("x", 2.0).as_deref(), Some("0"));
        assert_eq!((signed_out.at.len(), signed_out.order.len()), (SUBJECTS_MAX, SUBJECTS_MAX));
    }
}
