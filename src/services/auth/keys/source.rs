//! Loads keys from their source: a file, or a server by https. Blocks, so it belongs on a thread.

use std::path::Path;
use std::time::Duration;

use super::error::KeyError;
use super::set::KeySet;
use crate::reactor::TlsError;
use crate::reactor::internals::read_regular_file;
use crate::services::auth::settings::KeySource;
use crate::upstream::http::HttpClient;
use crate::upstream::tls::UpstreamTls;

/// Maximum size of a file or set of keys, and of a secret.
pub(in crate::services::auth) const KEYS_BYTES_MAX: usize = 64 * 1024;
/// How long a server may take to send its keys.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// One connection to a server of keys is enough.
const IDLE_CONNECTIONS: usize = 1;

/// Loads the keys of one source.
#[derive(Debug)]
pub(in crate::services::auth) enum KeyLoader {
    File(std::path::PathBuf),
    Server(HttpClient),
}

impl KeyLoader {
    /// # Errors
    /// `ca_file` cannot be used.
    pub(in crate::services::auth) fn new(
        source: &KeySource,
        ca_file: Option<&Path>,
    ) -> Result<KeyLoader, TlsError> {
        match source {
            KeySource::File(path) => Ok(KeyLoader::File(path.clone())),
            KeySource::Server(url) => {
                let tls = UpstreamTls::new(url, ca_file)?;
                Ok(KeyLoader::Server(HttpClient::new(url, tls, IDLE_CONNECTIONS)))
            }
        }
    }

    /// # Errors
    /// The source cannot be read, or has no keys that verify signatures.
    pub(in crate::services::auth) fn load(&self) -> Result<KeySet, KeyError> {
        match self {
            KeyLoader::File(path) => KeySet::parse(&read_file(path)?),
            KeyLoader::Server(client) => KeySet::parse(&fetch(client)?),
        }
    }
}

/// Reads a file with keys or a secret.
pub(in crate::services::auth) fn read_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    read_regular_file(path, KEYS_BYTES_MAX).map_err(KeyError::File)
}

fn fetch(client: &HttpClient) -> Result<Vec<u8>, KeyError> {
    let accept = [("accept".to_owned(), b"application/jwk-set+json, application/json".to_vec())];
    let failed = |error: &dyn ToString| KeyError::Fetch(error.to_string());
    let answer = client.get(&accept, FETCH_TIMEOUT).map_err(|error| failed(&error))?;
    match answer.status() {
        200 => answer.read(KEYS_BYTES_MAX).map_err(|error| failed(&error)),
        status => Err(KeyError::Fetch(format!("the server answered with status {status}"))),
    }
}
