//! Adds the gates of the configuration to a loop, and the routes that lead to them.

use std::error::Error;

use weir::reactor::settings::RouteSettings;
use weir::reactor::{Reactor, RouteId};
use weir::services::auth::{Hook, Jwt};

use crate::config::{AuthConfig, Config, GateKind, Gates};
use crate::observe::AuthSource;

/// Adds the gates that the configuration defines; returns them with their metrics.
pub(crate) fn add_gates(
    reactor: &mut Reactor,
    config: &Config,
) -> Result<(Gates, Vec<AuthSource>), Box<dyn Error>> {
    let (mut gates, mut sources) = (Gates::new(), Vec::new());
    for AuthConfig { name, kind, gate } in &config.auths {
        let (id, counts) = match kind {
            GateKind::Jwt(settings) => {
                let jwt = Jwt::new(name, settings)?;
                let counts = jwt.counts();
                (reactor.add_gate(jwt, gate.clone())?, counts)
            }
            GateKind::Http(settings) => {
                let hook = Hook::new(name, settings.clone())?;
                let counts = hook.counts();
                (reactor.add_gate(hook, gate.clone())?, counts)
            }
        };
        gates.push((name.clone(), id));
        sources.push(AuthSource::new(counts));
    }
    Ok((gates, sources))
}

/// Adds a route that leads to this gate, which refreshes identities.
pub(crate) fn add_refresh(
    reactor: &mut Reactor,
    path: &str,
    settings: RouteSettings,
    auth: &str,
    gates: &Gates,
) -> Result<RouteId, Box<dyn Error>> {
    let (_, gate) = gates.iter().find(|(name, _)| name == auth).ok_or("a gate is missing")?;
    Ok(reactor.add_route(path, gate.service(), settings)?)
}
