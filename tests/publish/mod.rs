//! One message to many: who gets it, who does not, and what is reported of that.

mod batches;
mod delivery;
mod selection;
mod shared;
