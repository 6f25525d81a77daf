//! What the gateway knows of methods: which of them only read, and under which name each is counted.

/// Methods that only read, whose name does not begin like that of others which do.
const READS: [&str; 23] = [
    "eth_accounts",
    "eth_blobBaseFee",
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_coinbase",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_hashrate",
    "eth_maxPriorityFeePerGas",
    "eth_mining",
    "eth_protocolVersion",
    "eth_simulateV1",
    "eth_syncing",
    "net_listening",
    "net_peerCount",
    "net_version",
    "rpc_modules",
    "web3_clientVersion",
    "web3_sha3",
    "eth_config",
];
/// Methods that take from a filter or hand out work: who asks second gets something else.
const TAKES: [&str; 3] = ["eth_getFilterChanges", "eth_getFilterLogs", "eth_getWork"];

/// Whether the same request twice does and answers the same as once: then two clients may share one
/// answer, and a failed request may be repeated. What is not known is not thought to be.
pub(super) fn is_read(method: &str) -> bool {
    let is_get = method.starts_with("eth_get") && !TAKES.contains(&method);
    is_get || method.starts_with("trace_") || READS.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_read_does() {
        for method in ["eth_chainId", "eth_call", "eth_getBlockByNumber", "eth_getLogs"] {
            assert!(is_read(method), "{method}");
        }
        for method in [
            "eth_sendRawTransaction",
            "eth_newFilter",
            "eth_getFilterChanges",
            "evm_mine",
            "anvil_reset",
            "personal_sign",
            "eth_ChainId",
            "",
        ] {
            assert!(!is_read(method), "{method}");
        }
    }
}
