//! Sources of settings, their precedence, and errors.

use std::process::Command;

use super::{File, outcome};
use crate::support::weir;

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    outcome(weir(["check"].iter().chain(arguments)))
}

/// The output of `check` for valid settings.
fn effective(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = check(arguments);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.starts_with("ok: "), "{stderr}");
    stdout
}

/// Every flag that `--help` describes.
fn flags() -> Vec<String> {
    let (code, help, stderr) = outcome(weir(["--help"]));
    assert_eq!((code, &*stderr), (Some(0), ""));
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let name =
        |rest: &str| rest.chars().take_while(|&c| c.is_ascii_lowercase() || c == '-').collect();
    flags.map(name).collect()
}

#[test]
fn help_is_complete() {
    let (_, help, _) = outcome(weir(["--help"]));
    for part in ["Usage:", "serve", "check", "Examples:", "Exit codes:", "[[route]]", "WEIR_"] {
        assert!(help.contains(part), "{part}");
    }
    // The syntax of each kind of value follows the flags.
    for kind in ["SIZE ", "TIME ", "RATE ", "CIDR "] {
        assert!(help.lines().any(|line| line.starts_with(kind)), "{kind}");
    }
    let flags = flags();
    assert!(flags.len() > 35, "{flags:?}");
    let effective = effective(&[]);
    let keys = effective.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    for key in keys.filter(|key| !["path", "service", "page"].contains(key)) {
        assert!(flags.contains(&key.replace('_', "-")), "{key} has no flag in the help");
    }
}

#[test]
fn the_version_names_the_commit() {
    let (code, version, _) = outcome(weir(["--version"]));
    let prefix = concat!("weir ", env!("CARGO_PKG_VERSION"), " (");
    let rest = version.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(")\n"));
    let commit = rest.unwrap_or_else(|| panic!("{version}"));
    let is_hash = commit.len() >= 12 && commit.chars().all(|c| c.is_ascii_hexdigit());
    assert!(code == Some(0) && (is_hash || commit == "unknown"), "{version}");
}

#[test]
fn check_notes_limits_that_share_one_pool() {
    let network = |chain: u64, limit: usize| {
        format!(
            "[[network]]\nproject = 'main'\nchain_id = {chain}\n\
             upstreams = ['ws://127.0.0.1:9', 'ws://127.0.0.1:10']\n\
             network_connections_max = {limit}\n"
        )
    };
    let notes = |text: String, flags: &[&str]| {
        let file = File::new(&text);
        let (code, _, stderr) = check(&[&["--config", file.path()], flags].concat());
        assert_eq!(code, Some(0), "{stderr}");
        let (notes, _) = stderr.split_once("ok: ").expect(&stderr);
        notes.to_owned()
    };
    // The default limits of a network and of the server.
    let note = notes(network(1, 10_000), &[]);
    for part in ["/main/evm/1", "network_connections_max = 10000", "connections_max = 10000"] {
        assert!(note.starts_with("note: ") && note.contains(part), "{part}: {note}");
    }
    assert_eq!(notes(network(1, 9_000), &[]), "");
    let note = notes(network(1, 6_000) + &network(2, 6_000), &[]);
    assert!(note.contains("12000") && note.contains("connections_max = 10000"), "{note}");
    let note = notes(network(1, 100), &["--outbound-max", "1"]);
    assert!(note.contains("2 upstreams") && note.contains("outbound_max = 1"), "{note}");
}

#[test]
fn check_notes_proxy_settings_without_effect_or_with_too_much() {
    let notes = |flags: &[&str]| {
        let (code, _, stderr) = check(flags);
        assert_eq!(code, Some(0), "{stderr}");
        stderr.split_once("ok: ").expect(&stderr).0.to_owned()
    };
    let note = notes(&["--client-address-from=forwarded"]);
    assert!(note.contains("client_address_from has no effect"), "{note}");
    let trusted = "--trusted-proxies=10.0.0.0/8";
    let listen = "--listen=proxy+ws://127.0.0.1:9001";
    assert_eq!(notes(&["--client-address-from=forwarded", trusted, listen]), "");
    for all in ["--trusted-proxies=0.0.0.0/0", "--trusted-proxies=10.0.0.0/8,::/0"] {
        let note = notes(&[all]);
        assert!(note.contains("trusts every peer"), "{note}");
    }
}

