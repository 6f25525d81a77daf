//! Masking keys for the client's role: RFC 6455, 5.3 wants them fresh and unpredictable.
//!
//! Drawn from the kernel a thousand bytes at a time, so that a frame does not cost a system call.

use std::io;

use crate::protocol::Role;

const POOL_BYTES: usize = 1024;
const KEY_BYTES: usize = 4;

#[derive(Debug)]
pub(super) struct MaskKeys {
    pool: Box<[u8; POOL_BYTES]>,
    used: usize,
}

impl MaskKeys {
    /// # Errors
    /// The kernel has no source of entropy.
    pub(super) fn new() -> io::Result<MaskKeys> {
        let mut keys = MaskKeys { pool: Box::new([0; POOL_BYTES]), used: 0 };
        getrandom::fill(&mut *keys.pool)?;
        Ok(keys)
    }

    /// The key for one frame, if this end masks its frames (5.1).
    #[inline]
    pub(super) fn for_frame_of(&mut self, role: Role) -> Option<[u8; KEY_BYTES]> {
        match role {
            Role::Server => None,
            Role::Client => Some(self.draw()),
        }
    }

    /// Fresh bytes: a key, or the nonce of a handshake.
    pub(super) fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= POOL_BYTES) };
        if self.used + N > POOL_BYTES {
            getrandom::fill(&mut *self.pool).expect("the kernel's entropy answered at the start");
            self.used = 0;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.pool[self.used..self.used + N]);
        self.used += N;
        bytes
    }
}
