//! A block as it is stored: header, transactions and logs, each as the JSON that clients receive.
//!
//! A leader's new blocks and the blocks that a follower fetched are stored in the same form. Only
//! keys that queries use (numbers, hashes, addresses, topics) are stored next to the JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use sha3::{Digest as _, Keccak256};

use crate::services::rpc::filter::Log;
use crate::services::rpc::wire::hex::{Address, Bytes, Quantity, Word};

/// Ethereum's hashes of an empty list of uncles, and of an empty trie.
const EMPTY_UNCLES: &str = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";
const EMPTY_ROOT: &str = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
/// The constant gas price, in wei.
pub(super) const GAS_PRICE: u64 = 1_000_000_000;
const GAS_LIMIT: u64 = 30_000_000;
const GAS_OF_A_TRANSACTION: u64 = 21_000;
/// Bytes of a bloom filter.
const BLOOM_BYTES: usize = 256;

fn keccak(bytes: &[u8]) -> Word {
    Bytes(Keccak256::digest(bytes).into())
}

/// A block.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) hash: Word,
    pub(super) parent: Word,
    /// All members except for `transactions`.
    pub(super) header: Box<RawValue>,
    pub(super) transactions: Vec<StoredTransaction>,
    pub(super) logs: Vec<StoredLog>,
}

/// A block of this node's chain. A leader that has it is on the same chain, at least up to this
/// block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub(super) number: u64,
    pub(super) hash: Word,
}

/// A transaction in its block.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredTransaction {
    pub(super) hash: Word,
    pub(super) json: Box<RawValue>,
}

/// A log in its block.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredLog {
    pub(super) address: Address,
    pub(super) topics: Vec<Word>,
    pub(super) json: Box<RawValue>,
}

impl From<StoredLog> for Log {
    fn from(log: StoredLog) -> Log {
        Log { address: log.address, topics: log.topics, json: log.json }
    }
}

/// A transaction without a block.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) hash: Word,
    /// The bytes that the client sent.
    pub(super) raw: Vec<u8>,
    pub(super) logs: Vec<Emitted>,
}

/// A log that a transaction emits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Emitted {
    pub(super) address: Address,
    #[serde(default)]
    pub(super) topics: Vec<Word>,
    /// Bytes, in hexadecimal.
    #[serde(default = "no_data")]
    pub(super) data: String,
}

fn no_data() -> String {
    "0x".to_owned()
}

impl Transaction {
    /// A transaction, whose hash is that of its bytes.
    pub(super) fn new(raw: Vec<u8>, logs: Vec<Emitted>) -> Transaction {
        Transaction { hash: keccak(&raw), raw, logs }
    }

    /// The transaction as clients receive it. `place` is the number and hash of its block, and its
    /// index.
    pub(super) fn json(&self, chain_id: u64, place: Option<(u64, Word, usize)>) -> Box<RawValue> {
        let zero = Bytes([0; 20]);
        raw(&json!({
            "hash": self.hash,
            "type": "0x0",
            "chainId": Quantity(chain_id),
            "nonce": "0x0",
            "blockHash": place.map(|(_, hash, _)| hash),
            "blockNumber": place.map(|(number, _, _)| Quantity(number)),
            "transactionIndex": place.map(|(_, _, index)| Quantity(index as u64)),
            "from": zero,
            "to": self.logs.first().map_or(zero, |log| log.address),
            "value": "0x0",
            "gas": Quantity(GAS_OF_A_TRANSACTION),
            "gasPrice": Quantity(GAS_PRICE),
            "input": format!("0x{}", hex::encode(&self.raw)),
            "v": "0x1b",
            "r": "0x0",
            "s": "0x0",
        }))
    }
}

impl Record {
    /// The first block of a chain. The random `salt` in its `extraData` makes it differ from the
    /// first block of any other chain, even of one that starts in the same second.
    pub(super) fn genesis(chain_id: u64, timestamp: u64, salt: Word) -> Record {
        Record::build(chain_id, 0, Bytes([0; 32]), timestamp, &salt.0, &[])
    }

    /// The block after this one.
    pub(super) fn next(&self, chain_id: u64, timestamp: u64, with: &[Transaction]) -> Record {
        Record::build(chain_id, self.number + 1, self.hash, timestamp, &[], with)
    }

