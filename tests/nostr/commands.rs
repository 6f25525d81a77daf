//! The commands of `weir relay` on the store of a relay that does not run: the real binary, its standard
//! input and output.

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::author::{Author, id, now};
use super::relay::{Directory, Relay};
use crate::support::{eventually, weir};

/// Runs `weir relay` with these arguments on the store of a directory; returns its output.
fn run(directory: &Directory, arguments: &[&str], input: Vec<u8>) -> Output {
    let store = directory.events();
    let mut command = weir([&["relay"], arguments, &["--data-dir", &store]].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input closes the pipe.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs a command that must end with this exit code; returns its standard output and standard error.
fn outcome(directory: &Directory, arguments: &[&str], input: &str, code: i32) -> [String; 2] {
    let output = run(directory, arguments, input.as_bytes().to_vec());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let [stdout, stderr] = [text(output.stdout), text(output.stderr)];
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    [stdout, stderr]
}

/// Runs a command that must succeed without a word on standard error; returns its standard output.
pub(super) fn result(directory: &Directory, arguments: &[&str]) -> String {
    let [stdout, stderr] = outcome(directory, arguments, "", 0);
    assert_eq!(stderr, "");
    stdout
}

fn jsonl<'a>(events: impl IntoIterator<Item = &'a Value>) -> String {
    events.into_iter().map(|event| format!("{event}\n")).collect()
}

pub(super) fn import<'a>(
    directory: &Directory,
    events: impl IntoIterator<Item = &'a Value>,
) -> String {
    let [stdout, stderr] = outcome(directory, &["import"], &jsonl(events), 0);
    assert_eq!(stderr, "");
    stdout
}

