//! Flow control: pauses of reading, and messages that count as several.

use super::Context;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::pause::PauseOwner;

impl Context<'_> {
    /// Pauses reading from a connection: TCP back-pressure makes its peer wait. A paused connection
    /// is neither pinged nor closed for idleness, and the end of its stream may go unnoticed.
    pub fn pause(&mut self, conn: ConnId) {
        self.pause_by(conn, PauseOwner::Service);
    }

    pub(in crate::reactor::api) fn pause_by(&mut self, conn: ConnId, owner: PauseOwner) -> bool {
        self.owns(conn) && self.core.pause(conn, owner)
    }

    /// Ends the service's pause. Reading resumes, starting with messages that are buffered already,
    /// unless a [`Throttle`](crate::reactor::Throttle) or a shutdown has paused the connection,
    /// too.
    pub fn resume(&mut self, conn: ConnId) {
        self.resume_by(conn, PauseOwner::Service);
    }

    pub(in crate::reactor::api) fn resume_by(&mut self, conn: ConnId, owner: PauseOwner) {
        if self.owns(conn) {
            self.core.resume(conn, owner);
        }
    }

    /// Counts a message as so many messages more, for costly work: at once, for the route's rates of
    /// messages ([`messages_rate`](field@crate::reactor::settings::RouteSettings::messages_rate), per
    /// address too). The connection may then owe tokens, at most one burst, and is not read until it has
    /// one. Without such a rate it changes nothing. For a call by a request without upgrade see
    /// [`admit_call`](Context::admit_call).
    pub fn charge(&mut self, conn: ConnId, tokens: usize) {
        if self.owns(conn) {
            self.core.charge(conn, tokens);
            self.core.charge_call(conn, tokens);
        }
    }

    /// Whether a request without upgrade, whose [`on_http`](crate::reactor::Service::on_http) runs, may
    /// do costly work: a token is left of the rates of messages that its route sets per address and per
    /// subject. Nothing is taken: [`charge`](Context::charge) follows. If not, the client gets 429 with
    /// the time until there is a token, and `on_http` returns `None`.
    /// [`messages_rate`](field@crate::reactor::settings::RouteSettings::messages_rate) is one of open
    /// WebSockets.
    pub fn admit_call(&mut self, conn: ConnId) -> bool {
        if !self.owns(conn) {
            return false;
        }
        let checked = self.core.check_call(conn);
        if let Err(refusal) = checked {
            self.refuse(conn, refusal);
        }
        checked.is_ok()
    }
}
