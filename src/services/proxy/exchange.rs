//! The life of one request, from its head to the response head of an upstream: a state machine
//! without effects.
//!
//! [`Exchange::step`] takes an event and returns the new state with the action that follows.
//! [`tries`](super::tries) and [`responses`](super::responses) carry the actions out.

use super::failure::Failure;

/// What the request is, as far as retries depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An upgrade to WebSocket.
    Upgrade,
    /// GET, HEAD or OPTIONS without a body: it may be sent twice (RFC 9110, 9.2.2).
    Repeatable,
    /// Another request: it is sent once.
    Once,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The next upstream has to be chosen.
    Choosing,
    /// The same, with a 502, 503 or 504 at hand that is forwarded if there is no other upstream.
    ChoosingInstead,
    /// The process has as many connections as it may have: an idle one is being closed.
    AwaitingRoom,
    /// A connection is being established.
    Connecting,
    /// The request was sent; its final response head has not arrived.
    AwaitingResponse(Sent),
    /// A tunnel was joined.
    Tunnel,
    /// A response of an upstream is forwarded.
    Forwarding,
    /// It was answered without an upstream.
    Done,
}

/// What a request was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    New,
    /// A connection that was idle: the upstream may have closed it at the same moment.
    Idle,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection to the chosen upstream is being established.
    Dialled,
    /// The request was sent on an idle connection to the chosen upstream.
    SentOnIdle,
    /// No room for a connection, but an idle one is being closed.
    NoRoom,
    /// There may be room for a connection.
    Room,
    /// The connection is established, and the request was sent.
    Connected,
    /// The try failed, or no upstream could be chosen.
    Failed(Failure),
    /// An interim response other than 101.
    Interim,
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
    /// Forward the interim response, and wait for the next one.
    ForwardInterim,
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
    kind: Kind,
    pub(super) state: State,
    /// Upstreams that may still be tried.
    tries_left: u8,
    /// Why the last try failed.
    failure: Option<Failure>,
    /// An idle connection turned out to be closed: the next connection must be new.
    needs_new: bool,
    /// The client got an interim response.
    has_response: bool,
}

impl Exchange {
    pub(super) fn new(kind: Kind, tries: u8) -> Exchange {
        Exchange {
            kind,
            state: State::Choosing,
            tries_left: tries,
            failure: None,
            needs_new: false,
            has_response: false,
        }
    }

    pub(super) fn is_upgrade(&self) -> bool {
        self.kind == Kind::Upgrade
    }

    /// Whether the next try is the last one again, since an idle connection turned out to be
    /// closed: on a new connection, to any upstream.
    pub(super) fn repeats_try(&self) -> bool {
        self.needs_new
    }

    /// Whether this failure only means that the upstream had closed an idle connection meanwhile:
    /// that is not a try. A request that must not be sent twice fails by it (RFC 9110, 9.2.2).
    pub(super) fn is_stale(&self, failure: Failure) -> bool {
        self.state == State::AwaitingResponse(Sent::Idle)
            && failure == Failure::Reset
            && self.kind != Kind::Once
            && !self.has_response
    }

