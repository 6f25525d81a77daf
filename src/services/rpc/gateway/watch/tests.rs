//! The watch, with answers that the tests give.

use serde_json::{Value, json};

use super::super::poll_interval::INTERVAL_MIN;
use super::heads::LOG_ATTEMPTS_MAX;
use super::push::{PATIENCE, WITHOUT_LOGS_MAX};
use super::*;
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::hex::{Bytes, Quantity, Word};

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn hash(number: u64) -> Word {
    Word::parse(&format!("0x{number:064x}")).unwrap()
}

fn block(number: u64) -> Value {
    json!({"number": Quantity(number), "hash": hash(number), "parentHash": hash(number - 1)})
}

fn heads() -> Wanted {
    Wanted { heads: true, ..Wanted::default() }
}

fn logs() -> Wanted {
    Wanted { logs: Some(LogQuery::default()), ..Wanted::default() }
}

/// A watch and the time.
struct Scene {
    watch: Watch,
    now: Time,
}

impl Scene {
    fn new(wanted: Wanted) -> Scene {
        let mut watch = Watch::default();
        watch.set_wanted(wanted, at(1));
        Scene { watch, now: at(1) }
    }

    /// The only request. Without one, time passes to the next poll.
    fn request(&mut self) -> WatchRequest {
        if self.watch.requests.is_empty() {
            self.now = self.watch.due();
            self.watch.poll(self.now);
        }
        assert_eq!(self.watch.requests.len(), 1, "{:?}", self.watch.requests);
        self.watch.requests.remove(0)
    }

    fn answer(&mut self, request: WatchRequest, answer: Option<Outcome>) {
        let upstream = answer.is_some().then_some(0);
        let outcome = answer.unwrap_or_else(|| Err(RpcError::internal()));
        self.watch.on_answer(request.purpose, request.generation, upstream, outcome, self.now);
    }

    /// Expects a request for this method, and answers it.
    fn reply(&mut self, method: &str, result: &Value) {
        let request = self.request();
        assert_eq!(request.method, method);
        self.answer(request, Some(Ok(raw(result))));
    }

    fn fail(&mut self, method: &str) {
        let request = self.request();
        assert_eq!(request.method, method);
        self.answer(request, Some(Err(RpcError::server("unknown"))));
    }

    /// Follows the chain from this block on.
    fn follow(&mut self, number: u64) {
        assert!(!self.watch.is_started(Source::Chain));
        self.poll(number);
        assert!(self.watch.is_started(Source::Chain));
        let started = self.watch.notices.pop_front();
        let is_chain = |notice: &Notice| {
            matches!(notice, Notice::Started { source: Source::Chain, outcome: Ok(()) })
        };
        assert!(started.as_ref().is_some_and(is_chain), "{started:?}");
        assert!(self.watch.notices.is_empty(), "earlier blocks are not announced");
    }

    /// Expects a poll, and answers with this head.
    fn poll(&mut self, number: u64) {
        let request = self.request();
        assert_eq!(
            (request.method, &*request.params),
            ("eth_getBlockByNumber", r#"["latest",false]"#)
        );
        self.answer(request, Some(Ok(raw(&block(number)))));
    }

    /// The announcements: heads by number, losses as 0.
    fn announced(&mut self) -> Vec<u64> {
        let number = |notice| match notice {
            Notice::Head(header) => {
                let header: Value = serde_json::from_str(header.get()).unwrap();
                Quantity::parse(header["number"].as_str().unwrap()).unwrap().0
            }
            Notice::Gap => 0,
            other => panic!("{other:?}"),
        };
        self.watch.notices.drain(..).map(number).collect()
    }
}

#[test]
fn nothing_is_requested_without_subscribers() {
    let mut scene = Scene::new(Wanted::default());
    assert_eq!(scene.watch.due(), Time::MAX);
    scene.watch.set_wanted(heads(), at(5));
    assert_eq!(scene.watch.requests.len(), 1, "at once, with the first subscriber");
    scene.watch.set_wanted(Wanted::default(), at(6));
    assert_eq!(scene.watch.due(), Time::MAX);
    // The answer to an earlier request is ignored.
    let request = scene.request();
    scene.answer(request, Some(Ok(raw(&block(5)))));
    assert!(scene.watch.requests.is_empty() && scene.watch.head().is_none());
}

#[test]
fn a_failed_poll_is_repeated_and_no_block_is_skipped() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    let request = scene.request();
    scene.answer(request, None);
    let before = scene.now;
    scene.poll(8);
    assert_eq!(scene.now.since(before), INTERVAL_MIN);
    scene.reply("eth_getBlockByNumber", &block(6));
    let request = scene.request();
    scene.answer(request, None);
    scene.poll(8);
    scene.reply("eth_getBlockByNumber", &block(7));
    scene.reply("eth_getBlockByNumber", &block(8));
    assert_eq!(scene.announced(), [6, 7, 8]);
}

