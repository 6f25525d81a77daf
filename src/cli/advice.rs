//! Advice in errors of the command line: what to write instead of flags and files that other programs take.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::nearest::synonym;

const NO_FILE_OF_NODE: &str = "a node reads no file: its settings are flags, see weir node --help";

/// Adds to an error what to write instead, where other programs are used in another way.
pub(super) fn advise(mut error: clap::Error) -> clap::Error {
    let (arg, value) = (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue));
    let advice = match (error.kind(), arg, value) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag)), _) => advice_for_flag(flag),
        (
            ErrorKind::InvalidValue,
            Some(ContextValue::String(arg)),
            Some(ContextValue::String(word)),
        ) if arg.contains("COMMAND") => {
            names_file(word).then(|| format!("to read settings from a file: weir --config {word}"))
        }
        _ => None,
    };
    if let Some(advice) = advice {
        add_advice(&mut error, advice);
    }
    error
}

/// The same for `weir node`.
pub(super) fn advise_on_node(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && let Some(advice) = advice_for_node(word)
    {
        add_advice(&mut error, advice);
    }
    error
}

fn add_advice(error: &mut clap::Error, advice: String) {
    // The likest of our own flags would be another one.
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::SuggestedValue);
    let advice = ContextValue::StyledStrs(vec![advice.into()]);
    error.insert(ContextKind::Suggested, advice);
}

/// What to write instead of a flag or a file that other programs, or `weir serve`, take.
fn advice_for_node(word: &str) -> Option<String> {
    let name = word.trim_start_matches('-').replace(['-', '.'], "_");
    let is_flag = word.starts_with('-');
    Some(match &*name {
        "p" | "port" | "listen" | "bind" | "host" | "addr" | "http_addr" | "http_port"
        | "ws_addr" | "ws_port"
            if is_flag =>
        {
            "write --rpc-addr 127.0.0.1:8545".to_owned()
        }
        "admin" | "metrics" | "metrics_addr" | "metrics_port" if is_flag => {
            "write --health-addr 127.0.0.1:8081".to_owned()
        }
        "c" | "f" | "config" if is_flag => NO_FILE_OF_NODE.to_owned(),
        _ if !is_flag && names_file(word) => NO_FILE_OF_NODE.to_owned(),
        _ => return None,
    })
}

/// Whether a word that is no command looks like the name of a configuration file.
fn names_file(word: &str) -> bool {
    let ends = [".toml", ".conf", ".yaml", ".yml", ".json"];
    let is_file = ends.iter().any(|end| word.ends_with(end)) || word.contains('/');
    is_file && !word.contains("://")
}

/// What to write instead of a flag that other programs have.
fn advice_for_flag(flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-').replace('-', "_");
    let ours = match &*name {
        "c" | "f" => "config",
        "p" | "l" | "b" => "listen",
        "v" => "log",
        name => synonym(name)?,
    };
    let value = match ours {
        "config" => "weir.toml",
        "listen" => "127.0.0.1:9001",
        "admin" => "127.0.0.1:9100",
        "log" => "debug",
        "message_max" => "\"64 KiB\"",
        "pin" => "0",
        _ => "FILE",
    };
    Some(format!("write --{} {value}", ours.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::Task;

    #[test]
    fn usage_of_other_programs_is_answered_with_ours() {
        for (line, advice) in [
            ("weir weir.toml", "weir --config weir.toml"),
            ("weir ./conf/weir", "weir --config ./conf/weir"),
            ("weir -c weir.toml", "write --config weir.toml"),
            ("weir check -c weir.toml", "write --config weir.toml"),
            ("weir --port 9001", "write --listen 127.0.0.1:9001"),
            ("weir --port=9001", "write --listen 127.0.0.1:9001"),
            ("weir -p 9001", "write --listen 127.0.0.1:9001"),
            ("weir --bind 0.0.0.0", "write --listen 127.0.0.1:9001"),
            ("weir --cert a.pem", "write --tls-cert FILE"),
            ("weir --log-level debug", "write --log debug"),
            ("weir node --port 8545", "write --rpc-addr 127.0.0.1:8545"),
            ("weir node -port 8545", "write --rpc-addr 127.0.0.1:8545"),
            ("weir node -p 8545", "write --rpc-addr 127.0.0.1:8545"),
            ("weir node --http.port 8545", "write --rpc-addr 127.0.0.1:8545"),
            ("weir node --admin 127.0.0.1:1", "write --health-addr 127.0.0.1:8081"),
            ("weir node node.toml", "a node reads no file"),
            ("weir node -c node.toml", "a node reads no file"),
            ("weir node --config node.toml", "a node reads no file"),
        ] {
            let error = Task::parse(line.split_whitespace().map(OsString::from)).unwrap_err();
            let text = error.to_string();
            assert!(error.exit_code() == 2 && text.contains(advice), "{line}: {text}");
            assert_eq!(text.matches("tip:").count(), 1, "{line}: {text}");
        }
    }
}
