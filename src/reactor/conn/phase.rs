//! The phases of a connection, how input is handled while it closes, and its registration.
//!
//! Plain state: [`connection`](super::connection) derives from it, `effects/` changes it.

use crate::reactor::api::close_reason::CloseReason;
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
}

/// The quota that a connection counts against, and its registration. Packed into one byte: a second
/// byte would make each connection larger by eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaAndRegistration(u8);

impl QuotaAndRegistration {
    const REGISTRATION_SHIFT: u32 = 4;

    pub(crate) fn new(quota: Quota, registration: Registration) -> QuotaAndRegistration {
        let shift = QuotaAndRegistration::REGISTRATION_SHIFT;
        QuotaAndRegistration(quota as u8 | (registration as u8) << shift)
    }

    pub(crate) fn quota(self) -> Quota {
        let packed = self.0 & ((1 << QuotaAndRegistration::REGISTRATION_SHIFT) - 1);
        match packed {
            _ if packed == Quota::Clients as u8 => Quota::Clients,
            _ if packed == Quota::Proxies as u8 => Quota::Proxies,
            _ if packed == Quota::Outbound as u8 => Quota::Outbound,
            _ => Quota::Operators,
        }
    }

    pub(crate) fn registration(self) -> Registration {
        let packed = self.0 >> QuotaAndRegistration::REGISTRATION_SHIFT;
        match packed {
            _ if packed == Registration::Refused as u8 => Registration::Refused,
            _ if packed == Registration::Admitted as u8 => Registration::Admitted,
            _ => Registration::Announced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_and_registration_survive_packing() {
        for quota in [Quota::Clients, Quota::Proxies, Quota::Outbound, Quota::Operators] {
            for registration in
                [Registration::Refused, Registration::Admitted, Registration::Announced]
            {
                let packed = QuotaAndRegistration::new(quota, registration);
                assert_eq!((packed.quota(), packed.registration()), (quota, registration));
            }
        }
    }
}
