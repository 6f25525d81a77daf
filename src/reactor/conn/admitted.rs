//! What [admission](crate::reactor::parts::admission) knows of a connection: its quota, its priority, and
//! how far its admission has come. One byte, [`AdmissionState`](super::phase::AdmissionState).

use super::connection::Connection;
use super::phase::{Input, Phase, Registration, Stage};
use crate::reactor::api::priority::Priority;
use crate::reactor::parts::admission::Quota;

impl Connection {
    /// The quota that it counts against, unless it waits for its refusal.
    pub(crate) fn quota(&self) -> Quota {
        self.admission.quota()
    }

    pub(crate) fn registration(&self) -> Registration {
        self.admission.registration()
    }

    pub(crate) fn set_registration(&mut self, registration: Registration) {
        self.admission = self.admission.with_registration(registration);
    }

    pub(crate) fn register(&mut self, quota: Quota, registration: Registration) {
        self.admission = self.admission.with_quota(quota).with_registration(registration);
    }

    /// Whether a client has opened it, or a proxy for a client.
    pub(crate) fn is_client(&self) -> bool {
        matches!(self.quota(), Quota::Clients | Quota::Surplus | Quota::Proxies)
    }

    /// Whether it is a client's WebSocket, or tunnel, whose end has not started.
    pub(crate) fn is_open_client(&self) -> bool {
        self.is_client() && (self.is_open() || self.is_piped())
    }

    /// The priority as its route and gate have set it; connections of operators and of our own have
    /// the highest one.
    pub(crate) fn priority(&self) -> Priority {
        if self.is_client() { self.admission.priority() } else { Priority::Critical }
    }

    /// Whether it was admitted in the reserve, and its priority has not been decided on.
    pub(crate) fn is_provisional(&self) -> bool {
        self.admission.stage() == Stage::Provisional
    }

    pub(crate) fn set_provisional(&mut self, is_provisional: bool) {
        let stage = if is_provisional { Stage::Provisional } else { Stage::Plain };
        self.admission = self.admission.with_stage(stage);
    }

    /// Counts it towards the connections of its route, once its priority is known.
    pub(crate) fn count_for_route(&mut self) {
        debug_assert_eq!(self.admission.stage(), Stage::Plain);
        self.admission = self.admission.with_stage(Stage::OfRoute);
    }

    /// Uncounts it for its route; true if it did count.
    pub(crate) fn uncount_for_route(&mut self) -> bool {
        let did_count = self.admission.stage() == Stage::OfRoute;
        if did_count {
            self.admission = self.admission.with_stage(Stage::Plain);
        }
        did_count
    }

    /// Only the table of connections calls it, since it counts priorities.
    pub(super) fn set_priority(&mut self, priority: Priority) {
        self.admission = self.admission.with_priority(priority);
    }

    /// Whether it was accepted at a listener for operators.
    pub(crate) fn is_operator(&self) -> bool {
        self.quota() == Quota::Operators
    }

    /// Whether its service knows it, and gets `on_close`.
    pub(crate) fn is_announced(&self) -> bool {
        matches!(self.registration(), Registration::Announced | Registration::Dismissed)
    }

    /// Whether admission does not count it: it waits for its refusal, or for the end of it.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.registration(), Registration::Refused | Registration::Dismissed)
    }

    /// Whether its upgrade was refused by a Close, and the peer's is awaited.
    pub(crate) fn awaits_refused(&self) -> bool {
        let is_awaited = matches!(self.phase, Phase::Closing { input: Input::AwaitClose, .. });
        is_awaited && self.is_refused()
    }
}
