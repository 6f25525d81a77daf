//! The phases of a connection, how input is handled while it closes, and its registration.
//!
//! Plain state: [`connection`](super::connection) derives from it, `effects/` changes it.

use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::priority::Priority;
use crate::reactor::api::time::Time;
use crate::reactor::parts::admission::Quota;

/// The phase of a connection. Transitions only go forward, except from `Deferred` and `Streaming` back
/// to `Handshake`, and from `Handshake` and `Streaming` to `Idle` and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Client role: the kernel is connecting.
    Connecting,
    /// Waits for the head of a request, or of the response to our request.
    Handshake,
    /// The service decides later on the request.
    Deferred,
    /// The service sends the response to an HTTP request in parts.
    Responding,
    /// Messages can be sent and received.
    Open,
    /// Connected to an upstream; the next request is awaited.
    #[cfg(feature = "proxy")]
    Idle,
    /// Joined with another connection: the cold state has its side of the pipe.
    #[cfg(feature = "proxy")]
    Piped,
    /// The response of an upstream is passed to its client: this is either of the two.
    #[cfg(feature = "proxy")]
    Streaming,
    /// Our last bytes, usually a Close, are queued, or were written at `since`.
    Closing { since: Time, reason: CloseReason, input: Input },
    /// Our side of the stream is shut down, or is once the outbox is empty; waits for the end of
    /// the peer's.
    Lingering { until: Time, reason: CloseReason },
    /// Ended; the reap phase frees the slot.
    Gone(CloseReason),
}

/// How input is handled while a connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Decoded, until the peer's Close (RFC 6455, 7.1.2).
    AwaitClose,
    /// Read and discarded: the peer's Close was received, or its input cannot be trusted (7.1.7).
    Discard,
}

/// Where a connection is registered, and so who is notified of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Nowhere: it waits for its refusal.
    Refused,
    /// With admission, which counts it.
    Admitted,
    /// Also with its service, which gets `on_close`.
    Announced,
    /// With its service only: it was refused after it was announced, and its Close is under way.
    Dismissed,
}

/// A count beside its quota in which a connection takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Plain,
    /// Admitted in the reserve, until its priority is known.
    Provisional,
    /// It counts towards the connections of its route. Invariant: the route does not change.
    OfRoute,
}

/// What admission knows about a connection: its quota, its stage, its registration and its priority.
/// Packed into one byte: a second byte would make each connection larger by eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdmissionState(u8);

/// The number of quotas. Quota and stage share four bits: quota + stage * this number.
const QUOTAS: u8 = 5;

const _: () = assert!((Quota::Operators as u8) < QUOTAS);
const _: () = assert!(Quota::Operators as u8 + Stage::OfRoute as u8 * QUOTAS < 1 << 4);

impl AdmissionState {
    const COUNTS_MASK: u8 = 0b1111;
    /// Of the registration, and of the priority.
    const MASK: u8 = 0b11;
    const REGISTRATION_SHIFT: u32 = 4;
    const PRIORITY_SHIFT: u32 = 6;

    /// A connection of normal priority, in no other stage.
    pub(crate) fn new(quota: Quota, registration: Registration) -> AdmissionState {
        let state = AdmissionState(quota as u8).with_registration(registration);
        state.with_priority(Priority::Normal)
    }

    pub(crate) fn quota(self) -> Quota {
        match (self.0 & AdmissionState::COUNTS_MASK) % QUOTAS {
            packed if packed == Quota::Clients as u8 => Quota::Clients,
            packed if packed == Quota::Surplus as u8 => Quota::Surplus,
            packed if packed == Quota::Proxies as u8 => Quota::Proxies,
            packed if packed == Quota::Outbound as u8 => Quota::Outbound,
            _ => Quota::Operators,
        }
    }

    pub(crate) fn stage(self) -> Stage {
        match (self.0 & AdmissionState::COUNTS_MASK) / QUOTAS {
            0 => Stage::Plain,
            1 => Stage::Provisional,
            _ => Stage::OfRoute,
        }
    }

    pub(crate) fn registration(self) -> Registration {
        match self.0 >> AdmissionState::REGISTRATION_SHIFT & AdmissionState::MASK {
            packed if packed == Registration::Refused as u8 => Registration::Refused,
            packed if packed == Registration::Admitted as u8 => Registration::Admitted,
            packed if packed == Registration::Announced as u8 => Registration::Announced,
            _ => Registration::Dismissed,
        }
    }

    /// The priority as its route and gate have set it.
    pub(crate) fn priority(self) -> Priority {
        let packed = self.0 >> AdmissionState::PRIORITY_SHIFT & AdmissionState::MASK;
        Priority::ALL[usize::from(packed)]
    }

    pub(crate) fn with_quota(self, quota: Quota) -> AdmissionState {
        self.with_counts(quota, self.stage())
    }

    pub(crate) fn with_stage(self, stage: Stage) -> AdmissionState {
        self.with_counts(self.quota(), stage)
    }

    fn with_counts(self, quota: Quota, stage: Stage) -> AdmissionState {
        let counts = quota as u8 + stage as u8 * QUOTAS;
        AdmissionState(self.0 & !AdmissionState::COUNTS_MASK | counts)
    }

    pub(crate) fn with_registration(self, registration: Registration) -> AdmissionState {
        self.with(AdmissionState::REGISTRATION_SHIFT, registration as u8)
    }

    pub(crate) fn with_priority(self, priority: Priority) -> AdmissionState {
        self.with(AdmissionState::PRIORITY_SHIFT, priority as u8)
    }

    fn with(self, shift: u32, value: u8) -> AdmissionState {
        AdmissionState(self.0 & !(AdmissionState::MASK << shift) | value << shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_admission_state_survives_changes_of_the_others() {
        let registrations = [
            Registration::Refused,
            Registration::Admitted,
            Registration::Announced,
            Registration::Dismissed,
        ];
        let quotas =
            [Quota::Clients, Quota::Surplus, Quota::Proxies, Quota::Outbound, Quota::Operators];
        for quota in quotas {
            for registration in registrations {
                for priority in Priority::ALL {
                    for stage in [Stage::Plain, Stage::Provisional, Stage::OfRoute] {
                        let start = AdmissionState::new(Quota::Operators, Registration::Announced);
                        assert_eq!(
                            (start.priority(), start.stage()),
                            (Priority::Normal, Stage::Plain)
                        );
                        let state = start.with_stage(stage).with_priority(priority);
                        let state = state.with_registration(registration).with_quota(quota);
                        let parts = (state.quota(), state.registration(), state.priority());
                        assert_eq!(parts, (quota, registration, priority));
                        assert_eq!(state.stage(), stage);
                        let plain = state.with_stage(Stage::Plain);
                        assert_eq!((plain.quota(), plain.stage()), (quota, Stage::Plain));
                    }
                }
            }
        }
    }
}
