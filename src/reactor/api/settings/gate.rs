//! The settings of a gate: [`GateSettings`].

use std::time::Duration;

use super::setters::with_setters;
use crate::protocol::CloseCode;

with_setters! {
    /// The settings of a gate.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct GateSettings {
        /// Maximum number of open connections of one subject; further ones get 429. `None`: unlimited.
        pub connections_per_subject: Option<usize> = None,
        /// The code of the Close of a connection whose identity has expired.
        pub expired_code: CloseCode = CloseCode::UNAUTHORIZED,
        /// How long a connection stays open after its identity has expired.
        pub expired_grace: Duration = Duration::ZERO,
    }
}
