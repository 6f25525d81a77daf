//! Masking keys and handshake nonces of outbound connections, and markers of pings in tunnels. RFC
//! 6455, 5.3 requires keys that are fresh, unpredictable, and derived "from a strong source of entropy".
//!
//! Keys come from a stream cipher seeded by the kernel, so that a frame costs no system call.

use std::io;
use std::ops::RangeInclusive;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng};

use crate::protocol::Role;

const RETRY_AFTER_SECONDS: RangeInclusive<u32> = 5..=15;

#[derive(Debug)]
pub(crate) struct MaskKeys(StdRng);

impl MaskKeys {
    /// # Errors
    /// The kernel provides no entropy.
    pub(crate) fn new() -> io::Result<MaskKeys> {
        let seeded = StdRng::try_from_rng(&mut SysRng);
        seeded.map(MaskKeys).map_err(io::Error::other)
    }

    /// The masking key for one frame, if this role masks its frames (5.1).
    #[inline]
    pub(crate) fn for_frame_of(&mut self, role: Role) -> Option<[u8; 4]> {
        match role {
            Role::Server => None,
            Role::Client => Some(self.key()),
        }
    }

    /// A fresh key.
    #[inline]
    pub(crate) fn key(&mut self) -> [u8; 4] {
        self.0.next_u32().to_ne_bytes()
    }

    /// The marker by which a tunnel recognizes our own pings.
    #[cfg(feature = "proxy")]
    pub(crate) fn marker(&mut self) -> [u8; 8] {
        self.0.next_u64().to_ne_bytes()
    }

    /// The ids of a new trace.
    pub(crate) fn trace_ids(&mut self) -> [u8; 24] {
        let mut ids = [0; 24];
        self.0.fill_bytes(&mut ids);
        ids
    }

    /// `Retry-After` of a refusal that depends on no rate: at random, so that refused clients do not
    /// come back together.
    pub(crate) fn retry_after_seconds(&mut self) -> u32 {
        self.0.random_range(RETRY_AFTER_SECONDS)
    }

    /// The nonce of a client's handshake (4.1).
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        self.0.fill_bytes(&mut nonce);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_spread_over_its_range() {
        let mut keys = MaskKeys::new().unwrap();
        let mut counts = [0; 16];
        for _ in 0..11_000 {
            counts[keys.retry_after_seconds() as usize] += 1;
        }
        assert_eq!(counts[..5], [0; 5]);
        assert!(counts[5..].iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
