//! The data that all threads of a node share.

use std::sync::{Arc, Mutex};

use super::mempool::Mempool;
use super::store::Store;

/// The store and the mempool of a node.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) mempool: Arc<Mutex<Mempool>>,
}
