//! Recognizes files in other formats than TOML, for the error message.

/// The format of a file that is not TOML; `None` if it may be TOML with a syntax error.
pub(super) fn other_format(text: &str) -> Option<&'static str> {
    let is_content = |line: &&str| !line.is_empty() && !line.starts_with(['#', ';']);
    let mut lines = text.lines().map(str::trim).filter(is_content);
    let first = lines.next()?;
    if first.starts_with('{') {
        return Some("JSON");
    }
    let is_yaml = first == "---" || is_yaml_pair(first);
    is_yaml.then_some("YAML")
}

/// Whether a line is `key:` or `key: value`, which never occurs in TOML.
fn is_yaml_pair(line: &str) -> bool {
    let line = line.strip_prefix("- ").unwrap_or(line);
    let is_key = |key: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !key.is_empty() && key.bytes().all(is_plain)
    };
    line.split_once(':').is_some_and(|(key, rest)| {
        is_key(key) && (rest.is_empty() || rest.starts_with([' ', '\t']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_are_recognized() {
        assert_eq!(other_format("\n {\"listen\": \"[::1]:1\"}"), Some("JSON"));
        for text in ["listen: '[::1]:1'", "# x\n---\na: 1", "route:\n  - path: /", "- path: /"] {
            assert_eq!(other_format(text), Some("YAML"), "{text}");
        }
        for text in ["", "listen = [", "[[route]\n", "listen '[::1]:1'", "url:80 = 1"] {
            assert_eq!(other_format(text), None, "{text}");
        }
    }
}
