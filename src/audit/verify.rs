//! Checks the chain of an audit log: finds changed, removed and inserted lines.
//!
//! A line is valid if its HMAC fits the last valid line. If it does not, the next line decides: one
//! that fits the last valid line shows that the lines between were inserted; one that fits the HMAC of
//! the line before it shows that this HMAC is genuine, so that the text was changed or lines are
//! missing before it. Lines removed from the end leave no trace in the file: only the sequence of the
//! last line shows them.

use std::fmt;

use serde::Deserialize;

use super::chain::{Key, Mac, START, split_mac};

/// Lines that are suspected at once; further ones count as changed.
const SUSPECTS_MAX: usize = 1024;
/// Problems that are described; further ones are counted.
pub(super) const DESCRIBED_MAX: usize = 100;

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The index of the file.
    pub(super) file: usize,
    /// The number of the line, from 1.
    pub(super) line: u64,
}

/// What is wrong at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// The line was changed.
    Changed,
    /// The line follows a changed or inserted one, whose HMAC is not genuine: it may be changed, too.
    Unclear,
    /// The line is at the end, and its HMAC does not fit.
    ChangedOrInserted,
    /// The line does not belong here.
    Inserted,
    /// The lines with these sequences are missing before this one.
    Removed { first: u64, last: u64 },
    /// The line starts a chain: the lines before it may have been cut.
    Restarted,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Changed => f.write_str("changed"),
            Problem::Unclear => f.write_str("changed, or only the line before it"),
            Problem::ChangedOrInserted => f.write_str("changed or inserted"),
            Problem::Inserted => f.write_str("inserted, or moved here"),
            Problem::Removed { first, last } if first == last => {
                write!(f, "the line with sequence {first} is removed before it")
            }
            Problem::Removed { first, last } => {
                write!(f, "the lines with sequences {first} to {last} are removed before it")
            }
            Problem::Restarted => f.write_str("a new chain: lines before it may be cut"),
        }
    }
}

/// The outcome of a check.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) lines: u64,
    /// The sequence of the first valid line; above 1, lines before it were not given.
    pub(super) first: Option<u64>,
    /// The sequence of the last valid line, and its time.
    pub(super) last: Option<(u64, String)>,
    /// Events that the server reports as lost.
    pub(super) lost: u64,
    pub(super) problems: u64,
    /// The first problems.
    pub(super) described: Vec<(Place, Problem)>,
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Verifier<'k> {
    key: &'k Key,
    /// The last valid line; `None` before the first one.
    valid: Option<Anchor>,
    /// Lines after it that do not fit.
    suspects: Vec<Suspect>,
    report: Report,
}

/// A line that the next one may follow.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    sequence: u64,
    mac: Mac,
}

#[derive(Debug)]
struct Suspect {
    place: Place,
    /// `None`: the line is malformed.
    claimed: Option<Anchor>,
}

/// The members of a line that matter here.
#[derive(Debug, Deserialize)]
struct Members {
    time: String,
    sequence: u64,
    #[serde(default)]
    lost: u64,
}

/// A well-formed line.
struct Line {
    text: Vec<u8>,
    mac: Mac,
    members: Members,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Line> {
        let (text, mac) = split_mac(line)?;
        let members = serde_json::from_slice(&text).ok()?;
        Some(Line { text, mac, members })
    }

    fn anchor(&self) -> Anchor {
        Anchor { sequence: self.members.sequence, mac: self.mac }
    }
}

