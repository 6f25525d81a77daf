//! Classes of methods, for metrics.

/// A class of methods. Metrics have no label for the method itself: clients send any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The chain and the node as a whole.
    Info,
    /// Blocks, transactions, receipts, accounts.
    Read,
    /// Ranges of logs.
    Logs,
    /// Sending transactions.
    Send,
    /// Subscriptions.
    Subscribe,
    /// All other methods.
    Other,
}

impl Class {
    /// All classes, by their discriminants.
    pub const ALL: [Class; 6] =
        [Class::Info, Class::Read, Class::Logs, Class::Send, Class::Subscribe, Class::Other];

    /// The class of a method.
    pub fn of(method: &str) -> Class {
        match method {
            "eth_chainId" | "eth_blockNumber" | "net_version" | "eth_gasPrice" | "eth_syncing"
            | "eth_accounts" | "net_listening" | "web3_clientVersion" | "rpc_modules" => {
                Class::Info
            }
            "eth_subscribe" | "eth_unsubscribe" => Class::Subscribe,
            "eth_getLogs" => Class::Logs,
            "eth_sendRawTransaction" | "eth_sendTransaction" => Class::Send,
            _ if method.starts_with("eth_get") || method == "eth_call" => Class::Read,
            _ => Class::Other,
        }
    }

    /// The value of the metrics' label.
    pub fn name(self) -> &'static str {
        match self {
            Class::Info => "info",
            Class::Read => "read",
            Class::Logs => "logs",
            Class::Send => "send",
            Class::Subscribe => "subscribe",
            Class::Other => "other",
        }
    }
}
