//! Gates: services that decide who may use a route.
//!
//! [`Jwt`] verifies tokens (RFC 7519); [`Hook`] asks an HTTP server. Both give the loop an
//! [`Identity`](crate::reactor::Identity), and fail closed.
//!
//! | module | owns |
//! |---|---|
//! | `token` | places of tokens in a request, their parts and claims; without I/O |
//! | `keys` | keys, signatures, and where keys come from |
//! | `checker` | the check of one token: cache, budget of signatures |
//! | `jwt`, `loading`, `prolonging` | the gate for tokens, when it loads keys, and its refreshes |
//! | `hook` | the gate that asks |

mod cache;
mod checker;
mod counts;
mod error;
mod failures;
mod hook;
#[doc(hidden)]
pub mod internals;
mod jwt;
mod keys;
mod loading;
mod prolonging;
mod refusals;
pub mod settings;
mod signed_out;
#[cfg(test)]
mod testing;
mod token;

pub use self::counts::{AuthCounts, AuthOutcome};
pub use self::error::AuthError;
pub use self::hook::Hook;
pub use self::jwt::Jwt;
pub use self::keys::error::KeyError;
pub use self::settings::{HookSettings, JwtSettings};
