//! What a service can rely on, beyond one echo.

mod conn_map;
mod flow;
mod loops;
mod mailbox;
mod panics;
mod records;
mod requests;
mod sites;
mod throttle;
mod timers;
mod topics;
mod workers;
