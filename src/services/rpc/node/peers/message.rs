//! The messages between two nodes, as JSON text. [`Peers`](super::Peers) decides what follows from
//! them.

use serde_json::{Map, Value, json};

use crate::services::rpc::wire::hex::{Quantity, Word};

/// Characters of a chain's name.
pub const CHAIN_NAME_MAX: usize = 64;

/// A node's introduction: the first message in each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) chain_id: u64,
    /// The name of the chain, if it has one.
    pub(super) chain: Option<String>,
    /// A random number per process, by which a node recognizes a connection to itself.
    pub(super) node: u64,
}

/// The head of a node's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) hash: Word,
}

/// One message of a peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PeerMessage {
    Hello(Hello),
    Head(Head),
    /// An unknown type, which a later version may have. Ignored.
    Unknown,
}

impl Hello {
    /// Whether both nodes belong to one chain. Names are compared if both nodes have one.
    pub(super) fn is_same_chain(&self, other: &Hello) -> bool {
        let names_agree = match (&self.chain, &other.chain) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.chain_id == other.chain_id && names_agree
    }

    pub(super) fn to_text(&self) -> String {
        let Hello { chain_id, chain, node } = self;
        let node = format!("{node:016x}");
        json!({"type": "hello", "chainId": Quantity(*chain_id), "chain": chain, "node": node})
            .to_string()
    }
}

impl Head {
    pub(super) fn to_text(self) -> String {
        json!({"type": "head", "number": Quantity(self.number), "hash": self.hash}).to_string()
    }
}

impl PeerMessage {
    /// `None` for text that is not a message of this protocol.
    pub(super) fn parse(text: &str) -> Option<PeerMessage> {
        let members: Map<String, Value> = serde_json::from_str(text).ok()?;
        match members.get("type")?.as_str()? {
            "hello" => hello(&members).map(PeerMessage::Hello),
            "head" => head(&members).map(PeerMessage::Head),
            _ => Some(PeerMessage::Unknown),
        }
    }
}

fn hello(members: &Map<String, Value>) -> Option<Hello> {
    let Quantity(chain_id) = Quantity::parse(members.get("chainId")?.as_str()?).ok()?;
    let chain = match members.get("chain") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.len() <= CHAIN_NAME_MAX => Some(name.clone()),
        Some(_) => return None,
    };
    let node = u64::from_str_radix(members.get("node")?.as_str()?, 16).ok()?;
    Some(Hello { chain_id, chain, node })
}

fn head(members: &Map<String, Value>) -> Option<Head> {
    let Quantity(number) = Quantity::parse(members.get("number")?.as_str()?).ok()?;
    let hash = Word::parse(members.get("hash")?.as_str()?).ok()?;
    Some(Head { number, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(chain_id: u64, chain: Option<&str>) -> Hello {
        Hello { chain_id, chain: chain.map(str::to_owned), node: 7 }
    }

    #[test]
    fn messages_survive_a_round_trip() {
        for hello in [hello(0x849, None), hello(1, Some("local-1"))] {
            let text = hello.to_text();
            assert_eq!(PeerMessage::parse(&text), Some(PeerMessage::Hello(hello)));
        }
        let head = Head { number: 16, hash: Word::parse(&format!("0x{:064x}", 5)).unwrap() };
        assert_eq!(PeerMessage::parse(&head.to_text()), Some(PeerMessage::Head(head)));
    }

    #[test]
    fn unknown_types_are_ignored_and_malformed_messages_rejected() {
        let unknown = r#"{"type":"later","number":1}"#;
        assert_eq!(PeerMessage::parse(unknown), Some(PeerMessage::Unknown));
        let long_name = "n".repeat(CHAIN_NAME_MAX + 1);
        for text in [
            "",
            "7",
            r#"["hello","0x1",null,"7"]"#,
            r#"{"type":7}"#,
            r#"{"number":"0x1"}"#,
            r#"{"type":"head","number":1,"hash":"0x1"}"#,
            r#"{"type":"head","number":"0x1"}"#,
            r#"{"type":"hello","chainId":"0x1"}"#,
            &format!(r#"{{"type":"hello","chainId":"0x1","chain":"{long_name}","node":"7"}}"#),
        ] {
            assert_eq!(PeerMessage::parse(text), None, "{text}");
        }
    }

    #[test]
    fn chains_differ_by_id_or_by_name() {
        let ours = hello(1, Some("a"));
        assert!(ours.is_same_chain(&hello(1, Some("a"))) && ours.is_same_chain(&hello(1, None)));
        assert!(!ours.is_same_chain(&hello(2, Some("a"))));
        assert!(!ours.is_same_chain(&hello(1, Some("b"))));
    }
}
