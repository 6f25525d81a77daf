//! Untyped values by key: a [`Layer`] for each source.
//!
//! The keys are clap's arguments, and clap parses every value, whether from file, environment or
//! command line. So all sources accept the same values.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use weir::services::nostr::keys::parse_key;

use super::place::Place;

/// The values from one source, by key.
pub(crate) type Layer = BTreeMap<String, Given>;

/// The values of one key, and where they were set.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(super) place: Place,
    /// Empty for an empty list that was set explicitly.
    pub(crate) values: Vec<String>,
}

/// The word that stands for no file.
const OFF: &str = "off";

/// The keys of one table, and the parsers of their values.
pub(super) struct Keys(Command);

impl Keys {
    /// The arguments of `T`.
    pub(super) fn of<T: Args>() -> Keys {
        Keys(bare()).and::<T>()
    }

    /// These keys and the arguments of `T`.
    pub(super) fn and<T: Args>(self) -> Keys {
        Keys(T::augment_args(self.0).mut_args(|arg| arg.required(false)))
    }

    /// The keys in order of declaration.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.get_arguments().map(name)
    }

    /// Validates these values of `key`, which must be one of these keys.
    pub(super) fn check(&self, key: &str, values: &[String]) -> Result<(), String> {
        let Some(arg) = self.0.get_arguments().find(|arg| name(arg) == key) else {
            return Ok(());
        };
        if values.is_empty() && !arg.get_default_values().is_empty() {
            return Err("expected a value".to_owned());
        }
        match self.0.clone().try_get_matches_from(flags(arg, values)) {
            Ok(_) => Ok(()),
            Err(error) => Err(reason(&error)),
        }
    }

    /// Whether the values of a key are pairs, which may also be a table.
    pub(super) fn takes_pairs(&self, key: &str) -> bool {
        let is_pair = |arg: &Arg| {
            let names = arg.get_value_names().unwrap_or_default();
            names.iter().any(|name| name.contains('='))
        };
        self.0.get_arguments().any(|arg| name(arg) == key && is_pair(arg))
    }

    /// The values of a key that names files, as absolute paths; relative ones start at `base`. URLs,
    /// public keys, and values of other keys are unchanged. An empty `base` is the working directory of
    /// the process.
    pub(super) fn resolve(&self, key: &str, values: Vec<String>, base: &Path) -> Vec<String> {
        let may_name_files = |arg: &&Arg| names_files(arg) || names_keys_or_files(arg);
        let arg = self.0.get_arguments().find(|arg| name(arg) == key && may_name_files(arg));
        let Some(arg) = arg else {
            return values;
        };
        let delimiter = arg.get_value_delimiter();
        let parts = values.iter().flat_map(|value| value.split(|c| Some(c) == delimiter));
        let resolved = parts.map(|path| match std::path::absolute(base.join(path)) {
            _ if names_keys_or_files(arg) && parse_key(path.trim()).is_some() => path.to_owned(),
            Ok(absolute) if path != OFF && !path.contains("://") => {
                absolute.to_string_lossy().into_owned()
            }
            _ => path.to_owned(),
        });
        resolved.collect()
    }
}

/// Whether the argument's values are file names.
fn names_files(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "FILE"))
}

/// Whether each of the argument's values is a public key or the name of a file.
fn names_keys_or_files(arg: &Arg) -> bool {
    arg.get_value_names()
        .is_some_and(|names| names.iter().any(|name| name.as_str() == "KEY_OR_FILE"))
}

/// The files that these layers name, each with its key and place.
pub(super) fn files<'a, T: Args>(
    layers: impl Iterator<Item = &'a Layer>,
) -> Vec<(PathBuf, String, Place)> {
    let keys = Keys::of::<T>();
    let names: Vec<&str> =
        keys.0.get_arguments().filter(|arg| names_files(arg)).map(name).collect();
    let given = layers.flatten().filter(|(key, _)| names.contains(&key.as_str()));
    let of_key = |(key, given): (&String, &Given)| {
        let (key, place) = (key.clone(), given.place.clone());
        let file = move |value: &String| (value.into(), key.clone(), place.clone());
        given.values.iter().map(file).collect::<Vec<_>>()
    };
    given.flat_map(of_key).collect()
}

