//! Answers that many calls wait for: put into one reply after the other, a few per turn.
//!
//! Up to 16,384 calls share one request to an upstream. Their answer waits here while the loop
//! calls [`AnswerQueue::pop`] once for each of them, within the budget of its turns. A large result
//! is shared by all replies instead of being copied into each.

use std::collections::VecDeque;
use std::vec;

use super::backend::Ticket;
use super::wire::answer::Outcome;
use super::wire::filling::CallAnswer;

/// Answered calls whose replies are not completed yet. Bounded, since each of them is a pending
/// call.
#[derive(Debug, Default)]
pub(super) struct AnswerQueue(VecDeque<Queued>);

/// An answer, and the calls that it is for.
#[derive(Debug)]
pub(super) struct Queued {
    tickets: vec::IntoIter<Ticket>,
    pub(super) answer: CallAnswer,
}

impl AnswerQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an answer.
    pub(super) fn push(&mut self, tickets: Vec<Ticket>, outcome: Outcome) {
        let answer = CallAnswer::new(outcome, tickets.len());
        self.0.push_back(Queued { tickets: tickets.into_iter(), answer });
    }

    /// Takes the next call, with its answer, which has to be [put back](AnswerQueue::put_back).
    pub(super) fn pop(&mut self) -> Option<(Ticket, Queued)> {
        let mut first = self.0.pop_front()?;
        let ticket = first.tickets.next()?;
        Some((ticket, first))
    }

    /// Keeps an answer for its other calls, if there are any.
    pub(super) fn put_back(&mut self, queued: Queued) {
        if queued.tickets.len() > 0 {
            self.0.push_front(queued);
        }
    }
}
