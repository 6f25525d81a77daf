//! The results of a scenario as plain data: serialized as JSON, and printed as text.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::server::word;

/// System calls rarer than this per message are not printed.
const CALLS_MIN: f64 = 0.0005;
/// The phases of a turn and the poll before them, as named in the server's report.
const PHASES: [&str; 9] =
    ["poll", "readiness", "read", "mail", "timers", "accept", "flush", "drain", "reap"];

/// A measured value, or why it is missing.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Part<T> {
    Known(T),
    Missing { not_available: String },
}

impl<T> From<Result<T, String>> for Part<T> {
    fn from(result: Result<T, String>) -> Part<T> {
        match result {
            Ok(value) => Part::Known(value),
            Err(not_available) => Part::Missing { not_available },
        }
    }
}

/// The server's CPU time per message, in nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) user_ns: f64,
    pub(crate) system_ns: f64,
}

/// Work per message, counted with callgrind.
#[derive(Debug, Serialize)]
pub(crate) struct Work {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
}

/// The turns of the loop in the middle of the measurement; times in nanoseconds per mean turn.
#[derive(Debug, Serialize)]
pub(crate) struct Turns {
    per_second: f64,
    events_each: f64,
    messages_in_each: f64,
    messages_out_each: f64,
    phases_ns: BTreeMap<&'static str, f64>,
    longest_ns: f64,
}

impl Turns {
    /// Parses the server's report.
    pub(crate) fn parse(line: &str) -> Option<Turns> {
        let phases = PHASES.iter().map(|name| Some((*name, word(line, &format!("{name}_ns"))?)));
        Some(Turns {
            per_second: word(line, "turns_per_second")?,
            events_each: word(line, "events_per_turn")?,
            messages_in_each: word(line, "messages_in_per_turn")?,
            messages_out_each: word(line, "messages_out_per_turn")?,
            phases_ns: phases.collect::<Option<_>>()?,
            longest_ns: word(line, "longest_ns")?,
        })
    }
}

/// All results of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) letter: char,
    pub(crate) title: &'static str,
    pub(crate) cpu: Part<Cpu>,
    /// System calls per message, by name.
    pub(crate) syscalls: Part<BTreeMap<String, f64>>,
    pub(crate) work: Part<Work>,
    pub(crate) turns: Part<Turns>,
    /// The file, and the tool that took the samples.
    pub(crate) flame_graph: Part<String>,
    /// Reasons to doubt the results.
    pub(crate) doubts: Vec<String>,
}

impl<T: fmt::Display> fmt::Display for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Known(value) => value.fmt(f),
            Part::Missing { not_available } => write!(f, "not available: {not_available}"),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cpu { user_ns, system_ns } = self;
        write!(f, "{:.0} ns: {user_ns:.0} user, {system_ns:.0} system", user_ns + system_ns)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} instructions, {:.3} allocations", self.instructions, self.allocations)
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = (self.events_each, self.messages_in_each, self.messages_out_each);
        write!(
            f,
            "{:.0}/s; each {:.1} events, {:.1} messages in, ",
            self.per_second, each.0, each.1
        )?;
        write!(f, "{:.1} out; longest {:.0} us; of the time", each.2, self.longest_ns / 1e3)?;
        let all: f64 = self.phases_ns.values().sum();
        for name in PHASES {
            write!(f, " {name} {:.1} %", 100.0 * self.phases_ns[name] / all.max(1.0))?;
        }
        Ok(())
    }
}

/// The most frequent calls first, in one line.
fn calls(syscalls: &BTreeMap<String, f64>) -> String {
    let mut calls: Vec<_> = syscalls.iter().filter(|(_, count)| **count >= CALLS_MIN).collect();
    calls.sort_by(|a, b| b.1.total_cmp(a.1));
    let words: Vec<String> =
        calls.iter().map(|(name, count)| format!("{count:.3} {name}")).collect();
    words.join(", ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.letter, self.title)?;
        writeln!(f, "  CPU per message    {}", self.cpu)?;
        match &self.syscalls {
            Part::Known(syscalls) => writeln!(f, "  system calls       {}", calls(syscalls))?,
            Part::Missing { not_available } => {
                writeln!(f, "  system calls       not available: {not_available}")?;
            }
        }
        writeln!(f, "  work               {}", self.work)?;
        writeln!(f, "  turns              {}", self.turns)?;
        writeln!(f, "  flame graph        {}", self.flame_graph)?;
        self.doubts.iter().try_for_each(|doubt| writeln!(f, "  doubtful           {doubt}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "seconds=1.000 turns=2 turns_per_second=2.0 events_per_turn=2.00 \
        messages_in_per_turn=4.00 messages_out_per_turn=3.50 poll_ns=750 readiness_ns=500 read_ns=1500 \
        mail_ns=0 timers_ns=0 accept_ns=0 flush_ns=2250 drain_ns=0 reap_ns=0 longest_ns=8000 \
        longest_phase=flush";

    #[test]
    fn turns_are_parsed_from_the_servers_report() {
        let turns = Turns::parse(LINE).unwrap();
        let text = turns.to_string();
        assert!(text.starts_with("2/s; each 2.0 events, 4.0 messages in, 3.5 out; longest 8 us;"));
        assert!(text.contains("poll 15.0 %") && text.contains("flush 45.0 %"), "{text}");
        assert!(Turns::parse("turns=2").is_none());
    }

    #[test]
    fn a_missing_part_has_its_reason() {
        let part = Part::<f64>::from(Err("strace is not installed".to_owned()));
        assert_eq!(part.to_string(), "not available: strace is not installed");
        let json = serde_json::to_string(&part).unwrap();
        assert_eq!(json, r#"{"not_available":"strace is not installed"}"#);
        assert_eq!(serde_json::to_string(&Part::Known(1)).unwrap(), "1");
    }

    #[test]
    fn calls_are_sorted_by_their_number() {
        let table = [("recvfrom", 1.0), ("epoll_wait", 0.01), ("brk", 0.0001), ("sendto", 1.02)];
        let table = table.map(|(name, count)| (name.to_owned(), count)).into_iter().collect();
        assert_eq!(calls(&table), "1.020 sendto, 1.000 recvfrom, 0.010 epoll_wait");
    }
}