    /// The hash of a block is that of chain id, number, time, parent, `extra` data and the hashes
    /// of its transactions, concatenated. That suffices for a chain with one leader.
    fn build(
        chain_id: u64,
        number: u64,
        parent: Word,
        timestamp: u64,
        extra: &[u8],
        transactions: &[Transaction],
    ) -> Record {
        let hashes: Vec<u8> = transactions.iter().flat_map(|one| one.hash.0).collect();
        let numbers = [chain_id, number, timestamp].map(u64::to_be_bytes).concat();
        let hash = keccak(&[&numbers, &parent.0[..], extra, &hashes].concat());
        let mut bloom = Bloom::default();
        let mut logs = Vec::new();
        for (index, transaction) in transactions.iter().enumerate() {
            for log in &transaction.logs {
                bloom.add(&log.address.0);
                log.topics.iter().for_each(|topic| bloom.add(&topic.0));
                let json = raw(&json!({
                    "address": log.address,
                    "topics": log.topics,
                    "data": log.data,
                    "blockNumber": Quantity(number),
                    "blockHash": hash,
                    "transactionHash": transaction.hash,
                    "transactionIndex": Quantity(index as u64),
                    "logIndex": Quantity(logs.len() as u64),
                    "removed": false,
                }));
                let (address, topics) = (log.address, log.topics.clone());
                logs.push(StoredLog { address, topics, json });
            }
        }
        let root = match transactions {
            [] => EMPTY_ROOT.to_owned(),
            _ => keccak(&hashes).to_string(),
        };
        let nothing: Word = Bytes([0; 32]);
        let zero: Address = Bytes([0; 20]);
        let sent: usize = transactions.iter().map(|one| one.raw.len()).sum();
        let header = raw(&json!({
            "number": Quantity(number),
            "hash": hash,
            "parentHash": parent,
            "timestamp": Quantity(timestamp),
            "nonce": "0x0000000000000000",
            "sha3Uncles": EMPTY_UNCLES,
            "logsBloom": bloom.to_string(),
            "transactionsRoot": root,
            "stateRoot": EMPTY_ROOT,
            "receiptsRoot": root,
            "withdrawalsRoot": EMPTY_ROOT,
            "withdrawals": [],
            "miner": zero,
            "difficulty": "0x0",
            "totalDifficulty": "0x0",
            "extraData": format!("0x{}", hex::encode(extra)),
            "mixHash": nothing,
            "parentBeaconBlockRoot": nothing,
            "gasLimit": Quantity(GAS_LIMIT),
            "gasUsed": Quantity(GAS_OF_A_TRANSACTION * transactions.len() as u64),
            "baseFeePerGas": Quantity(GAS_PRICE),
            "blobGasUsed": "0x0",
            "excessBlobGas": "0x0",
            "size": Quantity(512 + sent as u64),
            "uncles": [],
        }));
        let stored = |(index, one): (usize, &Transaction)| StoredTransaction {
            hash: one.hash,
            json: one.json(chain_id, Some((number, hash, index))),
        };
        let transactions = transactions.iter().enumerate().map(stored).collect();
        Record { number, hash, parent, header, transactions, logs }
    }

    /// A block from the result of `eth_getBlockByNumber`, with whole transactions, and that of
    /// `eth_getLogs`.
    ///
    /// # Errors
    /// The name of the member that is missing or malformed.
    pub(super) fn from_leader(block: Value, logs: Value) -> Result<Record, &'static str> {
        let Value::Object(mut block) = block else {
            return Err("block");
        };
        let Some(Value::Array(transactions)) = block.remove("transactions") else {
            return Err("transactions");
        };
        let transactions = transactions.iter().map(|json| {
            let hash = word(json.get("hash")).ok_or("transaction hash")?;
            Ok(StoredTransaction { hash, json: raw(json) })
        });
        let Value::Array(logs) = logs else {
            return Err("logs");
        };
        let logs = logs.iter().map(|json| {
            let address = json.get("address").and_then(Value::as_str);
            let address =
                address.and_then(|text| Address::parse(text).ok()).ok_or("log address")?;
            let topics = json.get("topics").and_then(Value::as_array).ok_or("log topics")?;
            let topics = topics.iter().map(|topic| word(Some(topic))).collect::<Option<_>>();
            Ok(StoredLog { address, topics: topics.ok_or("log topic")?, json: raw(json) })
        });
        let number = block.get("number").and_then(Value::as_str);
        let number = number.and_then(|text| Quantity::parse(text).ok()).ok_or("number")?;
        Ok(Record {
            number: number.0,
            hash: word(block.get("hash")).ok_or("hash")?,
            parent: word(block.get("parentHash")).ok_or("parentHash")?,
            transactions: transactions.collect::<Result<_, &str>>()?,
            logs: logs.collect::<Result<_, &str>>()?,
            header: raw(&block),
        })
    }

    /// The block as an anchor.
    pub(super) fn anchor(&self) -> Anchor {
        Anchor { number: self.number, hash: self.hash }
    }

    /// Seconds since 1970; 0 if the header has no timestamp.
    pub(super) fn timestamp(&self) -> u64 {
        #[derive(Deserialize)]
        struct Header {
            timestamp: Quantity,
        }
        serde_json::from_str::<Header>(self.header.get()).map_or(0, |header| header.timestamp.0)
    }

    /// The block as clients receive it, with whole transactions or their hashes.
    pub(super) fn block(&self, full: bool) -> String {
        let header = self.header.get();
        let members = header.strip_suffix('}').unwrap_or(header);
        let mut out = format!(r#"{members},"transactions":["#);
        for (index, transaction) in self.transactions.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            if full {
                out += transaction.json.get();
            } else {
                out += &format!(r#""{}""#, transaction.hash);
            }
        }
        out += "]}";
        out
    }
}

