//! What a node is to be.

use std::path::PathBuf;
use std::time::Duration;

use crate::upstream::url::UpstreamUrl;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It makes the blocks.
    Leader,
    /// It follows a leader.
    Follower,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
        }
    }
}

/// What a node is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The chain's number.
    pub chain_id: u64,
    /// Where its blocks are kept. One process at a time.
    pub data_dir: PathBuf,
    /// What it is.
    pub part: Part,
}

/// How often a follower asks its leader for new blocks, unless set otherwise.
pub const POLL_INTERVAL_DEFAULT: Duration = Duration::from_millis(500);

/// A [`Role`], and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Makes the blocks.
    Leader {
        /// From one block to the next; `None`: only on demand, by `weir_mine`.
        block_time: Option<Duration>,
    },
    /// Follows a leader.
    Follower {
        /// The leader's address: `http` or `https`, for HTTP POST.
        url: UpstreamUrl,
        /// How often the leader is asked for new blocks while no notification arrives.
        poll_interval: Duration,
    },
}