#[test]
fn check_shows_every_setting() {
    let effective = effective(&[]);
    let others = ["config", "connect", "help", "version"];
    for flag in flags().iter().filter(|flag| !others.contains(&&***flag)) {
        let key = flag.replace('-', "_");
        let has = effective.lines().any(|line| line.starts_with(&format!("{key} = ")));
        assert!(has, "{key} is not in\n{effective}");
    }
}

#[test]
fn the_output_of_check_is_a_file_with_the_same_settings() {
    let changed = [
        "--listen=[::1]:7000",
        "--listen=127.0.0.1:7001",
        "--reuse-port",
        "--log=warn,weir=debug",
        "--log-format=json",
        "--connections-max=77",
        "--connections-per-address=3",
        "--exempt=10.0.0.0/8,2001:db8::/32",
        "--trusted-proxies=192.0.2.0/24",
        "--client-address-from=x-real-ip",
        "--requests-per-address=1/s burst 5",
        "--rate-per-address=10/s burst 50",
        "--rate=100/min",
        "--key-reuse-window=5m",
        "--ping-interval=off",
        "--message-max=2 MiB",
        "--slow=drop",
        "--idle-timeout=1m 30s",
        "--origins=https://example.org,null",
        "--hosts=example.org,10.0.0.0/8,[::1]",
        "--require-protocol",
        "--history-max=5",
        "--history-ttl=off",
    ];
    for arguments in [&[][..], &changed] {
        let printed = effective(arguments);
        let file = File::new(&printed);
        assert_eq!(effective(&["--config", file.path()]), printed);
    }
    assert_ne!(effective(&changed), effective(&[]));
}

#[test]
fn flags_override_variables_override_the_file_override_defaults() {
    let file = File::new("head_max = '2 KiB'\ntopics_max = 22\nconnections_max = 222\n");
    let mut command = weir(["check", "--config", file.path(), "--head-max", "4 KiB"]);
    command.env("WEIR_HEAD_MAX", "3 KiB").env("WEIR_TOPICS_MAX", "33").env("WEIR_LOG", "");
    let (code, stdout, _) = outcome(command);
    assert_eq!(code, Some(0));
    for line in [
        "head_max = \"4 KiB\"",
        "topics_max = 33",
        "connections_max = 222",
        // An empty variable counts as not set.
        "log = \"info\"",
    ] {
        assert!(stdout.lines().any(|given| given == line), "{line} is not in\n{stdout}");
    }
    // A variable can name the file; the flag overrides it.
    let other = File::new("connections_max = 333\n");
    let mut command = weir(["check"]);
    command.env("WEIR_CONFIG", file.path());
    assert!(outcome(command).1.contains("connections_max = 222"));
    let mut command = weir(["check", "--config", other.path()]);
    command.env("WEIR_CONFIG", file.path());
    assert!(outcome(command).1.contains("connections_max = 333"));
}

#[test]
fn a_route_overrides_settings_of_all_routes() {
    let file = File::new(
        "message_max = '2 KiB'\n\
         [[route]]\npath = '/a'\nservice = 'echo'\nmessage_max = '3 KiB'\n\
         [[route]]\npath = '/b/{name}'\nservice = 'rooms'\nhistory_max = 7\n",
    );
    let stdout = effective(&["--config", file.path()]);
    let routes: Vec<&str> = stdout.split("[[route]]").skip(1).collect();
    assert_eq!(routes.len(), 2, "{stdout}");
    assert!(routes[0].contains("message_max = \"3 KiB\""), "{stdout}");
    assert!(routes[1].contains("message_max = \"2 KiB\""), "{stdout}");
    assert!(routes[1].contains("history_max = 7") && !routes[0].contains("history"), "{stdout}");
}

