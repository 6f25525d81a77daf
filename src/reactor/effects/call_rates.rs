//! Rates of messages for calls by requests without upgrade, such as JSON-RPC by POST.
//!
//! Such a call takes tokens of the buckets of its address and its subject, which WebSockets of the same
//! route share. It is refused while one of them is empty, since there is no reading to pause. The rate
//! of one connection does not apply: each request may come on a connection of its own.

use std::time::Duration;

use crate::protocol::handshake::Refusal;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;
use crate::reactor::core::Core;
use crate::reactor::effects::rates::owner;
use crate::reactor::parts::bucket::{Bucket, Pace};
use crate::reactor::parts::shared_rates::{Key, SharedRate};

impl Core {
    /// Checks that the buckets of a call have a token each. A bucket may then owe some: a call costs what
    /// it costs, as a message of a WebSocket does.
    ///
    /// # Errors
    /// The refusal by the rate whose token is the last to come back.
    pub(crate) fn check_call(&mut self, id: ConnId) -> Result<(), Refusal> {
        let mut empty = Vec::new();
        self.visit_call_buckets(id, |rate, bucket, pace, now| {
            if bucket.tokens(pace, now) == 0 {
                empty.push((bucket.wait_for_token(pace, now), rate));
            }
        });
        let mut refused: Option<(Duration, SharedRate)> = None;
        for (wait, rate) in empty {
            let is_later = refused.is_none_or(|(latest, _)| latest < wait);
            if self.enforces(id, rate.limit()) && is_later {
                refused = Some((wait, rate));
            }
        }
        let Some((wait, rate)) = refused else {
            return Ok(());
        };
        if let Some(handshake) = self.conns.get_mut(id).and_then(|conn| conn.handshake()) {
            handshake.requests_wait = wait;
        }
        Err(match rate {
            SharedRate::MessagesPerSubject => Refusal::MessagesPerSubject,
            SharedRate::MessagesPerAddress | SharedRate::BytesPerAddress => {
                Refusal::MessagesPerAddress
            }
        })
    }

    /// Takes the tokens of a call by a request without upgrade.
    pub(crate) fn charge_call(&mut self, id: ConnId, tokens: usize) {
        self.visit_call_buckets(id, |_, bucket, pace, now| bucket.spend(pace, tokens, now));
    }

    /// Visits the buckets of messages of a request that a service has and has not answered.
    fn visit_call_buckets(
        &mut self,
        id: ConnId,
        mut visit: impl FnMut(SharedRate, &mut Bucket, &Pace, Time),
    ) {
        let Core { conns, router, settings, shared_rates, now, .. } = self;
        let Some(conn) = conns.get_mut(id).filter(|conn| !conn.is_operator()) else {
            return;
        };
        if conn.handshake().is_none_or(|handshake| handshake.pending_http.is_none()) {
            return;
        }
        let route = conn.route;
        let limits = router.rates(route);
        for rate in SharedRate::ALL.into_iter().filter(|rate| !rate.counts_bytes()) {
            if let Some(pace) = &limits.shared[rate as usize]
                && let Some(owner) = owner(conn, rate, settings)
            {
                let shared = shared_rates.enter(Key { rate, route, owner }, *now);
                visit(rate, shared_rates.bucket(shared, rate, route), pace, *now);
                shared_rates.leave(shared, *now);
            }
        }
    }
}