/// The flags on the command line, without defaults.
pub(crate) fn given<T: Args>(matches: &ArgMatches) -> Layer {
    let on_command_line =
        |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let values = |name: &str| {
        let raw = matches.get_raw(name).into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned()).collect()
    };
    let keys = Keys::of::<T>();
    let given = |name: &str| {
        let values = keys.resolve(name, values(name), Path::new(""));
        (name.to_owned(), Given { place: Place::CommandLine, values })
    };
    keys.names().filter(on_command_line).map(given).collect()
}

/// The values of `layer` that belong to `T`, parsed, with defaults for the rest.
pub(super) fn read<T: Args>(layer: &Layer) -> Result<T, clap::Error> {
    let command = T::augment_args(bare());
    let arguments = command.get_arguments();
    let flags: Vec<String> = arguments
        .filter_map(|arg| Some(flags(arg, &layer.get(name(arg))?.values)))
        .flatten()
        .collect();
    T::from_arg_matches(&command.try_get_matches_from(flags)?)
}

/// The place of the first key that occurs in a text. If several layers set it, the first layer
/// counts.
pub(super) fn place_of(text: &str, layers: &[&Layer]) -> Option<Place> {
    let mut words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let place = |word| layers.iter().find_map(|layer| Some(layer.get(word)?.place.clone()));
    words.find_map(place)
}

/// A command without arguments.
fn bare() -> Command {
    let command = Command::new("weir").no_binary_name(true);
    command.disable_help_flag(true).disable_version_flag(true)
}

fn name(arg: &Arg) -> &str {
    arg.get_id().as_str()
}

/// The values as flags of the command line.
fn flags(arg: &Arg, values: &[String]) -> Vec<String> {
    let long = arg.get_long().unwrap_or_default();
    values.iter().map(|value| format!("--{long}={value}")).collect()
}

/// clap's reason, without flags and usage.
fn reason(error: &clap::Error) -> String {
    let nearest = match error.get(ContextKind::SuggestedValue) {
        Some(ContextValue::String(nearest)) => format!(r#" (did you mean "{nearest}"?)"#),
        _ => String::new(),
    };
    match (error.kind(), error.get(ContextKind::ValidValue), error.source()) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid)), _) => {
            format!("expected one of {}{nearest}", valid.join(", "))
        }
        (ErrorKind::ArgumentConflict, ..) => "expected one value, not several".to_owned(),
        (_, _, Some(why)) => why.to_string(),
        (kind, ..) => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    fn check(key: &str, values: &[&str]) -> Result<(), String> {
        let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        Keys::of::<Options>().check(key, &values)
    }

    #[test]
    fn keys_are_flags_with_underscores() {
        let command = Options::augment_args(Command::new("weir"));
        for arg in command.get_arguments() {
            assert_eq!(arg.get_long(), Some(name(arg).replace('_', "-").as_str()));
        }
    }

    #[test]
    fn reasons_describe_the_value() {
        assert_eq!(check("message_max", &["1 MiB"]), Ok(()));
        assert!(check("message_max", &["big"]).unwrap_err().contains(r#"such as "64 KiB""#));
        assert_eq!(
            check("slow", &["clos"]).unwrap_err(),
            r#"expected one of drop, close (did you mean "close"?)"#
        );
        assert_eq!(check("reuse_port", &["maybe"]).unwrap_err(), "expected one of true, false");
        assert_eq!(
            check("head_max", &["1KiB", "2KiB"]).unwrap_err(),
            "expected one value, not several"
        );
        assert_eq!(check("head_max", &[]).unwrap_err(), "expected a value");
        assert!(check("head_max", &[""]).is_err());
        assert!(check("connections_max", &["-1"]).is_err());
    }

    #[test]
    fn a_list_may_be_empty_if_its_default_is() {
        assert_eq!(check("origins", &[]), Ok(()));
        assert_eq!(check("listen", &["[::1]:1", "127.0.0.1:2"]), Ok(()));
        assert!(check("listen", &[]).is_err());
        assert!(check("listen", &["localhost"]).is_err());
    }
}
