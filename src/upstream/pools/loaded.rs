//! A pool whose TLS files have been read. Reading blocks, so it is done before the loop starts, or
//! on the thread that reads a changed configuration.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::settings::{PoolSettings, PoolUpstream};
use crate::reactor::{TlsConnector, TlsError};
use crate::upstream::resolve::{HostPort, Lookup};

/// The settings of a pool, and the TLS configuration of its upstreams.
#[derive(Debug, Clone)]
pub struct LoadedPool {
    pub(super) settings: PoolSettings,
    /// For each entry of the list; `None` for those without TLS.
    pub(super) tls: Vec<Option<TlsConnector>>,
    /// Addresses of names that were looked up in advance.
    pub(super) addresses: HashMap<HostPort, Vec<SocketAddr>>,
}

impl LoadedPool {
    /// Reads the TLS files of a pool. Blocks.
    ///
    /// # Errors
    /// A file is unusable, or a host is not a name that a certificate can have.
    pub fn load(settings: PoolSettings) -> Result<LoadedPool, TlsError> {
        let tls = settings.connectors()?;
        Ok(LoadedPool { settings, tls, addresses: HashMap::new() })
    }

    /// Adds the addresses of a name, if the lookup has found any: a new upstream is then used as
    /// soon as the pool is.
    pub fn set_addresses(&mut self, lookup: &Lookup) {
        if let Ok(found) = &lookup.found {
            self.addresses.insert(lookup.host.clone(), found.clone());
        }
    }

    /// The DNS names of the pool.
    pub(super) fn names(&self) -> impl Iterator<Item = HostPort> {
        names(&self.settings)
    }
}

/// The DNS names of a pool.
pub(super) fn names(settings: &PoolSettings) -> impl Iterator<Item = HostPort> {
    let named = settings.upstreams.iter().filter(|upstream| upstream.address().is_none());
    named.map(|upstream| upstream.url.host_and_port())
}

impl PoolSettings {
    /// Reads the TLS files of the pool.
    ///
    /// # Errors
    /// A file is unusable, or a host is not a name that a certificate can have.
    pub fn check_tls(&self) -> Result<(), TlsError> {
        self.connectors().map(|_| ())
    }

    /// The TLS configuration of each upstream. The files are read once for all.
    fn connectors(&self) -> Result<Vec<Option<TlsConnector>>, TlsError> {
        let mut first: Option<TlsConnector> = None;
        let mut connector = |upstream: &PoolUpstream| {
            if !upstream.url.is_secure() {
                return Ok(None);
            }
            let (host, _) = upstream.url.host_and_port();
            let name = self.server_name.as_deref().unwrap_or(&host);
            let connector = match &first {
                Some(first) => first.named(name)?,
                None => self.first_connector(name)?,
            };
            first.get_or_insert_with(|| connector.clone());
            Ok(Some(connector))
        };
        self.upstreams.iter().map(&mut connector).collect()
    }

    fn first_connector(&self, name: &str) -> Result<TlsConnector, TlsError> {
        let connector = match &self.ca_file {
            Some(file) => TlsConnector::trusting(name, file)?,
            None => TlsConnector::public(name)?,
        };
        match &self.client_certificate {
            Some(files) => connector.with_certificate(files),
            None => Ok(connector),
        }
    }
}