fn word(value: Option<&Value>) -> Option<Word> {
    Word::parse(value?.as_str()?).ok()
}

/// JSON as text. A [`Value`] or a map of values always has one: its keys are strings.
pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The Bloom filter by which clients skip blocks without matching logs (yellow paper, 4.3.1).
#[derive(Debug)]
struct Bloom([u8; BLOOM_BYTES]);

impl Default for Bloom {
    fn default() -> Bloom {
        Bloom([0; BLOOM_BYTES])
    }
}

impl Bloom {
    /// Sets three bits, each given by eleven bits of the hash.
    fn add(&mut self, bytes: &[u8]) {
        let hash = keccak(bytes).0;
        for pair in hash[..6].chunks_exact(2) {
            let bit = (usize::from(pair[0]) << 8 | usize::from(pair[1])) % (8 * BLOOM_BYTES);
            self.0[BLOOM_BYTES - 1 - bit / 8] |= 1 << (bit % 8);
        }
    }
}

impl std::fmt::Display for Bloom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_keccak() {
        let empty = "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(keccak(b"").to_string(), empty);
    }

    /// The topic of every ERC-20 transfer sets these bits on every Ethereum chain.
    #[test]
    fn bloom_filters_are_those_of_ethereum() {
        let mut bloom = Bloom::default();
        let topic = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        bloom.add(&hex::decode(topic).unwrap());
        let bits: Vec<usize> =
            (0..2048).filter(|bit| bloom.0[255 - bit / 8] & 1 << (bit % 8) != 0).collect();
        let hash = keccak(&hex::decode(topic).unwrap()).0;
        let mut expected: Vec<usize> = [0, 2, 4]
            .map(|at| usize::from(u16::from_be_bytes([hash[at], hash[at + 1]]) & 0x7FF))
            .to_vec();
        expected.sort_unstable();
        assert_eq!(bits, expected);
    }

    #[test]
    fn a_block_survives_the_way_to_a_follower() {
        let emitted =
            Emitted { address: Bytes([7; 20]), topics: vec![Bytes([1; 32])], data: no_data() };
        let sent = Transaction::new(b"x".to_vec(), vec![emitted]);
        let genesis = Record::genesis(1, 1000, Bytes([9; 32]));
        let made = genesis.next(1, 1001, &[sent]);
        let block: Value = serde_json::from_str(&made.block(true)).unwrap();
        let logs =
            made.logs.iter().map(|log| serde_json::from_str::<Value>(log.json.get()).unwrap());
        let logs = Value::Array(logs.collect());
        let copy = Record::from_leader(block, logs).unwrap();
        assert_eq!((copy.number, copy.hash, copy.parent), (1, made.hash, genesis.hash));
        assert_eq!(copy.block(true), made.block(true));
        assert_eq!(copy.block(false), made.block(false));
        assert_eq!(copy.logs[0].json.get(), made.logs[0].json.get());
        let hashes: Value = serde_json::from_str(&made.block(false)).unwrap();
        assert_eq!(hashes["transactions"][0], json!(made.transactions[0].hash));
        assert_eq!(hashes["logsBloom"].as_str().unwrap().len(), 2 + 2 * BLOOM_BYTES);
        assert!(Record::from_leader(json!({"transactions": []}), json!([])).is_err());
    }
}
