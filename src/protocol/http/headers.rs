//! Heads written again on their way through a proxy: never copied, so that nothing passes which the
//! proxy has not read as it will be read.
//!
//! `request` and `response` write one direction each. `hop` has the rules for both, `changes` an
//! operator's own.

mod changes;
mod hop;
mod identity;
mod redacted;
mod request;
mod response;

pub use changes::HeaderChanges;
pub use identity::IdentityHeaders;
pub use request::{
    ForwardedMode, HostName, HostRule, RequestOrigin, RequestRules, binds_connection,
    check_request, offers_used_token, write_request,
};
pub use response::{ResponseRules, write_response};
