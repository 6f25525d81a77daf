//! `X-Weir-User`, `X-Weir-Expires` and `X-Weir-Meta-NAME`: by them an upstream learns which identity a
//! gate has determined.
//!
//! Values are percent-encoded, except visible ASCII characters other than `%`: neither can they end a
//! line, nor do two of them become equal. Such headers of a client are never forwarded.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::hop::append_received;
use crate::protocol::handshake::field::is_token;

const USER: &str = "X-Weir-User";
const EXPIRES: &str = "X-Weir-Expires";
const META_PREFIX: &str = "X-Weir-Meta-";
/// What is encoded besides bytes that are not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// The headers about one identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityHeaders(Vec<(Box<str>, Box<str>)>);

impl IdentityHeaders {
    /// The headers for this subject. `expires_seconds` is the rest of its time. A key of the metadata
    /// that is no token is left out; one with several values becomes several headers.
    pub fn new<'a>(
        subject: &str,
        expires_seconds: Option<u64>,
        metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> IdentityHeaders {
        let encoded = |value: &str| -> Box<str> {
            utf8_percent_encode(value, ENCODED).to_string().into_boxed_str()
        };
        let mut headers = vec![(USER.into(), encoded(subject))];
        headers.extend(expires_seconds.map(|left| (EXPIRES.into(), left.to_string().into())));
        let metadata = metadata.into_iter().filter(|(key, _)| is_token(key.as_bytes()));
        headers.extend(
            metadata.map(|(key, value)| (format!("{META_PREFIX}{key}").into(), encoded(value))),
        );
        IdentityHeaders(headers)
    }

    /// Memory that they hold.
    pub fn held_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Appends those that the route does not change itself.
    pub(super) fn append(&self, out: &mut Vec<u8>, is_dropped: impl Fn(&str) -> bool) {
        for (name, value) in self.0.iter().filter(|(name, _)| !is_dropped(name)) {
            append_received(out, name, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(headers: &IdentityHeaders) -> String {
        let mut out = Vec::new();
        headers.append(&mut out, |name| name == "X-Weir-Meta-dropped");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_cannot_end_a_line_or_become_equal() {
        let metadata = [
            ("role", "admin"),
            ("role", "a\r\nX-Weir-User: root"),
            ("no token", "x"),
            ("", "x"),
            ("a:", "x"),
            ("dropped", "x"),
        ];
        let headers = IdentityHeaders::new(" Zoë 100%\t", Some(60), metadata);
        assert_eq!(
            written(&headers),
            "X-Weir-User: %20Zo%C3%AB%20100%25%09\r\nX-Weir-Expires: 60\r\n\
             X-Weir-Meta-role: admin\r\nX-Weir-Meta-role: a%0D%0AX-Weir-User:%20root\r\n"
        );
        let headers = IdentityHeaders::new("ann@a.example/~", None, []);
        assert_eq!(written(&headers), "X-Weir-User: ann@a.example/~\r\n");
        assert_eq!(headers.held_bytes(), 26);
    }
}
