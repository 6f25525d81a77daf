//! The settings of a Nostr relay.

use clap::Args;
use serde::Serialize;
use weir::services::nostr::settings::RelaySettings;

use self::events::EventOptions;
use self::info::InfoOptions;
use self::names::Auth;
use self::policy::PolicyOptions;
use self::requests::RequestOptions;
use self::store::StoreOptions;
use self::usual::usual;
use crate::config::values::FileName;

mod events;
mod info;
mod names;
mod policy;
mod requests;
mod store;
mod usual;

/// The keys of a `[[relay]]` without a default.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct RelayTable {
    /// The name that routes refer to
    #[arg(long, required = true)]
    pub(in crate::config) name: String,

    /// Directory of the events
    #[arg(long, value_name = "FILE", required = true)]
    pub(in crate::config) data_dir: FileName,
}

/// Settings of a relay. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct RelayOptions {
    /// Addresses by which clients reach the relay, as in wss://relay.example.org
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    urls: Vec<String>,

    /// What clients must authenticate for
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().auth.into())]
    auth: Auth,

    #[command(flatten)]
    #[serde(flatten)]
    info: InfoOptions,

    #[command(flatten)]
    #[serde(flatten)]
    events: EventOptions,

    #[command(flatten)]
    #[serde(flatten)]
    policy: PolicyOptions,

    #[command(flatten)]
    #[serde(flatten)]
    requests: RequestOptions,

    #[command(flatten)]
    #[serde(flatten)]
    store: StoreOptions,
}

impl From<&RelaySettings> for RelayOptions {
    fn from(relay: &RelaySettings) -> RelayOptions {
        RelayOptions {
            urls: relay.urls.clone(),
            auth: relay.auth.into(),
            info: relay.into(),
            events: relay.into(),
            policy: relay.into(),
            requests: relay.into(),
            store: relay.into(),
        }
    }
}

impl RelayOptions {
    /// The settings of the relay with these options.
    pub(in crate::config) fn settings(self, data_dir: FileName) -> RelaySettings {
        let relay = RelaySettings::new(data_dir.0)
            .urls(self.urls)
            .auth(self.auth.into())
            .info(self.info.info());
        let relay = self.policy.apply(self.events.apply(relay));
        self.store.apply(self.requests.apply(relay))
    }
}
