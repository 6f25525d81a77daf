//! A process that is killed while it writes: what it has acknowledged is there afterwards.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Names the directory to the process that will be killed.
const DIRECTORY: &str = "WEIR_STORE_CRASH";
/// The round of the test, so that each writes events of its own.
const ROUND: &str = "WEIR_STORE_CRASH_ROUND";
const ROUNDS: u64 = 10;

/// A child that is killed, and waited for, with its value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes until it is killed; acknowledges each commit by a line with the ids that must stay.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(path) = env::var(DIRECTORY) else {
        return;
    };
    let round: u64 = env::var(ROUND).unwrap().parse().unwrap();
    let (_store, mut writer) = open(Path::new(&path), StoreSettings::default()).unwrap();
    let mut random = StdRng::seed_from_u64(round);
    let mut out = std::io::stdout();
    for commit_number in 0.. {
        let first = (round << 40) + commit_number * 100;
        let drafts: Vec<Draft> = (0..random.random_range(1..20_u64))
            .map(|number| {
                let kind = [1, 7, 0, 30_023][random.random_range(0..4_usize)];
                let by = random.random_range(1..5);
                Draft::new(first + number, by, kind, NOW - 1_000_000 + commit_number)
                    .tag("t", &format!("tag {}", number % 3))
            })
            .collect();
        let outcomes = commit(&mut writer, &drafts);
        // Versions of replaceable kinds go again: the others stay.
        let stored: Vec<String> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Stored { event, .. } if matches!(event.kind(), 1 | 7) => {
                    Some(hex_of(event.id()))
                }
                _ => None,
            })
            .collect();
        writeln!(out, "\nacknowledged {}", stored.join(" ")).unwrap();
        out.flush().unwrap();
        if random.random_bool(0.1) {
            writer.sweep(NOW).unwrap();
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_has_acknowledged() {
    let directory = Directory::new();
    let mut random = StdRng::seed_from_u64(9);
    let mut acknowledged: HashSet<String> = HashSet::new();
    for round in 0..ROUNDS {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("services::nostr::store::tests::crash::child_writes_until_it_is_killed")
            .env(DIRECTORY, directory.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let commits = random.random_range(5..60_usize);
        let mut seen = 0;
        for line in BufReader::new(child.0.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(ids) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged.extend(ids.split_whitespace().map(str::to_owned));
            seen += 1;
            if seen == commits {
                child.0.kill().unwrap();
            }
        }
        assert!(seen >= commits, "round {round}: the child ended by itself");
        drop(child);
        let (store, writer) = directory.open();
        let snapshot = store.snapshot().unwrap();
        for id in &acknowledged {
            let id: EventId = hex::decode(id).unwrap().try_into().unwrap();
            assert!(snapshot.by_id(&id).unwrap().is_some(), "round {round}: {}", hex_of(&id));
        }
        drop(snapshot);
        assert_consistent(&store);
        drop(writer);
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
}
