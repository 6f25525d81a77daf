//! The life of one request, from its head to the response head of an upstream: a state machine
//! without effects.
//!
//! [`Exchange::step`] takes an event and returns the new state with the action that follows.
//! [`tries`](super::tries) and [`responses`](super::responses) carry the actions out.

use super::failure::Failure;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The next upstream has to be chosen.
    Choosing,
    /// The same, with a 502, 503 or 504 at hand that is forwarded if there is no other upstream.
    ChoosingInstead,
    /// A connection is being established.
    Connecting,
    /// The request was sent; its response head has not arrived.
    AwaitingResponse,
    /// A tunnel was joined.
    Tunnel,
    /// A response of an upstream is forwarded.
    Forwarding,
    /// It was answered without an upstream.
    Done,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection to the chosen upstream is being established.
    Dialled,
    /// The connection is established, and the request was sent.
    Connected,
    /// The try failed, or no upstream could be chosen.
    Failed(Failure),
    /// A valid 101.
    Switched,
    /// A response with 502, 503 or 504.
    Unavailable,
    /// Another final response.
    Responded,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Choose an upstream and try it.
    Choose,
    /// Choose another upstream; without one, forward the response.
    ChooseOrForward,
    /// Nothing until the next event.
    Wait,
    /// Join client and upstream.
    Join,
    /// Forward the response.
    Forward,
    /// Send the response for this failure to the client.
    Answer(Failure),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) state: State,
    /// Upstreams that may still be tried.
    tries_left: u8,
    /// Why the last try failed.
    failure: Option<Failure>,
}

impl Exchange {
    pub(super) fn new(tries: u8) -> Exchange {
        Exchange { state: State::Choosing, tries_left: tries, failure: None }
    }

    /// The next state, and the action that leads on from there.
    pub(super) fn step(mut self, event: Event) -> (Exchange, Action) {
        let (state, action) = match (self.state, event) {
            (State::Done | State::Tunnel | State::Forwarding, _) => (self.state, Action::Wait),

            (State::Choosing | State::ChoosingInstead, Event::Dialled) => {
                self.count_try();
                (State::Connecting, Action::Wait)
            }
            (State::Connecting, Event::Connected) => (State::AwaitingResponse, Action::Wait),

            (_, Event::Failed(failure)) => self.after(failure),

            // The head may come in the turn that reports the connection.
            (State::Connecting | State::AwaitingResponse, Event::Switched) => {
                (State::Tunnel, Action::Join)
            }
            (State::Connecting | State::AwaitingResponse, Event::Unavailable)
                if self.tries_left > 0 =>
            {
                self.failure = Some(Failure::Status);
                (State::ChoosingInstead, Action::ChooseOrForward)
            }
            (
                State::Connecting | State::AwaitingResponse,
                Event::Unavailable | Event::Responded,
            ) => (State::Forwarding, Action::Forward),
            // Events of connections that this request no longer uses.
            (state, _) => (state, Action::Wait),
        };
        self.state = state;
        (self, action)
    }

    /// What follows a failure: another try, or its response. If there is no other upstream, the
    /// response is that of the last try.
    fn after(&mut self, failure: Failure) -> (State, Action) {
        if matches!(self.state, State::Choosing | State::ChoosingInstead) {
            // The connection could not even be started.
            self.count_try();
        }
        let may_retry = failure.may_retry() && self.tries_left > 0;
        if self.state == State::ChoosingInstead {
            return match may_retry {
                true => (State::ChoosingInstead, Action::ChooseOrForward),
                false => (State::Forwarding, Action::Forward),
            };
        }
        if may_retry {
            self.failure = Some(failure);
            return (State::Choosing, Action::Choose);
        }
        let is_choice = matches!(failure, Failure::NoUpstream | Failure::Full | Failure::Resolve);
        let answered = self.failure.filter(|_| is_choice).unwrap_or(failure);
        (State::Done, Action::Answer(answered))
    }

