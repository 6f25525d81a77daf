//! The chain of a log that the real binary has written, over restarts and rotations.

use std::fs;

use rustix::process::Signal;

use super::{Audited, expect_valid, lines, log_of, verify};
use crate::binary::outcome;
use crate::nostr::relay::Directory;
use crate::support::weir;

#[test]
fn changed_removed_and_inserted_lines_are_reported() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::new(&directory, &[]);
    (0..5).for_each(|_| server.visit());
    server.stop();
    let original = fs::read_to_string(&log).unwrap();
    let whole: Vec<&str> = original.lines().collect();
    assert_eq!(expect_valid(&directory, &[&log]), whole.len() as u64);
    let check = |edit: &dyn Fn(&mut Vec<String>), expected: &[&str]| {
        let mut lines: Vec<String> = whole.iter().map(|&line| line.to_owned()).collect();
        edit(&mut lines);
        fs::write(&log, lines.join("\n") + "\n").unwrap();
        let (code, stdout) = verify(&directory, &[&log]);
        assert_eq!(code, Some(1), "{stdout}");
        let found: Vec<&str> = stdout.lines().collect();
        let (_, problems) = found.split_last().unwrap();
        let expected: Vec<String> =
            expected.iter().map(|line| format!("{}:{line}", log.display())).collect();
        assert_eq!(problems, expected);
    };
    check(&|lines| lines[2] = lines[2].replace("127.0.0.1", "127.0.0.2"), &["3: changed"]);
    check(&|lines| drop(lines.remove(3)), &["4: the line with sequence 4 is removed before it"]);
    check(
        &|lines| drop(lines.drain(1..4)),
        &["2: the lines with sequences 2 to 4 are removed before it"],
    );
    check(&|lines| lines.insert(5, lines[2].clone()), &["6: inserted, or moved here"]);
    check(&|lines| lines.push("{}".to_owned()), &["13: changed or inserted"]);

    // A cut end shows only by the sequence.
    fs::write(&log, whole[..9].join("\n") + "\n").unwrap();
    assert_eq!(expect_valid(&directory, &[&log]), 9);
    let other = directory.path().join("other.key");
    fs::write(&other, "f".repeat(32)).unwrap();
    let mut command = weir(["audit", "--key"]);
    let (code, stdout, _) = outcome({
        command.arg(&other).arg(&log);
        command
    });
    assert!(code == Some(1) && stdout.contains("audit.log:1: changed"), "{stdout}");
}

#[test]
fn the_chain_continues_after_a_restart_and_an_incomplete_line() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::new(&directory, &[]);
    server.visit();
    assert!(server.stop().contains("audit log ended sequence=4 lost=0"));
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("{text}{{\"time\":\"20")).unwrap();
    let server = Audited::new(&directory, &[]);
    server.visit();
    let stderr = server.stop();
    assert!(stderr.contains("an incomplete line of 11 bytes removed"), "{stderr}");
    assert!(stderr.contains("audit log opened") && stderr.contains("sequence=4"), "{stderr}");
    assert!(fs::read_to_string(&log).unwrap().starts_with(&text));
    assert_eq!(lines(&log).len(), 8);
    assert_eq!(expect_valid(&directory, &[&log]), 8);
}

#[test]
fn the_chain_continues_after_a_kill() {
    let directory = Directory::new();
    let log = log_of(&directory);
    for round in 1..4 {
        let mut server = Audited::new(&directory, &[]);
        server.visit();
        while server.count("sequence") < 3 * round {}
        server.process.signal(Signal::KILL);
        server.process.wait();
    }
    assert_eq!(expect_valid(&directory, &[&log]), 9);
}

#[test]
fn a_rotated_log_is_opened_again_on_sighup() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let mut server = Audited::new(&directory, &[]);
    server.visit();
    let mut rotated = Vec::new();
    for number in [2, 1] {
        let name = directory.path().join(format!("audit.log.{number}"));
        fs::rename(&log, &name).unwrap();
        server.visit();
        server.process.signal(Signal::HUP);
        server.process.logged("audit log opened again");
        server.visit();
        rotated.push(name);
    }
    // The file has not changed since: nothing happens.
    server.process.signal(Signal::HUP);
    let stderr = server.stop();
    assert_eq!(stderr.matches("audit log opened again").count(), 2, "{stderr}");
    let counts: Vec<usize> = rotated.iter().chain([&log]).map(|path| lines(path).len()).collect();
    assert_eq!(counts, [5, 4, 3]);
    let all = [&*rotated[0], &*rotated[1], &*log];
    assert_eq!(expect_valid(&directory, &all), 12);
    let (code, stdout) = verify(&directory, &all[1..]);
    assert!(code == Some(0) && stdout.contains("the first line has sequence 6"), "{stdout}");
    let (code, stdout) = verify(&directory, &[all[0], all[2]]);
    let missing = "audit.log:1: the lines with sequences 6 to 9 are removed before it";
    assert!(code == Some(1) && stdout.contains(missing), "{stdout}");
}

#[test]
fn a_log_without_a_key_has_no_hmac() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::with(&["--audit", log.to_str().unwrap()]);
    server.visit();
    server.stop();
    assert!(lines(&log).iter().all(|line| line.get("mac").is_none()));
    assert_eq!(verify(&directory, &[&log]).0, Some(1));
}

#[test]
fn weir_audit_needs_a_key_and_a_log() {
    for arguments in [&["audit"][..], &["audit", "a.log"], &["audit", "--key", "a.key"]] {
        assert_eq!(outcome(weir(arguments)).0, Some(2), "{arguments:?}");
    }
    let (code, help, _) = outcome(weir(["help", "audit"]));
    assert!(code == Some(0) && help.contains("weir audit --key"), "{help}");
    let (code, _, stderr) = outcome(weir(["audit", "--key", "/nowhere", "/nowhere"]));
    assert!(code == Some(1) && stderr.contains("/nowhere: No such file"), "{stderr}");
}
