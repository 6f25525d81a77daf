//! The names of the enums of a relay's settings.

use clap::ValueEnum;
use serde::Serialize;
use weir::services::nostr::settings::{
    AuthPolicy, BroadFilters, Mute, PluginFailure, SlowReaders, Sync,
};

/// Declares the names of an enum of the settings, and the conversions both ways.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident of $of:ident { $($(#[$doc:meta])* $value:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub(in crate::config) enum $name {
            $($(#[$doc])* $value,)*
        }

        impl From<$of> for $name {
            fn from(value: $of) -> $name {
                match value {
                    $($of::$value => $name::$value,)*
                }
            }
        }

        impl From<$name> for $of {
            fn from(name: $name) -> $of {
                match name {
                    $($name::$value => $of::$value,)*
                }
            }
        }
    };
}

names! {
    /// The names of [`AuthPolicy`].
    Auth of AuthPolicy {
        /// No challenge is sent
        Off,
        /// For private kinds and protected events
        Offer,
        /// For events, too
        Write,
        /// For requests, too
        Read,
        /// For events and requests
        All,
    }
}

names! {
    /// The names of [`BroadFilters`].
    Broad of BroadFilters {
        /// They are accepted
        Allow,
        /// They need a limit of at most 100, or a range of at most two hours
        Limited,
        /// They are refused
        Refuse,
    }
}

names! {
    /// The names of [`PluginFailure`].
    Failure of PluginFailure {
        /// They are refused
        Refuse,
        /// They are accepted
        Accept,
    }
}

names! {
    /// The names of [`Mute`].
    MuteOk of Mute {
        /// OK true with mute:
        True,
        /// OK false with mute:
        False,
        /// OK true
        Off,
    }
}

names! {
    /// The names of [`SlowReaders`].
    Slow of SlowReaders {
        /// Close the connection with 1013
        Close,
        /// Drop the events
        Drop,
    }
}

names! {
    /// The names of [`Sync`].
    SyncWhen of Sync {
        /// When it is on disk
        Commit,
        /// When the system has it; on disk within 200 ms
        Interval,
    }
}
