//! The upstream pools of the proxy: validates a `[[pool]]`.
//!
//! `routes.rs` checks that the pools that routes name exist.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use weir::reactor::settings::{ListenSettings, Settings, SettingsError};
use weir::services::proxy::{PoolSettings, PoolUpstream};
use weir::upstream::{POOL_UPSTREAMS_MAX, TRIES_RANGE};

use super::error::{ConfigError, PoolError};
use super::keys::{Layer, place_of, read};
use super::options::PoolOptions;
use super::place::Place;

/// The required keys of a pool.
const REQUIRED: [&str; 2] = ["name", "upstreams"];

/// Reads `tables`, and checks them against each other, the server's `settings` and its listeners.
/// `server` has the places of the server's settings.
pub(super) fn pools(
    tables: Vec<(Place, Layer)>,
    server: &Layer,
    settings: &Settings,
    listen: &[ListenSettings],
) -> Result<Vec<PoolSettings>, ConfigError> {
    let mut seen = HashSet::new();
    let mut pools = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let refused = |error: PoolError| {
            let place =
                place_of(&error.contradiction(), &[&table, server]).unwrap_or(place.clone());
            ConfigError::Pool { place, error }
        };
        let is_missing = |key: &&&str| table.get(**key).is_none_or(|given| given.values.is_empty());
        let missing = REQUIRED.iter().find(is_missing);
        if let Some(key) = missing {
            return Err(refused(PoolError::Missing(key)));
        }
        let options: PoolOptions = read(&table)?;
        let pool = options.settings(read(&table)?).map_err(refused)?;
        check(&pool, settings, listen).map_err(refused)?;
        if !seen.insert(pool.name.clone()) {
            return Err(refused(PoolError::Twice(pool.name)));
        }
        pools.push(pool);
    }
    Ok(pools)
}

fn check(
    pool: &PoolSettings,
    server: &Settings,
    listen: &[ListenSettings],
) -> Result<(), PoolError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if pool.name.is_empty() || !pool.name.bytes().all(is_plain) {
        return Err(PoolError::Name(pool.name.clone()));
    }
    check_numbers(pool)?;
    if pool.connect_timeout >= server.handshake_timeout {
        return Err(PoolError::ConnectTimeout {
            timeout: pool.connect_timeout,
            handshake: server.handshake_timeout,
        });
    }
    check_upstreams(&pool.upstreams, listen)?;
    let is_secure = pool.upstreams.iter().any(PoolUpstream::is_secure);
    let of_tls = [
        ("upstream_ca", pool.ca_file.is_some()),
        ("upstream_name", pool.server_name.is_some()),
        ("upstream_cert", pool.client_certificate.is_some()),
    ];
    match of_tls.iter().find(|(_, is_set)| *is_set && !is_secure) {
        Some((key, _)) => Err(PoolError::NoTls(key)),
        None => Ok(()),
    }
}

fn check_numbers(pool: &PoolSettings) -> Result<(), PoolError> {
    if !TRIES_RANGE.contains(&pool.tries) {
        let (least, most) = TRIES_RANGE.into_inner();
        let given = pool.tries;
        return Err(PoolError::Settings(SettingsError::Range {
            name: "tries",
            given,
            least,
            most,
        }));
    }
    let times = [
        ("connect_timeout", Some(pool.connect_timeout)),
        ("answer_timeout", Some(pool.answer_timeout)),
        ("body_timeout", Some(pool.body_timeout)),
        ("keepalive_idle", Some(pool.keepalive_idle)),
        ("health_interval", Some(pool.health_interval)),
    ];
    let zero_time = times.iter().find(|(_, time)| time.is_some_and(|time| time.is_zero()));
    let no_connection = pool.upstream_connections_max == Some(0);
    match (zero_time, no_connection) {
        (Some((name, _)), _) => Err(PoolError::Settings(SettingsError::Zero(name))),
        (_, true) => Err(PoolError::Settings(SettingsError::Zero("upstream_connections_max"))),
        _ => Ok(()),
    }
}

fn check_upstreams(upstreams: &[PoolUpstream], listen: &[ListenSettings]) -> Result<(), PoolError> {
    if upstreams.len() > POOL_UPSTREAMS_MAX {
        return Err(PoolError::Upstreams(upstreams.len()));
    }
    let mut seen = HashSet::new();
    for upstream in upstreams {
        let name = upstream.host_port();
        if let Some(own) = listen.iter().find(|listen| leads_to(upstream, listen.address)) {
            return Err(PoolError::OwnListener { upstream: name, listener: own.address });
        }
        if !seen.insert(name.clone()) {
            return Err(PoolError::UpstreamTwice(name));
        }
    }
    Ok(())
}

/// Whether connections to an upstream would arrive at this listener. Only addresses that this
/// machine has for sure are compared: nothing is looked up.
fn leads_to(upstream: &PoolUpstream, listener: SocketAddr) -> bool {
    if listener.port() != upstream.port() {
        return false;
    }
    let is_same = |ip: IpAddr| ip == listener.ip();
    let is_any = listener.ip().is_unspecified();
    match upstream.address() {
        Some(ip) => {
            let is_here = ip.is_loopback() || ip.is_unspecified();
            is_same(ip) || is_any && is_here && ip.is_ipv4() == listener.is_ipv4()
        }
        None => upstream.is_localhost() && (is_any || listener.ip().is_loopback()),
    }
}
