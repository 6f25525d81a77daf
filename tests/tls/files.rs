//! Unusable certificate files: `check`, start and reload refuse them with the cause, and do not block.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use weir_authority::{Authority, Kind};

use super::{connect, trusting};
use crate::support::{Process, weir};

/// A FIFO without a writer.
fn fifo(directory: &Path) -> PathBuf {
    let path = directory.join("fifo.pem");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Exit code and standard error of a run that ends by itself.
fn end(arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Process::spawn(&mut weir(arguments));
    (process.wait(), process.whole_log())
}

#[test]
fn unusable_files_are_refused_with_the_cause() {
    let authority = Authority::new();
    let directory = authority.directory();
    let good = authority.server(&["localhost"]);
    let other = authority.server(&["localhost"]);
    let (chain, key) = (fs::read(&good.chain).unwrap(), fs::read(&good.key).unwrap());
    let fifo = fifo(directory);
    let write = |name: &str, content: &[u8]| write(directory, name, content);
    let section =
        |name: &str, body: &str| format!("-----BEGIN {name}-----\n{body}-----END {name}-----\n");
    let encrypted = section("ENCRYPTED PRIVATE KEY", "AAAA\n");
    let traditional = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n";
    let ca = authority.file();
    for (chain, key, client_ca, expected) in [
        (&fifo, &good.key, &ca, "fifo.pem: a FIFO, not a regular file"),
        (&good.chain, &fifo, &ca, "fifo.pem: a FIFO, not a regular file"),
        (&good.chain, &good.key, &fifo, "fifo.pem: a FIFO, not a regular file"),
        (&directory.to_owned(), &good.key, &ca, "a directory, not a regular file"),
        (&PathBuf::from("/dev/zero"), &good.key, &ca, "/dev/zero: a device, not a regular file"),
        (&write("5mb", &chain.repeat(5 << 10)), &good.key, &ca, "larger than 1048576 bytes"),
        (&write("long", &chain.repeat(200)), &good.key, &ca, "bytes of a handshake message"),
        (&good.chain, &other.key, &ca, "this private key is not that of the certificate in"),
        (&good.key, &good.chain, &ca, "no certificate in it, but a private key"),
        (&good.chain, &good.chain, &ca, "no private key in it, but a certificate"),
        (&good.chain, &write("enc", encrypted.as_bytes()), &ca, "the private key is encrypted"),
        (
            &good.chain,
            &write("rsa", section("RSA PRIVATE KEY", traditional).as_bytes()),
            &ca,
            "the private key is encrypted: decrypt it with `openssl pkey",
        ),
        (
            &good.chain,
            &write("bom", &[b"\xef\xbb\xbf", &*key].concat()),
            &ca,
            "begins with a byte-order mark",
        ),
        (&write("utf16", b"\xff\xfe-\0"), &good.key, &ca, "is UTF-16 text"),
        (&write("der", b"\x30\x82\x01"), &good.key, &ca, "is DER, not PEM"),
        (&write("cut", &chain[..chain.len() - 40]), &good.key, &ca, "a BEGIN line without its END"),
    ] {
        let [chain, key, client_ca] = [chain, key, client_ca].map(|path| path.to_str().unwrap());
        let flags = [
            "--listen=wss://127.0.0.1:0",
            &format!("--tls-cert={chain}"),
            &format!("--tls-key={key}"),
            "--tls-client-auth=wanted",
            &format!("--tls-client-ca={client_ca}"),
        ];
        for command in ["check", "serve"] {
            let (code, stderr) = end(&[&[command], &flags[..]].concat());
            assert!(stderr.contains(expected), "{command}, {expected}: {stderr}");
            assert_ne!(code, Some(0), "{command}: {stderr}");
        }
    }
}

#[test]
fn a_reload_refuses_what_a_start_refuses_and_does_not_hang() {
    let authority = Authority::new();
    let directory = authority.directory();
    let files = authority.server(&["localhost"]);
    let (chain, key) = (fs::read(&files.chain).unwrap(), fs::read(&files.key).unwrap());
    let arguments = [
        "--listen=wss://127.0.0.1:0",
        "--tls-watch=off",
        &format!("--tls-cert={}", files.chain.display()),
        &format!("--tls-key={}", files.key.display()),
    ];
    let mut running = Process::spawn(&mut weir(arguments));
    let (_, address) = running.listener();
    let config = Arc::new(trusting(&authority));
    fs::rename(fifo(directory), &files.key).unwrap();
    running.signal(Signal::HUP);
    running.logged("not reloaded, the old ones stay");
    assert!(running.log().contains("a FIFO, not a regular file"), "{}", running.log());
    write(directory, "key", &key);
    fs::rename(directory.join("key"), &files.key).unwrap();
    for (times, expected) in
        [(5 << 10, "larger than 1048576 bytes"), (200, "of a handshake message")]
    {
        fs::write(&files.chain, chain.repeat(times)).unwrap();
        running.signal(Signal::HUP);
        running.logged("not reloaded, the old ones stay");
        assert!(running.log().contains(expected), "{}", running.log());
        connect(address, &config, "localhost").upgraded("/");
    }
    authority.issue_to(&files, "", &["new.test"], Kind::default());
    running.signal(Signal::HUP);
    running.logged("certificates reloaded");
    connect(address, &config, "new.test").upgraded("/");
    running.stop();
}

#[test]
fn ca_files_whose_names_exceed_a_handshake_message_are_refused() {
    let authority = Authority::new();
    let files = authority.server(&["localhost"]);
    let long = "x".repeat(600);
    let one = fs::read(authority.issue(&long, &[], Kind::default()).chain).unwrap();
    let ca = write(authority.directory(), "many.pem", one.repeat(120));
    let (code, stderr) = end(&[
        "check",
        "--listen=wss://127.0.0.1:0",
        &format!("--tls-cert={}", files.chain.display()),
        &format!("--tls-key={}", files.key.display()),
        "--tls-client-auth=wanted",
        &format!("--tls-client-ca={}", ca.display()),
    ]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("of a handshake message"), "{stderr}");
}
