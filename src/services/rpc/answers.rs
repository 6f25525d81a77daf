//! Answers that many calls wait for: put into one reply after the other, a few per turn.
//!
//! Up to 16,384 calls share one call to an upstream. Their answer waits here while the loop calls
//! [`Rpc::answer_next`] once for each of them, within the budget of its turns. A large result is shared by
//! all replies instead of being copied into each.

use std::collections::VecDeque;
use std::vec;

use super::Rpc;
use super::backend::{Backend, Ticket};
use super::wire::answer::Outcome;
use super::wire::filling::Answer;
use crate::reactor::{Context, MailReceiver, MailSender};

/// Calls that are answered at once, without waiting for their turn.
const AT_ONCE_MAX: usize = 16;
/// Calls whose answer is there. Bounded, as each of them is a call under way.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    /// By which the service has itself called again.
    bell: Option<(MailSender<()>, MailReceiver<()>)>,
}

#[derive(Debug)]
struct Waiting {
    tickets: vec::IntoIter<Ticket>,
    answer: Answer,
}

impl Answers {
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        self.bell = Some(cx.mailbox(1));
    }

    fn push(&mut self, tickets: Vec<Ticket>, answer: Answer) {
        self.waiting.push_back(Waiting { tickets: tickets.into_iter(), answer });
        if let Some((bell, _)) = &self.bell {
            // A bell that was rung already is enough.
            let _ = bell.try_send(());
        }
    }

    /// The next call, and the answers that it is one of the waiting calls of.
    fn pop(&mut self) -> Option<(Ticket, Waiting)> {
        let mut first = self.waiting.pop_front()?;
        Some((first.tickets.next()?, first))
    }
}

impl<B: Backend> Rpc<B> {
    /// Answers calls, at once if they are few and none wait.
    pub(super) fn answer_all(
        &mut self,
        cx: &mut Context<'_>,
        tickets: Vec<Ticket>,
        outcome: Outcome,
    ) {
        if tickets.is_empty() {
            return;
        }
        let is_at_once = tickets.len() <= AT_ONCE_MAX && self.answers.waiting.is_empty();
        if !is_at_once {
            // Not shared before its turn: the upstream's message still holds a copy until then.
            return self.answers.push(tickets, Answer::Own(outcome));
        }
        let answer = Answer::new(outcome, tickets.len());
        tickets.into_iter().for_each(|ticket| self.settle(cx, ticket, &answer));
    }

    /// Answers the next call whose answer is there; whether there was one.
    pub(super) fn answer_next(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some((_, bell)) = &self.answers.bell {
            let _ = bell.try_recv();
        }
        let Some((ticket, mut waiting)) = self.answers.pop() else {
            return false;
        };
        let left = waiting.tickets.len();
        if let Answer::Own(outcome) = waiting.answer {
            waiting.answer = Answer::new(outcome, 1 + left);
        }
        self.settle(cx, ticket, &waiting.answer);
        if left > 0 {
            self.answers.waiting.push_front(waiting);
        }
        true
    }
}
