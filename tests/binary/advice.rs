//! Errors for operators: the place, the cause, and the remedy.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use weir_authority::{Authority, Kind};

use super::outcome;
use crate::support::{Process, weir};

/// Exit code and standard error.
fn end(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, _, stderr) = outcome(weir(arguments));
    (code, stderr)
}

/// Writes a file to the authority's directory, beside its certificates.
fn write(authority: &Authority, text: &str) -> String {
    let path = authority.directory().join("weir.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn relative_paths_in_a_file_start_at_its_directory() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let (chain, key) = (name(&files.chain), name(&files.key));
    let text = format!(
        "listen = 'wss://127.0.0.1:0'\ntls_cert = '{chain}'\ntls_key = './{key}'\n\
         tls_client_auth = 'wanted'\ntls_client_ca = 'ca.pem'\n\
         [[network]]\nproject = 'a'\nchain_id = 1\nupstreams = ['https://a.example']\n\
         upstream_ca = 'ca.pem'\n"
    );
    let file = write(&authority, &text);
    // Absolute and relative, from another directory and from its own.
    for (directory, file) in [("/", &*file), (authority.directory().to_str().unwrap(), "weir.toml")]
    {
        let mut command = weir(["check", "--config", file]);
        command.current_dir(directory);
        let (code, effective, stderr) = outcome(command);
        assert_eq!(code, Some(0), "{stderr}");
        for (key, value) in [("tls_client_ca", "ca.pem"), ("upstream_ca", "ca.pem")] {
            let path = authority.directory().join(value);
            let line = format!("{key} = \"{}\"", path.display());
            assert!(effective.lines().any(|found| found == line), "{line} is not in {effective}");
        }
        let mut command = weir(["--config", file]);
        command.current_dir(directory);
        let running = Process::spawn(&mut command);
        running.listener();
        running.stop();
    }
    // Relative paths of variables and flags start at the working directory of the process.
    let mut command = weir(["check", "--listen=wss://127.0.0.1:0", "--tls-key", key]);
    command.current_dir(authority.directory()).env("WEIR_TLS_CERT", chain);
    assert_eq!(outcome(command).0, Some(0));
    let mut command = weir(["check", "--config", &file, "--tls-key", key]);
    command.current_dir("/");
    let (code, _, stderr) = outcome(command);
    assert_eq!(code, Some(2), "{stderr}");
    let expected = format!("error: command line: --tls-key: /{key}: No such file");
    assert!(stderr.starts_with(&expected), "{expected}: {stderr}");
}

#[test]
fn errors_of_files_name_the_line_and_the_key() {
    let authority = Authority::new();
    let (good, other) = (authority.server(&["localhost"]), authority.server(&["localhost"]));
    let (chain, key, other) = (name(&good.chain), name(&good.key), name(&other.key));
    let serve = |cert: &str, key: &str, more: &str| {
        format!(
            "# TLS\nlisten = 'wss://127.0.0.1:0'\ntls_cert = '{cert}'\ntls_key = '{key}'\n{more}"
        )
    };
    let network = "[[network]]\nproject = 'a'\nchain_id = 1\nupstreams = ['wss://a.example']\n";
    for (text, at, expected) in [
        (serve("absent.pem", key, ""), ":3: tls_cert: ", "absent.pem: No such file"),
        (serve(chain, other, ""), ":4: tls_key: ", "is not that of the certificate in"),
        (
            serve(chain, key, "tls_client_auth = 'wanted'\ntls_client_ca = 'no.pem'"),
            ":6: tls_client_ca: ",
            "no.pem: No such file",
        ),
        (format!("{network}upstream_ca = 'no.pem'"), ":5: upstream_ca: ", "no.pem: No such file"),
        ("\nlisten = 'wss://127.0.0.1:0'".to_owned(), ":2: listen: ", "needs tls_cert and tls_key"),
        (
            "log = 'off'\noutbox_low = '1 MiB'".to_owned(),
            ":2: path \"/\": outbox_low",
            "outbox_soft",
        ),
        ("log = 'off'\nhead_max = 1".to_owned(), ":2: head_max is 1 bytes, but must be ", "1024"),
        ("log = 'off'\npong_timeout = '40s'".to_owned(), ":2: ", "pong_timeout"),
    ] {
        let file = write(&authority, &text);
        for command in ["check", "serve"] {
            let (code, stderr) = end(&[command, "--config", &file]);
            assert_eq!(code, Some(2), "{stderr}");
            assert!(stderr.contains(at) && stderr.contains(expected), "{at}{expected}: {stderr}");
        }
    }
}

#[test]
fn an_expired_certificate_is_refused_by_check_and_accepted_by_serve() {
    let authority = Authority::new();
    let expired = authority.issue("", &["localhost"], Kind { is_expired: true, ..Kind::default() });
    let (chain, key) = (name(&expired.chain), name(&expired.key));
    let text = format!("listen = 'wss://127.0.0.1:0'\ntls_cert = '{chain}'\ntls_key = '{key}'\n");
    let file = write(&authority, &text);
    let (code, stderr) = end(&["check", "--config", &file]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains(":2: tls_cert: ") && stderr.contains("not valid now"), "{stderr}");
    let running = Process::spawn(&mut weir(["--config", &file]));
    running.listener();
    let log = running.stop();
    assert!(log.contains("WARN") && log.contains("not valid now"), "{log}");
}

#[test]
fn errors_of_listeners_suggest_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let health = format!("--health-addr={taken}");
    let directory =
        format!("--data-dir={}/advice-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let node = ["node", "--rpc-addr=127.0.0.1:0", &health, &directory];
    for arguments in [
        &[&*format!("--listen={taken}")][..],
        &[&*format!("--admin={taken}"), "--listen=127.0.0.1:0"],
        &node,
    ] {
        let (code, stderr) = end(arguments);
        assert_eq!(code, Some(1), "{stderr}");
        let hint = format!("`ss -ltnp 'sport = :{}'`", taken.port());
        assert!(stderr.contains("in use") && stderr.contains(&hint), "{stderr}");
    }
    // No machine has an address of 192.0.2.0/24, which is for documentation (RFC 5737).
    let (code, stderr) = end(&["--listen=192.0.2.1:9001"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("no interface has this address"), "{stderr}");
}

#[test]
fn check_ends_with_ok_and_the_settings_that_differ() {
    let (code, stderr) = end(&["check"]);
    assert_eq!((code, &*stderr), (Some(0), "ok: all settings have their defaults\n"));
    let (_, stderr) = end(&["check", "--topics-max", "7", "--message-max=64 KiB", "--log=warn"]);
    assert_eq!(
        stderr,
        "ok: 4 settings differ from their defaults:\n  log = \"warn\"\n  topics_max = 7\n  \
         /: message_max = \"64 KiB\"\n  /rooms/{name}: message_max = \"64 KiB\"\n"
    );
}

#[test]
fn help_is_a_command() {
    let (code, help, stderr) = outcome(weir(["help"]));
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(help, outcome(weir(["--help"])).1);
}