#[test]
fn errors_exit_with_2_and_name_the_setting() {
    let unknown = File::new("# a comment\nmesage_max = 1\n");
    let bad = File::new("message_max = 'lots'\n");
    let route = File::new("[[route]]\npath = '/x'\nservice = 'ecko'\n");
    let syntax = File::new("message_max = \n");
    let contradiction = File::new("outbox_low = '1 MiB'\n");
    let missing = format!("{}.not", unknown.path());
    for (arguments, words) in [
        (&["--mesage-max=1KiB"][..], &["'--mesage-max'", "'--message-max'"][..]),
        (&["--message-max=lots"], &["--message-max", "lots", "64 KiB"]),
        (&["--slow=dorp"], &["--slow", "dorp", "drop"]),
        (&["--log=wran"], &["wran", "warn"]),
        (&["--listen=localhost"], &["localhost", "127.0.0.1:9001"]),
        (&["--listen=127.0.0.1:1", "--listen=127.0.0.1:1"], &["127.0.0.1:1", "twice"]),
        (&["--listen=proxy+ws://127.0.0.1:0"], &["proxy+ws://127.0.0.1:0", "trusted_proxies"]),
        (&["--trusted-proxies=10.0.0.0/33"], &["--trusted-proxies", "10.0.0.0/33"]),
        (&["--client-address-from=x-forwarded"], &["x-forwarded-for"]),
        (&["--requests-per-address=1"], &["--requests-per-address", "10/s"]),
        (&["--connections-max=0"], &["connections_max"]),
        (&["--pong-timeout=30s"], &["pong_timeout", "ping_interval"]),
        (&["srve"], &["srve", "serve"]),
        (&["--config", unknown.path()], &["toml:2", "\"mesage_max\"", "\"message_max\""]),
        (&["--config", bad.path()], &["toml:1", "message_max", "lots"]),
        (&["--config", route.path()], &["toml:3", "service", "ecko", "echo"]),
        (&["--config", syntax.path()], &["toml:1"]),
        (&["--config", contradiction.path()], &["outbox_low", "outbox_soft"]),
        (&["--config", &missing], &[&missing]),
    ] {
        // `serve` refuses the same settings.
        for command in [&["check"][..], &[]] {
            let is_command = arguments[0] == "srve";
            let command = if is_command { &[] } else { command };
            let (code, stdout, stderr) = outcome(weir(command.iter().chain(arguments)));
            assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?}: {stderr}");
            assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
            for word in words {
                assert!(stderr.contains(word), "{word} is not in: {stderr}");
            }
        }
    }
}

#[test]
fn configuration_files_of_other_kinds_are_refused_at_once() {
    let (fifo, large, latin1) = (File::new(""), File::new(&"#".repeat(2 << 20)), File::new(""));
    std::fs::remove_file(fifo.path()).unwrap();
    assert!(Command::new("mkfifo").arg(fifo.path()).status().unwrap().success());
    std::fs::write(latin1.path(), b"# caf\n# \xe9\n").unwrap();
    for (path, expected) in [
        (fifo.path(), "a FIFO, not a regular file"),
        (large.path(), "larger than 1048576 bytes"),
        (latin1.path(), "toml:2: not UTF-8"),
        (env!("CARGO_TARGET_TMPDIR"), "a directory, not a regular file"),
    ] {
        let (code, _, stderr) = check(&["--config", path]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
    // A byte-order mark is ignored.
    assert!(
        effective(&["--config", File::new("\u{feff}topics_max = 7\n").path()])
            .contains("topics_max = 7")
    );
}

#[test]
fn errors_name_the_variable() {
    for (name, value, words) in [
        ("WEIR_MESAGE_MAX", "1 KiB", &["WEIR_MESAGE_MAX", "WEIR_MESSAGE_MAX"][..]),
        ("WEIR_MESSAGE_MAX", "lots", &["WEIR_MESSAGE_MAX", "lots"]),
        ("WEIR_CONFIG", "/nowhere/weir.toml", &["/nowhere/weir.toml"]),
        ("WEIR_SLOW", "dorp", &["WEIR_SLOW", "dorp", "drop"]),
    ] {
        let mut command = weir(["check"]);
        command.env(name, value);
        let (code, stdout, stderr) = outcome(command);
        assert_eq!((code, &*stdout), (Some(2), ""), "{name}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word} is not in: {stderr}");
        }
    }
}
