//! What a service can rely on, beyond one echo.

mod conn_map;
mod flow;
mod handle;
mod listener_groups;
mod loops;
mod mailbox;
mod panics;
mod records;
mod requests;
mod throttle;
mod timers;
mod topics;
mod workers;
