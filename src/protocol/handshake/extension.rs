//! Parses the list of extensions in `Sec-WebSocket-Extensions` (RFC 6455, 9.1).
//!
//! A cursor over the bytes: it looks at each byte once, copies nothing, and knows no particular
//! extension. Any deviation from the grammar is an error, and the connection must then fail.

use std::fmt;

use super::field::is_tchar;

/// The header does not follow the grammar of RFC 6455, 9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedExtensions;

impl fmt::Display for MalformedExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed Sec-WebSocket-Extensions")
    }
}

impl std::error::Error for MalformedExtensions {}

/// A parameter of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Param<'a> {
    /// A token.
    pub(crate) name: &'a str,
    /// A token, whether it was quoted or not.
    pub(crate) value: Option<ParamValue<'a>>,
}

/// The value of a parameter, as sent. In a quoted value, a backslash may precede each character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParamValue<'a>(&'a [u8]);

impl<'a> ParamValue<'a> {
    /// The unescaped characters. A token cannot contain a backslash.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> + use<'a> {
        self.0.iter().copied().filter(|&byte| byte != b'\\')
    }
}

/// Reads a list of extensions, each followed by its parameters.
#[derive(Debug, Clone)]
pub(crate) struct ExtensionList<'a> {
    rest: &'a [u8],
}

impl<'a> ExtensionList<'a> {
    /// A list over one value of the header. All values in a head form one list, in order.
    pub(crate) fn new(value: &'a [u8]) -> ExtensionList<'a> {
        ExtensionList { rest: value }
    }

    /// The name of the next extension, or `None` at the end. Read all parameters of the previous
    /// extension first. Empty elements are skipped (RFC 9110, 5.6.1.2).
    ///
    /// # Errors
    /// No valid extension follows.
    pub(crate) fn next_extension(&mut self) -> Result<Option<&'a str>, MalformedExtensions> {
        loop {
            self.skip_blanks();
            match self.rest {
                [] => return Ok(None),
                [b',', rest @ ..] => self.rest = rest,
                _ => break,
            }
        }
        let name = self.token()?;
        self.skip_blanks();
        match self.rest {
            [] | [b',' | b';', ..] => Ok(Some(name)),
            _ => Err(MalformedExtensions),
        }
    }

    /// The next parameter of the extension, or `None` at its end.
    ///
    /// # Errors
    /// No valid parameter follows.
    pub(crate) fn next_param(&mut self) -> Result<Option<Param<'a>>, MalformedExtensions> {
        self.skip_blanks();
        let [b';', rest @ ..] = self.rest else {
            return Ok(None);
        };
        self.rest = rest;
        self.skip_blanks();
        let name = self.token()?;
        self.skip_blanks();
        let value = match self.rest {
            [b'=', rest @ ..] => {
                self.rest = rest;
                self.skip_blanks();
                Some(self.value()?)
            }
            _ => None,
        };
        self.skip_blanks();
        match self.rest {
            [] | [b',' | b';', ..] => Ok(Some(Param { name, value })),
            _ => Err(MalformedExtensions),
        }
    }

    /// Checks the rest of the list.
    ///
    /// # Errors
    /// The list is malformed.
    pub(crate) fn check(mut self) -> Result<(), MalformedExtensions> {
        while self.next_extension()?.is_some() {
            while self.next_param()?.is_some() {}
        }
        Ok(())
    }

    fn skip_blanks(&mut self) {
        // OWS (RFC 9110, 5.6.3), and no other white space.
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn token(&mut self) -> Result<&'a str, MalformedExtensions> {
        let end = self.rest.iter().position(|&byte| !is_tchar(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(MalformedExtensions),
        }
    }

    /// A token or a quoted string; "the value after quoted-string unescaping MUST conform to the
    /// 'token' ABNF".
    fn value(&mut self) -> Result<ParamValue<'a>, MalformedExtensions> {
        let [b'"', quoted @ ..] = self.rest else {
            return Ok(ParamValue(self.token()?.as_bytes()));
        };
        let mut end = 0;
        loop {
            match &quoted[end..] {
                [b'"', rest @ ..] if end > 0 => {
                    self.rest = rest;
                    return Ok(ParamValue(&quoted[..end]));
                }
                [b'\\', escaped, ..] if is_tchar(*escaped) => end += 2,
                [byte, ..] if is_tchar(*byte) => end += 1,
                _ => return Err(MalformedExtensions),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list in a canonical form, one word per extension.
    fn read(value: &str) -> Result<String, MalformedExtensions> {
        let mut list = ExtensionList::new(value.as_bytes());
        let mut out = String::new();
        while let Some(name) = list.next_extension()? {
            out += &format!("{}{name}", if out.is_empty() { "" } else { " " });
            while let Some(Param { name, value }) = list.next_param()? {
                out += &format!(";{name}");
                if let Some(value) = value {
                    out += &format!("={}", String::from_utf8(value.bytes().collect()).unwrap());
                }
            }
        }
        assert_eq!(list.check(), Ok(()));
        Ok(out)
    }

    #[test]
    fn lists_are_read_with_any_blanks_and_quotes() {
        let lists = [
            ("", ""),
            (" , ,,\t", ""),
            ("a", "a"),
            ("a,b", "a b"),
            ("a; b; c=d, e;f=\"g\"", "a;b;c=d e;f=g"),
            ("a ;\tb = \"1\\0\" ,a;b=2", "a;b=10 a;b=2"),
            ("constructor; __proto__; toString=1", "constructor;__proto__;toString=1"),
        ];
        for (value, words) in lists {
            assert_eq!(read(value).as_deref(), Ok(words), "{value:?}");
        }
    }

    #[test]
    fn malformed_lists_are_rejected() {
        for value in [
            ";",
            "a;",
            "a;;b",
            "a b",
            "a=b",
            "a;b=",
            "a;b=,c",
            "a;=b",
            "a;b c",
            "a;b=c d",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"c",
            "a;b=\"c d\"",
            "a;b=\"c\\",
            "a;b=\"c\\\"",
            "a;b=\"\\\"\"",
            "a;b=\"c\"d",
            "\"a\"",
            "a;\"b\"",
            "\u{e9}",
            "a;b=\"\u{e9}\"",
            "a\0",
            "\n",
            "a\x0c",
        ] {
            assert_eq!(read(value), Err(MalformedExtensions), "{value:?}");
            assert_eq!(ExtensionList::new(value.as_bytes()).check(), Err(MalformedExtensions));
        }
    }
}
