//! Formats the fields of a log line: `key=value` after the text, or members of a JSON object.
//!
//! Both formats have the same fields. A field without a value is omitted.

use std::io::{self, Write as _};

use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{Error, Key, Source, Value, VisitSource, VisitValue};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Writes each field as ` key=value`.
pub(super) fn text_fields(out: &mut Formatter, fields: &dyn Source) -> io::Result<()> {
    let mut text = TextFields(out);
    fields.visit(&mut text).map_err(io::Error::other)
}

struct TextFields<'a>(&'a mut Formatter);

impl<'kvs> VisitSource<'kvs> for TextFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if is_missing(&value) {
            return Ok(());
        }
        let value = value.to_string();
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=');
        if !value.is_empty() && value.chars().all(is_plain) {
            write!(self.0, " {key}={value}")?;
        } else {
            write!(self.0, " {key}={value:?}")?;
        }
        Ok(())
    }
}

/// Writes one JSON object per line.
pub(super) fn json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let ts = out.timestamp_millis().to_string();
    serde_json::to_writer(&mut *out, &Line { ts, record })?;
    out.write_all(b"\n")
}

struct Line<'a> {
    ts: String,
    record: &'a Record<'a>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ts", &self.ts)?;
        map.serialize_entry("level", self.record.level().as_str())?;
        map.serialize_entry("target", self.record.target())?;
        map.serialize_entry("message", self.record.args())?;
        let mut fields = JsonFields { map: &mut map, failure: None };
        // An error is kept in `failure`.
        let _ = self.record.key_values().visit(&mut fields);
        match fields.failure {
            Some(error) => Err(error),
            None => map.end(),
        }
    }
}

struct JsonFields<'a, M: SerializeMap> {
    map: &'a mut M,
    failure: Option<M::Error>,
}

impl<'kvs, M: SerializeMap> VisitSource<'kvs> for JsonFields<'_, M> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut member = Member::Missing;
        value.visit(&mut member)?;
        let key = key.as_str();
        let written = match member {
            Member::Missing => Ok(()),
            Member::Bool(value) => self.map.serialize_entry(key, &value),
            Member::Unsigned(value) => self.map.serialize_entry(key, &value),
            Member::Signed(value) => self.map.serialize_entry(key, &value),
            Member::Float(value) => self.map.serialize_entry(key, &value),
            Member::Text(value) => self.map.serialize_entry(key, &value),
        };
        written.map_err(|error| {
            self.failure = Some(error);
            Error::msg("the line cannot be written")
        })
    }
}

/// A field's value in JSON.
enum Member {
    Missing,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

fn is_missing(value: &Value<'_>) -> bool {
    let mut member = Member::Missing;
    value.visit(&mut member).is_ok() && matches!(member, Member::Missing)
}

impl<'v> VisitValue<'v> for Member {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        *self = Member::Text(value.to_string());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        *self = Member::Missing;
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        *self = Member::Bool(value);
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        *self = Member::Unsigned(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        *self = Member::Signed(value);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        *self = Member::Float(value);
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        *self = Member::Text(value.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use env_logger::Target;
    use log::{Level, LevelFilter, Log as _};

    use super::*;

    /// A sink that the logger writes to and the test reads.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The output of a logger that `edit` configures and `log` uses.
    fn written(
        edit: impl FnOnce(&mut env_logger::Builder),
        log: impl FnOnce(&env_logger::Logger),
    ) -> String {
        let sink = Sink::default();
        let mut builder = env_logger::Builder::new();
        builder.filter_level(LevelFilter::Info).target(Target::Pipe(Box::new(sink.clone())));
        edit(&mut builder);
        log(&builder.build());
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    fn fields() -> Vec<(&'static str, Value<'static>)> {
        vec![
            ("path", Value::from("/a b")),
            ("peer", Value::from("127.0.0.1:80")),
            ("origin", Value::null()),
            ("code", Value::from(1000_u16)),
            ("seconds", Value::from(0.25)),
        ]
    }

    #[test]
    fn json_lines_are_escaped_and_have_fields() {
        let written = written(
            |builder| {
                builder.format(json);
            },
            |logger| {
                let fields = fields();
                let mut record = Record::builder();
                record.level(Level::Warn).target("weir::x").key_values(&fields);
                logger.log(&record.args(format_args!("a \"b\"\n{}", 1)).build());
                logger.log(&Record::builder().args(format_args!("c")).build());
            },
        );
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "weir::x");
        assert_eq!(line["message"], "a \"b\"\n1");
        assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
        assert_eq!((&line["path"], &line["peer"]), (&"/a b".into(), &"127.0.0.1:80".into()));
        assert_eq!((&line["code"], &line["seconds"]), (&1000.into(), &0.25.into()));
        assert!(line.get("origin").is_none(), "{line}");
    }

    #[test]
    fn text_lines_have_fields_after_the_message() {
        let written = written(
            |builder| {
                builder.format_key_values(text_fields);
            },
            |logger| {
                let fields = fields();
                let mut record = Record::builder();
                record.level(Level::Info).target("weir::x").key_values(&fields);
                logger.log(&record.args(format_args!("ended")).build());
            },
        );
        let end = "ended path=\"/a b\" peer=127.0.0.1:80 code=1000 seconds=0.25\n";
        assert!(written.ends_with(end), "{written}");
    }
}
