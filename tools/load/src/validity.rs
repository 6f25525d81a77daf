//! Whether a run is a valid measurement: if the server answered wrongly or ended, it has no rate.

use crate::parts::{Part, Shared};
use crate::tally::{Counts, Faults};

/// Maximum share of wrong answers, and of lost connections; above it a run is INVALID.
const FAULTS_SHARE_MAX: f64 = 0.01;

/// Why a run is INVALID, in one line; `None` if it is valid. `gone` is the server's process if it
/// ended during the run. Wrong answers are ignored if `is_tolerated`.
pub(crate) fn objection(parts: &[Shared], gone: Option<i32>, is_tolerated: bool) -> Option<String> {
    if let Some(pid) = gone {
        return Some(format!("the server's process {pid} ended during the run"));
    }
    let opened: u64 = parts.iter().map(|part| part.borrow_mut().crowd().census.opened).sum();
    if opened == 0 {
        let why = parts.iter().find_map(|part| connect_error(&mut *part.borrow_mut()));
        return Some(format!("no connection opened: {}", why.unwrap_or_default()));
    }
    parts.iter().find_map(|part| {
        let mut part = part.borrow_mut();
        let objection = objection_to(&mut *part, is_tolerated)?;
        Some(match parts {
            [_] => objection,
            _ => format!("{}: {objection}", part.name()),
        })
    })
}

fn connect_error(part: &mut dyn Part) -> Option<String> {
    let errors = &part.tally().errors;
    errors.iter().find_map(|(what, _)| what.strip_prefix("connect: ").map(str::to_owned))
}

fn objection_to(part: &mut dyn Part, is_tolerated: bool) -> Option<String> {
    let opened = part.crowd().census.opened;
    let is_answered = part.is_answered();
    let tally = part.tally();
    let Counts { sent, received, .. } = tally.all_counts();
    let wrong = exceeding(&tally.wrong, received, "wrong answers", "answers");
    wrong
        .filter(|_| !is_tolerated)
        .or_else(|| exceeding(&tally.lost, opened, "connections lost", "connections"))
        .or_else(|| {
            let is_silent = is_answered && sent > 0 && received == 0;
            is_silent.then(|| format!("expected answers to {sent} messages, received none"))
        })
}

fn exceeding(faults: &Faults, all: u64, what: &str, of: &str) -> Option<String> {
    let first = faults.first.as_deref()?;
    let is_exceeding = faults.count as f64 > FAULTS_SHARE_MAX * all as f64;
    is_exceeding.then(|| format!("{} {what}, {all} {of}; the first: {first}", faults.count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_percent_of_wrong_answers_make_a_run_invalid() {
        let mut faults = Faults::default();
        assert_eq!(exceeding(&faults, 0, "wrong", "answers"), None);
        faults.add(|| "expected a, received b".to_owned());
        assert_eq!(exceeding(&faults, 100, "wrong", "answers"), None);
        let objection = exceeding(&faults, 99, "wrong", "answers").unwrap();
        assert_eq!(objection, "1 wrong, 99 answers; the first: expected a, received b");
        faults.add(|| "another".to_owned());
        assert!(exceeding(&faults, 100, "wrong", "answers").unwrap().ends_with("received b"));
    }
}
