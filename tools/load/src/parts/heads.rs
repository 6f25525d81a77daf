//! Subscribers to `newHeads`: who hears of which block, and how long after it was made.
//!
//! The first member has blocks made, at a pace, by `weir_mine`: latency counts from when that was due, so
//! that the block's way to the disk is in it. With a pace of none the server makes its own blocks, and
//! latency counts from the first delivery of each. How long the other deliveries follow the first is told
//! in either case. The others subscribe, and note the numbers that they hear: each must follow the last.

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
/// Blocks whose time is remembered: those before are not on their way any more.
const REMEMBERED: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Heads {
    crowd: Crowd,
    tally: Tally,
    /// Blocks a second that are asked for; `None`: those that the server makes by itself.
    rate: Option<f64>,
    pace: Option<Pace>,
    /// When blocks were due that nobody has heard of yet, the oldest first.
    due: VecDeque<Time>,
    blocks: HashMap<u64, Block>,
    /// The latencies from a block's first delivery on.
    spread: Tally,
    last: u64,
    /// The number that each subscriber has heard last.
    heard: Vec<Option<u64>>,
}

/// When a block was due, or the first to hear of it if nobody knows, and when that was.
#[derive(Debug, Clone, Copy)]
struct Block {
    due: Time,
    heard: Time,
}

#[derive(Deserialize)]
struct Told {
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
    /// The crowd's first member is the one that has blocks made.
    pub(crate) fn new(crowd: Crowd, rate: Option<f64>) -> Heads {
        Heads {
            tally: Tally::new(),
            rate,
            pace: None,
            due: VecDeque::new(),
            blocks: HashMap::new(),
            spread: Tally::new(),
            last: 0,
            heard: vec![None; crowd.len()],
            crowd,
        }
    }

    /// The times of this block; the first that hears of it makes it known.
    fn block(&mut self, number: u64, now: Time) -> Block {
        if let Some(&block) = self.blocks.get(&number) {
            return block;
        }
        let block = Block { due: self.due.pop_front().unwrap_or(now), heard: now };
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

    fn begin(&mut self, cx: &mut Context<'_>) {
        self.pace = self.rate.map(|rate| Pace::new(cx.now(), rate, 1));
    }

    fn measure(&mut self, now: Time) {
        self.tally.begin(now);
        self.spread.begin(now);
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
        let told: Option<Told> = serde_json::from_slice(message.as_bytes()).ok();
        let Some(told) = told.filter(|told| told.error.is_none()) else {
            return self.tally.wrong("not an answer", || {
                format!("expected a JSON-RPC answer, received {}", preview(message))
            });
        };
        let Some(Params { result: Head { number } }) = told.params else {
            // The reply to a subscription, or the number of a block that was asked for.
            return;
        };
        let number = number.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let Some(number) = number else {
            return self
                .tally
                .wrong("not a head", || format!("expected a head, received {}", preview(message)));
        };
        match self.heard[member].replace(number) {
            Some(last) if number <= last => self.tally.errors.add("a head twice, or late", 1),
            Some(last) => self.tally.errors.add("missing heads", number - last - 1),
            None => {}
        }
        self.tally.received(message.len());
        let Block { due, heard } = self.block(number, cx.now());
        self.tally.record(cx.now().since(due));
        self.spread.record(cx.now().since(heard));
    }

    fn is_answered(&self) -> bool {
        false
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.pace = None;
    }

    /// Deliveries of blocks that somebody has heard of, and others have not.
    fn outstanding(&self) -> u64 {
        let subscribers = self.heard.iter().skip(1);
        subscribers.filter(|heard| heard.is_some_and(|number| number < self.last)).count() as u64
    }

    fn finish(&mut self, _: Time) {
        self.spread.fold();
        let lacking = self.heard.iter().skip(1).flatten().map(|number| self.last - number).sum();
        self.tally.errors.add("missing heads", lacking);
        let deaf = self.heard.iter().skip(1).filter(|heard| heard.is_none()).count();
        self.tally.errors.add("subscribers that heard of nothing", deaf as u64);
    }

    fn notes(&self) -> Vec<String> {
        let subscribers = self.heard.len() - 1;
        let spread = self.spread.latencies();
        let at = |quantile| Nanos(spread.value_at_quantile(quantile) as f64);
        vec![
            format!("{} heads to {subscribers} subscribers", self.blocks.len()),
            format!(
                "from the first delivery on: p50 {}, p99 {}, max {}",
                at(0.5),
                at(0.99),
                at(1.0)
            ),
        ]
    }
}
