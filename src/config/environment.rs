//! The environment variables `WEIR_*`, one for each key, with the key's name in capitals.
//!
//! The caller passes the environment; it is not read here. An empty variable counts as not set. A
//! variable without a key is an error, like an unknown key in the file.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::error::ConfigError;
use super::keys::{Given, Keys, Layer};
use super::options::Options;
use super::place::Place;
use super::values::shown;
use crate::nearest::{nearest, synonym};

const PREFIX: &str = "WEIR_";
/// The key of the variable that names the configuration file.
pub(super) const CONFIG: &str = "config";

/// Whether a variable names the file.
pub(super) fn is_config(name: &OsStr, value: &OsStr) -> bool {
    name == "WEIR_CONFIG" && !value.is_empty()
}

/// Parses the variables.
pub(super) fn layer(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Layer, ConfigError> {
    let keys = Keys::of::<Options>();
    let names: Vec<(String, &str)> = keys
        .names()
        .chain([CONFIG])
        .map(|key| (format!("{PREFIX}{}", key.to_ascii_uppercase()), key))
        .collect();
    let mut layer = Layer::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || value.is_empty() {
            continue;
        }
        let Some((_, key)) = names.iter().find(|(known, _)| *known == name) else {
            let nearest = guess(&name, keys.names().chain([CONFIG]));
            return Err(ConfigError::UnknownVariable { name: name.into_owned(), nearest });
        };
        let bad = |value: &str, why: String| ConfigError::BadValue {
            place: Place::Environment,
            key: name.to_string(),
            value: format!("{:?}", shown(value)),
            why,
        };
        let text = match value.into_string() {
            Ok(text) => text,
            Err(raw) => return Err(bad(&raw.to_string_lossy(), "not UTF-8".to_owned())),
        };
        let values = vec![text];
        keys.check(key, &values).map_err(|why| bad(&values[0], why))?;
        let values = keys.resolve(key, values, Path::new(""));
        layer.insert((*key).to_owned(), Given { place: Place::Environment, values });
    }
    Ok(layer)
}

/// The variable that an unknown one was probably meant to be. Names are compared like keys, without
/// their common prefix.
fn guess<'a>(name: &str, keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    // Kubernetes sets WEIR_SERVICE_HOST, WEIR_PORT_9001_TCP and others: they are not settings.
    if ["service_", "port_"].iter().any(|prefix| key.starts_with(prefix)) {
        return None;
    }
    let key = synonym(&key).or_else(|| nearest(&key, keys))?;
    Some(format!("{PREFIX}{}", key.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Layer, String> {
        let pairs = variables.iter().map(|(name, value)| (name.into(), value.into()));
        layer(pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_has_a_variable() {
        for key in Keys::of::<Options>().names() {
            let name = format!("WEIR_{}", key.to_ascii_uppercase());
            let error = read(&[(&name, "\u{7f}")]).unwrap_err();
            assert!(error.contains(&name) && !error.contains("unknown variable"), "{error}");
        }
    }

    #[test]
    fn only_variables_with_the_prefix_count() {
        let layer = read(&[
            ("PATH", "/bin"),
            ("WEIR_HEAD_MAX", "8KiB"),
            ("WEIR_LOG", ""),
            ("WEIR_CONFIG", "a.toml"),
        ])
        .unwrap();
        assert_eq!(layer.len(), 2);
        assert_eq!(layer["head_max"].values, ["8KiB"]);
        assert_eq!(layer[CONFIG].values, ["a.toml"]);
    }

    #[test]
    fn variable_errors_name_the_variable() {
        assert_eq!(
            read(&[("WEIR_MESAGE_MAX", "1")]).unwrap_err(),
            r#"environment: unknown variable "WEIR_MESAGE_MAX" (did you mean "WEIR_MESSAGE_MAX"?)"#
        );
        for (name, guess) in [
            ("WEIR_PORT", "WEIR_LISTEN"),
            ("WEIR_LOG_LEVEL", "WEIR_LOG"),
            ("WEIR_TLS_CERTS", "WEIR_TLS_CERT"),
            ("WEIR_CONFIG_FILE", "WEIR_CONFIG"),
            ("WEIR_head_max", "WEIR_HEAD_MAX"),
        ] {
            let error = read(&[(name, "1")]).unwrap_err();
            assert!(error.ends_with(&format!(r#"(did you mean "{guess}"?)"#)), "{error}");
        }
        // Kubernetes sets these for a service called weir.
        for name in ["WEIR_SERVICE_HOST", "WEIR_PORT_9001_TCP_ADDR", "WEIR_ZZZ"] {
            let error = read(&[(name, "1")]).unwrap_err();
            assert!(error.contains("weir --help"), "{error}");
        }
        let error = read(&[("WEIR_HEAD_MAX", "big")]).unwrap_err();
        assert!(
            error.starts_with(r#"environment: WEIR_HEAD_MAX = "big": expected a size"#),
            "{error}"
        );
        assert!(read(&[("WEIR_head_max", "1KiB")]).is_err(), "case counts");
        let error = read(&[("WEIR_ADMIN", "wss://a.example/KEY")]).unwrap_err();
        assert!(error.contains(r#""wss://a.example/..""#) && !error.contains("KEY"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn variables_must_be_utf8() {
        use std::os::unix::ffi::OsStringExt as _;
        let raw = OsString::from_vec(vec![0xff]);
        let error = layer([("WEIR_LOG".into(), raw)]).unwrap_err().to_string();
        assert!(error.contains("WEIR_LOG") && error.contains("UTF-8"), "{error}");
    }
}
