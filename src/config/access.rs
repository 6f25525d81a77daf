//! Who may use a route or a network: its gate, and what the identity of a client must have.
//!
//! The gates themselves are in `auth.rs`. A route names one, since gates have no id before they are
//! added to a loop.

use clap::Args;
use serde::Serialize;
use weir::reactor::settings::RouteSettings;
use weir::reactor::{GateId, Requirement};

use super::auth::{AuthConfig, GateKind};
use super::error::AccessError;
use super::values::{OrOff, texts};
use crate::nearest::nearest;

/// The gates of a loop, by name.
pub(crate) type Gates = Vec<(String, GateId)>;

/// Who may use a route. It can only be set in its table of the file, and is written only with a gate.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize)]
pub(crate) struct Access {
    /// Name of the [[auth]] whose gate decides on requests; off: everybody
    #[arg(long, value_name = "NAME", default_value_t = OrOff(None))]
    auth: OrOff<String>,

    /// What the identity of a client must have, as in "role=admin", all of it; others get 403
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(serialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    require: Vec<Requirement>,
}

impl Access {
    /// The name of the gate.
    pub(crate) fn auth(&self) -> Option<&str> {
        self.auth.0.as_deref()
    }

    /// Adds the gate to the settings of a route. `None` if the loop has no gate of this name.
    pub(crate) fn add_to(&self, settings: &RouteSettings, gates: &Gates) -> Option<RouteSettings> {
        let settings = settings.clone();
        let Some(name) = self.auth() else {
            return Some(settings);
        };
        let (_, gate) = gates.iter().find(|(other, _)| other == name)?;
        Some(settings.gate(*gate).require(self.require.clone().into()))
    }

    /// Checks that the gate exists, and that pages of other sites cannot use cookies that it accepts.
    pub(super) fn check(
        &self,
        settings: &RouteSettings,
        auths: &[AuthConfig],
    ) -> Result<(), AccessError> {
        let Some(name) = self.auth() else {
            return match self.require.is_empty() {
                true => Ok(()),
                false => Err(AccessError::RequireWithoutAuth),
            };
        };
        let auth = find(name, auths)?;
        match auth.takes_cookies() && settings.origins.is_empty() {
            true => Err(AccessError::CookiesWithoutOrigins(name.to_owned())),
            false => Ok(()),
        }
    }

    /// Checks the gate of a route that refreshes identities.
    pub(super) fn check_refresh(&self, auths: &[AuthConfig]) -> Result<(), AccessError> {
        if !self.require.is_empty() {
            return Err(AccessError::RefreshWithRequire);
        }
        let name = self.auth().ok_or(AccessError::RefreshWithoutAuth)?;
        match find(name, auths)?.kind {
            GateKind::Jwt(_) => Ok(()),
            GateKind::Http(_) => Err(AccessError::NotJwt(name.to_owned())),
        }
    }
}

fn find<'a>(name: &str, auths: &'a [AuthConfig]) -> Result<&'a AuthConfig, AccessError> {
    auths.iter().find(|auth| auth.name == name).ok_or_else(|| {
        let near = nearest(name, auths.iter().map(|auth| auth.name.as_str()));
        AccessError::NoAuth { name: name.to_owned(), near: near.map(str::to_owned) }
    })
}
