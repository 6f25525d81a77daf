//! The chain as subscribers were told of it: each block once and in order, whatever order an upstream
//! tells them in.
//!
//! A state machine: fed with heads and blocks, it answers what to fetch next or what to announce.
//! Makes no request, knows no clock. When it cannot say how what it has announced leads to what it
//! sees now, it says so rather than skip: [`Next::Lost`].

use std::collections::VecDeque;
use std::fmt;

use super::block::Block;
use crate::services::rpc::wire::hex::Word;

/// Blocks remembered: how deep a reorganisation may reach.
pub(super) const REMEMBERED_MAX: usize = 128;
/// How many blocks are fetched to catch up with an upstream.
pub(super) const GAP_MAX: u64 = 1024;
/// How often in a row an upstream may not know a block that it must have.
pub(super) const MISSES_MAX: u32 = 16;
/// How often in a row an upstream may tell only of blocks older than all that are remembered.
pub(super) const BEHIND_MAX: u32 = 64;
/// One that is behind by as many blocks as are remembered counts for so many: it is another chain, unless
/// an upstream that still catches up has answered for once.
const FAR_BEHIND: u32 = 16;

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Number(u64),
    Hash(Word),
}

impl Which {
    /// Whether it is this block.
    pub(super) fn is(self, block: &Block) -> bool {
        match self {
            Which::Number(number) => block.number == number,
            Which::Hash(hash) => block.hash == hash,
        }
    }
}

/// A block that was announced: what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) hash: Word,
}

impl From<&Block> for Link {
    fn from(block: &Block) -> Link {
        Link { number: block.number, hash: block.hash }
    }
}

fn is_child(block: &Block, parent: Link) -> bool {
    block.parent == parent.hash && parent.number.checked_add(1) == Some(block.number)
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing, until there is news.
    Wait,
    /// Fetch this block, then [`Chain::take`] it, or [`Chain::miss`].
    Fetch(Which),
    /// Announce that `removed` are gone, the youngest first, and that `added` are there, the oldest
    /// first; then [`Chain::resume`].
    Announce { removed: Vec<Link>, added: Vec<Block> },
    /// What was announced cannot be continued. The chain has forgotten everything and begins anew.
    Lost(Loss),
}

/// Why what was announced cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// More blocks are missing than [`GAP_MAX`].
    Gap,
    /// The upstream's chain has no block in common with what is remembered.
    Fork,
    /// The upstream does not know blocks that it must have.
    Missing,
    /// The upstream's chain ends before all that is remembered.
    Behind,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Gap => "too many blocks are missing",
            Loss::Fork => "no block in common with the upstream",
            Loss::Missing => "the upstream does not have its blocks",
            Loss::Behind => "the upstream is far behind",
        })
    }
}

/// What subscribers know of one chain.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Each the parent of the next, and one less by number.
    recent: VecDeque<Link>,
    /// From a block that does not follow on the last one down to its earliest known ancestor. It begins
    /// no higher than above the last one and ends above the first, so that it is no longer than `recent`.
    branch: Vec<Block>,
    /// The highest block that the upstream has.
    height: u64,
    misses: u32,
    behind: u32,
}

impl Chain {
    /// The block announced last, or the one that it all begins behind.
    pub(super) fn head(&self) -> Option<Link> {
        self.recent.back().copied()
    }

    /// Begins behind the parent of a block, so that the block itself is news; whether it has a parent.
    pub(super) fn begin_before(&mut self, block: &Block) -> bool {
        let parent = block.number.checked_sub(1);
        if let Some(number) = parent {
            self.remember(Link { number, hash: block.parent });
        }
        parent.is_some()
    }

    /// Whether this block is remembered.
    pub(super) fn knows(&self, hash: Word) -> bool {
        self.position(hash).is_some()
    }

    /// The upstream's head is this block, which may be known, be the next one or some later one, or
    /// stand in the place of another that was announced.
    pub(super) fn see_head(&mut self, block: Block) -> Next {
        self.branch.clear();
        self.height = block.number;
        self.take(block)
    }

    /// The upstream has this block.
    pub(super) fn take(&mut self, block: Block) -> Next {
        let (Some(first), Some(head)) = (self.recent.front().copied(), self.head()) else {
            // Its parent, too: this one may be replaced like any other.
            if let Some(number) = block.number.checked_sub(1) {
                self.remember(Link { number, hash: block.parent });
            }
            self.remember(Link::from(&block));
            return self.resume();
        };
        if self.position(block.hash).is_some() {
            (self.behind, self.misses) = (0, 0);
            return Next::Wait;
        }
        if let Some(ancestor) = self.position(block.parent) {
            return self.join(ancestor, block);
        }
        if self.branch.is_empty() && block.number > head.number.saturating_add(1) {
            self.height = self.height.max(block.number);
            return self.catch_up(head);
        }
        if block.number > first.number {
            return self.descend(block);
        }
        if self.branch.is_empty() && block.number < first.number {
            return self.fall_behind(head, block.number);
        }
        self.lose(Loss::Fork)
    }

    /// The upstream does not know the block that was to be fetched: it may have been asked too early,
    /// or the block was replaced meanwhile. So it is with a block that cannot be where it says it is. The
    /// next news begin anew.
    pub(super) fn miss(&mut self) -> Next {
        self.branch.clear();
        self.misses += 1;
        if self.misses > MISSES_MAX { self.lose(Loss::Missing) } else { Next::Wait }
    }

    /// Goes on after an announcement.
    pub(super) fn resume(&mut self) -> Next {
        match self.head() {
            Some(head) if self.height > head.number => self.catch_up(head),
            _ => Next::Wait,
        }
    }

    fn catch_up(&mut self, head: Link) -> Next {
        if self.height - head.number > GAP_MAX {
            return self.lose(Loss::Gap);
        }
        Next::Fetch(Which::Number(head.number + 1))
    }

    /// The block does not follow on anything known: its parent may.
    fn descend(&mut self, block: Block) -> Next {
        let is_next = |child: &Block| is_child(child, Link::from(&block));
        if !self.branch.last().is_none_or(is_next) {
            return self.miss();
        }
        let parent = block.parent;
        self.branch.push(block);
        Next::Fetch(Which::Hash(parent))
    }

    /// The block, and with it the branch above it, follows on the one at `ancestor`.
    fn join(&mut self, ancestor: usize, block: Block) -> Next {
        if !is_child(&block, self.recent[ancestor]) {
            return self.miss();
        }
        (self.behind, self.misses) = (0, 0);
        let mut added = vec![block];
        while let Some(child) = self.branch.pop() {
            let follows = added.last().is_some_and(|last| is_child(&child, Link::from(last)));
            if follows {
                added.push(child);
            }
        }
        let removed: Vec<Link> = self.recent.drain(ancestor + 1..).rev().collect();
        added.iter().for_each(|block| self.remember(Link::from(block)));
        Next::Announce { removed, added }
    }

    fn fall_behind(&mut self, head: Link, number: u64) -> Next {
        let is_far = head.number - number >= REMEMBERED_MAX as u64;
        self.behind += if is_far { FAR_BEHIND } else { 1 };
        if self.behind > BEHIND_MAX { self.lose(Loss::Behind) } else { Next::Wait }
    }

    fn remember(&mut self, link: Link) {
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(link);
    }

    fn position(&self, hash: Word) -> Option<usize> {
        // What is looked for is nearly always at the end.
        self.recent.iter().rposition(|link| link.hash == hash)
    }

    fn lose(&mut self, loss: Loss) -> Next {
        *self = Chain::default();
        Next::Lost(loss)
    }
}

#[cfg(test)]
mod tests;
