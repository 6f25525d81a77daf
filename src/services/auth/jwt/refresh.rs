//! New tokens of open connections: refreshes by HTTP, and tokens that came in messages.

use super::{Jwt, Waiting};
use crate::protocol::handshake::{Refusal, Response};
use crate::reactor::{Context, Verdict};
use crate::services::auth::checker::Checked;
use crate::services::auth::prolonging::{Refresh, Started, is_same_session, later_end};

impl Jwt {
    /// Starts a refresh: the connections of the token's session get its identity. `None`: the response
    /// follows when all of them have it.
    pub(super) fn refresh(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &Waiting,
        checked: Checked,
    ) -> Option<Response> {
        match self.verdict(cx, waiting.conn, waiting.started, checked) {
            Verdict::Pass(Some(identity)) => {
                let refresh = Refresh::new(waiting.conn, *identity);
                match self.prolonging.start(cx, refresh) {
                    Started::Done => Some(refreshed()),
                    Started::Later => None,
                    Started::Full => Some(Response::from(Refusal::GateFailed)),
                }
            }
            Verdict::Refuse(refusal, response) => {
                Some(response.map_or_else(|| Response::from(refusal), |response| *response))
            }
            Verdict::Pass(None) | Verdict::Later => Some(Response::from(Refusal::Internal)),
        }
    }

    /// The verdict on a token of an open connection. Within its session the later end counts, as for a
    /// refresh.
    pub(super) fn message_verdict(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &Waiting,
        checked: Checked,
    ) -> Verdict {
        let mut verdict = self.verdict(cx, waiting.conn, waiting.started, checked);
        if let Verdict::Pass(Some(new)) = &mut verdict
            && let Some(old) = cx.identity(waiting.conn).filter(|old| is_same_session(old, new))
        {
            new.expires = later_end(old.expires, new.expires);
        }
        verdict
    }

    /// Changes the identities of some connections that are being refreshed; false if there is nothing
    /// more to do in this turn.
    pub(super) fn prolong(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(client) = self.prolonging.step(cx) {
            cx.respond(client, refreshed());
            return true;
        }
        if self.prolonging.has_work() {
            cx.wake();
        }
        false
    }
}

/// The response to a refresh that is complete.
fn refreshed() -> Response {
    Response::text(204, "")
}
