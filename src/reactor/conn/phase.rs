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

/// What admission knows about a connection: its quota, its registration, its priority, and whether
/// its admission is provisional. Packed into one byte: a second byte would make each connection larger
/// by eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdmissionState(u8);

impl AdmissionState {
    const QUOTA_MASK: u8 = 0b111;
    /// Of the registration, and of the priority.
    const MASK: u8 = 0b11;
    const REGISTRATION_SHIFT: u32 = 3;
    const PRIORITY_SHIFT: u32 = 5;
    const PROVISIONAL: u8 = 1 << 7;

    /// A connection of normal priority, whose admission is not provisional.
    pub(crate) fn new(quota: Quota, registration: Registration) -> AdmissionState {
        let state = AdmissionState(quota as u8).with_registration(registration);
        state.with_priority(Priority::Normal)
    }

    pub(crate) fn quota(self) -> Quota {
        match self.0 & AdmissionState::QUOTA_MASK {
            packed if packed == Quota::Clients as u8 => Quota::Clients,
            packed if packed == Quota::Surplus as u8 => Quota::Surplus,
            packed if packed == Quota::Proxies as u8 => Quota::Proxies,
            packed if packed == Quota::Outbound as u8 => Quota::Outbound,
            _ => Quota::Operators,
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

    /// Whether it was admitted in the reserve, and its priority is not known yet.
    pub(crate) fn is_provisional(self) -> bool {
        self.0 & AdmissionState::PROVISIONAL != 0
    }

    pub(crate) fn with_quota(self, quota: Quota) -> AdmissionState {
        AdmissionState(self.0 & !AdmissionState::QUOTA_MASK | quota as u8)
    }

    pub(crate) fn with_registration(self, registration: Registration) -> AdmissionState {
        self.with(AdmissionState::REGISTRATION_SHIFT, registration as u8)
    }

    pub(crate) fn with_priority(self, priority: Priority) -> AdmissionState {
        self.with(AdmissionState::PRIORITY_SHIFT, priority as u8)
    }

    pub(crate) fn with_provisional(self, is_provisional: bool) -> AdmissionState {
        let rest = self.0 & !AdmissionState::PROVISIONAL;
        AdmissionState(if is_provisional { rest | AdmissionState::PROVISIONAL } else { rest })
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
                    let start = AdmissionState::new(Quota::Operators, Registration::Announced);
                    assert_eq!(start.priority(), Priority::Normal);
                    assert!(!start.is_provisional());
                    let state = start.with_provisional(true).with_priority(priority);
                    let state = state.with_registration(registration).with_quota(quota);
                    assert!(state.is_provisional());
                    for state in [state, state.with_provisional(false)] {
                        let parts = (state.quota(), state.registration(), state.priority());
                        assert_eq!(parts, (quota, registration, priority));
                    }
                    assert!(!state.with_provisional(false).is_provisional());
                }
            }
        }
    }
}