    /// The next state, and the action that leads on from there.
    pub(super) fn step(mut self, event: Event) -> (Exchange, Action) {
        let (state, action) = match (self.state, event) {
            (State::Done | State::Tunnel | State::Forwarding, _) => (self.state, Action::Wait),

            (State::Choosing | State::ChoosingInstead, Event::Dialled) => {
                self.count_try();
                self.needs_new = false;
                (State::Connecting, Action::Wait)
            }
            (State::Choosing | State::ChoosingInstead, Event::SentOnIdle) => {
                self.count_try();
                (State::AwaitingResponse(Sent::Idle), Action::Wait)
            }
            (State::ChoosingInstead, Event::NoRoom) => (State::Forwarding, Action::Forward),
            (State::Choosing, Event::NoRoom) => (State::AwaitingRoom, Action::Wait),
            (State::AwaitingRoom, Event::Room) => (State::Choosing, Action::Choose),
            (State::Connecting, Event::Connected) => {
                (State::AwaitingResponse(Sent::New), Action::Wait)
            }

            (_, Event::Failed(failure)) if self.is_stale(failure) => {
                self.tries_left = self.tries_left.saturating_add(1);
                self.needs_new = true;
                (State::Choosing, Action::Choose)
            }

            (_, Event::Failed(failure)) => self.after(failure),

            // The head may come in the turn that reports the connection.
            (State::Connecting | State::AwaitingResponse(_), Event::Interim) => {
                self.has_response = true;
                (self.state, Action::ForwardInterim)
            }
            (State::Connecting | State::AwaitingResponse(_), Event::Switched) => {
                (State::Tunnel, Action::Join)
            }
            (State::Connecting | State::AwaitingResponse(_), Event::Unavailable)
                if self.may_retry(Failure::Status) =>
            {
                self.failure = Some(Failure::Status);
                (State::ChoosingInstead, Action::ChooseOrForward)
            }
            (
                State::Connecting | State::AwaitingResponse(_),
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
        let may_retry = self.may_retry(failure);
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

    /// Whether another try may follow: not once the client has got a part of a response.
    fn may_retry(&self, failure: Failure) -> bool {
        let is_allowed = match failure {
            // Nothing was sent.
            Failure::Connect | Failure::Tls | Failure::ConnectTimeout => true,
            Failure::Reset => self.kind != Kind::Once,
            Failure::Status => self.kind == Kind::Upgrade,
            Failure::AnswerTimeout
            | Failure::BadAnswer
            | Failure::NoUpstream
            | Failure::Full
            | Failure::Local
            | Failure::Overloaded
            | Failure::Resolve => false,
        };
        is_allowed && self.tries_left > 0 && !self.has_response
    }

    fn count_try(&mut self) {
        self.tries_left = self.tries_left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The actions that follow these events, and the state in the end.
    fn run(kind: Kind, tries: u8, events: &[Event]) -> (Vec<Action>, State) {
        let mut exchange = Exchange::new(kind, tries);
        let mut actions = Vec::new();
        for event in events {
            let (next, action) = exchange.step(*event);
            exchange = next;
            actions.push(action);
        }
        (actions, exchange.state)
    }

    /// The last of these actions.
    fn last(kind: Kind, tries: u8, events: &[Event]) -> Action {
        *run(kind, tries, events).0.last().unwrap()
    }

    use Action::{Answer, Choose, ChooseOrForward, Forward, ForwardInterim, Join, Wait};
    use Event::*;
    use Kind::{Once, Repeatable, Upgrade};

    const CONNECT: Event = Failed(Failure::Connect);
    const RESET: Event = Failed(Failure::Reset);

    #[test]
    fn an_upgrade_becomes_a_tunnel() {
        let (actions, state) = run(Upgrade, 3, &[Dialled, Connected, Switched]);
        assert_eq!(actions, [Wait, Wait, Join]);
        assert_eq!(state, State::Tunnel);
        let early = last(Upgrade, 3, &[Dialled, Switched]);
        assert_eq!(early, Join, "the report of the connection comes later");
    }

    #[test]
    fn what_may_be_tried_again_depends_on_the_request() {
        use Failure::{AnswerTimeout, BadAnswer, Connect, ConnectTimeout, Local, Tls};
        for kind in [Upgrade, Repeatable, Once] {
            for failure in [Connect, Tls, ConnectTimeout] {
                assert_eq!(last(kind, 2, &[Dialled, Failed(failure)]), Choose, "{failure:?}");
            }
            let reset = last(kind, 2, &[Dialled, Connected, RESET]);
            assert_eq!(reset == Choose, kind != Once, "{kind:?}");
            for failure in [AnswerTimeout, BadAnswer] {
                let action = last(kind, 2, &[Dialled, Connected, Failed(failure)]);
                assert_eq!(action, Answer(failure));
            }
            assert_eq!(last(kind, 2, &[Failed(Local)]), Answer(Local));
            let unavailable = last(kind, 2, &[Dialled, Connected, Unavailable]);
            assert_eq!(unavailable == ChooseOrForward, kind == Upgrade, "{kind:?}");
            assert_eq!(last(kind, 2, &[Dialled, Connected, Responded]), Forward);
        }
    }

    #[test]
    fn nothing_is_tried_again_after_an_interim_response() {
        let (actions, _) = run(Repeatable, 3, &[Dialled, Connected, Interim, Interim, RESET]);
        let forwarded = [Wait, Wait, ForwardInterim, ForwardInterim, Answer(Failure::Reset)];
        assert_eq!(actions, forwarded);
        assert_eq!(last(Repeatable, 3, &[SentOnIdle, Interim, RESET]), Answer(Failure::Reset));
        assert_eq!(last(Upgrade, 3, &[Dialled, Connected, Interim, Unavailable]), Forward);
    }

    #[test]
    fn tries_are_bounded_and_the_last_failure_is_the_answer() {
        let fail = [Dialled, CONNECT];
        let (actions, state) = run(Once, 3, &[fail, fail, fail].concat());
        assert_eq!(actions, [Wait, Choose, Wait, Choose, Wait, Answer(Failure::Connect)]);
        assert_eq!(state, State::Done);
        let undialled = last(Once, 2, &[CONNECT, CONNECT]);
        assert_eq!(undialled, Answer(Failure::Connect), "nothing was dialled");
        let late = [Dialled, Failed(Failure::ConnectTimeout), Failed(Failure::NoUpstream)];
        assert_eq!(last(Upgrade, 3, &late), Answer(Failure::ConnectTimeout));
        assert_eq!(last(Upgrade, 3, &[Failed(Failure::Full)]), Answer(Failure::Full));
    }

    #[test]
    fn the_last_response_of_an_upgrade_is_forwarded_whatever_it_is() {
        let unavailable = [Dialled, Connected, Unavailable];
        assert_eq!(last(Upgrade, 1, &unavailable), Forward);
        let (actions, _) = run(Upgrade, 2, &[unavailable, unavailable].concat());
        assert_eq!(actions, [Wait, Wait, ChooseOrForward, Wait, Wait, Forward]);
        for (next, expected) in [
            (Failed(Failure::NoUpstream), Forward),
            (Failed(Failure::Local), Forward),
            (NoRoom, Forward),
            (SentOnIdle, Wait),
            (CONNECT, ChooseOrForward),
        ] {
            assert_eq!(last(Upgrade, 3, &[&unavailable[..], &[next]].concat()), expected);
        }
        let twice = [&unavailable[..], &[CONNECT, CONNECT]].concat();
        assert_eq!(last(Upgrade, 3, &twice), Forward);
    }

    #[test]
    fn a_closed_idle_connection_is_not_a_try() {
        let (actions, _) = run(Upgrade, 1, &[SentOnIdle, RESET, Dialled, Connected, RESET]);
        assert_eq!(actions, [Wait, Choose, Wait, Wait, Answer(Failure::Reset)]);
        assert_eq!(last(Once, 3, &[SentOnIdle, RESET]), Answer(Failure::Reset));
        let (exchange, _) = Exchange::new(Upgrade, 3).step(SentOnIdle);
        assert!(!exchange.repeats_try() && exchange.is_stale(Failure::Reset));
        let (exchange, _) = exchange.step(RESET);
        assert!(exchange.repeats_try());
        let (exchange, _) = exchange.step(Dialled);
        assert!(!exchange.repeats_try() && !exchange.is_stale(Failure::Reset));
    }

    #[test]
    fn a_request_waits_for_the_end_of_an_idle_connection() {
        let (actions, _) = run(Once, 3, &[NoRoom, Room, Failed(Failure::Full)]);
        assert_eq!(actions, [Wait, Choose, Answer(Failure::Full)]);
    }

    #[test]
    fn nothing_follows_the_end_of_an_exchange() {
        for events in [
            &[Dialled, Switched, RESET][..],
            &[Dialled, Responded, RESET],
            &[Failed(Failure::Local), Connected],
        ] {
            assert_eq!(last(Upgrade, 3, events), Wait);
        }
    }
}
