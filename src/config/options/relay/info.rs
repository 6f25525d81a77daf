//! What the information document (NIP-11) of a relay says.

use clap::Args;
use serde::Serialize;
use weir::services::nostr::settings::{RelayInfo, RelaySettings};

use crate::config::values::OrOff;

/// What the information document says about the relay.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct InfoOptions {
    /// Name in the information document
    #[arg(long, value_name = "TEXT", default_value_t = OrOff(None))]
    title: OrOff<String>,

    /// What the relay is for
    #[arg(long, value_name = "TEXT", default_value_t = OrOff(None))]
    description: OrOff<String>,

    /// URL of a wide image
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    banner: OrOff<String>,

    /// URL of a square image
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    icon: OrOff<String>,

    /// Public key of the operator, 64 hex digits
    #[arg(long, value_name = "KEY", default_value_t = OrOff(None))]
    pubkey: OrOff<String>,

    /// Another way to reach the operator
    #[arg(long, value_name = "URI", default_value_t = OrOff(None))]
    contact: OrOff<String>,

    /// URL of the terms of service
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    terms_of_service: OrOff<String>,

    /// URL of the privacy policy
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    privacy_policy: OrOff<String>,

    /// URL of the rules for events
    #[arg(long, value_name = "URL", default_value_t = OrOff(None))]
    posting_policy: OrOff<String>,
}

impl From<&RelaySettings> for InfoOptions {
    fn from(relay: &RelaySettings) -> InfoOptions {
        let info = relay.info.clone();
        InfoOptions {
            title: OrOff(info.name),
            description: OrOff(info.description),
            banner: OrOff(info.banner),
            icon: OrOff(info.icon),
            pubkey: OrOff(info.pubkey),
            contact: OrOff(info.contact),
            terms_of_service: OrOff(info.terms_of_service),
            privacy_policy: OrOff(info.privacy_policy),
            posting_policy: OrOff(info.posting_policy),
        }
    }
}

impl InfoOptions {
    /// The document with these options.
    pub(super) fn info(self) -> RelayInfo {
        RelayInfo::default()
            .name(self.title.0)
            .description(self.description.0)
            .banner(self.banner.0)
            .icon(self.icon.0)
            .pubkey(self.pubkey.0)
            .contact(self.contact.0)
            .terms_of_service(self.terms_of_service.0)
            .privacy_policy(self.privacy_policy.0)
            .posting_policy(self.posting_policy.0)
    }
}
