//! JSON-RPC calls in a closed loop. Each connection keeps a number of messages in flight, or sends
//! the next burst when the previous one is answered. A message is one call, or a batch.
//!
//! Answers may arrive in any order: the id identifies the message. An error, or an id without a
//! pending call, counts as an error.

use std::collections::HashMap;
use std::str::FromStr;

use fastrand::Rng;
use serde::Deserialize;
use serde::de::IgnoredAny;
use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::payload::preview;
use crate::tally::Tally;
use crate::weighted;

/// The methods that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    ChainId,
    BlockNumber,
    GasPrice,
    Block,
    Logs,
}

impl Method {
    /// The method and its parameters, as members of a call.
    fn members(self) -> &'static str {
        match self {
            Method::ChainId => r#""method":"eth_chainId","params":[]"#,
            Method::BlockNumber => r#""method":"eth_blockNumber","params":[]"#,
            Method::GasPrice => r#""method":"eth_gasPrice","params":[]"#,
            Method::Block => r#""method":"eth_getBlockByNumber","params":["latest",false]"#,
            Method::Logs => r#""method":"eth_getLogs","params":[{"fromBlock":"latest"}]"#,
        }
    }
}

impl FromStr for Method {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Method, Self::Err> {
        Ok(match text {
            "chain_id" => Method::ChainId,
            "block_number" => Method::BlockNumber,
            "gas_price" => Method::GasPrice,
            "block" => Method::Block,
            "logs" => Method::Logs,
            _ => return Err("expected chain_id, block_number, gas_price, block or logs"),
        })
    }
}

/// Methods with their shares, which add up to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Methods(Vec<(Method, f64)>);

impl Methods {
    fn draw(&self, rng: &mut Rng) -> Method {
        let mut left = rng.f64();
        for &(method, share) in &self.0 {
            left -= share;
            if left < 0.0 {
                return method;
            }
        }
        // Rounding: the shares may add up to slightly less than 1.
        self.0.last().map_or(Method::ChainId, |&(method, _)| method)
    }
}

impl FromStr for Methods {
    type Err = String;

    fn from_str(text: &str) -> Result<Methods, String> {
        weighted::parse(text).map(Methods)
    }
}

/// What the calls contain, and when they are sent.
#[derive(Debug, Clone)]
pub(crate) struct CallPlan {
    pub(crate) methods: Methods,
    /// Calls per message.
    pub(crate) batch: usize,
    /// Messages in flight per connection.
    pub(crate) depth: usize,
    /// Whether the next messages wait until all previous ones are answered.
    pub(crate) in_bursts: bool,
    pub(crate) seed: u64,
}

#[derive(Debug)]
pub(crate) struct Calls {
    crowd: Crowd,
    tally: Tally,
    plan: CallPlan,
    rng: Rng,
    text: String,
    /// The member and send time of each pending message, by the id of its first call.
    flights: HashMap<u64, (usize, Time)>,
    /// Messages in flight per member.
    in_flight: Vec<usize>,
    next_id: u64,
    is_stopped: bool,
}

/// The checked parts of an answer.
#[derive(Deserialize)]
struct Answer {
    id: u64,
    #[serde(default)]
    error: Option<Failed>,
    #[serde(default)]
    result: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Failed {
    code: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answers {
    Batch(Vec<Answer>),
    Single(Answer),
}

impl Calls {
    pub(crate) fn new(crowd: Crowd, plan: CallPlan) -> Calls {
        Calls {
            tally: Tally::new(),
            rng: Rng::with_seed(plan.seed),
            text: String::new(),
            flights: HashMap::new(),
            in_flight: vec![0; crowd.len()],
            next_id: 1,
            is_stopped: false,
            crowd,
            plan,
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        let first = self.next_id;
        self.text.clear();
        let is_batch = self.plan.batch > 1;
        for at in 0..self.plan.batch {
            self.text.push_str(if at == 0 && is_batch {
                "["
            } else if at > 0 {
                ","
            } else {
                ""
            });
            let members = self.plan.methods.draw(&mut self.rng).members();
            self.text += &format!(r#"{{"jsonrpc":"2.0","id":{},{members}}}"#, self.next_id);
            self.next_id += 1;
        }
        if is_batch {
            self.text.push(']');
        }
        let outcome = cx.send(conn, &*self.text);
        if outcome.is_queued() {
            self.tally.sent(self.text.len());
            self.flights.insert(first, (member, cx.now()));
            self.in_flight[member] += 1;
        } else {
            self.tally.not_sent(outcome);
        }
    }

    /// The first id of the answers. Faults in them are counted.
    fn read(&mut self, message: Message<'_>) -> Option<u64> {
        let Message::Text(text) = message else {
            self.tally.wrong("an answer in binary", || {
                format!("expected text, received {}", preview(message))
            });
            return None;
        };
        let answers = match serde_json::from_str(text) {
            Ok(Answers::Single(answer)) => vec![answer],
            Ok(Answers::Batch(answers)) => answers,
            Err(_) => Vec::new(),
        };
        if answers.len() != self.plan.batch {
            let batch = self.plan.batch;
            self.tally.wrong("not an answer", || {
                format!("expected {batch} JSON-RPC answers, received {}", preview(message))
            });
        }
        for answer in &answers {
            match (&answer.error, &answer.result) {
                (Some(error), _) => self.tally.wrong(format!("error {}", error.code), || {
                    format!("expected a result, received {}", preview(message))
                }),
                (None, None) => self.tally.wrong("no result", || {
                    format!("expected a result, received {}", preview(message))
                }),
                (None, Some(_)) => {}
            }
        }
        answers.first().map(|answer| answer.id)
    }
}

impl Part for Calls {
    fn name(&self) -> &'static str {
        "rpc"
    }

    fn unit(&self) -> Unit {
        match self.plan.batch {
            1 => Unit { one: "call", many: "calls" },
            _ => Unit { one: "batch", many: "batches" },
        }
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        for member in 0..self.crowd.len() {
            if let Some(conn) = self.crowd.conn(member) {
                for _ in 0..self.plan.depth {
                    self.send(cx, member, conn);
                }
            }
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Some(id) = self.read(message) else {
            return;
        };
        let Some((member, sent)) = self.flights.remove(&id) else {
            return self.tally.wrong("an answer without a pending call", || {
                format!("expected the id of a call, received {}", preview(message))
            });
        };
        self.tally.received(message.len());
        self.tally.record(cx.now().since(sent));
        self.in_flight[member] -= 1;
        let next = match self.plan.in_bursts {
            false => 1,
            true if self.in_flight[member] == 0 => self.plan.depth,
            true => 0,
        };
        if !self.is_stopped {
            for _ in 0..next {
                self.send(cx, member, conn);
            }
        }
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        let before = self.flights.len();
        self.flights.retain(|_, (of, _)| *of != member);
        self.tally.errors.add("unanswered", (before - self.flights.len()) as u64);
        self.in_flight[member] = 0;
        true
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
    }

    fn outstanding(&self) -> u64 {
        self.flights.len() as u64
    }

    fn finish(&mut self, now: Time) {
        self.tally.unanswered(now, self.flights.drain().map(|(_, (_, sent))| sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_drawn_by_weight() {
        let methods: Methods = "chain_id:3,block".parse().unwrap();
        let mut rng = Rng::with_seed(1);
        let blocks = (0..4000).filter(|_| methods.draw(&mut rng) == Method::Block).count();
        assert!((800..1200).contains(&blocks), "{blocks}");
        assert!("chain_id,nothing".parse::<Methods>().is_err());
    }
}
