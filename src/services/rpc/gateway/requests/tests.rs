//! Requests to upstreams that the tests play.

use serde_json::value::RawValue;

use super::*;

const LIMITS: RequestLimits =
    RequestLimits { concurrency: 2, queue_max: 3, timeout: Duration::from_secs(10) };

fn requests(readiness: &[Readiness]) -> UpstreamRequests<u32> {
    let upstreams = readiness.iter().map(|_| Rc::default()).collect();
    let mut requests =
        UpstreamRequests::new(LIMITS, Rc::new(GatewayCounts { upstreams, ..Default::default() }));
    for (index, readiness) in readiness.iter().enumerate() {
        requests.set_readiness(index, *readiness);
    }
    requests
}

fn is_idle(requests: &UpstreamRequests<u32>) -> bool {
    requests.counts.upstreams.iter().all(|counts| counts.in_flight_now.get() == 0)
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn request_of(method: &str, params: &str) -> OutgoingRequest {
    let mut request = OutgoingRequest::default();
    request.set(method, params);
    request
}

fn request(method: &str) -> OutgoingRequest {
    request_of(method, "[]")
}

/// A read that differs from all others.
fn unique(number: u32) -> OutgoingRequest {
    request_of("eth_call", &format!("[{number}]"))
}

fn submit(
    requests: &mut UpstreamRequests<u32>,
    request: OutgoingRequest,
    waiter: u32,
) -> Result<Submitted, Ended> {
    requests.submit(&request, waiter, None, at(0)).map_err(|(ended, _)| ended)
}

/// Starts the next attempt: its upstream and its id.
fn start_next(requests: &mut UpstreamRequests<u32>) -> Option<(usize, AttemptId)> {
    requests.next_attempt(at(0)).map(|(upstream, send)| (upstream, send.id))
}

fn result() -> Result<Outcome, Failure> {
    Ok(Ok(RawValue::TRUE.to_owned()))
}

use Readiness::{Connecting, Down, Ready};

#[test]
fn the_first_upstream_is_asked_first_and_the_next_beyond_its_limit() {
    let mut requests = requests(&[Ready, Ready]);
    let mut upstreams = Vec::new();
    for number in 0..5 {
        submit(&mut requests, unique(number), number).unwrap();
        upstreams.push(start_next(&mut requests).map(|(upstream, _)| upstream));
    }
    assert_eq!(upstreams, [Some(0), Some(0), Some(1), Some(1), None]);
    assert_eq!((requests.len(), requests.queue.len()), (5, 1));
}

#[test]
fn a_full_queue_is_busy_until_a_request_is_answered() {
    let mut requests = requests(&[Ready]);
    let mut attempts = Vec::new();
    for number in 0..5 {
        submit(&mut requests, unique(number), number).unwrap();
        attempts.extend(start_next(&mut requests));
    }
    assert_eq!(submit(&mut requests, unique(5), 5), Err(Ended::Busy));
    assert_eq!(requests.counts.refused.get(), 1);
    let finished = requests.finish(attempts[1].1, result(), at(1)).unwrap();
    assert_eq!((finished.waiters, finished.upstream), (vec![1], Some(0)));
    assert_eq!(start_next(&mut requests).map(|(upstream, _)| upstream), Some(0));
    assert_eq!(submit(&mut requests, unique(5), 5), Ok(Submitted::New));
}

#[test]
fn equal_reads_share_a_pending_request() {
    let mut requests = requests(&[Ready]);
    for waiter in 0..3 {
        submit(&mut requests, request("eth_gasPrice"), waiter).unwrap();
    }
    let (_, id) = start_next(&mut requests).unwrap();
    assert_eq!(submit(&mut requests, request("eth_gasPrice"), 3), Ok(Submitted::Joined));
    assert_eq!((start_next(&mut requests), requests.counts.joined.get()), (None, 3));
    assert_eq!(requests.finish(id, result(), at(1)).unwrap().waiters, [0, 1, 2, 3]);
    submit(&mut requests, request("eth_gasPrice"), 4).unwrap();
    assert!(start_next(&mut requests).is_some(), "answers are not cached");
}

/// Otherwise a client whose transaction was answered could read the state before it.
#[test]
fn a_read_from_before_a_transaction_is_not_joined_after_it() {
    let mut requests = requests(&[Ready]);
    submit(&mut requests, request("eth_getBalance"), 0).unwrap();
    let (_, read) = start_next(&mut requests).unwrap();
    submit(&mut requests, request("eth_sendRawTransaction"), 1).unwrap();
    let (_, write) = start_next(&mut requests).unwrap();
    assert_eq!(submit(&mut requests, request("eth_getBalance"), 2), Ok(Submitted::Joined));
    requests.finish(write, result(), at(1)).unwrap();
    assert_eq!(submit(&mut requests, request("eth_getBalance"), 3), Ok(Submitted::New));
    assert_eq!(submit(&mut requests, request("eth_getBalance"), 4), Ok(Submitted::Joined));
    assert_eq!(requests.finish(read, result(), at(1)).unwrap().waiters, [0, 2]);
    let (_, read) = start_next(&mut requests).unwrap();
    assert_eq!(requests.finish(read, result(), at(1)).unwrap().waiters, [3, 4]);
    assert!(requests.joinable.is_empty());
}

#[test]
fn a_request_beyond_the_limit_of_waiters_starts_another() {
    let mut requests = requests(&[Ready]);
    for waiter in 0..=WAITERS_MAX as u32 {
        submit(&mut requests, request("eth_gasPrice"), waiter).unwrap();
    }
    assert_eq!((requests.len(), requests.counts.joined.get()), (2, WAITERS_MAX as u64 - 1));
    let (_, first) = start_next(&mut requests).unwrap();
    assert_eq!(requests.finish(first, result(), at(1)).unwrap().waiters.len(), WAITERS_MAX);
    submit(&mut requests, request("eth_gasPrice"), 0).unwrap();
    assert_eq!(requests.len(), 1, "it joins the remaining one");
}

#[test]
fn a_write_is_neither_shared_nor_repeated() {
    let mut requests = requests(&[Ready, Ready]);
    let send = || request("eth_sendRawTransaction");
    submit(&mut requests, send(), 0).unwrap();
    submit(&mut requests, send(), 1).unwrap();
    let (first, second) =
        (start_next(&mut requests).unwrap().1, start_next(&mut requests).unwrap().1);
    let finished = requests.finish(first, Err(Failure::Broken), at(1)).unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::Broken));
    // A request that certainly did not arrive can be sent to another upstream.
    assert!(requests.finish(second, Err(Failure::Unsent), at(1)).is_none());
    assert_eq!(start_next(&mut requests).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn a_read_that_fails_goes_to_the_next_upstream() {
    let mut requests = requests(&[Ready, Ready]);
    submit(&mut requests, unique(0), 0).unwrap();
    let (upstream, first) = start_next(&mut requests).unwrap();
    assert_eq!(upstream, 0);
    assert!(requests.finish(first, Err(Failure::Broken), at(1)).is_none());
    let (upstream, second) = start_next(&mut requests).unwrap();
    assert_eq!(upstream, 1);
    assert!(requests.finish(first, result(), at(2)).is_none(), "a late answer to the first try");
    assert_eq!(requests.finish(second, result(), at(3)).unwrap().waiters, [0]);
    let of = |upstream: usize| Rc::clone(&requests.counts.upstreams[upstream]);
    assert_eq!((of(0).failed.get(), of(1).latency.total()), (1, 1));
    assert!(is_idle(&requests));
}

#[test]
fn attempts_are_bounded() {
    let mut requests = requests(&[Ready]);
    submit(&mut requests, unique(0), 0).unwrap();
    for count in 1..=ATTEMPTS_MAX {
        let (_, id) = start_next(&mut requests).unwrap();
        let finished = requests.finish(id, Err(Failure::Broken), at(1));
        assert_eq!(finished.is_some(), count == ATTEMPTS_MAX);
    }
    assert_eq!((requests.len(), requests.queue.len()), (0, 0));
}

#[test]
fn a_silent_upstream_has_half_of_the_time_if_there_is_another() {
    let mut requests = requests(&[Ready, Ready]);
    submit(&mut requests, unique(0), 0).unwrap();
    let (_, send) = requests.next_attempt(at(0)).unwrap();
    assert_eq!(send.timeout, LIMITS.timeout / 2);
    assert!(requests.expire(at(4_999)).is_empty());
    assert!(requests.expire(at(5_000)).is_empty());
    let (upstream, send) = requests.next_attempt(at(5_000)).unwrap();
    assert_eq!((upstream, send.timeout), (1, LIMITS.timeout / 2));
    assert!(requests.expire(at(9_999)).is_empty());
    let finished = requests.expire(at(10_000)).pop().unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::TimedOut));
    assert!(is_idle(&requests));
}

