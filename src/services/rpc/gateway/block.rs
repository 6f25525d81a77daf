//! The members of a block that a gateway uses: number, hash, parent, and the text of the header.
//!
//! Upstreams are not trusted: a malformed block is rejected.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::services::rpc::wire::hex::{Quantity, Word};
use crate::services::rpc::wire::object;

/// Members of a block that do not belong to its header, and that `newHeads` notifications do not
/// have.
const NOT_OF_THE_HEADER: [&str; 5] =
    ["transactions", "uncles", "withdrawals", "totalDifficulty", "size"];

/// The members that every block has.
#[derive(Deserialize)]
struct BlockMembers {
    number: Quantity,
    hash: Word,
    #[serde(rename = "parentHash")]
    parent: Word,
}

/// A block of an upstream.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) hash: Word,
    pub(super) parent: Word,
    /// The header as subscribers receive it.
    pub(super) header: Box<RawValue>,
}

impl Block {
    /// Reads a block or a header; `None` if the JSON is neither, such as `null` for an unknown
    /// block.
    pub(super) fn read(text: &RawValue) -> Option<Block> {
        let BlockMembers { number, hash, parent } = object::from_str(text.get()).ok()?;
        Some(Block { number: number.0, hash, parent, header: header(text)? })
    }
}

fn header(text: &RawValue) -> Option<Box<RawValue>> {
    let mut members: Map<String, Value> = serde_json::from_str(text.get()).ok()?;
    for member in NOT_OF_THE_HEADER {
        members.remove(member);
    }
    serde_json::value::to_raw_value(&members).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Block> {
        Block::read(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn headers_have_no_transactions() {
        let hash = format!("0x{}", "aB".repeat(32));
        let parent = format!("0x{}", "01".repeat(32));
        let text = format!(
            r#"{{"transactions":["0x1"],"number":"0x1b4","hash":"{hash}","size":"0x2",
                "parentHash":"{parent}","uncles":[],"gasUsed":"0x0","withdrawals":[]}}"#
        );
        let block = read(&text).unwrap();
        assert_eq!((block.number, block.parent), (0x1b4, Word::parse(&parent).unwrap()));
        assert_eq!(block.hash.to_string(), hash.to_lowercase());
        let header = format!(
            r#"{{"gasUsed":"0x0","hash":"{hash}","number":"0x1b4","parentHash":"{parent}"}}"#
        );
        assert_eq!(block.header.get(), header);
    }

    #[test]
    fn malformed_blocks_are_rejected() {
        let hash = format!("0x{}", "ab".repeat(32));
        let block = |number: &str, hash: &str, parent: &str| {
            read(&format!(r#"{{"number":{number},"hash":"{hash}","parentHash":"{parent}"}}"#))
        };
        assert!(block(r#""0x0""#, &hash, &hash).is_some());
        for number in ["null", "1", r#""1""#, r#""0x""#, r#""0x+1""#, r#""0x11111111111111111""#] {
            assert!(block(number, &hash, &hash).is_none(), "{number}");
        }
        for bad in ["", "0x", "0xab", &hash[2..], &format!("0x{}", "zz".repeat(32))] {
            assert!(block(r#""0x0""#, bad, &hash).is_none(), "{bad}");
            assert!(block(r#""0x0""#, &hash, bad).is_none(), "{bad}");
        }
        for text in ["null", "[]", "1", "{}"] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
