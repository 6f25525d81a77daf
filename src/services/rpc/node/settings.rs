//! The settings of a node.

use std::path::PathBuf;
use std::time::Duration;

use crate::reactor::settings::with_setters;
use crate::upstream::url::UpstreamUrl;

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes the blocks.
    Leader,
    /// Copies the blocks of a leader.
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

with_setters! {
    /// The settings of a node.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NodeSettings {
        /// The chain id.
        pub chain_id: u64 = chain_id,
        /// The directory of its store. One process at a time can use it.
        pub data_dir: PathBuf = data_dir.into(),
        /// Its role.
        pub role: RoleSettings = role,
    }

    /// A node of this chain and role, with its store in `data_dir`.
    pub fn new(chain_id: u64, data_dir: impl Into<PathBuf>, role: RoleSettings);
}

/// The default poll interval of a follower.
pub const POLL_INTERVAL_DEFAULT: Duration = Duration::from_millis(500);

/// A [`Role`] with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSettings {
    /// Makes the blocks.
    Leader {
        /// The time between blocks; `None`: only on demand, by `weir_mine`.
        block_time: Option<Duration>,
    },
    /// Copies the blocks of a leader.
    Follower {
        /// The URL of the leader: `http` or `https`, for HTTP POST.
        url: UpstreamUrl,
        /// The leader is asked for new blocks at this interval, if no notification arrives.
        poll_interval: Duration,
    },
}
