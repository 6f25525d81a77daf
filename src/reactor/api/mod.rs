//! The interface for embedders: services, their context, ids, requests, settings, budgets.
//!
//! Most files define words that every layer of the reactor uses, and import nothing of the core.
//! [`context`] lends the core to a handler: it stands on the core, with [`service`], [`gate`],
//! [`conn_map`] and [`throttle`].

pub mod budget;
pub(super) mod close_reason;
pub(super) mod conn_map;
pub(in crate::reactor) mod connect;
pub(super) mod context;
#[cfg(feature = "proxy")]
pub(in crate::reactor) mod exchange;
pub(super) mod gate;
pub(super) mod handle;
pub(super) mod id;
pub(super) mod identity;
pub(super) mod level;
pub(super) mod metadata;
pub(super) mod observer;
pub(super) mod outcome;
pub(super) mod priority;
pub(super) mod publish;
pub(super) mod record;
pub(super) mod request;
pub(super) mod route;
pub(super) mod service;
pub mod settings;
pub(super) mod throttle;
pub(super) mod time;
pub(super) mod tls_info;
pub(super) mod token_request;
#[cfg(feature = "proxy")]
pub(in crate::reactor) mod upstream;
