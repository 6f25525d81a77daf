//! Calls against upstreams that are played by the test.

use serde_json::value::RawValue;

use super::*;

const LIMITS: CallLimits =
    CallLimits { concurrency: 2, queue_max: 3, timeout: Duration::from_secs(10) };

fn calls(readiness: &[Readiness]) -> Calls<u32> {
    let upstreams = readiness.iter().map(|_| Rc::default()).collect();
    let mut calls = Calls::new(LIMITS, Rc::new(GatewayCounts { upstreams, ..Default::default() }));
    for (index, readiness) in readiness.iter().enumerate() {
        calls.set_readiness(index, *readiness);
    }
    calls
}

fn is_idle(calls: &Calls<u32>) -> bool {
    calls.counts.upstreams.iter().all(|counts| counts.in_flight_now.get() == 0)
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn asking(method: &str, params: &str) -> Question {
    let mut question = Question::default();
    question.set(method, params);
    question
}

fn question(method: &str) -> Question {
    asking(method, "[]")
}

/// A read that no other is the same as.
fn unique(number: u32) -> Question {
    asking("eth_call", &format!("[{number}]"))
}

fn ask(calls: &mut Calls<u32>, question: Question, waiter: u32) -> Result<Asked, Ended> {
    calls.ask(&question, waiter, None, at(0)).map_err(|(ended, _)| ended)
}

/// The upstream that the next request goes to, and its try.
fn sent(calls: &mut Calls<u32>) -> Option<(usize, TryId)> {
    calls.next(at(0)).map(|(upstream, send)| (upstream, send.id))
}

fn result() -> Result<Outcome, Failure> {
    Ok(Ok(RawValue::TRUE.to_owned()))
}

use Readiness::{Connecting, Down, Ready};

#[test]
fn the_first_upstream_is_asked_first_and_the_next_beyond_its_limit() {
    let mut calls = calls(&[Ready, Ready]);
    let mut upstreams = Vec::new();
    for number in 0..5 {
        ask(&mut calls, unique(number), number).unwrap();
        upstreams.push(sent(&mut calls).map(|(upstream, _)| upstream));
    }
    assert_eq!(upstreams, [Some(0), Some(0), Some(1), Some(1), None]);
    assert_eq!((calls.len(), calls.queue.len()), (5, 1));
}

#[test]
fn past_the_queue_it_is_busy_and_goes_on_when_one_is_answered() {
    let mut calls = calls(&[Ready]);
    let mut tries = Vec::new();
    for number in 0..5 {
        ask(&mut calls, unique(number), number).unwrap();
        tries.extend(sent(&mut calls));
    }
    assert_eq!(ask(&mut calls, unique(5), 5), Err(Ended::Busy));
    assert_eq!(calls.counts.refused.get(), 1);
    let finished = calls.finish(tries[1].1, result(), at(1)).unwrap();
    assert_eq!((finished.waiters, finished.upstream), (vec![1], Some(0)));
    assert_eq!(sent(&mut calls).map(|(upstream, _)| upstream), Some(0));
    assert_eq!(ask(&mut calls, unique(5), 5), Ok(Asked::Anew));
}

#[test]
fn the_same_read_is_shared_while_it_is_under_way() {
    let mut calls = calls(&[Ready]);
    for waiter in 0..3 {
        ask(&mut calls, question("eth_gasPrice"), waiter).unwrap();
    }
    let (_, id) = sent(&mut calls).unwrap();
    assert_eq!(ask(&mut calls, question("eth_gasPrice"), 3), Ok(Asked::Together));
    assert_eq!((sent(&mut calls), calls.counts.joined.get()), (None, 3));
    assert_eq!(calls.finish(id, result(), at(1)).unwrap().waiters, [0, 1, 2, 3]);
    ask(&mut calls, question("eth_gasPrice"), 4).unwrap();
    assert!(sent(&mut calls).is_some(), "an answer is not kept");
}

/// Else a client whose transaction was answered might read what was before it.
#[test]
fn a_read_from_before_a_transaction_is_joined_no_more() {
    let mut calls = calls(&[Ready]);
    ask(&mut calls, question("eth_getBalance"), 0).unwrap();
    let (_, read) = sent(&mut calls).unwrap();
    ask(&mut calls, question("eth_sendRawTransaction"), 1).unwrap();
    let (_, write) = sent(&mut calls).unwrap();
    assert_eq!(ask(&mut calls, question("eth_getBalance"), 2), Ok(Asked::Together));
    calls.finish(write, result(), at(1)).unwrap();
    assert_eq!(ask(&mut calls, question("eth_getBalance"), 3), Ok(Asked::Anew));
    assert_eq!(ask(&mut calls, question("eth_getBalance"), 4), Ok(Asked::Together));
    assert_eq!(calls.finish(read, result(), at(1)).unwrap().waiters, [0, 2]);
    let (_, read) = sent(&mut calls).unwrap();
    assert_eq!(calls.finish(read, result(), at(1)).unwrap().waiters, [3, 4]);
    assert!(calls.shared.is_empty());
}

#[test]
fn a_call_is_shared_by_so_many_and_then_there_is_another() {
    let mut calls = calls(&[Ready]);
    for waiter in 0..=SHARERS_MAX as u32 {
        ask(&mut calls, question("eth_gasPrice"), waiter).unwrap();
    }
    assert_eq!((calls.len(), calls.counts.joined.get()), (2, SHARERS_MAX as u64 - 1));
    let (_, first) = sent(&mut calls).unwrap();
    assert_eq!(calls.finish(first, result(), at(1)).unwrap().waiters.len(), SHARERS_MAX);
    ask(&mut calls, question("eth_gasPrice"), 0).unwrap();
    assert_eq!(calls.len(), 1, "it joins the one that is left");
}

#[test]
fn what_may_change_something_is_never_shared_nor_repeated() {
    let mut calls = calls(&[Ready, Ready]);
    let send = || question("eth_sendRawTransaction");
    ask(&mut calls, send(), 0).unwrap();
    ask(&mut calls, send(), 1).unwrap();
    let (first, second) = (sent(&mut calls).unwrap().1, sent(&mut calls).unwrap().1);
    let finished = calls.finish(first, Err(Failure::Broken), at(1)).unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::Broken));
    // What has surely not arrived can go elsewhere.
    assert!(calls.finish(second, Err(Failure::Unsent), at(1)).is_none());
    assert_eq!(sent(&mut calls).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn a_read_that_fails_goes_to_the_next_upstream() {
    let mut calls = calls(&[Ready, Ready]);
    ask(&mut calls, unique(0), 0).unwrap();
    let (upstream, first) = sent(&mut calls).unwrap();
    assert_eq!(upstream, 0);
    assert!(calls.finish(first, Err(Failure::Broken), at(1)).is_none());
    let (upstream, second) = sent(&mut calls).unwrap();
    assert_eq!(upstream, 1);
    assert!(calls.finish(first, result(), at(2)).is_none(), "a late answer to the first try");
    assert_eq!(calls.finish(second, result(), at(3)).unwrap().waiters, [0]);
    let of = |upstream: usize| Rc::clone(&calls.counts.upstreams[upstream]);
    assert_eq!((of(0).failed.get(), of(1).latency.total()), (1, 1));
    assert!(is_idle(&calls));
}

#[test]
fn tries_are_counted() {
    let mut calls = calls(&[Ready]);
    ask(&mut calls, unique(0), 0).unwrap();
    for count in 1..=TRIES_MAX {
        let (_, id) = sent(&mut calls).unwrap();
        let finished = calls.finish(id, Err(Failure::Broken), at(1));
        assert_eq!(finished.is_some(), count == TRIES_MAX);
    }
    assert_eq!((calls.len(), calls.queue.len()), (0, 0));
}

#[test]
fn an_upstream_that_is_silent_is_left_for_another_in_half_the_time() {
    let mut calls = calls(&[Ready, Ready]);
    ask(&mut calls, unique(0), 0).unwrap();
    let (_, send) = calls.next(at(0)).unwrap();
    assert_eq!(send.timeout, LIMITS.timeout / 2);
    assert!(calls.expire(at(4_999)).is_empty());
    assert!(calls.expire(at(5_000)).is_empty());
    let (upstream, send) = calls.next(at(5_000)).unwrap();
    assert_eq!((upstream, send.timeout), (1, LIMITS.timeout / 2));
    assert!(calls.expire(at(9_999)).is_empty());
    let finished = calls.expire(at(10_000)).pop().unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::TimedOut));
    assert!(is_idle(&calls));
}

