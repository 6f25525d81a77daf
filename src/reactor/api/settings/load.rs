//! Settings of the load levels that have a type of their own: [`MemoryMax`].
//!
//! The thresholds are in `reactor.rs`, and their relations in `check.rs`.

/// Against which limit the memory of the process is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryMax {
    /// The smallest limit of the process's cgroup and of those above it, and the memory of that cgroup.
    /// Without a limit: the memory of the machine, and the resident memory of the process.
    Auto,
    /// This number of bytes, and the resident memory of the process.
    Bytes(usize),
    /// Only buffered bytes are measured.
    Off,
}
