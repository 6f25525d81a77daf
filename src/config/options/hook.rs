//! The settings of a gate that asks an HTTP server.

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::services::auth::settings::{HookHeader, HookSettings, OnFailure};
use weir::upstream::UpstreamUrl;

use super::jwt::GateFiles;
use crate::config::values::{Count, OrOff, Span, one_text, texts};

/// Settings of a gate with `kind = "http"`. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct HookOptions {
    /// The URL that decides
    #[arg(long, value_name = "URL", required = true)]
    #[serde(serialize_with = "one_text")]
    url: UpstreamUrl,

    /// Headers of the client that the hook gets
    #[arg(long, value_name = "NAME", default_values_t = HookHeader::usual())]
    #[serde(serialize_with = "texts")]
    headers: Vec<HookHeader>,

    /// How long the hook may take
    #[arg(long, value_name = "TIME", default_value_t = Span(HookSettings::TIMEOUT))]
    timeout: Span,

    /// Maximum requests to the hook at once
    #[arg(long, value_name = "N", default_value_t = Count(HookSettings::CONCURRENCY))]
    concurrency: Count<usize>,

    /// What happens to requests that the hook does not decide on
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Failure::Refuse)]
    on_failure: Failure,

    /// How long a passing answer is used again for an equal request
    #[arg(long, value_name = "TIME", default_value_t = OrOff(None))]
    cache: OrOff<Span>,
}

/// The names of [`OnFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Failure {
    /// They are refused with 503
    Refuse,
    /// They pass, without an identity
    Pass,
}

impl From<&HookSettings> for HookOptions {
    fn from(settings: &HookSettings) -> HookOptions {
        HookOptions {
            url: settings.url.clone(),
            headers: settings.headers.clone(),
            timeout: Span(settings.timeout),
            concurrency: Count(settings.concurrency),
            on_failure: match settings.on_failure {
                OnFailure::Refuse => Failure::Refuse,
                OnFailure::Pass => Failure::Pass,
            },
            cache: OrOff(settings.cache.map(Span)),
        }
    }
}

impl HookOptions {
    /// The settings of the gate with these options.
    pub(in crate::config) fn settings(self, files: GateFiles) -> HookSettings {
        HookSettings::new(self.url)
            .ca_file(files.ca_file())
            .headers(self.headers)
            .timeout(self.timeout.0)
            .concurrency(self.concurrency.0)
            .on_failure(match self.on_failure {
                Failure::Refuse => OnFailure::Refuse,
                Failure::Pass => OnFailure::Pass,
            })
            .cache(self.cache.duration())
    }
}
