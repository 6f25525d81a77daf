//! The chain that was announced to subscribers: each block once and in order, in whatever order an
//! upstream reports blocks.
//!
//! A state machine: it takes heads and blocks, and returns what to fetch next or what to announce.
//! Makes no request, reads no clock. If it cannot connect the announced blocks to those of the
//! upstream, it returns [`Step::Lost`] instead of skipping blocks.

use std::collections::VecDeque;
use std::fmt;

use super::block::Block;
use crate::services::rpc::wire::hex::Word;

/// Announced blocks that are remembered: the depth of a reorganisation that can be followed.
pub(super) const REMEMBERED_MAX: usize = 128;
/// Blocks that are fetched to catch up with an upstream.
pub(super) const GAP_MAX: u64 = 1024;
/// Times in a row that an upstream may lack a block that it must have.
pub(super) const MISSES_MAX: u32 = 16;
/// Times in a row that an upstream may report a head older than all remembered blocks.
pub(super) const BEHIND_MAX: u32 = 64;
/// A head that is older by [`REMEMBERED_MAX`] counts this many times: it is of another chain,
/// unless an upstream that still catches up has answered once.
const FAR_BEHIND: u32 = 16;

/// A block by number or hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKey {
    Number(u64),
    Hash(Word),
}

impl BlockKey {
    /// Whether this block has the number or the hash.
    pub(super) fn is(self, block: &Block) -> bool {
        match self {
            BlockKey::Number(number) => block.number == number,
            BlockKey::Hash(hash) => block.hash == hash,
        }
    }
}

/// The number and hash of an announced block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownBlock {
    pub(super) number: u64,
    pub(super) hash: Word,
}

impl From<&Block> for KnownBlock {
    fn from(block: &Block) -> KnownBlock {
        KnownBlock { number: block.number, hash: block.hash }
    }
}

fn is_child(block: &Block, parent: KnownBlock) -> bool {
    block.parent == parent.hash && parent.number.checked_add(1) == Some(block.number)
}

/// The next step of the caller.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing, until the upstream reports another block.
    Wait,
    /// Fetch this block, then call [`Chain::add`] or [`Chain::missing`].
    Fetch(BlockKey),
    /// Announce the removed blocks, the youngest first, and the added blocks, the oldest first.
    /// Then call [`Chain::resume`].
    Announce { removed: Vec<KnownBlock>, added: Vec<Block> },
    /// The announced blocks cannot be continued. The chain is empty again.
    Lost(Loss),
}

/// The reason that the announced blocks cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// More blocks are missing than [`GAP_MAX`].
    Gap,
    /// The upstream's chain has none of the remembered blocks.
    Fork,
    /// The upstream lacks blocks that it must have.
    Missing,
    /// The upstream's chain ends before the remembered blocks.
    Behind,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Gap => "too many blocks are missing",
            Loss::Fork => "the upstream has none of the last blocks",
            Loss::Missing => "the upstream lacks its own blocks",
            Loss::Behind => "the upstream is far behind",
        })
    }
}

/// The announced chain.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The announced blocks. Invariant: each is the parent of the next.
    recent: VecDeque<KnownBlock>,
    /// A fork: from a block down to its earliest known ancestor. Starts at most one above the last
    /// announced block and ends above the first, so it is not longer than `recent`.
    fork: Vec<Block>,
    /// The number of the upstream's head.
    height: u64,
    misses: u32,
    behind: u32,
}

impl Chain {
    /// The block announced last, or the one before the first announcement.
    pub(super) fn head(&self) -> Option<KnownBlock> {
        self.recent.back().copied()
    }

    /// Starts after the parent of a block, so that the block itself will be announced. `false`: it
    /// has no parent.
    pub(super) fn start_before(&mut self, block: &Block) -> bool {
        let parent = block.number.checked_sub(1);
        if let Some(number) = parent {
            self.remember(KnownBlock { number, hash: block.parent });
        }
        parent.is_some()
    }

    /// Whether this block is remembered.
    pub(super) fn knows(&self, hash: Word) -> bool {
        self.position(hash).is_some()
    }

