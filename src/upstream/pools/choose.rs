//! The rules by which an upstream is chosen among those of a pool. It changes no upstream.
//!
//! Each rule removes candidates; the policy decides between those that are left.

use super::hashing::score;
use super::id::UpstreamId;
use super::settings::Choose;

/// The outcome of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Chosen(UpstreamId),
    /// No upstream is up, or each that is up was tried.
    NoneUp,
    /// Each upstream that is up has as many connections as it may have.
    AllFull,
    /// No name of the pool was ever resolved.
    NeverResolved,
}

/// An upstream that may be chosen, as it is now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) id: UpstreamId,
    /// The position in the pool, by which ties are broken.
    pub(super) position: usize,
    pub(super) name_hash: u64,
    pub(super) weight: u8,
    pub(super) is_backup: bool,
    /// Tunnels and exchanges.
    pub(super) load: usize,
    pub(super) has_room: bool,
    pub(super) is_up: bool,
    /// Whether it would be up with a closed breaker.
    pub(super) is_up_but_for_breaker: bool,
    /// It has closed a tunnel with 1012 or 1013 a moment ago.
    pub(super) is_avoided: bool,
    /// It was tried for this request.
    pub(super) is_tried: bool,
    /// An address of the same entry of the list was tried for this request.
    pub(super) is_entry_tried: bool,
}

/// What the client and the pool ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) choose: Choose,
    /// The hash of the client's key.
    pub(super) key_hash: Option<u64>,
    /// The hash in the client's sticky cookie.
    pub(super) sticky: Option<u64>,
    pub(super) is_tunnel: bool,
    /// The first position to look at among equals.
    pub(super) turn: usize,
}

/// Chooses among `candidates`, in the order of the list; those that a rule excludes are removed.
/// Returns `Ok` with the chosen one, or why no upstream can be chosen.
pub(super) fn choose(candidates: &mut Vec<Candidate>, rules: &Rules) -> Result<Candidate, Choice> {
    // If all are down by breakers alone, the breakers know less than a try would show.
    let is_any_up = candidates.iter().any(|it| it.is_up);
    candidates.retain(|it| if is_any_up { it.is_up } else { it.is_up_but_for_breaker });
    candidates.retain(|it| !it.is_tried);
    if rules.is_tunnel {
        prefer(candidates, |it| !it.is_avoided);
    }
    if let Some(own) = candidates.iter().find(|it| rules.sticky == Some(it.name_hash))
        && own.has_room
    {
        return Ok(*own);
    }
    if rules.choose != Choose::Priority {
        prefer(candidates, |it| !it.is_backup);
    }
    if candidates.is_empty() {
        return Err(Choice::NoneUp);
    }
    candidates.retain(|it| it.has_room);
    prefer(candidates, |it| !it.is_entry_tried);
    by_policy(candidates, rules).ok_or(Choice::AllFull)
}

/// Removes the candidates that are not preferred, if any is.
fn prefer(candidates: &mut Vec<Candidate>, is_preferred: impl Fn(&Candidate) -> bool) {
    if candidates.iter().any(&is_preferred) {
        candidates.retain(is_preferred);
    }
}

fn by_policy(candidates: &[Candidate], rules: &Rules) -> Option<Candidate> {
    match (rules.choose, rules.key_hash) {
        (Choose::Priority, _) => candidates.first().copied(),
        (Choose::Hash, Some(key_hash)) => by_hash(candidates, key_hash),
        (Choose::Least | Choose::Hash, _) => by_load(candidates, rules.turn),
    }
}

fn by_hash(candidates: &[Candidate], key_hash: u64) -> Option<Candidate> {
    let score = |it: &Candidate| score(key_hash, it.name_hash, it.weight);
    candidates.iter().copied().max_by(|one, other| score(one).total_cmp(&score(other)))
}

/// The one with the fewest tunnels and exchanges, divided by its weight; the first of these at or
/// behind the position `turn`.
fn by_load(candidates: &[Candidate], turn: usize) -> Option<Candidate> {
    let load = |it: &Candidate, other: &Candidate| it.load as u64 * u64::from(other.weight);
    let is_later = |it: &Candidate| (it.position < turn, it.position);
    candidates.iter().copied().min_by(|one, other| {
        load(one, other).cmp(&load(other, one)).then(is_later(one).cmp(&is_later(other)))
    })
}

#[cfg(test)]
mod tests;
