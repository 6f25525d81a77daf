//! What a misspelt word was meant to be: one measure for keys, variables and levels of the log.
//!
//! Compares names and knows none. Flags are measured by clap, in the same way.

/// How alike two names must be for one to be suggested for the other; clap's own bound.
const LIKENESS_MIN: f64 = 0.7;

/// Names that other programs have for a setting. Flags, variables and keys of the file are compared
/// without prefix, in lower case and with underscores.
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

/// The setting that another program's name for it was meant to be.
pub(crate) fn synonym(name: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours)
}

/// The known name that a misspelt one was most likely meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro(name, candidate), candidate))
        .filter(|&(likeness, _)| likeness > LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_are_known() {
        assert_eq!(synonym("port"), Some("listen"));
        assert_eq!(synonym("listen"), None);
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = || ["message_max", "history_max", "listen"].into_iter();
        assert_eq!(nearest("mesage_max", known()), Some("message_max"));
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("zzz", known()), None);
    }
}
