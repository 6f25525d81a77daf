//! The news, with answers that the test gives.

use serde_json::{Value, json};

use super::super::pace::INTERVAL_MIN;
use super::heads::LOG_TRIES_MAX;
use super::push::{OWED_MAX, PATIENCE};
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
    Wanted { logs: Some(Query::default()), ..Wanted::default() }
}

/// A watch, and the time.
struct Scene {
    watch: Watch,
    now: Time,
}

impl Scene {
    fn new(wanted: Wanted) -> Scene {
        let mut watch = Watch::default();
        watch.want(wanted, at(1));
        Scene { watch, now: at(1) }
    }

    /// The only request; the time goes on to when it is due.
    fn ask(&mut self) -> Ask {
        if self.watch.asks.is_empty() {
            self.now = self.watch.due();
            self.watch.poll(self.now);
        }
        assert_eq!(self.watch.asks.len(), 1, "{:?}", self.watch.asks);
        self.watch.asks.remove(0)
    }

    fn answer(&mut self, ask: Ask, answer: Option<Outcome>) {
        let upstream = answer.is_some().then_some(0);
        let outcome = answer.unwrap_or_else(|| Err(RpcError::internal()));
        self.watch.take(ask.purpose, ask.era, upstream, outcome, self.now);
    }

    /// The next request must be this one.
    fn reply(&mut self, method: &str, result: &Value) {
        let ask = self.ask();
        assert_eq!(ask.method, method);
        self.answer(ask, Some(Ok(raw(result))));
    }

    fn fail(&mut self, method: &str) {
        let ask = self.ask();
        assert_eq!(ask.method, method);
        self.answer(ask, Some(Err(RpcError::server("unknown"))));
    }

    /// Follows the chain from this block on.
    fn follow(&mut self, number: u64) {
        assert!(!self.watch.has_begun(Source::Chain));
        self.look(number);
        assert!(self.watch.has_begun(Source::Chain));
        let begun = self.watch.notices.pop_front();
        let is_chain = |notice: &Notice| {
            matches!(notice, Notice::Started { source: Source::Chain, outcome: Ok(()) })
        };
        assert!(begun.as_ref().is_some_and(is_chain), "{begun:?}");
        assert!(self.watch.notices.is_empty(), "what was there before is no news");
    }