#[test]
fn a_queued_request_times_out() {
    let mut requests = requests(&[Connecting]);
    submit(&mut requests, unique(0), 0).unwrap();
    assert_eq!(start_next(&mut requests), None);
    let finished = requests.expire(at(10_000)).pop().unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::TimedOut));
    assert_eq!((requests.len(), requests.queue.len()), (0, 0));
}

#[test]
fn without_an_upstream_requests_fail_at_once() {
    let mut requests = requests(&[Connecting, Down]);
    submit(&mut requests, unique(0), 0).unwrap();
    assert!(requests.fail_unroutable(at(0)).is_empty(), "the upstream is connecting");
    requests.set_readiness(0, Down);
    let finished = requests.fail_unroutable(at(0)).pop().unwrap();
    assert_eq!(finished.outcome.unwrap_err(), Ended::NoUpstream);
    assert_eq!(submit(&mut requests, unique(1), 1), Err(Ended::NoUpstream));
    requests.set_readiness(1, Ready);
    submit(&mut requests, unique(1), 1).unwrap();
    assert_eq!(start_next(&mut requests).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn a_lost_connection_fails_its_attempts() {
    let mut requests = requests(&[Ready, Ready]);
    submit(&mut requests, unique(0), 0).unwrap();
    submit(&mut requests, request("eth_sendRawTransaction"), 1).unwrap();
    while start_next(&mut requests).is_some() {}
    requests.set_readiness(0, Down);
    let finished = requests.fail_all(0, at(1));
    assert_eq!(finished.iter().flat_map(|one| &one.waiters).collect::<Vec<_>>(), [&1]);
    assert_eq!(start_next(&mut requests).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn an_open_breaker_leads_to_the_next_upstream() {
    let mut requests = requests(&[Ready, Ready]);
    for number in 0..10 {
        submit(&mut requests, request("eth_sendRawTransaction"), number).unwrap();
        let (upstream, id) = start_next(&mut requests).unwrap();
        assert_eq!(upstream, 0);
        assert!(requests.finish(id, Err(Failure::Broken), at(1)).is_some());
    }
    submit(&mut requests, unique(0), 0).unwrap();
    assert_eq!(start_next(&mut requests).map(|(upstream, _)| upstream), Some(1));
}

#[test]
fn a_pinned_request_goes_to_its_upstream_or_fails() {
    let mut requests = requests(&[Ready, Ready]);
    requests.submit(&request("eth_getFilterChanges"), 0, Some(1), at(0)).unwrap();
    assert_eq!(start_next(&mut requests).map(|(upstream, _)| upstream), Some(1));
    requests.set_readiness(1, Down);
    let refused = requests.submit(&request("eth_getFilterChanges"), 0, Some(1), at(0));
    assert_eq!(refused.unwrap_err().0, Ended::NoUpstream);
}

#[test]
fn a_too_large_answer_does_not_open_the_breaker() {
    let mut requests = requests(&[Ready]);
    for number in 0..20 {
        submit(&mut requests, unique(number), number).unwrap();
        let (_, id) = start_next(&mut requests).unwrap();
        let finished = requests.finish(id, Err(Failure::TooLarge), at(1)).unwrap();
        assert_eq!(finished.outcome.unwrap_err(), Ended::Failed(Failure::TooLarge));
    }
}

#[test]
fn requests_are_json() {
    let mut requests = requests(&[Ready]);
    submit(&mut requests, request("eth_chainId"), 0).unwrap();
    submit(&mut requests, request_of("a\"b", ""), 1).unwrap();
    let mut text = || requests.next_attempt(at(0)).unwrap().1.to_json();
    assert_eq!(text(), r#"{"jsonrpc":"2.0","id":5,"method":"eth_chainId","params":[]}"#);
    assert_eq!(text(), r#"{"jsonrpc":"2.0","id":9,"method":"a\"b"}"#);
    let id = AttemptId { request: 5, count: 3 };
    assert_eq!(AttemptId::from_wire(id.to_wire()), id);
}
