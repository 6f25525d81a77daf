//! JSON-RPC 2.0 over WebSocket and HTTP POST, with the methods and subscriptions of Ethereum, for
//! one network.
//!
//! [`Rpc`] reads calls, holds subscriptions and writes replies. A [`Backend`] answers the calls:
//! the [`gateway`] asks upstreams, the `node` has a chain of its own. Both transports have the same
//! methods.
//!
//! Replies are sent in the order in which they become complete, each with the id of its call,
//! always as text. The reply to a subscription precedes its first notification. Pending calls,
//! subscriptions, batches and replies are bounded ([`RpcSettings`]). Reading pauses on a connection
//! that has too many pending calls or does not read.
//!
//! | module | owns |
//! |---|---|
//! | `wire` | the text of calls, replies and errors |
//! | `service` | events of the loop: requests, connections, messages, time |
//! | `dispatch` | from a message to answers |
//! | `pending_calls`, `answer_queue` | calls that wait for the backend, and answers that wait for their turn |
//! | `delivery` | from an answer to a reply that is sent |
//! | `subscriptions`, `filter`, `index` | subscriptions, and which logs they match |
//! | `notices` | what the backend announces |
//! | `gateway`, `node` | the two backends |

mod answer_queue;
mod backend;
mod counts;
mod delivery;
mod dispatch;
mod filter;
pub mod gateway;
mod index;
#[cfg(feature = "node")]
pub mod node;
mod notices;
mod pending_calls;
mod service;
mod settings;
mod subscriptions;
mod wire;

pub use self::backend::{Backend, LinkEvent, Network, Notice, Progress, Ticket};
pub use self::counts::Counts;
pub use self::filter::{FilterParams, Log, LogFilter, TOPICS_MAX};
pub use self::service::Rpc;
pub use self::settings::{MethodCosts, RpcSettings};
pub use self::subscriptions::{Feeds, Kind, Source};
pub use self::wire::answer::Outcome;
pub use self::wire::error::RpcError;
pub use self::wire::hex::{Address, Bytes, HexError, Quantity, Word};
pub use self::wire::method::Class;
pub use self::wire::request::Call;
