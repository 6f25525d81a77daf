//! The upstream pools of the proxy: which upstream gets a request, and what is known about each.
//!
//! Plain state: it opens no connection, starts no thread and reads no clock. A service asks it for
//! an upstream ([`UpstreamPools::choose`]), reports what became of each try, and does what is due:
//! lookups of names, active checks, and tunnels that have to end.
//!
//! | file | owns |
//! |---|---|
//! | `settings` | the settings of a pool, as an operator writes them |
//! | `loaded` | a pool whose TLS files are read |
//! | `table` | [`UpstreamPools`]: all pools and upstreams, their tries and uses |
//! | `swap` | which upstreams a pool has: reload, and new addresses of a name |
//! | `choose` | the rules of the choice |
//! | `hashing` | rendezvous hashing and the value of the sticky cookie |
//! | `due`, `allowance` | lookups, active checks and ends of tunnels, by time |
//! | `upstream` | the state of one upstream |
//! | `health` | the state of its active checks |
//! | `names` | the addresses of DNS names, and when to look them up |
//! | `counts`, `status` | what operators see |

mod allowance;
mod choose;
mod counts;
mod due;
mod hashing;
mod health;
mod id;
mod loaded;
mod names;
pub(super) mod settings;
mod status;
mod swap;
mod table;
mod tries;
mod upstream;

pub(crate) use self::choose::Choice;
pub(crate) use self::due::{Ends, EndsWhy};
pub(crate) use self::health::CHECK_TIMEOUT;
pub(crate) use self::id::UpstreamId;
pub(crate) use self::table::{StateChange, Target, UpstreamPools, Wish};
pub(crate) use self::tries::{Try, TryEnd, Use};

pub use self::counts::{PoolUpstreamCounts, PoolsCounts};
pub use self::health::CheckFailure;
pub use self::loaded::LoadedPool;
pub use self::status::UpstreamStatus;
pub use self::upstream::UpstreamState;

#[cfg(test)]
mod tests;
