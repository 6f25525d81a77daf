//! Subscribers to `newHeads`: which blocks each receives, and with which latency.
//!
//! The first member calls `weir_mine` at a rate. Latency counts from the time at which the call was
//! due, so it includes writing the block to disk. Without a rate the server makes its own blocks,
//! and latency counts from the first delivery of each. In both cases the delay between the first
//! and the other deliveries is reported. The other members subscribe, and check that block numbers
//! are consecutive.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use weir::protocol::Message;
use weir::reactor::{ConnId, Context, Time};

use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::pace::Pace;
use crate::payload::preview;
use crate::quantity::Nanos;
use crate::tally::Tally;

pub(super) const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
const MINE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"weir_mine","params":[1]}"#;
/// Number of recent blocks whose times are kept; older ones are fully delivered.
const REMEMBERED: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Heads {
    crowd: Crowd,
    tally: Tally,
    /// Blocks per second to make; `None`: the server makes its own blocks.
    rate: Option<f64>,
    pace: Option<Pace>,
    /// Due times of blocks that were not announced yet, oldest first.
    due: VecDeque<Time>,
    blocks: HashMap<u64, Block>,
    /// Latencies from a block's first delivery.
    spread: Tally,
    last: u64,
    /// The last number that each subscriber received.
    received: Vec<Option<u64>>,
}

/// When a block was due (the first delivery if unknown), and its first delivery.
#[derive(Debug, Clone, Copy)]
struct Block {
    due: Time,
    announced: Time,
}

#[derive(Deserialize)]
struct Incoming {
    params: Option<Params>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Params {
    result: Head,
}

#[derive(Deserialize)]
struct Head {
    number: String,
}

impl Heads {
    /// The crowd's first member calls `weir_mine`.
    pub(crate) fn new(crowd: Crowd, rate: Option<f64>) -> Heads {
        Heads {
            tally: Tally::new(),
            rate,
            pace: None,
            due: VecDeque::new(),
            blocks: HashMap::new(),
            spread: Tally::new(),
            last: 0,
            received: vec![None; crowd.len()],
            crowd,
        }
    }

    /// The times of this block; its first delivery adds it.
    fn block(&mut self, number: u64, now: Time) -> Block {
        if let Some(&block) = self.blocks.get(&number) {
            return block;
        }
        let block = Block { due: self.due.pop_front().unwrap_or(now), announced: now };
        self.blocks.insert(number, block);
        if number > self.last {
            self.last = number;
            self.blocks.remove(&number.saturating_sub(REMEMBERED));
        }
        block
    }
}

impl Part for Heads {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn unit(&self) -> Unit {
        Unit { one: "head", many: "heads" }
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn is_paced(&self) -> bool {
        self.rate.is_some()
    }

    fn on_open(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if member > 0 {
            let _ = cx.send(conn, SUBSCRIBE);
        }
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        self.pace = self.rate.map(|rate| Pace::new(cx.now(), rate, 1));
    }

    fn measure(&mut self, now: Time) {
        self.tally.start(now);
        self.spread.start(now);
    }

    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        let (Some(pace), Some(conn)) = (&mut self.pace, self.crowd.conn(0)) else {
            return Time::MAX;
        };
        while let Some(due) = pace.take(cx.now()) {
            let _ = cx.send(conn, MINE);
            self.tally.sent(MINE.len());
            self.due.push_back(due);
        }
        pace.due()
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        let incoming: Option<Incoming> = serde_json::from_slice(message.as_bytes()).ok();
        let Some(incoming) = incoming.filter(|incoming| incoming.error.is_none()) else {
            return self.tally.wrong("not an answer", || {
                format!("expected a JSON-RPC answer, received {}", preview(message))
            });
        };
        let Some(Params { result: Head { number } }) = incoming.params else {
            // The answer to a subscription or to weir_mine.
            return;
        };
        let number = number.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let Some(number) = number else {
            return self
                .tally
                .wrong("not a head", || format!("expected a head, received {}", preview(message)));
        };
        match self.received[member].replace(number) {
            Some(last) if number <= last => {
                self.tally.errors.add("a head twice or out of order", 1)
            }
            Some(last) => self.tally.errors.add("missing heads", number - last - 1),
            None => {}
        }
        self.tally.received(message.len());
        let Block { due, announced } = self.block(number, cx.now());
        self.tally.record(cx.now().since(due));
        self.spread.record(cx.now().since(announced));
    }

    fn is_answered(&self) -> bool {
        false
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.pace = None;
    }

    /// Subscribers that have not yet received the latest announced block.
    fn outstanding(&self) -> u64 {
        let subscribers = self.received.iter().skip(1);
        subscribers.filter(|received| received.is_some_and(|number| number < self.last)).count()
            as u64
    }

    fn finish(&mut self, _: Time) {
        self.spread.fold();
        let lacking = self.received.iter().skip(1).flatten().map(|number| self.last - number).sum();
        self.tally.errors.add("missing heads", lacking);
        let without = self.received.iter().skip(1).filter(|received| received.is_none()).count();
        self.tally.errors.add("subscribers without any head", without as u64);
    }

    fn notes(&self) -> Vec<String> {
        let subscribers = self.received.len() - 1;
        let spread = self.spread.latencies();
        let at = |quantile| Nanos(spread.value_at_quantile(quantile) as f64);
        vec![
            format!("{} heads to {subscribers} subscribers", self.blocks.len()),
            format!("after the first delivery: p50 {}, p99 {}, max {}", at(0.5), at(0.99), at(1.0)),
        ]
    }
}
