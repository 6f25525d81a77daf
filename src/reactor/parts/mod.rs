//! Parts of the loop that know no connection: at most its id, its address or its socket.

pub(super) mod addresses;
pub(super) mod admission;
pub(super) mod batch_id;
pub(super) mod bucket;
pub(super) mod cors;
pub(super) mod date;
#[cfg_attr(not(feature = "deflate"), path = "../without/parts/deflate.rs")]
pub(super) mod deflate;
pub(super) mod destination;
pub(super) mod entropy;
pub(super) mod file;
pub(super) mod histograms;
pub(super) mod hosts;
pub(super) mod keys;
pub(super) mod ledger;
pub(super) mod lines;
pub(super) mod listener;
pub(super) mod load;
pub(super) mod load_level;
pub(super) mod mailbox;
pub(super) mod metrics;
pub(super) mod observed;
pub(super) mod origin;
pub(super) mod presented;
pub(super) mod rates;
pub(super) mod recovery;
pub(super) mod redaction;
#[cfg(feature = "proxy")]
pub(super) mod relayed;
pub(super) mod rounds;
pub(super) mod router;
pub(super) mod schedule;
pub(super) mod shared;
pub(super) mod shared_rates;
pub(super) mod shedding;
pub(super) mod shutdown;
pub(super) mod sign_outs;
#[cfg_attr(not(feature = "signals"), path = "../without/parts/signals.rs")]
pub(super) mod signals;
pub(super) mod socket;
pub(super) mod stats;
pub(super) mod subjects;
pub mod timer;
#[cfg_attr(not(feature = "tls"), path = "../without/parts/tls.rs")]
pub(super) mod tls;
pub mod topics;
pub(super) mod traces;
pub(super) mod usage;
pub(super) mod wall_clock;
pub(super) mod work;
pub(super) mod workers;