impl<'k> Verifier<'k> {
    pub(super) fn new(key: &'k Key) -> Verifier<'k> {
        Verifier { key, valid: None, suspects: Vec::new(), report: Report::default() }
    }

    /// Checks the next line, without its line end.
    pub(super) fn line(&mut self, place: Place, line: &[u8]) {
        self.report.lines += 1;
        let Some(line) = Line::parse(line) else {
            return self.suspect(place, None);
        };
        let follows = |mac: &Mac| self.key.mac(mac, &line.text) == line.mac;
        let is_first = self.valid.is_none() && self.suspects.is_empty();
        if self.valid.is_some_and(|valid| follows(&valid.mac)) {
            for suspect in std::mem::take(&mut self.suspects) {
                self.add(suspect.place, Problem::Inserted);
            }
        } else if self.last_claim().is_some_and(|claim| follows(&claim.mac)) {
            self.settle(Problem::Changed);
        } else if follows(&START) {
            self.settle(Problem::ChangedOrInserted);
            if !is_first {
                self.add(place, Problem::Restarted);
            }
        } else if !is_first || line.members.sequence <= 1 {
            return self.suspect(place, Some(line.anchor()));
        }
        self.accept(&line);
    }

    /// Ends the check.
    pub(super) fn finish(mut self) -> Report {
        self.settle(Problem::ChangedOrInserted);
        self.report
    }

    fn accept(&mut self, line: &Line) {
        let Members { time, sequence, lost } = &line.members;
        self.valid = Some(line.anchor());
        self.report.first.get_or_insert(*sequence);
        self.report.last = Some((*sequence, time.clone()));
        self.report.lost += lost;
    }

    fn last_claim(&self) -> Option<Anchor> {
        self.suspects.last().and_then(|suspect| suspect.claimed)
    }

    fn suspect(&mut self, place: Place, claimed: Option<Anchor>) {
        self.suspects.push(Suspect { place, claimed });
        if self.suspects.len() == SUSPECTS_MAX {
            // The check continues with what the last one claims.
            let claim = self.last_claim();
            self.settle(Problem::ChangedOrInserted);
            self.valid = claim.or(self.valid);
        }
    }

    /// Reports the suspects. `last` is what the last one is, if its sequence is the next one.
    fn settle(&mut self, last: Problem) {
        let suspects = std::mem::take(&mut self.suspects);
        let count = suspects.len();
        let mut expected = self.valid.map_or(1, |valid| valid.sequence.saturating_add(1));
        for (index, Suspect { place, claimed }) in suspects.into_iter().enumerate() {
            let sequence = claimed.map_or(expected, |claimed| claimed.sequence);
            if sequence < expected {
                self.add(place, Problem::Inserted);
                continue;
            }
            if sequence > expected {
                self.add(place, Problem::Removed { first: expected, last: sequence - 1 });
            } else {
                let is_last = index + 1 == count;
                self.add(
                    place,
                    match (is_last, index) {
                        (true, 1..) => Problem::Unclear,
                        (true, 0) => last,
                        (false, _) => Problem::Changed,
                    },
                );
            }
            expected = sequence.saturating_add(1);
        }
    }

    fn add(&mut self, place: Place, problem: Problem) {
        self.report.problems += 1;
        if self.report.described.len() < DESCRIBED_MAX {
            self.report.described.push((place, problem));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::add_mac;
    use super::*;

    fn key() -> Key {
        Key::new(&[7; 32])
    }

    /// The lines with sequences 1 to `count`.
    fn log(count: u64) -> Vec<String> {
        let mut last = START;
        let line = |sequence: u64| {
            let mut line = format!(r#"{{"time":"t{sequence}","sequence":{sequence},"event":"x"}}"#);
            last = key().mac(&last, line.as_bytes());
            add_mac(&mut line, &last);
            line
        };
        (1..=count).map(line).collect()
    }

    fn check(lines: &[String]) -> Report {
        let key = key();
        let mut verifier = Verifier::new(&key);
        for (line, number) in lines.iter().zip(1..) {
            verifier.line(Place { file: 0, line: number }, line.as_bytes());
        }
        verifier.finish()
    }

    /// The problems, each with the number of its line.
    fn problems(lines: &[String]) -> Vec<(u64, Problem)> {
        let report = check(lines);
        assert_eq!(report.problems, report.described.len() as u64);
        report.described.into_iter().map(|(place, problem)| (place.line, problem)).collect()
    }

    use Problem::{Changed, ChangedOrInserted, Inserted, Removed, Restarted, Unclear};

    #[test]
    fn an_unchanged_log_is_valid() {
        let report = check(&log(9));
        assert_eq!((report.lines, report.problems, report.first), (9, 0, Some(1)));
        assert_eq!(report.last, Some((9, "t9".to_owned())));
        assert_eq!(check(&[]), Report::default());
        let later = check(&log(9)[4..]);
        assert_eq!((later.first, later.problems), (Some(5), 0), "older files were not given");
        let cut = check(&log(9)[..7]);
        assert_eq!((cut.last.unwrap().0, cut.problems), (7, 0));
    }

    #[test]
    fn changed_lines_are_found() {
        let change = |line: &mut String| *line = line.replace("x", "y");
        for at in 0..8 {
            let mut lines = log(9);
            change(&mut lines[at]);
            assert_eq!(problems(&lines), [(at as u64 + 1, Changed)]);
        }
        let mut lines = log(9);
        change(&mut lines[8]);
        assert_eq!(problems(&lines), [(9, ChangedOrInserted)], "at the end");
        let mut lines = log(9);
        change(&mut lines[3]);
        change(&mut lines[4]);
        assert_eq!(problems(&lines), [(4, Changed), (5, Unclear)]);
        let mut lines = log(9);
        lines[3] = "{}".to_owned();
        assert_eq!(problems(&lines), [(4, Changed), (5, Unclear)], "its HMAC is lost");
        let mut lines = log(9);
        lines[8].clear();
        assert_eq!(problems(&lines), [(9, ChangedOrInserted)]);
    }

    #[test]
    fn removed_lines_are_found() {
        for (first, last) in [(2, 2), (5, 5), (3, 6)] {
            let mut lines = log(9);
            lines.drain(first - 1..last);
            let (at, first, last) = (first as u64, first as u64, last as u64);
            assert_eq!(problems(&lines), [(at, Removed { first, last })]);
        }
    }

    #[test]
    fn inserted_lines_are_found() {
        let other = Key::new(&[8; 32]);
        let mut forged = r#"{"time":"t","sequence":5,"event":"forged"}"#.to_owned();
        let mac = other.mac(&START, forged.as_bytes());
        add_mac(&mut forged, &mac);
        let mut lines = log(9);
        lines.insert(4, forged.clone());
        assert_eq!(problems(&lines), [(5, Inserted)]);
        lines.insert(4, "no JSON".to_owned());
        assert_eq!(problems(&lines), [(5, Inserted), (6, Inserted)]);
        let mut lines = log(9);
        lines.insert(6, lines[2].clone());
        assert_eq!(problems(&lines), [(7, Inserted)], "a copy of a valid line");
        let mut lines = log(4);
        lines.push(forged);
        assert_eq!(problems(&lines), [(5, ChangedOrInserted)], "at the end");
        let mut lines = log(9);
        lines.swap(3, 4);
        let moved = [(4, Inserted), (6, Removed { first: 5, last: 5 })];
        assert_eq!(problems(&lines), moved);
    }

    #[test]
    fn a_new_chain_is_found() {
        let lines = [log(3), log(2)].concat();
        assert_eq!(problems(&lines), [(4, Restarted)]);
        assert_eq!(check(&lines).last, Some((2, "t2".to_owned())));
    }

    #[test]
    fn another_key_finds_every_line() {
        let key = Key::new(&[9; 32]);
        let mut verifier = Verifier::new(&key);
        for (line, number) in log(3000).iter().zip(1..) {
            verifier.line(Place { file: 0, line: number }, line.as_bytes());
            assert!(verifier.suspects.len() < SUSPECTS_MAX);
        }
        let report = verifier.finish();
        assert_eq!((report.problems, report.described.len()), (3000, DESCRIBED_MAX));
    }
}
