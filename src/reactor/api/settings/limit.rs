//! [`Limit`]: the limits that can be tried in a dry run.

use std::fmt;
use std::str::FromStr;

use super::notation::NotationError;

macro_rules! limits {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)+) => {
        /// A limit that can be counted and logged without being enforced:
        /// [`limits_dry_run`](field@super::Settings::limits_dry_run).
        ///
        /// A limit on requests has the [name](crate::protocol::handshake::Refusal::name) of its
        /// refusal, and a rate that pauses reading that of its setting, without `_rate`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Limit {
            $($(#[$doc])* $variant,)+
        }

        impl Limit {
            /// All limits.
            pub const ALL: &'static [Limit] = &[$(Limit::$variant),+];

            /// Its name in the configuration, in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Limit::$variant => $name,)+ }
            }
        }
    };
}

limits! {
    /// Connections from one address.
    AddressFull = "address_full";
    /// The rates of new connections, per address and in total.
    RateLimited = "rate_limited";
    /// A route's rate of requests per address.
    Requests = "requests";
    /// The priorities that a load level admits.
    Pressure = "pressure";
    /// The reserve for high priorities.
    Reserved = "reserved";
    /// Connections of a route.
    RouteFull = "route_full";
    /// Connections of one subject of a gate.
    SubjectFull = "subject_full";
    /// A route's rate of messages per connection.
    Messages = "messages";
    /// A route's rate of bytes per connection.
    Bytes = "bytes";
    /// A route's rate of messages per address.
    MessagesPerAddress = "messages_per_address";
    /// A route's rate of bytes per address.
    BytesPerAddress = "bytes_per_address";
    /// A route's rate of messages per subject.
    MessagesPerSubject = "messages_per_subject";
}

impl FromStr for Limit {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Limit, Self::Err> {
        const FORM: &str = r#"expected the name of a limit, such as "messages" or "rate_limited""#;
        let named = Limit::ALL.iter().find(|limit| limit.name() == text);
        named.copied().ok_or(NotationError::from(FORM))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
