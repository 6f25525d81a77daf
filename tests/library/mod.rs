//! The library as an embedder uses it: contexts, handles, mail, timers, topics, workers.

mod accept;
mod conn_map;
mod errors;
mod flow;
mod handle;
mod hold;
mod listener_groups;
mod loops;
mod mailbox;
mod outcomes;
mod panics;
mod records;
mod requests;
mod stale_ids;
mod throttle;
mod timers;
mod topics;
mod workers;