fn export(directory: &Directory, arguments: &[&str]) -> Vec<Value> {
    let text = result(directory, &[&["export"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Events of several kinds, oldest first: notes, a private message, a gift wrap, a profile, a deletion
/// request that names none of them.
fn events() -> Vec<Value> {
    let (one, two, start) = (Author::new(1), Author::new(2), now() - 1000);
    let to_two = json!([["p", two.key()]]);
    let missing = json!([["e", "00".repeat(32)]]);
    let mut events = vec![
        one.event_at(start, 1, json!([["t", "x"]]), "first \"quoted\"\n\u{1F600}"),
        one.event_at(start + 10, 4, to_two.clone(), "secret"),
        one.event_at(start + 20, 1059, to_two, "wrapped"),
        two.event_at(start + 30, 0, json!([]), "{}"),
        one.event_at(start + 40, 5, missing, ""),
    ];
    let note = |age: u64| two.event_at(start + 100 + age, 1, json!([["t", "y"]]), "note");
    events.extend((0..20).map(note));
    events
}

#[test]
fn an_export_has_all_imported_events_oldest_first() {
    let (directory, events) = (Directory::new(), events());
    // The input's order has no effect.
    let report = import(&directory, events.iter().rev());
    assert_eq!(
        report,
        "25 lines: 25 stored, 0 duplicates, 0 superseded, 0 deleted before, 0 refused\n"
    );
    assert_eq!(export(&directory, &[]), events);
    let mut newest_first = events.clone();
    newest_first.reverse();
    assert_eq!(export(&directory, &["--reverse"]), newest_first);
    let filter = |text: Value, arguments: &[&str]| {
        export(&directory, &[&["--filter", &text.to_string()], arguments].concat())
    };
    assert_eq!(filter(json!({"kinds": [4, 1059]}), &[]), events[1..3]);
    assert_eq!(filter(json!({"#t": ["y"], "limit": 3}), &[]), events[5..8]);
    assert_eq!(filter(json!({"limit": 2}), &["--reverse"]), newest_first[..2]);
    assert_eq!(filter(json!({"limit": 0}), &[]), [json!(null); 0]);
    assert_eq!(filter(json!({"ids": [id(&events[3])]}), &[]), events[3..4]);
    let until = events[2]["created_at"].clone();
    assert_eq!(filter(json!({"until": until}), &[]), events[..3]);
}

#[test]
fn an_export_imports_into_another_store_and_a_relay_serves_it() {
    let (from, to, events) = (Directory::new(), Directory::new(), events());
    import(&from, &events);
    let text = result(&from, &["export"]);
    let [report, errors] = outcome(&to, &["import"], &text, 0);
    assert!(report.starts_with("25 lines: 25 stored"), "{report}{errors}");
    assert_eq!(result(&to, &["export"]), text);
    let [report, _] = outcome(&to, &["import"], &text, 0);
    assert!(report.starts_with("25 lines: 0 stored, 25 duplicates"), "{report}");
    let relay = Relay::start(to, "");
    let mut served = relay.client().find(json!({"kinds": [1]}));
    served.reverse();
    let notes: Vec<_> = events.iter().filter(|event| event["kind"] == 1).cloned().collect();
    assert_eq!(served, notes);
}

#[test]
fn each_faulty_line_is_refused_with_its_number_and_the_others_are_imported() {
    let (directory, author) = (Directory::new(), Author::new(1));
    let good = author.note("good");
    let mut wrong_id = author.note("a");
    wrong_id["content"] = "b".into();
    let mut wrong_signature = author.note("a");
    wrong_signature["sig"] = author.note("b")["sig"].clone();
    let mut without_tags = author.note("a");
    without_tags.as_object_mut().unwrap().remove("tags");
    let faults = [
        ("not JSON", "invalid: "),
        ("{\"id\":", "invalid: "),
        ("[]", "invalid: "),
        (&*wrong_id.to_string(), "invalid: the id is not the hash of the event"),
        (&*wrong_signature.to_string(), "invalid: the signature is wrong"),
        (&*without_tags.to_string(), "invalid: "),
        (&*author.event(20_001, json!([]), "").to_string(), "invalid: ephemeral events"),
        (&*author.event(22_242, json!([]), "").to_string(), "blocked: kind 22242"),
        (
            &*author.event_at(now() + 7200, 1, json!([]), "").to_string(),
            "invalid: created_at is more than 900 seconds in the future",
        ),
        (
            &*author.event(1, json!([["expiration", "1000"]]), "").to_string(),
            "invalid: the event has expired",
        ),
        (&*author.event(1, json!([]), &"x".repeat(600_000)).to_string(), "invalid: "),
        (&*format!("{good}{}", " ".repeat(3_000_000)), "invalid: the line is too long"),
    ];
    // The first fault is on line 3, behind a blank one.
    let mut input = format!("{good}\n\n");
    for (line, _) in &faults {
        input += &format!("{line}\n");
    }
    // The last line has no line feed.
    let last = author.note("last");
    input += &format!("{last}\r\n{good}\n{}", author.note("end"));
    let [report, errors] = outcome(&directory, &["import"], &input, 0);
    assert_eq!(
        report,
        "16 lines: 3 stored, 1 duplicates, 0 superseded, 0 deleted before, 12 refused\n"
    );
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 11, "{errors}");
    for ((number, (_, reason)), line) in (3..).zip(&faults).zip(&lines[..10]) {
        assert!(line.starts_with(&format!("line {number}: {reason}")), "{line}");
    }
    assert_eq!(lines[10], "2 further lines were refused");
    assert_eq!(export(&directory, &[]).len(), 3);
}

#[test]
fn lines_that_are_not_utf8_are_refused() {
    let directory = Directory::new();
    let mut input = jsonl([&Author::new(1).note("good")]).into_bytes();
    input.extend_from_slice(b"\xff\xfe\n");
    let output = run(&directory, &["import"], input);
    assert_eq!(output.stderr, b"line 2: invalid: the line is not UTF-8\n");
    assert!(output.status.success() && output.stdout.starts_with(b"2 lines: 1 stored"));
}

#[test]
fn an_import_of_no_event_fails() {
    let directory = Directory::new();
    let [report, errors] = outcome(&directory, &["import"], "one\ntwo\n", 1);
    assert!(report.starts_with("2 lines: 0 stored"), "{report}");
    assert!(errors.ends_with("error: no line has an event that can be stored\n"), "{errors}");
    let [report, errors] = outcome(&directory, &["import"], "", 0);
    assert!(report.starts_with("0 lines: ") && errors.is_empty(), "{report}{errors}");
}

#[test]
fn an_import_keeps_the_rules_of_replacement_and_deletion() {
    let (directory, author, start) = (Directory::new(), Author::new(1), now() - 100);
    let old = author.event_at(start, 0, json!([]), "old");
    let new = author.event_at(start + 1, 0, json!([]), "new");
    let note = author.event_at(start, 1, json!([]), "deleted");
    let deletion = author.event_at(start + 2, 5, json!([["e", id(&note)]]), "");
    let report = import(&directory, [&new, &old, &deletion, &note]);
    assert_eq!(
        report,
        "4 lines: 2 stored, 0 duplicates, 1 superseded, 1 deleted before, 0 refused\n"
    );
    assert_eq!(export(&directory, &[]), [new, deletion]);
}

#[test]
fn more_lines_than_a_block_are_imported_in_order() {
    let (directory, author, start) = (Directory::new(), Author::new(1), now() - 10_000);
    let note =
        |age: u64| author.event_at(start + age, 1, json!([]), &"x".repeat(age as usize % 50));
    let events: Vec<Value> = (0..1500).map(note).collect();
    let mut input = jsonl(&events);
    input += "bad\n";
    let [report, errors] = outcome(&directory, &["import"], &input, 0);
    assert!(report.starts_with("1501 lines: 1500 stored"), "{report}");
    assert!(errors.starts_with("line 1501: invalid: "), "{errors}");
    assert_eq!(export(&directory, &[]), events);
    result(&directory, &["check", "--verify"]);
}

#[test]
fn a_deletion_by_filter_or_age_is_counted_before_it_is_made() {
    let (directory, author) = (Directory::new(), Author::new(1));
    let day = 24 * 3600;
    let at = |days: u64, kind: u64| author.event_at(now() - days * day, kind, json!([]), "");
    let events = [at(100, 7), at(95, 1), at(80, 1), at(10, 7), at(1, 1)];
    import(&directory, &events);
    let dry =
        |arguments: &[&str]| result(&directory, &[&["delete", "--dry-run"], arguments].concat());
    assert_eq!(dry(&["--age", "90d"]), "matching events: 2\n");
    assert_eq!(dry(&["--filter", r#"{"kinds":[1]}"#]), "matching events: 3\n");
    let both = ["--age", "90d", "--filter", r#"{"kinds":[1]}"#];
    assert_eq!(dry(&both), "matching events: 1\n");
    assert_eq!(export(&directory, &[]), events, "nothing is removed");
    let delete = |arguments: &[&str]| result(&directory, &[&["delete"], arguments].concat());
    assert_eq!(delete(&both), "removed events: 1\n");
    assert_eq!(delete(&["--filter", r#"{"kinds":[7]}"#]), "removed events: 2\n");
    assert_eq!(export(&directory, &[]), [&events[2], &events[4]].map(Clone::clone));
    result(&directory, &["check"]);
    let report = import(&directory, &events);
    assert!(report.starts_with("5 lines: 3 stored, 2 duplicates"), "they come again: {report}");
}

#[test]
fn check_and_stat_describe_the_store() {
    let (directory, events) = (Directory::new(), events());
    import(&directory, &events);
    let report = result(&directory, &["check", "--verify"]);
    assert!(report.starts_with("25 events, "), "{report}");
    let stat = result(&directory, &["stat"]);
    let value = |name: &str| {
        let line = stat.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.split_whitespace().last()).expect(&stat).parse::<u64>().unwrap()
    };
    assert_eq!(value("events"), 25);
    assert_eq!(value("newest_serial"), 25);
    assert_eq!((value("events_of_kind 1"), value("events_of_kind 1059")), (21, 1));
    assert!(value("live_bytes") > 25 * 100);
}

#[test]
fn a_running_relay_has_its_store_to_itself() {
    let relay = Relay::new();
    let store = relay.directory();
    for command in ["import", "export", "check", "stat"] {
        let output = weir(["relay", command, "--data-dir", &store]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("another process is using this store"), "{error}");
        assert!(error.contains("weir relay sync --local"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_missing_store_is_an_error_and_is_not_created() {
    let directory = Directory::new();
    for arguments in [&["export"][..], &["delete", "--age", "1d"], &["check"], &["stat"]] {
        let [_, errors] = outcome(&directory, arguments, "", 1);
        assert!(errors.contains("no store of events"), "{errors}");
    }
    assert!(!directory.path().join("events").exists());
}

#[test]
fn a_closed_pipe_ends_an_export_quietly() {
    let (directory, author) = (Directory::new(), Author::new(1));
    // More than a pipe holds.
    let note = |age: u64| author.event_at(now() - age, 1, json!([]), &"x".repeat(100_000));
    import(&directory, &(0..20).map(note).collect::<Vec<_>>());
    let mut command = weir(["relay", "export", "--data-dir", &directory.events()]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[test]
fn a_relay_of_a_file_is_named_if_there_are_several() {
    let directory = Directory::new();
    let file = directory.path().join("weir.toml");
    let relay = |name: &str| {
        let dir = directory.path().join(name);
        format!("[[relay]]\nname = '{name}'\ndata_dir = {dir:?}\n")
    };
    std::fs::write(&file, relay("one") + &relay("two")).unwrap();
    let run = |arguments: &[&str]| {
        let file = ["--config", file.to_str().unwrap()];
        let output = weir([&["relay", "import"], &file[..], arguments].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&[]);
    assert!(code == Some(2) && error.contains("--relay is needed, one of: one, two"), "{error}");
    let (code, error) = run(&["--relay", "three"]);
    assert!(code == Some(2) && error.contains("none of the relays: one, two"), "{error}");
    assert_eq!(run(&["--relay", "two"]), (Some(0), String::new()));
    assert!(directory.path().join("two").exists() && !directory.path().join("one").exists());
}

#[test]
fn a_relay_removes_what_its_rules_of_retention_end() {
    let (directory, author) = (Directory::new(), Author::new(1));
    let at = |hours: u64, kind: u64| author.event_at(now() - hours * 3600, kind, json!([]), "");
    let events = [at(100, 1), at(60, 7), at(30, 1), at(1, 1)];
    import(&directory, &events);
    let relay =
        Relay::start(directory, "retention = ['1d 12h kinds 7', '3d']\nrequests_rate = 'off'");
    let mut client = relay.client();
    let kept = [&events[3], &events[2]].map(Clone::clone);
    eventually(|| client.find(json!({})) == kept, "the other events are removed");
}