    fn count_try(&mut self) {
        self.tries_left = self.tries_left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The actions that follow these events, and the state in the end.
    fn run(tries: u8, events: &[Event]) -> (Vec<Action>, State) {
        let mut exchange = Exchange::new(tries);
        let mut actions = Vec::new();
        for event in events {
            let (next, action) = exchange.step(*event);
            exchange = next;
            actions.push(action);
        }
        (actions, exchange.state)
    }

    /// The last of these actions.
    fn last(tries: u8, events: &[Event]) -> Action {
        *run(tries, events).0.last().unwrap()
    }

    use Action::{Answer, Choose, ChooseOrForward, Forward, Join, Wait};
    use Event::*;

    const CONNECT: Event = Failed(Failure::Connect);

    #[test]
    fn an_upgrade_becomes_a_tunnel() {
        let (actions, state) = run(3, &[Dialled, Connected, Switched]);
        assert_eq!(actions, [Wait, Wait, Join]);
        assert_eq!(state, State::Tunnel);
        assert_eq!(last(3, &[Dialled, Switched]), Join, "the report of the connection comes later");
    }

    #[test]
    fn failures_before_a_response_are_tried_again() {
        use Failure::{AnswerTimeout, BadAnswer, Connect, ConnectTimeout, Local, Reset, Tls};
        for failure in [Connect, Tls, ConnectTimeout] {
            assert_eq!(last(2, &[Dialled, Failed(failure)]), Choose, "{failure:?}");
        }
        assert_eq!(last(2, &[Dialled, Connected, Failed(Reset)]), Choose);
        for failure in [AnswerTimeout, BadAnswer] {
            assert_eq!(last(2, &[Dialled, Connected, Failed(failure)]), Answer(failure));
        }
        assert_eq!(last(2, &[Failed(Local)]), Answer(Local));
        assert_eq!(last(2, &[Dialled, Connected, Responded]), Forward);
    }

    #[test]
    fn tries_are_bounded_and_the_last_failure_is_the_answer() {
        let fail = [Dialled, CONNECT];
        let (actions, state) = run(3, &[fail, fail, fail].concat());
        assert_eq!(actions, [Wait, Choose, Wait, Choose, Wait, Answer(Failure::Connect)]);
        assert_eq!(state, State::Done);
        assert_eq!(last(2, &[CONNECT, CONNECT]), Answer(Failure::Connect), "nothing was dialled");
        let late = [Dialled, Failed(Failure::ConnectTimeout), Failed(Failure::NoUpstream)];
        assert_eq!(last(3, &late), Answer(Failure::ConnectTimeout));
        assert_eq!(last(3, &[Failed(Failure::Full)]), Answer(Failure::Full));
    }

    #[test]
    fn the_last_response_of_an_upgrade_is_forwarded_whatever_it_is() {
        let unavailable = [Dialled, Connected, Unavailable];
        assert_eq!(last(1, &unavailable), Forward);
        let (actions, _) = run(2, &[unavailable, unavailable].concat());
        assert_eq!(actions, [Wait, Wait, ChooseOrForward, Wait, Wait, Forward]);
        for (next, expected) in [
            (Failed(Failure::NoUpstream), Forward),
            (Failed(Failure::Local), Forward),
            (CONNECT, ChooseOrForward),
        ] {
            assert_eq!(last(3, &[&unavailable[..], &[next]].concat()), expected);
        }
        assert_eq!(last(3, &[&unavailable[..], &[CONNECT, CONNECT]].concat()), Forward);
    }

    #[test]
    fn nothing_follows_the_end_of_an_exchange() {
        for events in [
            &[Dialled, Switched, Failed(Failure::Reset)][..],
            &[Dialled, Responded, Failed(Failure::Reset)],
            &[Failed(Failure::Local), Connected],
        ] {
            assert_eq!(last(3, events), Wait);
        }
    }
}
