//! The chain as subscribers were told of it: each block once and in order, whatever order an upstream
//! tells them in.
//!
//! A state machine: fed with heads and blocks, it answers what to fetch next or what to announce.
//! Makes no request, knows no clock. When it cannot say how what it has announced leads to what it
//! sees now, it says so rather than skip: [`Next::Lost`].

use std::collections::VecDeque;
use std::fmt;

use super::super::Word;
use super::block::Block;

/// Blocks remembered: how deep a reorganisation may reach.
pub(super) const REMEMBERED_MAX: usize = 128;
/// How many blocks are fetched to catch up with an upstream.
pub(super) const GAP_MAX: u64 = 1024;
/// How often in a row an upstream may not know a block that it must have.
pub(super) const MISSES_MAX: u32 = 16;
/// How often in a row an upstream may tell only of blocks older than all that are remembered.
pub(super) const BEHIND_MAX: u32 = 64;

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Number(u64),
    Hash(Word),
}

/// A block that was announced: what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) hash: Word,
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
    /// Each the parent of the next.
    recent: VecDeque<Link>,
    /// From a block that does not follow on the last one down to its earliest known ancestor.
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
            self.remember(&block);
            return self.resume();
        };
        if self.position(block.hash).is_some() {
            (self.behind, self.misses) = (0, 0);
            return Next::Wait;
        }
        if let Some(ancestor) = self.position(block.parent) {
            return self.join(ancestor, block);
        }
        if self.branch.is_empty() && block.number > head.number + 1 {
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
    /// or the block was replaced meanwhile. The next news begin anew.
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
        let is_next = self.branch.last().is_none_or(|child| child.parent == block.hash);
        if !is_next {
            return self.miss();
        }
        // Numbers go down to the first one remembered; one that did not would go on for ever.
        if self.branch.len() == REMEMBERED_MAX {
            return self.lose(Loss::Fork);
        }
        let parent = block.parent;
        self.branch.push(block);
        Next::Fetch(Which::Hash(parent))
    }

    /// The block, and with it the branch above it, follows on the one at `ancestor`.
    fn join(&mut self, ancestor: usize, block: Block) -> Next {
        (self.behind, self.misses) = (0, 0);
        let mut added = vec![block];
        while let Some(child) = self.branch.pop() {
            let follows = added.last().is_some_and(|last| last.hash == child.parent);
            if follows {
                added.push(child);
            }
        }
        let removed: Vec<Link> = self.recent.drain(ancestor + 1..).rev().collect();
        for block in &added {
            self.remember(block);
        }
        Next::Announce { removed, added }
    }

    fn fall_behind(&mut self, head: Link, number: u64) -> Next {
        self.behind += 1;
        let is_far = head.number - number >= REMEMBERED_MAX as u64;
        if is_far || self.behind > BEHIND_MAX { self.lose(Loss::Behind) } else { Next::Wait }
    }

    fn remember(&mut self, block: &Block) {
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Link { number: block.number, hash: block.hash });
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
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// The hash of block `number` on `fork`.
    fn hash(number: u64, fork: u8) -> Word {
        Word::parse(&format!("0x{fork:02x}{number:062x}")).unwrap()
    }

    /// Blocks below `root` are on fork 0, `root` and those above on `fork`.
    #[derive(Clone, Copy)]
    struct Upstream {
        fork: u8,
        root: u64,
        height: u64,
    }

    impl Upstream {
        fn fork_at(&self, number: u64) -> u8 {
            if number >= self.root { self.fork } else { 0 }
        }

        fn block(&self, number: u64) -> Block {
            Block {
                number,
                hash: hash(number, self.fork_at(number)),
                parent: hash(number.wrapping_sub(1), self.fork_at(number.wrapping_sub(1))),
                header: RawValue::NULL.to_owned(),
            }
        }

        fn find(&self, which: Which) -> Option<Block> {
            let mut all = (0..=self.height).rev().map(|number| self.block(number));
            all.find(|block| match which {
                Which::Number(number) => block.number == number,
                Which::Hash(hash) => block.hash == hash,
            })
        }
    }

    /// What a subscriber hears.
    #[derive(Debug, PartialEq)]
    enum Heard {
        Added(u64, u8),
        Removed(u64),
        Lost(Loss),
    }
    use Heard::{Added, Lost, Removed};

    /// Carries out what `next` asks for until the chain waits.
    fn settle(chain: &mut Chain, upstream: Upstream, mut next: Next) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            next = match next {
                Next::Wait => return heard,
                Next::Fetch(which) => match upstream.find(which) {
                    Some(block) => chain.take(block),
                    None => chain.miss(),
                },
                Next::Announce { removed, added } => {
                    heard.extend(removed.iter().map(|link| Removed(link.number)));
                    let added = added.iter();
                    heard.extend(
                        added.map(|block| Added(block.number, upstream.fork_at(block.number))),
                    );
                    chain.resume()
                }
                Next::Lost(loss) => {
                    heard.push(Lost(loss));
                    return heard;
                }
            };
        }
    }

    fn poll(chain: &mut Chain, upstream: Upstream) -> Vec<Heard> {
        let next = chain.see_head(upstream.block(upstream.height));
        settle(chain, upstream, next)
    }

    const MAIN: Upstream = Upstream { fork: 0, root: 0, height: 0 };

    fn main(height: u64) -> Upstream {
        Upstream { height, ..MAIN }
    }

    fn fork(fork: u8, root: u64, height: u64) -> Upstream {
        Upstream { fork, root, height }
    }

    /// A chain that has been followed from `first` to `head`.
    fn followed(first: u64, head: u64) -> Chain {
        let mut chain = Chain::default();
        assert_eq!(poll(&mut chain, main(first)), []);
        let heard = poll(&mut chain, main(head));
        assert_eq!(heard, (first + 1..=head).map(|number| Added(number, 0)).collect::<Vec<_>>());
        chain
    }

    #[test]
    fn blocks_are_announced_once_and_in_order() {
        let mut chain = Chain::default();
        assert_eq!(poll(&mut chain, main(5)), [], "what was there before is no news");
        assert_eq!(poll(&mut chain, main(5)), []);
        assert_eq!(poll(&mut chain, main(6)), [Added(6, 0)]);
        assert_eq!(poll(&mut chain, main(6)), []);
        assert_eq!(poll(&mut chain, main(9)), [Added(7, 0), Added(8, 0), Added(9, 0)]);
        assert_eq!(chain.head().map(|head| head.number), Some(9));
    }

    #[test]
    fn an_upstream_that_is_behind_repeats_and_skips_nothing() {
        let mut chain = followed(5, 10);
        assert_eq!(poll(&mut chain, main(8)), []);
        assert_eq!(poll(&mut chain, main(10)), []);
        assert_eq!(poll(&mut chain, main(4)), [], "older than all that is remembered");
        assert_eq!(poll(&mut chain, main(11)), [Added(11, 0)]);
    }

    #[test]
    fn reorganisations_are_told_from_the_fork_on() {
        let mut chain = followed(5, 10);
        assert_eq!(
            poll(&mut chain, fork(1, 9, 11)),
            [Removed(10), Removed(9), Added(9, 1), Added(10, 1), Added(11, 1)]
        );
        assert_eq!(poll(&mut chain, fork(1, 9, 12)), [Added(12, 1)]);
        // To a shorter chain, too.
        let told = poll(&mut chain, fork(2, 11, 11));
        let back = [Removed(12), Removed(11), Removed(10), Removed(9)];
        assert_eq!(told[..4], back);
        assert_eq!(told[4..], [Added(9, 0), Added(10, 0), Added(11, 2)]);
    }

    #[test]
    fn a_block_in_the_place_of_another_is_told_without_the_chain_growing() {
        let mut chain = followed(5, 10);
        assert_eq!(poll(&mut chain, fork(1, 10, 10)), [Removed(10), Added(10, 1)]);
        assert_eq!(poll(&mut chain, fork(1, 10, 10)), []);
        let told = poll(&mut chain, fork(2, 9, 10));
        assert_eq!(told, [Removed(10), Removed(9), Added(9, 2), Added(10, 2)]);
        // A shorter one, too.
        assert_eq!(poll(&mut chain, fork(3, 9, 9)), [Removed(10), Removed(9), Added(9, 3)]);
        assert_eq!(poll(&mut chain, fork(3, 9, 10)), [Added(10, 3)]);
    }

    #[test]
    fn pushed_headers_need_no_height() {
        let mut chain = followed(5, 10);
        let push = |chain: &mut Chain, upstream: Upstream| {
            let next = chain.take(upstream.block(upstream.height));
            settle(chain, upstream, next)
        };
        assert_eq!(push(&mut chain, main(11)), [Added(11, 0)]);
        assert_eq!(push(&mut chain, main(11)), []);
        assert_eq!(push(&mut chain, main(14)), [Added(12, 0), Added(13, 0), Added(14, 0)]);
        assert_eq!(push(&mut chain, fork(1, 14, 14)), [Removed(14), Added(14, 1)]);
        assert_eq!(
            push(&mut chain, fork(2, 13, 16)),
            [Removed(14), Removed(13), Added(13, 2), Added(14, 2), Added(15, 2), Added(16, 2)]
        );
    }

    #[test]
    fn a_gap_is_filled_up_to_a_limit() {
        let mut chain = followed(5, 6);
        let heard = poll(&mut chain, main(6 + GAP_MAX));
        assert_eq!(heard.len() as u64, GAP_MAX);
        let mut chain = followed(5, 6);
        assert_eq!(poll(&mut chain, main(7 + GAP_MAX)), [Lost(Loss::Gap)]);
        assert_eq!(poll(&mut chain, main(7 + GAP_MAX)), [], "it begins anew");
        assert_eq!(poll(&mut chain, main(8 + GAP_MAX)), [Added(8 + GAP_MAX, 0)]);
    }

    #[test]
    fn a_fork_is_followed_as_deep_as_memory_goes() {
        let head = 300;
        let oldest = head + 1 - REMEMBERED_MAX as u64;
        let mut chain = followed(5, head);
        let heard = poll(&mut chain, fork(1, oldest + 1, head + 1));
        assert_eq!(heard.len(), 2 * REMEMBERED_MAX - 1);
        let mut chain = followed(5, head);
        assert_eq!(poll(&mut chain, fork(1, oldest, head + 1)), [Lost(Loss::Fork)]);
    }

    #[test]
    fn another_chain_is_a_loss() {
        // It was begun anew, and is longer, as long, or shorter than what is known.
        let mut chain = followed(5, 10);
        assert_eq!(poll(&mut chain, fork(1, 0, 20)), [Lost(Loss::Fork)]);
        let mut chain = followed(5, 10);
        assert_eq!(poll(&mut chain, fork(1, 0, 10)), [Lost(Loss::Fork)]);
        let mut chain = followed(5, 10);
        assert_eq!(poll(&mut chain, fork(1, 0, 7)), [Lost(Loss::Fork)]);
        let mut chain = followed(5, 10);
        assert_eq!(poll(&mut chain, fork(1, 0, 5)), [Lost(Loss::Fork)]);
        let mut chain = followed(5, 200);
        assert_eq!(poll(&mut chain, fork(1, 0, 0)), [Lost(Loss::Behind)]);
    }

    #[test]
    fn who_stays_behind_is_given_up_in_the_end() {
        let mut chain = followed(5, 10);
        for _ in 0..BEHIND_MAX {
            assert_eq!(poll(&mut chain, main(3)), []);
        }
        assert_eq!(poll(&mut chain, main(3)), [Lost(Loss::Behind)]);
    }

    #[test]
    fn missing_blocks_are_asked_for_again_up_to_a_limit() {
        let mut chain = followed(5, 10);
        for _ in 0..MISSES_MAX {
            let next = chain.see_head(main(12).block(12));
            assert_eq!(settle(&mut chain, main(10), next), []);
        }
        assert_eq!(poll(&mut chain, main(12)), [Added(11, 0), Added(12, 0)]);
        for _ in 0..MISSES_MAX {
            let next = chain.see_head(main(14).block(14));
            assert_eq!(settle(&mut chain, main(12), next), []);
        }
        let next = chain.see_head(main(14).block(14));
        assert_eq!(settle(&mut chain, main(12), next), [Lost(Loss::Missing)]);
    }

    #[test]
    fn a_block_that_was_not_asked_for_breaks_a_descent() {
        let mut chain = followed(5, 10);
        assert!(matches!(chain.take(fork(1, 8, 11).block(11)), Next::Fetch(Which::Hash(_))));
        assert!(matches!(chain.take(fork(2, 8, 9).block(9)), Next::Wait));
        assert_eq!(poll(&mut chain, main(11)), [Added(11, 0)]);
    }

    #[test]
    fn numbers_that_do_not_go_down_end() {
        let mut chain = followed(5, 10);
        let mut block = fork(1, 0, 11).block(11);
        for fork in 0..=u8::MAX {
            block.hash = hash(1 << 40, fork);
            block.parent = hash(1 << 40, fork.wrapping_add(1));
            if let Next::Lost(loss) = chain.take(block.clone()) {
                return assert_eq!(loss, Loss::Fork);
            }
        }
        panic!("it goes on for ever");
    }
}