    /// The upstream has this head. It may be known, the next block, a later one, or one that
    /// replaces an announced block.
    pub(super) fn on_head(&mut self, block: Block) -> Step {
        self.fork.clear();
        self.height = block.number;
        self.add(block)
    }

    /// The upstream has this block.
    pub(super) fn add(&mut self, block: Block) -> Step {
        let (Some(first), Some(head)) = (self.recent.front().copied(), self.head()) else {
            // Its parent is remembered, too, so that this block can be replaced like any other.
            if let Some(number) = block.number.checked_sub(1) {
                self.remember(KnownBlock { number, hash: block.parent });
            }
            self.remember(KnownBlock::from(&block));
            return self.resume();
        };
        if self.position(block.hash).is_some() {
            (self.behind, self.misses) = (0, 0);
            return Step::Wait;
        }
        if let Some(ancestor) = self.position(block.parent) {
            return self.join(ancestor, block);
        }
        if self.fork.is_empty() && block.number > head.number.saturating_add(1) {
            self.height = self.height.max(block.number);
            return self.catch_up(head);
        }
        if block.number > first.number {
            return self.descend(block);
        }
        if self.fork.is_empty() && block.number < first.number {
            return self.on_older_head(head, block.number);
        }
        self.lose(Loss::Fork)
    }

    /// The upstream lacks the block that was to be fetched: it was asked too early, or the block
    /// was replaced meanwhile. A block whose number and parent contradict each other counts the
    /// same. The next head starts again.
    pub(super) fn missing(&mut self) -> Step {
        self.fork.clear();
        self.misses += 1;
        if self.misses > MISSES_MAX { self.lose(Loss::Missing) } else { Step::Wait }
    }

    /// Continues after an announcement.
    pub(super) fn resume(&mut self) -> Step {
        match self.head() {
            Some(head) if self.height > head.number => self.catch_up(head),
            _ => Step::Wait,
        }
    }

    fn catch_up(&mut self, head: KnownBlock) -> Step {
        if self.height - head.number > GAP_MAX {
            return self.lose(Loss::Gap);
        }
        Step::Fetch(BlockKey::Number(head.number + 1))
    }

    /// The parent of the block is unknown. Fetches the parent.
    fn descend(&mut self, block: Block) -> Step {
        let is_next = |child: &Block| is_child(child, KnownBlock::from(&block));
        if !self.fork.last().is_none_or(is_next) {
            return self.missing();
        }
        let parent = block.parent;
        self.fork.push(block);
        Step::Fetch(BlockKey::Hash(parent))
    }

    /// The block, and the fork above it, continues the block at `ancestor`.
    fn join(&mut self, ancestor: usize, block: Block) -> Step {
        if !is_child(&block, self.recent[ancestor]) {
            return self.missing();
        }
        (self.behind, self.misses) = (0, 0);
        let mut added = vec![block];
        while let Some(child) = self.fork.pop() {
            let follows = added.last().is_some_and(|last| is_child(&child, KnownBlock::from(last)));
            if follows {
                added.push(child);
            }
        }
        let removed: Vec<KnownBlock> = self.recent.drain(ancestor + 1..).rev().collect();
        added.iter().for_each(|block| self.remember(KnownBlock::from(block)));
        Step::Announce { removed, added }
    }

    fn on_older_head(&mut self, head: KnownBlock, number: u64) -> Step {
        let is_far = head.number - number >= REMEMBERED_MAX as u64;
        self.behind += if is_far { FAR_BEHIND } else { 1 };
        if self.behind > BEHIND_MAX { self.lose(Loss::Behind) } else { Step::Wait }
    }

    fn remember(&mut self, known: KnownBlock) {
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(known);
    }

    fn position(&self, hash: Word) -> Option<usize> {
        // Nearly always at the end.
        self.recent.iter().rposition(|known| known.hash == hash)
    }

    fn lose(&mut self, loss: Loss) -> Step {
        *self = Chain::default();
        Step::Lost(loss)
    }
}

#[cfg(test)]
mod tests;
