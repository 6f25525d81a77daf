//! Suggestions in errors of the command line, for flags and files that are common in other programs.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::nearest::synonym;

const NO_FILE_OF_NODE: &str =
    "weir node has no configuration file, only flags: see weir node --help";

/// Adds a suggestion to an error, for usage that is common in other programs.
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

/// As [`advise`], for `weir node`.
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
    // clap would suggest another of our flags.
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::SuggestedValue);
    let advice = ContextValue::StyledStrs(vec![advice.into()]);
    error.insert(ContextKind::Suggested, advice);
}

/// The suggestion for a flag or a file that other programs, or `weir serve`, accept.
fn advice_for_node(word: &str) -> Option<String> {
    let name = word.trim_start_matches('-').replace(['-', '.'], "_");
    let is_flag = word.starts_with('-');
    Some(match &*name {
        "p" | "port" | "listen" | "bind" | "host" | "addr" | "http_addr" | "http_port"
        | "ws_addr" | "ws_port"
            if is_flag =>
        {
            "use --rpc-addr 127.0.0.1:8545".to_owned()
        }
        "admin" | "metrics" | "metrics_addr" | "metrics_port" if is_flag => {
            "use --health-addr 127.0.0.1:8081".to_owned()
        }
        "c" | "f" | "config" if is_flag => NO_FILE_OF_NODE.to_owned(),
        _ if !is_flag && names_file(word) => NO_FILE_OF_NODE.to_owned(),
        _ => return None,
    })
}

/// Whether an argument looks like the name of a configuration file.
fn names_file(word: &str) -> bool {
    let ends = [".toml", ".conf", ".yaml", ".yml", ".json"];
    let is_file = ends.iter().any(|end| word.ends_with(end)) || word.contains('/');
    is_file && !word.contains("://")
}

/// The suggestion for a flag that other programs have.
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
    Some(format!("use --{} {value}", ours.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::Task;

    #[test]
    fn usage_of_other_programs_is_answered_with_a_suggestion() {
        for (line, advice) in [
            ("weir weir.toml", "weir --config weir.toml"),
            ("weir ./conf/weir", "weir --config ./conf/weir"),
            ("weir -c weir.toml", "use --config weir.toml"),
            ("weir check -c weir.toml", "use --config weir.toml"),
            ("weir --port 9001", "use --listen 127.0.0.1:9001"),
            ("weir --port=9001", "use --listen 127.0.0.1:9001"),
            ("weir -p 9001", "use --listen 127.0.0.1:9001"),
            ("weir --bind 0.0.0.0", "use --listen 127.0.0.1:9001"),
            ("weir --cert a.pem", "use --tls-cert FILE"),
            ("weir --log-level debug", "use --log debug"),
            ("weir node --port 8545", "use --rpc-addr 127.0.0.1:8545"),
            ("weir node -port 8545", "use --rpc-addr 127.0.0.1:8545"),
            ("weir node -p 8545", "use --rpc-addr 127.0.0.1:8545"),
            ("weir node --http.port 8545", "use --rpc-addr 127.0.0.1:8545"),
            ("weir node --admin 127.0.0.1:1", "use --health-addr 127.0.0.1:8081"),
            ("weir node node.toml", "weir node has no configuration file"),
            ("weir node -c node.toml", "weir node has no configuration file"),
            ("weir node --config node.toml", "weir node has no configuration file"),
        ] {
            let error = Task::parse(line.split_whitespace().map(OsString::from)).unwrap_err();
            let text = error.to_string();
            assert!(error.exit_code() == 2 && text.contains(advice), "{line}: {text}");
            assert_eq!(text.matches("tip:").count(), 1, "{line}: {text}");
        }
    }
}
