//! Tokens that services have presented, until their gates have decided. One for each connection.
//!
//! It calls no gate: [`effects::present`](crate::reactor::effects::present) does.

use std::collections::HashMap;
use std::mem;

use crate::protocol::secret::Secret;
use crate::reactor::api::budget::PRESENTED_MAX;
use crate::reactor::api::id::{ConnId, GateId, ServiceId};
use crate::reactor::api::outcome::Verdict;
use crate::reactor::api::time::Time;
use crate::reactor::api::token_request::PresentError;

/// A token on its way to the gate, or the verdict on its way back.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) gate: GateId,
    /// When the service has presented it.
    pub(crate) since: Time,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// The gate gets this token in the next mail phase.
    Unasked(Secret<Box<str>>),
    /// The gate decides.
    Asked,
    /// The next mail phase carries the verdict out.
    Decided(Verdict),
}

/// What comes next for a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Ask(Secret<Box<str>>),
    Apply(Verdict),
}

/// The tokens of all connections.
#[derive(Debug, Default)]
pub(crate) struct PresentedTokens {
    by_conn: HashMap<ConnId, Presented>,
    /// Whether the timer for late verdicts is set.
    pub(crate) is_timer_set: bool,
}

impl PresentedTokens {
    /// # Errors
    /// [`PresentError::Pending`], [`PresentError::Full`].
    pub(crate) fn add(
        &mut self,
        id: ConnId,
        gate: GateId,
        token: &str,
        now: Time,
    ) -> Result<(), PresentError> {
        if self.by_conn.contains_key(&id) {
            return Err(PresentError::Pending);
        }
        if self.by_conn.len() >= PRESENTED_MAX {
            return Err(PresentError::Full);
        }
        let progress = Progress::Unasked(Secret(token.into()));
        self.by_conn.insert(id, Presented { gate, since: now, progress });
        Ok(())
    }

    /// What the mail phase does for a connection, and for which gate. The gate decides from now on.
    pub(crate) fn next(&mut self, id: ConnId) -> Option<(GateId, Next)> {
        let presented = self.by_conn.get_mut(&id)?;
        let next = match mem::replace(&mut presented.progress, Progress::Asked) {
            Progress::Unasked(token) => Next::Ask(token),
            Progress::Decided(verdict) => Next::Apply(verdict),
            Progress::Asked => return None,
        };
        Some((presented.gate, next))
    }

    /// Stores the verdict of a gate; false if it does not decide on a token of this connection.
    pub(crate) fn decide(&mut self, gate: ServiceId, id: ConnId, verdict: Verdict) -> bool {
        let presented = self.by_conn.get_mut(&id);
        match presented.filter(|presented| presented.gate.service() == gate) {
            Some(Presented { progress: progress @ Progress::Asked, .. }) => {
                *progress = Progress::Decided(verdict);
                true
            }
            _ => false,
        }
    }

    /// Ends the wait of a connection.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Presented> {
        if self.by_conn.is_empty() { None } else { self.by_conn.remove(&id) }
    }

    /// The tokens that were presented at this time or before and whose gates decide still.
    pub(crate) fn late(&self, since: Time) -> Vec<(ConnId, GateId)> {
        let late = self.by_conn.iter().filter(|(_, it)| it.since <= since && it.is_asked());
        late.map(|(id, presented)| (*id, presented.gate)).collect()
    }

    /// When the oldest of the tokens was presented.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.by_conn.values().map(|presented| presented.since).min()
    }
}

impl Presented {
    /// Whether the gate decides on it.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.progress, Progress::Asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::Refusal;

    const GATE: GateId = GateId(ServiceId(3));

    fn conn(serial: u32) -> ConnId {
        ConnId::new(serial as usize, serial)
    }

    #[test]
    fn a_connection_has_one_token_until_the_verdict() {
        let mut tokens = PresentedTokens::default();
        let (id, refuse) = (conn(1), || Verdict::Refuse(Refusal::Forbidden, None));
        assert_eq!(tokens.add(id, GATE, "a", Time::ZERO), Ok(()));
        assert_eq!(tokens.add(id, GATE, "b", Time::ZERO), Err(PresentError::Pending));
        assert!(!tokens.decide(GATE.service(), id, refuse()), "the gate does not know it yet");
        assert_eq!(tokens.next(id), Some((GATE, Next::Ask(Secret("a".into())))));
        assert_eq!(tokens.next(id), None);
        assert!(!tokens.decide(ServiceId(4), id, refuse()), "another gate");
        assert!(tokens.decide(GATE.service(), id, refuse()));
        assert!(!tokens.decide(GATE.service(), id, refuse()), "the first verdict counts");
        assert_eq!(tokens.next(id), Some((GATE, Next::Apply(refuse()))));
        assert!(tokens.remove(id).is_some() && tokens.remove(id).is_none());
        assert_eq!(tokens.add(id, GATE, "b", Time::ZERO), Ok(()));
    }

    #[test]
    fn tokens_are_bounded() {
        let mut tokens = PresentedTokens::default();
        for serial in 1..=PRESENTED_MAX as u32 {
            tokens.add(conn(serial), GATE, "", Time::ZERO).unwrap();
        }
        let another = conn(PRESENTED_MAX as u32 + 1);
        assert_eq!(tokens.add(another, GATE, "", Time::ZERO), Err(PresentError::Full));
        tokens.remove(conn(7));
        assert_eq!(tokens.add(another, GATE, "", Time::ZERO), Ok(()));
    }
}
