//! Suggestions for misspelt names: one measure for keys, variables and log levels.
//!
//! Compares names without knowing any. clap measures flags in the same way.

use std::fmt;

/// Minimum similarity for a suggestion; the same as clap's.
const LIKENESS_MIN: f64 = 0.7;

/// Names of settings in other programs. Flags, variables and keys of the file are compared without
/// prefix, in lower case and with underscores.
const SYNONYMS: [(&str, &str); 19] = [
    ("addr", "listen"),
    ("address", "listen"),
    ("bind", "listen"),
    ("host", "listen"),
    ("port", "listen"),
    ("ca", "tls_client_ca"),
    ("cert", "tls_cert"),
    ("certificate", "tls_cert"),
    ("key", "tls_key"),
    ("private_key", "tls_key"),
    ("ssl_cert", "tls_cert"),
    ("ssl_key", "tls_key"),
    ("level", "log"),
    ("log_level", "log"),
    ("verbose", "log"),
    ("metrics", "admin"),
    ("max_payload", "message_max"),
    ("cpu", "pin"),
    ("conf", "config"),
];

/// Our name for a setting that other programs call `name`.
pub(crate) fn synonym(name: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours)
}

/// The known name that is most similar to a misspelt one.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro(name, candidate), candidate))
        .filter(|&(likeness, _)| likeness > LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Appends the suggestion to an error.
pub(crate) fn suggest(f: &mut fmt::Formatter<'_>, nearest: Option<&str>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(f, " (did you mean {nearest:?}?)"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_other_programs_have_synonyms() {
        assert_eq!(synonym("port"), Some("listen"));
        assert_eq!(synonym("listen"), None);
    }

    #[test]
    fn only_a_similar_name_is_suggested() {
        let known = || ["message_max", "history_max", "listen"].into_iter();
        assert_eq!(nearest("mesage_max", known()), Some("message_max"));
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("zzz", known()), None);
    }
}