#[test]
fn what_waits_in_the_queue_times_out_there() {
    let mut calls = calls(&[Connecting]);
    ask(&mut calls, unique(0), 0).unwrap();
    assert_eq!(sent(&mut calls), None);
    let finished = calls.expire(at(10_000)).pop().unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::TimedOut));
    assert_eq!((calls.len(), calls.queue.len()), (0, 0));
}

#[test]
fn without_an_upstream_nothing_waits() {
    let mut calls = calls(&[Connecting, Down]);
    ask(&mut calls, unique(0), 0).unwrap();
    assert!(calls.give_up(at(0)).is_empty(), "it is being connected to");
    calls.set_readiness(0, Down);
    let finished = calls.give_up(at(0)).pop().unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::NoUpstream);
    assert_eq!(ask(&mut calls, unique(1), 1), Err(Ended::NoUpstream));
    calls.set_readiness(1, Ready);
    ask(&mut calls, unique(1), 1).unwrap();
    assert_eq!(sent(&mut calls).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn a_lost_connection_fails_all_that_was_sent_over_it() {
    let mut calls = calls(&[Ready, Ready]);
    ask(&mut calls, unique(0), 0).unwrap();
    ask(&mut calls, question("eth_sendRawTransaction"), 1).unwrap();
    while sent(&mut calls).is_some() {}
    calls.set_readiness(0, Down);
    let finished = calls.fail_all(0, at(1));
    assert_eq!(finished.iter().flat_map(|one| &one.waiters).collect::<Vec<_>>(), [&1]);
    assert_eq!(sent(&mut calls).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn a_breaker_that_opens_leads_to_the_next_upstream() {
    let mut calls = calls(&[Ready, Ready]);
    for number in 0..10 {
        ask(&mut calls, question("eth_sendRawTransaction"), number).unwrap();
        let (upstream, id) = sent(&mut calls).unwrap();
        assert_eq!(upstream, 0);
        assert!(calls.finish(id, Err(Failure::Broken), at(1)).is_some());
    }
    ask(&mut calls, unique(0), 0).unwrap();
    assert_eq!(sent(&mut calls).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn who_pins_a_call_gets_that_upstream_or_none() {
    let mut calls = calls(&[Ready, Ready]);
    calls.ask(&question("eth_getFilterChanges"), 0, Some(1), at(0)).unwrap();
    assert_eq!(sent(&mut calls).map(|(upstream, _)| upstream), Some(1));
    calls.set_readiness(1, Down);
    let refused = calls.ask(&question("eth_getFilterChanges"), 0, Some(1), at(0));
    assert_eq!(refused.unwrap_err().0, Ended::NoUpstream);
}

#[test]
fn too_large_an_answer_speaks_against_nobody() {
    let mut calls = calls(&[Ready]);
    for number in 0..20 {
        ask(&mut calls, unique(number), number).unwrap();
        let (_, id) = sent(&mut calls).unwrap();
        let finished = calls.finish(id, Err(Failure::TooLarge), at(1)).unwrap();
        assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::TooLarge));
    }
}

#[test]
fn requests_are_json() {
    let mut calls = calls(&[Ready]);
    ask(&mut calls, question("eth_chainId"), 0).unwrap();
    ask(&mut calls, asking("a\"b", ""), 1).unwrap();
    let mut text = || calls.next(at(0)).unwrap().1.to_json();
    assert_eq!(text(), r#"{"jsonrpc":"2.0","id":5,"method":"eth_chainId","params":[]}"#);
    assert_eq!(text(), r#"{"jsonrpc":"2.0","id":9,"method":"a\"b"}"#);
    let id = TryId { call: 5, count: 3 };
    assert_eq!(TryId::from_wire(id.to_wire()), id);
}
