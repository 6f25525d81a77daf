//! The settings of a gate that verifies tokens.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::Rate;
use weir::services::auth::settings::{Algorithm, Audience, JwtSettings, KeySource, TokenPlace};

use crate::config::values::{FileName, OrOff, Span, texts};

/// The audience that accepts all.
const ANY: &str = "any";

/// What both kinds of gates have.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct GateFiles {
    /// CA certificates (PEM) trusted for https; off: the built-in Mozilla roots
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    ca: OrOff<FileName>,
}

/// Settings of a gate with `kind = "jwt"`. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct JwtOptions {
    /// Algorithms of signatures that are allowed
    #[arg(long, value_name = "ALGORITHM", required = true)]
    #[serde(serialize_with = "texts")]
    algorithms: Vec<Algorithm>,

    /// File with the secret of HS256, HS384 and HS512
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    secret_file: OrOff<FileName>,

    /// Public keys: a file in PEM, a JWK set, or an https:// URL of a JWK set
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    keys: OrOff<KeySource>,

    /// Places of the token: header, cookie:NAME, query:NAME, protocol; the first with a token counts
    #[arg(long, value_name = "PLACE", default_values_t = vec![TokenPlace::Header])]
    #[serde(serialize_with = "texts")]
    token_from: Vec<TokenPlace>,

    /// Audiences of which a token must name one; any: whatever it names
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,

    /// Issuer that a token must name
    #[arg(long, value_name = "ISSUER", default_value_t = OrOff(None))]
    issuer: OrOff<String>,

    /// Claims that become metadata of the connection
    #[arg(long, value_name = "NAME")]
    claims: Vec<String>,

    /// How far the clock of the issuer may differ
    #[arg(long, value_name = "TIME", default_value_t = Span(jwt().leeway))]
    leeway: Span,

    /// Whether a token must have an end
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Exp::Required)]
    exp: Exp,

    /// Leave the token in the request, for an upstream
    #[arg(long, value_name = "BOOL", default_value_t = jwt().forward_token)]
    #[arg(action = clap::ArgAction::Set)]
    forward_token: bool,

    /// Rate of forged and malformed tokens per address; then 429 without a check
    #[arg(long, value_name = "RATE", default_value_t = OrOff(jwt().failures_per_address))]
    failures_per_address: OrOff<Rate>,
}

/// Whether a token must have an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Exp {
    Required,
    Optional,
}

fn jwt() -> JwtSettings {
    JwtSettings::new(Vec::new())
}

impl GateFiles {
    pub(in crate::config) fn new(ca_file: Option<&Path>) -> GateFiles {
        GateFiles { ca: OrOff(ca_file.map(|path| FileName(path.to_owned()))) }
    }

    pub(super) fn ca_file(self) -> Option<PathBuf> {
        self.ca.0.map(|name| name.0)
    }
}

impl From<&JwtSettings> for JwtOptions {
    fn from(settings: &JwtSettings) -> JwtOptions {
        JwtOptions {
            algorithms: settings.algorithms.clone(),
            secret_file: OrOff(settings.secret_file.clone().map(FileName)),
            keys: OrOff(settings.keys.clone()),
            token_from: settings.token_from.clone(),
            audience: match &settings.audience {
                Audience::Unset => Vec::new(),
                Audience::Any => vec![ANY.to_owned()],
                Audience::OneOf(names) => names.clone(),
            },
            issuer: OrOff(settings.issuer.clone()),
            claims: settings.claims.clone(),
            leeway: Span(settings.leeway),
            exp: if settings.needs_exp { Exp::Required } else { Exp::Optional },
            forward_token: settings.forward_token,
            failures_per_address: OrOff(settings.failures_per_address),
        }
    }
}

impl JwtOptions {
    /// The settings of the gate with these options.
    pub(in crate::config) fn settings(self, files: GateFiles) -> JwtSettings {
        let path = |file: OrOff<FileName>| file.0.map(|name| name.0);
        let audience = match self.audience {
            names if names.is_empty() => Audience::Unset,
            names if names.iter().any(|name| name == ANY) => Audience::Any,
            names => Audience::OneOf(names),
        };
        JwtSettings::new(self.algorithms)
            .secret_file(path(self.secret_file))
            .keys(self.keys.0)
            .ca_file(files.ca_file())
            .token_from(self.token_from)
            .audience(audience)
            .issuer(self.issuer.0)
            .claims(self.claims)
            .leeway(self.leeway.0)
            .needs_exp(self.exp == Exp::Required)
            .forward_token(self.forward_token)
            .failures_per_address(self.failures_per_address.0)
    }
}
