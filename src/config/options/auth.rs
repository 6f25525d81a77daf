//! The settings of a gate.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use weir::protocol::CloseCode;
use weir::reactor::settings::GateSettings;

use crate::config::values::{Count, OrOff, Span};

/// The keys of a `[[auth]]` without a default.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct AuthTable {
    /// The name that routes refer to
    #[arg(long, required = true)]
    pub(in crate::config) name: String,
    #[arg(long, value_enum, required = true)]
    pub(in crate::config) kind: AuthKind,
}

/// What a gate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum AuthKind {
    /// Verify tokens
    Jwt,
    /// Ask an HTTP server
    Http,
}

/// Settings of a gate of any kind. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct GateOptions {
    /// Maximum open connections of one subject; more are refused with 429; off: unlimited
    #[arg(long, value_name = "N")]
    #[arg(default_value_t = OrOff(gate().connections_per_subject.map(Count)))]
    connections_per_subject: OrOff<Count<usize>>,

    /// Close code of connections whose identity has expired: 1008, or 3000 to 4999
    #[arg(long, value_name = "CODE", default_value_t = ExpiredCode(gate().expired_code))]
    expired_code: ExpiredCode,

    /// How long a connection stays open after its identity has expired
    #[arg(long, value_name = "TIME", default_value_t = Span(gate().expired_grace))]
    expired_grace: Span,
}

fn gate() -> GateSettings {
    GateSettings::default()
}

impl From<&GateSettings> for GateOptions {
    fn from(settings: &GateSettings) -> GateOptions {
        GateOptions {
            connections_per_subject: OrOff(settings.connections_per_subject.map(Count)),
            expired_code: ExpiredCode(settings.expired_code),
            expired_grace: Span(settings.expired_grace),
        }
    }
}

impl From<GateOptions> for GateSettings {
    fn from(options: GateOptions) -> GateSettings {
        GateSettings::default()
            .connections_per_subject(options.connections_per_subject.0.map(|count| count.0))
            .expired_code(options.expired_code.0)
            .expired_grace(options.expired_grace.0)
    }
}

/// A close code that states why a client must authenticate again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExpiredCode(CloseCode);

impl FromStr for ExpiredCode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ExpiredCode, Self::Err> {
        let code = text.parse().ok().filter(|code| matches!(code, 1008 | 3000..=4999));
        let code = code.and_then(CloseCode::new).map(ExpiredCode);
        code.ok_or("expected 1008, or a code from 3000 to 4999")
    }
}

impl fmt::Display for ExpiredCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ExpiredCode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(self.0.get())
    }
}