#[test]
fn subscriptions_that_wait_for_the_first_poll_get_its_error() {
    let mut scene = Scene::new(heads());
    let request = scene.request();
    scene.watch.on_answer(
        request.purpose,
        request.generation,
        None,
        Err(RpcError::busy()),
        scene.now,
    );
    match scene.watch.notices.pop_front() {
        Some(Notice::Started { source: Source::Chain, outcome: Err(error) }) => {
            assert_eq!(error.code, RpcError::LIMIT);
        }
        other => panic!("{other:?}"),
    }
    // A chain without a block may have one soon.
    scene.reply("eth_getBlockByNumber", &Value::Null);
    scene.follow(5);
    // A later failure is not announced.
    scene.fail("eth_getBlockByNumber");
    assert!(scene.watch.notices.is_empty());
}

#[test]
fn polling_notices_a_block_that_replaces_another() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.poll(6);
    let mut other = block(6);
    other["hash"] = json!(hash(1 << 32));
    scene.reply("eth_getBlockByNumber", &other);
    scene.reply("eth_getBlockByNumber", &other);
    assert_eq!(scene.announced(), [6, 6]);
}

#[test]
fn heads_that_are_pushed_during_a_poll_are_announced() {
    let mut scene = Scene::new(heads());
    let head = scene.request();
    scene.watch.on_pushed_head(&raw(&block(6)), scene.now);
    scene.answer(head, Some(Ok(raw(&block(5)))));
    assert!(matches!(scene.watch.notices.pop_front(), Some(Notice::Started { .. })));
    assert_eq!(scene.announced(), [6]);
    scene.watch.on_pushed_head(&raw(&block(7)), scene.now);
    scene.watch.on_pushed_head(&raw(&block(7)), scene.now);
    assert_eq!(scene.announced(), [7]);
    let head = scene.request();
    scene.watch.on_pushed_head(&raw(&block(8)), scene.now);
    scene.answer(head, None);
    assert_eq!(scene.announced(), [8], "although the poll failed");
    scene.watch.on_pushed_head(&raw(&json!("no block")), scene.now);
    assert!(scene.announced().is_empty());
}

#[test]
fn a_pushed_head_is_announced_while_an_answer_is_awaited() {
    let mut scene = Scene::new(heads());
    let _lost = scene.request();
    // The chain is empty: it starts after the parent of the pushed block.
    scene.watch.on_pushed_head(&raw(&block(6)), scene.now);
    assert!(matches!(
        scene.watch.notices.pop_front(),
        Some(Notice::Started { outcome: Ok(()), .. })
    ));
    assert_eq!(scene.announced(), [6]);
    let late = scene.request();
    for number in 7..10 {
        scene.watch.on_pushed_head(&raw(&block(number)), scene.now);
        assert_eq!(scene.announced(), [number]);
    }
    scene.answer(late, Some(Ok(raw(&block(6)))));
    scene.poll(9);
    assert!(scene.announced().is_empty(), "known blocks are not announced again");
}

#[test]
fn pushed_heads_do_not_wait_for_logs_and_logs_stay_in_order() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    scene.watch.on_pushed_head(&raw(&block(6)), scene.now);
    let lost = scene.request();
    assert_eq!(lost.method, "eth_getLogs");
    scene.watch.on_pushed_head(&raw(&block(7)), scene.now);
    assert_eq!(scene.announced(), [6, 7]);
    assert!(scene.watch.requests.is_empty(), "one request at a time");
    scene.now = scene.now + PATIENCE;
    scene.watch.on_pushed_head(&raw(&block(8)), scene.now);
    assert_eq!(scene.announced(), [8]);
    let again = scene.request();
    assert!(again.is_repeated && again.params == lost.params, "{again:?}");
    let log = json!({"address": Bytes([1; 20]), "topics": [], "removed": false});
    scene.answer(again, Some(Ok(raw(&json!([log])))));
    assert_eq!(scene.watch.notices.len(), 1);
    // The first answer arrives late. It is not taken for the logs of the next block.
    let next = scene.request();
    scene.answer(lost, Some(Ok(raw(&json!([log])))));
    assert_eq!(scene.watch.notices.len(), 1);
    scene.answer(next, Some(Ok(raw(&json!([log])))));
    scene.reply("eth_getLogs", &json!([log]));
    assert_eq!(scene.watch.notices.len(), 3);
}

#[test]
fn heads_wait_when_many_blocks_lack_their_logs() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    let last = 5 + WITHOUT_LOGS_MAX as u64;
    (6..=last + 1).for_each(|number| scene.watch.on_pushed_head(&raw(&block(number)), scene.now));
    assert_eq!(scene.announced().last(), Some(&last));
    scene.reply("eth_getLogs", &json!([]));
    scene.watch.on_pushed_head(&raw(&block(last + 1)), scene.now);
    assert_eq!(scene.announced(), [last + 1]);
}

