//! The methods that only read.

/// Methods that only read, except for those that [`is_read`] recognizes by their prefix.
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
/// Methods that consume: the second call gets another answer than the first.
const CONSUMING: [&str; 3] = ["eth_getFilterChanges", "eth_getFilterLogs", "eth_getWork"];

/// Whether two equal requests have the same effect and answer as one. Then two clients may share
/// one answer, and a failed request may be repeated. Unknown methods do not count as reads.
pub(super) fn is_read(method: &str) -> bool {
    let is_get = method.starts_with("eth_get") && !CONSUMING.contains(&method);
    is_get || method.starts_with("trace_") || READS.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_are_reads() {
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