    /// The upstream's head is asked for, and is this block.
    fn look(&mut self, number: u64) {
        let ask = self.ask();
        assert_eq!((ask.method, &*ask.params), ("eth_getBlockByNumber", r#"["latest",false]"#));
        self.answer(ask, Some(Ok(raw(&block(number)))));
    }

    /// What is announced: heads by number, losses as 0.
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
fn nothing_is_asked_while_nothing_is_wanted() {
    let mut scene = Scene::new(Wanted::default());
    assert_eq!(scene.watch.due(), Time::MAX);
    scene.watch.want(heads(), at(5));
    assert_eq!(scene.watch.asks.len(), 1, "at once, with the first subscriber");
    scene.watch.want(Wanted::default(), at(6));
    assert_eq!(scene.watch.due(), Time::MAX);
    // The answer to what was asked before belongs to nobody.
    let ask = scene.ask();
    scene.answer(ask, Some(Ok(raw(&block(5)))));
    assert!(scene.watch.asks.is_empty() && scene.watch.head().is_none());
}

#[test]
fn a_poll_that_fails_is_repeated_and_nothing_is_skipped() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    let ask = scene.ask();
    scene.answer(ask, None);
    let before = scene.now;
    scene.look(8);
    assert_eq!(scene.now.since(before), INTERVAL_MIN);
    scene.reply("eth_getBlockByNumber", &block(6));
    let ask = scene.ask();
    scene.answer(ask, None);
    scene.look(8);
    scene.reply("eth_getBlockByNumber", &block(7));
    scene.reply("eth_getBlockByNumber", &block(8));
    assert_eq!(scene.announced(), [6, 7, 8]);
}

#[test]
fn who_waits_for_the_first_look_is_told_why_there_is_none() {
    let mut scene = Scene::new(heads());
    let ask = scene.ask();
    scene.watch.take(ask.purpose, ask.era, None, Err(RpcError::busy()), scene.now);
    match scene.watch.notices.pop_front() {
        Some(Notice::Started { source: Source::Chain, outcome: Err(error) }) => {
            assert_eq!(error.code, RpcError::LIMIT);
        }
        other => panic!("{other:?}"),
    }
    // A chain without a block may have one soon.
    scene.reply("eth_getBlockByNumber", &Value::Null);
    scene.follow(5);
    // Later on a failure is nobody's.
    scene.fail("eth_getBlockByNumber");
    assert!(scene.watch.notices.is_empty());
}

#[test]
fn a_block_in_the_place_of_another_is_seen_by_polling() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.look(6);
    let mut other = block(6);
    other["hash"] = json!(hash(1 << 32));
    scene.reply("eth_getBlockByNumber", &other);
    scene.reply("eth_getBlockByNumber", &other);
    assert_eq!(scene.announced(), [6, 6]);
}

#[test]
fn what_is_pushed_while_something_is_asked_is_not_lost() {
    let mut scene = Scene::new(heads());
    let head = scene.ask();
    scene.watch.push(&raw(&block(6)), scene.now);
    scene.answer(head, Some(Ok(raw(&block(5)))));
    assert!(matches!(scene.watch.notices.pop_front(), Some(Notice::Started { .. })));
    assert_eq!(scene.announced(), [6]);
    scene.watch.push(&raw(&block(7)), scene.now);
    scene.watch.push(&raw(&block(7)), scene.now);
    assert_eq!(scene.announced(), [7]);
    let head = scene.ask();
    scene.watch.push(&raw(&block(8)), scene.now);
    scene.answer(head, None);
    assert_eq!(scene.announced(), [8], "though the look has failed");
    scene.watch.push(&raw(&json!("no block")), scene.now);
    assert!(scene.announced().is_empty());
}

#[test]
fn a_pushed_head_is_announced_while_an_answer_is_awaited() {
    let mut scene = Scene::new(heads());
    let _lost = scene.ask();
    // Before anything is known of the chain: it begins at the parent of the block pushed.
    scene.watch.push(&raw(&block(6)), scene.now);
    assert!(matches!(
        scene.watch.notices.pop_front(),
        Some(Notice::Started { outcome: Ok(()), .. })
    ));
    assert_eq!(scene.announced(), [6]);
    let late = scene.ask();
    for number in 7..10 {
        scene.watch.push(&raw(&block(number)), scene.now);
        assert_eq!(scene.announced(), [number]);
    }
    scene.answer(late, Some(Ok(raw(&block(6)))));
    scene.look(9);
    assert!(scene.announced().is_empty(), "known blocks are no news");
}

#[test]
fn pushed_heads_do_not_wait_for_logs_and_logs_stay_in_order() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    scene.watch.push(&raw(&block(6)), scene.now);
    let lost = scene.ask();
    assert_eq!(lost.method, "eth_getLogs");
    scene.watch.push(&raw(&block(7)), scene.now);
    assert_eq!(scene.announced(), [6, 7]);
    assert!(scene.watch.asks.is_empty(), "one request at a time");
    scene.now = scene.now + PATIENCE;
    scene.watch.push(&raw(&block(8)), scene.now);
    assert_eq!(scene.announced(), [8]);
    let again = scene.ask();
    assert!(again.is_repeated && again.params == lost.params, "{again:?}");
    let log = json!({"address": Bytes([1; 20]), "topics": [], "removed": false});
    scene.answer(again, Some(Ok(raw(&json!([log])))));
    assert_eq!(scene.watch.notices.len(), 1);
    // The first answer comes after all, and is not taken for that to the next block's.
    let next = scene.ask();
    scene.answer(lost, Some(Ok(raw(&json!([log])))));
    assert_eq!(scene.watch.notices.len(), 1);
    scene.answer(next, Some(Ok(raw(&json!([log])))));
    scene.reply("eth_getLogs", &json!([log]));
    assert_eq!(scene.watch.notices.len(), 3);
}

#[test]
fn heads_wait_once_the_logs_of_many_blocks_are_owed() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    let last = 5 + OWED_MAX as u64;
    (6..=last + 1).for_each(|number| scene.watch.push(&raw(&block(number)), scene.now));
    assert_eq!(scene.announced().last(), Some(&last));
    scene.reply("eth_getLogs", &json!([]));
    scene.watch.push(&raw(&block(last + 1)), scene.now);
    assert_eq!(scene.announced(), [last + 1]);
}

