//! The values of single flags of `weir node`: their syntax and limits.
//!
//! [`options`](super::options) decides what they mean together.

use std::time::Duration;

use clap::ValueEnum;
use weir::services::rpc::Quantity;
use weir::services::rpc::node::CHAIN_NAME_MAX;
use weir::upstream::UpstreamUrl;

use crate::config::{OrOff, Span};

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Makes blocks and serves subscriptions
    Leader,
    /// Follows a leader and answers reads
    Follower,
}

/// The names of [`SlowPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Slow {
    /// Close the connection with 1013
    Close,
    /// Drop its notifications, and count them
    Drop,
}

/// The value of `--chain-id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chain {
    Id(u64),
    Name(String),
}

pub(super) fn chain(text: &str) -> Result<Chain, String> {
    if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return evm_chain_id(text).map(Chain::Id);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.len() > CHAIN_NAME_MAX || !text.bytes().all(is_plain) {
        return Err(format!(
            "a name has at most {CHAIN_NAME_MAX} letters, digits, dots, dashes and underscores"
        ));
    }
    Ok(Chain::Name(text.to_owned()))
}

pub(super) fn evm_chain_id(text: &str) -> Result<u64, String> {
    let id = match text.starts_with("0x") {
        true => Quantity::parse(text).ok().map(|Quantity(id)| id),
        false => text.parse().ok(),
    };
    let expected = || format!("must be a number from 1 to {}, such as 2121 or 0x849", u64::MAX);
    id.filter(|&id| id > 0).ok_or_else(expected)
}

pub(super) fn poll_interval(text: &str) -> Result<Span, String> {
    let interval: Span = text.parse()?;
    match interval.0 {
        Duration::ZERO => Err("must be more than zero, such as 500ms".to_owned()),
        _ => Ok(interval),
    }
}

pub(super) fn url(text: &str) -> Result<UpstreamUrl, &'static str> {
    match text.starts_with("http://") || text.starts_with("https://") {
        true => text.parse(),
        false => Err("must start with http:// or https://, and name a host"),
    }
}

pub(super) fn block_time(text: &str) -> Result<OrOff<Span>, String> {
    let time: OrOff<Span> = text.parse()?;
    match time.0 {
        Some(Span(Duration::ZERO)) => Err(r#"must be more than zero, or "off""#.to_owned()),
        _ => Ok(time),
    }
}