#[test]
fn a_request_for_a_missing_block_is_repeated_while_heads_are_pushed() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.watch.on_pushed_head(&raw(&block(8)), scene.now);
    let slow = scene.request();
    scene.watch.on_pushed_head(&raw(&block(9)), scene.now);
    scene.watch.on_pushed_head(&raw(&block(5)), scene.now);
    assert!(scene.watch.requests.is_empty(), "its answer does not seem lost yet");
    scene.now = scene.now + PATIENCE;
    scene.watch.on_pushed_head(&raw(&block(10)), scene.now);
    let again = scene.request();
    assert!(again.is_repeated && again.params == slow.params, "{again:?}");
    // The first answer counts, and counts once.
    scene.answer(slow, Some(Ok(raw(&block(6)))));
    let next = scene.request();
    scene.answer(again, Some(Ok(raw(&block(6)))));
    scene.answer(next, Some(Ok(raw(&block(7)))));
    (8..11).for_each(|number| scene.reply("eth_getBlockByNumber", &block(number)));
    assert_eq!(scene.announced(), [6, 7, 8, 9, 10]);
    assert!(scene.watch.requests.is_empty());
}

#[test]
fn the_awaited_block_may_be_pushed() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.watch.on_pushed_head(&raw(&block(8)), scene.now);
    let lost = scene.request();
    scene.watch.on_pushed_head(&raw(&block(6)), scene.now);
    assert_eq!(scene.announced(), [6]);
    scene.reply("eth_getBlockByNumber", &block(7));
    scene.answer(lost, Some(Ok(raw(&block(6)))));
    scene.reply("eth_getBlockByNumber", &block(8));
    assert_eq!(scene.announced(), [7, 8]);
}

#[test]
fn heads_are_polled_rarely_while_they_are_pushed() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.watch.set_pushed(true, scene.now);
    scene.poll(5);
    assert_eq!(scene.watch.due().since(scene.now), PUSHED_INTERVAL);
    scene.watch.set_pushed(false, scene.now);
    assert_eq!(scene.watch.due(), scene.now, "at once, when they are not pushed any more");
}

#[test]
fn logs_follow_their_block_and_come_before_the_next_one() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    scene.poll(8);
    scene.reply("eth_getBlockByNumber", &block(6));
    let log = json!({"address": Bytes([1; 20]), "topics": [], "removed": false});
    scene.reply("eth_getLogs", &json!([log]));
    scene.reply("eth_getBlockByNumber", &block(7));
    scene.reply("eth_getLogs", &json!([]));
    let kinds: Vec<bool> =
        scene.watch.notices.iter().map(|notice| matches!(notice, Notice::Log(_))).collect();
    assert_eq!(kinds, [false, true, false]);
}

#[test]
fn a_block_whose_logs_cannot_be_fetched_is_a_loss_in_the_end() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    scene.poll(6);
    for _ in 0..LOG_ATTEMPTS_MAX {
        scene.fail("eth_getLogs");
        scene.reply("eth_getBlockByNumber", &block(6));
    }
    assert_eq!(scene.announced(), [6]);
    scene.fail("eth_getLogs");
    assert_eq!(scene.announced(), [0]);
    scene.follow(6);
}

#[test]
fn a_filter_for_pending_transactions_is_pinned_to_its_upstream() {
    let mut scene = Scene::new(Wanted { pending: true, ..Wanted::default() });
    let request = scene.request();
    assert_eq!(request.method, "eth_newPendingTransactionFilter");
    assert!(!scene.watch.is_started(Source::Mempool));
    scene.watch.on_answer(
        request.purpose,
        request.generation,
        Some(3),
        Ok(raw(&json!("0xf"))),
        scene.now,
    );
    let started = scene.watch.notices.pop_front();
    let is_pool = |notice: &Notice| {
        matches!(notice, Notice::Started { source: Source::Mempool, outcome: Ok(()) })
    };
    assert!(started.as_ref().is_some_and(is_pool) && scene.watch.is_started(Source::Mempool));
    let request = scene.request();
    assert_eq!((request.method, request.upstream), ("eth_getFilterChanges", Some(3)));
    scene.answer(request, Some(Ok(raw(&json!([hash(1), hash(2)])))));
    assert_eq!(scene.watch.notices.len(), 2);
    scene.fail("eth_getFilterChanges");
    assert_eq!(
        scene.request().method,
        "eth_newPendingTransactionFilter",
        "the upstream has dropped it"
    );
}

#[test]
fn a_change_of_syncing_is_announced() {
    let mut scene = Scene::new(Wanted { syncing: true, ..Wanted::default() });
    let mut announced = |state: &Value| {
        scene.reply("eth_syncing", state);
        let announced = scene.watch.notices.pop_front();
        announced.map(|notice| match notice {
            Notice::Syncing(state) => serde_json::from_str::<Value>(state.get()).unwrap(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(announced(&json!(false)), None, "unchanged");
    let state = json!({"currentBlock": "0x1"});
    assert_eq!(announced(&state), Some(json!({"syncing": true, "status": state})));
    assert_eq!(announced(&json!({"currentBlock": "0x2"})), None);
    assert_eq!(announced(&json!(false)), Some(json!(false)));
}
