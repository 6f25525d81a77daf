//! Reads the TOML file: keys and values as text, each checked with its line for errors.
//!
//! Strings, numbers and booleans are kept as the text that they are written with; the option
//! validates them. There is one level of tables: the settings, `[[route]]`, `[[network]]`, `[[pool]]`,
//! `[[relay]]` and `[[auth]]`.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use weir::reactor::internals::read_regular_file;
use weir::upstream::redacted;

use super::access::Access;
use super::error::ConfigError;
use super::keys::{Given, Keys, Layer};
use super::networks::{NetworkOptions, NetworkTable, SECRET};
use super::options::{
    AuthTable, GateFiles, GateOptions, HeartbeatOptions, HookOptions, JwtOptions, Options,
    PoolOptions, PoolTable, ProxyOptions, RelayOptions, RelayTable, RoomOptions, RouteOptions,
};
use super::place::Place;
use super::routes::{NostrOptions, RouteTable};
use super::syntax::other_format;
use crate::nearest::{nearest, synonym};

/// Maximum size of a file: 10,000 routes need less.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The keys of the arrays of tables.
const ROUTE: &str = "route";
const NETWORK: &str = "network";
const POOL: &str = "pool";
const RELAY: &str = "relay";
const AUTH: &str = "auth";

/// The contents of a file; every part is optional.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) settings: Layer,
    /// `None`: the file has no `[[route]]`.
    pub(super) routes: Option<Vec<(Place, Layer)>>,
    pub(super) networks: Vec<(Place, Layer)>,
    pub(super) pools: Vec<(Place, Layer)>,
    pub(super) relays: Vec<(Place, Layer)>,
    pub(super) auths: Vec<(Place, Layer)>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<File, ConfigError> {
        let name = path.display().to_string();
        let bytes = match read_regular_file(path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => return Err(ConfigError::Unreadable { file: name, error }),
        };
        // Some editors add a byte-order mark. TOML is always UTF-8, so it is ignored.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match std::str::from_utf8(text) {
            Ok(text) => File::parse(&name, text),
            Err(error) => {
                let line = text[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
                Err(ConfigError::Syntax {
                    place: Place::Line { file: name, line },
                    why: "not UTF-8: a configuration file is TOML in UTF-8".to_owned(),
                })
            }
        }
    }

    /// `name` is the file's name in errors.
    pub(super) fn parse(name: &str, text: &str) -> Result<File, ConfigError> {
        let source = Source::new(name, text);
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: source.place(error.span().map_or(0, |span| span.start)),
            why: match other_format(text) {
                Some(format) => format!(
                    "this is {format}, but the configuration must be TOML, as in listen = \"127.0.0.1:9001\""
                ),
                None => error.message().trim_end().replace('\n', "; "),
            },
        })?;
        let mut file = File::default();
        let mut settings = document.into_inner();
        let keys = Keys::of::<RouteTable>().and::<RouteOptions>();
        let keys = keys.and::<HeartbeatOptions>().and::<RoomOptions>().and::<ProxyOptions>();
        let keys = keys.and::<NostrOptions>().and::<Access>();
        file.routes = source.tables(ROUTE, &keys, &mut settings)?;
        let keys = Keys::of::<NetworkTable>().and::<RouteOptions>().and::<NetworkOptions>();
        let keys = keys.and::<Access>();
        file.networks = source.tables(NETWORK, &keys, &mut settings)?.unwrap_or_default();
        let keys = Keys::of::<PoolTable>().and::<PoolOptions>();
        file.pools = source.tables(POOL, &keys, &mut settings)?.unwrap_or_default();
        let keys = Keys::of::<RelayTable>().and::<RelayOptions>();
        file.relays = source.tables(RELAY, &keys, &mut settings)?.unwrap_or_default();
        let keys = Keys::of::<AuthTable>().and::<GateOptions>().and::<GateFiles>();
        let keys = keys.and::<JwtOptions>().and::<HookOptions>();
        file.auths = source.tables(AUTH, &keys, &mut settings)?.unwrap_or_default();
        let others = [ROUTE, NETWORK, POOL, RELAY, AUTH];
        file.settings = source.layer(&Keys::of::<Options>(), &others, &settings)?;
        Ok(file)
    }
}

/// A file's name and text, for the places in errors.
struct Source<'a> {
    name: &'a str,
    text: &'a str,
    /// The offset of each line's end. A file may have many keys, and each has its line.
    line_ends: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, text: &'a str) -> Source<'a> {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Source { name, text, line_ends }
    }
}

