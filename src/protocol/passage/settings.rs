//! What a tunnel's endpoints negotiated, and its limits.

/// The extensions that the endpoints negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    /// None: all RSV bits are errors.
    Nothing,
    /// permessage-deflate alone: RSV1 marks the first frame of a compressed message (RFC 7692, 6).
    Deflate,
    /// One that weir does not know. RSV bits and opcodes are not checked, and frames are not split:
    /// long ones are forwarded as they arrive.
    Unknown,
}

/// Limits of one direction. A parameter, because many tunnels share them.
#[derive(Debug, Clone, Copy)]
pub struct PassageLimits {
    /// A longer payload is not held until it is complete. Fragments have at least this many bytes,
    /// except the last of a frame.
    pub hold_bytes_max: usize,
    /// Maximum sum of the payload lengths of a message, compressed or not. [`u64::MAX`]: no limit.
    pub message_bytes_max: u64,
    /// Maximum number of frames per call; at least one is handled.
    pub frames_max: usize,
}