#[test]
fn a_request_for_a_missing_block_is_repeated_while_heads_are_pushed() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.watch.push(&raw(&block(8)), scene.now);
    let slow = scene.ask();
    scene.watch.push(&raw(&block(9)), scene.now);
    scene.watch.push(&raw(&block(5)), scene.now);
    assert!(scene.watch.asks.is_empty(), "it is not lost yet");
    scene.now = scene.now + PATIENCE;
    scene.watch.push(&raw(&block(10)), scene.now);
    let again = scene.ask();
    assert!(again.is_repeated && again.params == slow.params, "{again:?}");
    // Whichever comes first counts, and counts once.
    scene.answer(slow, Some(Ok(raw(&block(6)))));
    let next = scene.ask();
    scene.answer(again, Some(Ok(raw(&block(6)))));
    scene.answer(next, Some(Ok(raw(&block(7)))));
    (8..11).for_each(|number| scene.reply("eth_getBlockByNumber", &block(number)));
    assert_eq!(scene.announced(), [6, 7, 8, 9, 10]);
    assert!(scene.watch.asks.is_empty());
}

#[test]
fn the_block_that_is_awaited_may_be_pushed_instead() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.watch.push(&raw(&block(8)), scene.now);
    let lost = scene.ask();
    scene.watch.push(&raw(&block(6)), scene.now);
    assert_eq!(scene.announced(), [6]);
    scene.reply("eth_getBlockByNumber", &block(7));
    scene.answer(lost, Some(Ok(raw(&block(6)))));
    scene.reply("eth_getBlockByNumber", &block(8));
    assert_eq!(scene.announced(), [7, 8]);
}

#[test]
fn pushed_heads_are_still_polled_for_now_and_then() {
    let mut scene = Scene::new(heads());
    scene.follow(5);
    scene.watch.set_pushed(true, scene.now);
    scene.look(5);
    assert_eq!(scene.watch.due().since(scene.now), PUSHED_INTERVAL);
    scene.watch.set_pushed(false, scene.now);
    assert_eq!(scene.watch.due(), scene.now, "at once, when nobody pushes any more");
}

#[test]
fn logs_follow_their_block_and_come_before_the_next_one() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    scene.look(8);
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
fn a_block_without_logs_to_be_had_is_looked_at_again_and_given_up_in_the_end() {
    let mut scene = Scene::new(logs());
    scene.follow(5);
    scene.look(6);
    for _ in 0..LOG_TRIES_MAX {
        scene.fail("eth_getLogs");
        scene.reply("eth_getBlockByNumber", &block(6));
    }
    assert_eq!(scene.announced(), [6]);
    scene.fail("eth_getLogs");
    assert_eq!(scene.announced(), [0]);
    scene.follow(6);
}

#[test]
fn a_filter_for_waiting_transactions_stays_where_it_is() {
    let mut scene = Scene::new(Wanted { pending: true, ..Wanted::default() });
    let ask = scene.ask();
    assert_eq!(ask.method, "eth_newPendingTransactionFilter");
    assert!(!scene.watch.has_begun(Source::Mempool));
    scene.watch.take(ask.purpose, ask.era, Some(3), Ok(raw(&json!("0xf"))), scene.now);
    let begun = scene.watch.notices.pop_front();
    let is_pool = |notice: &Notice| {
        matches!(notice, Notice::Started { source: Source::Mempool, outcome: Ok(()) })
    };
    assert!(begun.as_ref().is_some_and(is_pool) && scene.watch.has_begun(Source::Mempool));
    let ask = scene.ask();
    assert_eq!((ask.method, ask.upstream), ("eth_getFilterChanges", Some(3)));
    scene.answer(ask, Some(Ok(raw(&json!([hash(1), hash(2)])))));
    assert_eq!(scene.watch.notices.len(), 2);
    scene.fail("eth_getFilterChanges");
    assert_eq!(scene.ask().method, "eth_newPendingTransactionFilter", "it is forgotten there");
}

#[test]
fn syncing_is_told_when_it_changes() {
    let mut scene = Scene::new(Wanted { syncing: true, ..Wanted::default() });
    let mut told = |state: &Value| {
        scene.reply("eth_syncing", state);
        let told = scene.watch.notices.pop_front();
        told.map(|notice| match notice {
            Notice::Syncing(state) => serde_json::from_str::<Value>(state.get()).unwrap(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(told(&json!(false)), None, "as it was");
    let state = json!({"currentBlock": "0x1"});
    assert_eq!(told(&state), Some(json!({"syncing": true, "status": state})));
    assert_eq!(told(&json!({"currentBlock": "0x2"})), None);
    assert_eq!(told(&json!(false)), Some(json!(false)));
}