impl Source<'_> {
    /// The base of relative paths in the file.
    fn directory(&self) -> &Path {
        Path::new(self.name).parent().unwrap_or(Path::new(""))
    }

    fn place(&self, offset: usize) -> Place {
        let line = 1 + self.line_ends.partition_point(|&end| end < offset);
        Place::Line { file: self.name.to_owned(), line }
    }

    /// The values of each `[[name]]` in `settings`, which are removed from it; `None` if there are
    /// none.
    fn tables(
        &self,
        name: &str,
        keys: &Keys,
        settings: &mut DeTable<'_>,
    ) -> Result<Option<Vec<(Place, Layer)>>, ConfigError> {
        let Some((key, value)) = settings.remove_entry(name) else {
            return Ok(None);
        };
        let not_a_table = |place| ConfigError::Syntax {
            place,
            why: format!("a {name} must be a table: [[{name}]]"),
        };
        let DeValue::Array(tables) = value.into_inner() else {
            return Err(not_a_table(self.place(key.span().start)));
        };
        let read = |table: toml::Spanned<DeValue<'_>>| {
            let place = self.place(table.span().start);
            match table.into_inner() {
                DeValue::Table(table) => Ok((place, self.layer(keys, &[], &table)?)),
                _ => Err(not_a_table(place)),
            }
        };
        tables.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// The values of `table`. `others` are known keys that are not allowed in this table, for
    /// suggestions.
    fn layer(
        &self,
        keys: &Keys,
        others: &[&str],
        table: &DeTable<'_>,
    ) -> Result<Layer, ConfigError> {
        let mut layer = Layer::new();
        for (key, value) in table {
            let place = self.place(key.span().start);
            let name: &str = key.get_ref();
            if !keys.names().any(|known| known == name) {
                if matches!(value.get_ref(), DeValue::Table(_)) && !others.contains(&name) {
                    return Err(unknown_table(place, name));
                }
                let known = keys.names().chain(others.iter().copied());
                let synonym = synonym(name).filter(|ours| keys.names().any(|known| known == *ours));
                let nearest = synonym.or_else(|| nearest(name, known)).map(str::to_owned);
                return Err(ConfigError::UnknownKey { place, key: name.to_owned(), nearest });
            }
            let values = texts(value.get_ref()).or_else(|| match value.get_ref() {
                DeValue::Table(table) if keys.takes_pairs(name) => pairs(table),
                _ => None,
            });
            let checked = match &values {
                Some(values) => keys.check(name, values),
                None => Err("expected a string, a number, true, false, or a list".to_owned()),
            };
            if let Err(why) = checked {
                let written = &self.text[value.span()];
                let is_secret = name == SECRET || written.contains("://");
                let value = match values {
                    Some(values) if is_secret => redacted_list(&values),
                    None if is_secret => "..".to_owned(),
                    _ => written.to_owned(),
                };
                return Err(ConfigError::BadValue { place, key: name.to_owned(), value, why });
            }
            let values = keys.resolve(name, values.unwrap_or_default(), self.directory());
            layer.insert(name.to_owned(), Given { place, values });
        }
        Ok(layer)
    }
}

/// The error for a table that other programs have, such as `[server]`, or `[routes]` for `[[route]]`.
fn unknown_table(place: Place, name: &str) -> ConfigError {
    let hint = match nearest(name, [ROUTE, NETWORK, POOL, RELAY, AUTH].into_iter()) {
        Some(near) => format!("use [[{near}]]"),
        None => "put settings at the top of the file, as in log = \"info\"".to_owned(),
    };
    ConfigError::Syntax { place, why: format!("unknown table {name:?}: {hint}") }
}

/// Upstream URLs for an error, without the provider keys in them.
fn redacted_list(urls: &[String]) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("{:?}", redacted(url))).collect();
    format!("[{}]", urls.join(", "))
}

/// The keys of a table with their values, as `KEY=VALUE`.
fn pairs(table: &DeTable<'_>) -> Option<Vec<String>> {
    let pair = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        Some(format!("{}={}", key.get_ref(), text(value.get_ref())?))
    };
    table.iter().map(pair).collect()
}

/// The text of a value, or of each value of a list.
fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| text(item.get_ref())).collect(),
        value => Some(vec![text(value)?]),
    }
}

fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        // In decimal if it fits into 128 bits. For larger numbers the option's error names its
        // range.
        DeValue::Integer(number) => Some(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        File::parse("weir.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn values_are_kept_as_text() {
        let file = File::parse(
            "weir.toml",
            "message_max = 0x1_0000\nlisten = [\"[::1]:1\"]\nreuse_port = true\norigins = []\n\
             [[route]]\npath = '/x'\n",
        )
        .unwrap();
        assert_eq!(file.settings["message_max"].values, ["65536"]);
        assert_eq!(file.settings["listen"].values, ["[::1]:1"]);
        assert_eq!(file.settings["reuse_port"].values, ["true"]);
        assert!(file.settings["origins"].values.is_empty());
        assert_eq!(file.routes.unwrap()[0].1["path"].values, ["/x"]);
        assert!(File::parse("weir.toml", "").unwrap().routes.is_none());
    }

    #[test]
    fn unknown_keys_are_reported_with_a_suggestion() {
        assert_eq!(
            error("log = 'info'\nmesage_max = 1"),
            r#"weir.toml:2: unknown key "mesage_max" (did you mean "message_max"?)"#
        );
        assert!(error("port = 9001").ends_with(r#"(did you mean "listen"?)"#));
        assert_eq!(error("zzz = 1"), r#"weir.toml:1: unknown key "zzz""#);
        assert_eq!(
            error("[[route]]\npath = '/'\npag = true"),
            r#"weir.toml:3: unknown key "pag" (did you mean "page"?)"#
        );
        assert!(error("[[rout]]\npath = '/'").contains(r#"(did you mean "route"?)"#));
        assert!(error("[[route]]\nlisten = '[::1]:1'").contains("unknown key"));
    }

    #[test]
    fn invalid_values_are_reported_with_their_line() {
        assert_eq!(
            error("\n\nwrite_timeout = 10"),
            r#"weir.toml:3: write_timeout = 10: a duration needs a unit, as in "10s""#
        );
        assert_eq!(
            error("slow = 'dorp'"),
            r#"weir.toml:1: slow = 'dorp': expected one of drop, close (did you mean "drop"?)"#
        );
        assert!(error("head_max = {}").contains("expected a string, a number"));
        assert!(error("head_max = 1979-05-27").contains("expected a string, a number"));
        assert!(error("head_max = [1, 2]").contains("expected one value"));
        assert_eq!(
            error("connections_max = 99999999999999999999999"),
            "weir.toml:1: connections_max = 99999999999999999999999: must be 0 to \
             18446744073709551615"
        );
        let huge = "9".repeat(60);
        assert!(
            error(&format!("topics_max = {huge}")).ends_with("must be 0 to 18446744073709551615")
        );
        assert!(error("topics_max = -1").ends_with("must be 0 to 18446744073709551615"));
        assert!(error("pong_misses_max = 256").ends_with("must be 0 to 255"));
        assert!(
            error("message_max = 99999999999999999999999")
                .ends_with("below 16 EiB, 2^64 - 1 bytes")
        );
        assert!(
            error("[[network]]\nchain_id = 'one'").ends_with("expected a whole number such as 100")
        );
        assert!(error("admin = 'localhost:9112'").ends_with(r#"or "[::1]:9112", or "off""#));
        assert!(error("[[route]]\nservice = 'ecko'").contains(r#"(did you mean "echo"?)"#));
    }

    #[test]
    fn syntax_errors_are_reported_with_their_line() {
        assert!(error("log = 'info'\nlisten = [").starts_with("weir.toml:2: "));
        assert!(error("log = 'a'\nlog = 'b'").starts_with("weir.toml:2: "));
        assert!(error("[route]\npath = '/'").contains("[[route]]"));
        assert!(error("route = [1]").contains("[[route]]"));
        assert_eq!(
            error("\n[server]\nlog = 'info'"),
            "weir.toml:2: unknown table \"server\": put settings at the top of the file, as in \
             log = \"info\""
        );
        assert!(error("tls.cert = 'a'").contains("unknown table \"tls\""));
        assert!(error("[routes]\npath = '/'").ends_with("use [[route]]"));
        let yaml = error("# weir\nlisten: 127.0.0.1:9001\n");
        assert!(
            yaml.starts_with("weir.toml:2: this is YAML, but the configuration must be TOML"),
            "{yaml}"
        );
        assert!(error("{\"listen\": 1}").starts_with("weir.toml:1: this is JSON, "));
    }
}
