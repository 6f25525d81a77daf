use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::services::nostr::testing::{event, key};
use crate::services::nostr::write_policy::Source;

/// A deadline for what must happen.
const DEADLINE: Duration = Duration::from_secs(60);
/// A timeout of a plugin that must not pass.
const NEVER: Duration = Duration::from_secs(600);
/// A timeout of a plugin that passes.
const SOON: Duration = Duration::from_millis(300);

/// Shell functions: `id_of LINE` sets `id`, `answer ID ACTION [MSG]`, and `serve`, which accepts all.
const FUNCTIONS: &str = r#"
id_of() { id=${1#*'"id":"'}; id=${id%%'"'*}; }
answer() { printf '{"id":"%s","action":"%s","msg":"%s"}\n' "$1" "$2" "$3"; }
serve() { while read -r line; do id_of "$line"; answer "$id" accept; done; }
"#;

/// A directory of a test. Removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-plugin-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Settings of a plugin with this script. In it, `$first` is true in the first process only.
    fn settings(&self, script: &str, timeout: Duration) -> PluginSettings {
        let path = self.file("plugin.sh");
        let mark = "first=true\n[ -e started ] && first=false\n: > started\n";
        let directory = self.0.display();
        fs::write(&path, format!("cd {directory}\n{mark}{FUNCTIONS}{script}")).unwrap();
        let command = format!("exec /bin/sh {}", path.display());
        PluginSettings { timeout, ..PluginSettings::new(command) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn submit(plugin: &Plugin, number: usize, kind: u16) -> Receiver<Judgement> {
    let (sender, receiver) = channel();
    let event = event(number, 1, kind, 1000, "[]");
    let source = Source::Client([192, 0, 2, 1].into());
    let submission = Submission { event: &event, received_at: 5, source, authed: None };
    plugin.judge(submission, Reply::new(move |judgement| drop(sender.send(judgement))));
    receiver
}

fn wait(judgement: &Receiver<Judgement>) -> Judgement {
    judgement.recv_timeout(DEADLINE).expect("a judgement in time")
}

fn wait_until(condition: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "the condition does not come true");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Submits events until one is accepted: with a short timeout, a slow machine may fail some.
fn wait_until_accepted(plugin: &Plugin) {
    wait_until(|| wait(&submit(plugin, 1000, 1)) == Judgement::Accept);
}

fn rejected() -> Judgement {
    Judgement::Reject(failed())
}

#[test]
fn a_plugin_accepts_rejects_and_drops_silently() {
    let directory = Directory::new();
    let script = r#"
while read -r line; do
    id_of "$line"
    case "$line" in
        *'"kind":1,'*) answer "$id" accept ;;
        *'"kind":7,'*) answer "$id" shadowReject ;;
        *'"sourceType":"IP4","sourceInfo":"192.0.2.1"}') answer "$id" reject 'pow: 28 bits' ;;
    esac
done"#;
    let plugin = Plugin::start(directory.settings(script, NEVER)).unwrap();
    let judgements = [1, 7, 9].map(|kind| submit(&plugin, usize::from(kind), kind));
    let expected = [
        Judgement::Accept,
        Judgement::ShadowReject,
        Judgement::Reject(Prefix::Pow.text("28 bits")),
    ];
    assert_eq!(judgements.each_ref().map(wait), expected);
    assert_eq!(plugin.counts(), PluginCounts::default());
}

#[test]
fn answers_come_in_any_order() {
    let directory = Directory::new();
    let script = r#"
read -r a; read -r b; read -r c
id_of "$c"; answer "$id" accept
id_of "$a"; answer "$id" reject first
id_of "$b"; answer "$id" shadowReject
serve"#;
    let plugin = Plugin::start(directory.settings(script, NEVER)).unwrap();
    let judgements = [1, 2, 3].map(|number| submit(&plugin, number, 1));
    let expected = [
        Judgement::Reject(Prefix::Blocked.text("first")),
        Judgement::ShadowReject,
        Judgement::Accept,
    ];
    assert_eq!(judgements.each_ref().map(wait), expected);
}

#[test]
fn a_plugin_has_a_limited_number_of_events_at_once() {
    let directory = Directory::new();
    let script = "while [ ! -e go ]; do sleep 0.05; done\nserve";
    let settings = PluginSettings { in_flight_max: 4, ..directory.settings(script, NEVER) };
    let plugin = Plugin::start(settings).unwrap();
    let judgements: Vec<_> = (0..500).map(|number| submit(&plugin, number, 1)).collect();
    wait_until(|| plugin.counts().in_flight == 4);
    assert_eq!(plugin.counts(), PluginCounts { in_flight: 4, waiting: 496, ..Default::default() });
    fs::write(directory.file("go"), "").unwrap();
    assert!(judgements.iter().all(|judgement| wait(judgement) == Judgement::Accept));
}

#[test]
fn a_plugin_that_hangs_is_started_again() {
    let directory = Directory::new();
    // It reads nothing, so the pipe fills and a write blocks.
    let plugin =
        Plugin::start(directory.settings("$first && exec sleep 1000\nserve", SOON)).unwrap();
    let judgements: Vec<_> = (0..1000).map(|number| submit(&plugin, number, 1)).collect();
    assert_eq!(wait(&judgements[0]), rejected());
    judgements[1..].iter().for_each(|judgement| drop(wait(judgement)));
    wait_until_accepted(&plugin);
    assert!(plugin.counts().restarts >= 1 && plugin.counts().failures >= 64);
}

#[test]
fn a_plugin_that_exits_is_started_again() {
    let directory = Directory::new();
    let script = "$first && read -r line && exit 3\nserve";
    let plugin = Plugin::start(directory.settings(script, NEVER)).unwrap();
    assert_eq!(wait(&submit(&plugin, 1, 1)), rejected());
    // The second event waits for the second process.
    assert_eq!(wait(&submit(&plugin, 2, 1)), Judgement::Accept);
    let expected = PluginCounts { failures: 1, restarts: 1, ..PluginCounts::default() };
    assert_eq!(plugin.counts(), expected);
}

#[test]
fn without_a_process_events_fail_after_the_timeout_as_it_is_set() {
    let directory = Directory::new();
    for (failure, expected) in
        [(PluginFailure::Refuse, rejected()), (PluginFailure::Accept, Judgement::Accept)]
    {
        let settings = PluginSettings { failure, ..directory.settings("exit 1", SOON) };
        let plugin = Plugin::start(settings).unwrap();
        let judgements: Vec<_> = (0..10).map(|number| submit(&plugin, number, 1)).collect();
        assert!(judgements.iter().all(|judgement| wait(judgement) == expected));
        assert_eq!(plugin.counts().failures, 10);
    }
}

#[test]
fn a_plugin_that_writes_without_end_is_started_again() {
    let line = "head -c 100000000 /dev/zero | tr '\\0' x";
    let lines = "head -c 100000000 /dev/zero | tr '\\0' '\\n' | sed 's/^/x/'";
    for output in [line, lines] {
        let directory = Directory::new();
        let script = format!("$first && read -r line && {{ {output}; exec sleep 1000; }}\nserve");
        let plugin = Plugin::start(directory.settings(&script, NEVER)).unwrap();
        assert_eq!(wait(&submit(&plugin, 1, 1)), rejected());
        assert_eq!(wait(&submit(&plugin, 2, 1)), Judgement::Accept);
        let PluginCounts { restarts, malformed, .. } = plugin.counts();
        assert!(restarts == 1 && malformed <= 101, "{restarts} restarts, {malformed} lines");
    }
}

#[test]
fn a_plugin_cannot_judge_other_events() {
    let directory = Directory::new();
    let script = format!(
        "read -r line; id_of \"$line\"; answer {} accept; answer $id maybe; echo ready; echo\n\
         answer $id reject no; answer $id accept\nserve",
        hex::encode(key(99))
    );
    let plugin = Plugin::start(directory.settings(&script, NEVER)).unwrap();
    let first = wait(&submit(&plugin, 1, 1));
    assert_eq!(first, Judgement::Reject(Prefix::Blocked.text("no")));
    assert_eq!(wait(&submit(&plugin, 2, 1)), Judgement::Accept);
    // The unknown id, the unknown action, the text, and the second answer; an empty line is nothing.
    assert_eq!(plugin.counts(), PluginCounts { malformed: 4, ..PluginCounts::default() });
}

#[test]
fn an_event_that_a_plugin_forgets_fails_alone() {
    let directory = Directory::new();
    let script = "read -r forgotten\nserve";
    let plugin = Plugin::start(directory.settings(script, SOON)).unwrap();
    let forgotten = submit(&plugin, 1, 1);
    // As long as later events are answered, the plugin does not hang.
    wait_until(|| {
        drop(wait(&submit(&plugin, 2, 1)));
        forgotten.try_recv() == Ok(rejected())
    });
}

#[test]
fn a_program_that_cannot_be_started_is_an_error() {
    let error = Plugin::start(PluginSettings::new("/nonexistent/filter.py")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_path_without_spaces_is_a_program() {
    // It answers each line with the same line, which is no answer.
    let settings = PluginSettings { timeout: SOON, ..PluginSettings::new("/bin/cat") };
    let plugin = Plugin::start(settings).unwrap();
    assert_eq!(wait(&submit(&plugin, 1, 1)), rejected());
    assert_eq!(plugin.counts().malformed, 1);
}

#[test]
fn a_stopped_plugin_can_finish_its_work() {
    let directory = Directory::new();
    let script = "serve\n: > finished";
    let plugin = Plugin::start(directory.settings(script, NEVER)).unwrap();
    assert_eq!(wait(&submit(&plugin, 1, 1)), Judgement::Accept);
    drop(plugin);
    wait_until(|| directory.file("finished").exists());
}

#[test]
fn a_stopped_plugin_that_hangs_is_killed_and_its_events_are_rejected() {
    let directory = Directory::new();
    let script = "read -r line; echo $$ > pid.part; mv pid.part pid; exec sleep 1000";
    let plugin = Plugin::start(directory.settings(script, NEVER)).unwrap();
    let judgement = submit(&plugin, 1, 1);
    wait_until(|| directory.file("pid").exists());
    let pid = fs::read_to_string(directory.file("pid")).unwrap();
    drop(plugin);
    assert_eq!(wait(&judgement), rejected());
    assert!(!PathBuf::from(format!("/proc/{}/stat", pid.trim())).exists());
}

#[test]
fn a_changed_file_replaces_the_process_after_its_answers() {
    let directory = Directory::new();
    let old = r#"
read -r a; while [ ! -e go ]; do sleep 0.01; done
id_of "$a"; answer "$id" reject old
serve"#;
    let plugin = Plugin::start(directory.settings(old, NEVER)).unwrap();
    let first = submit(&plugin, 1, 1);
    wait_until(|| plugin.counts().in_flight == 1);
    let new = r#"while read -r line; do id_of "$line"; answer "$id" reject new; done"#;
    directory.settings(new, NEVER);
    let second = submit(&plugin, 2, 1);
    fs::write(directory.file("go"), "").unwrap();
    let rejected = |text: &'static str| Judgement::Reject(Prefix::Blocked.text(text));
    assert_eq!((wait(&first), wait(&second)), (rejected("old"), rejected("new")));
    assert_eq!(plugin.counts(), PluginCounts { restarts: 1, ..PluginCounts::default() });
    // A file that does not start: the events wait for the next change.
    fs::write(directory.file("plugin.sh"), "exit 1").unwrap();
    let waiting = submit(&plugin, 4, 1);
    wait_until(|| plugin.counts().restarts > 1);
    directory.settings(new, NEVER);
    wait_until(|| wait(&submit(&plugin, 5, 1)) == rejected("new"));
    drop(waiting);
}
