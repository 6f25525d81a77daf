//! A chain of upstreams that grow, fork, lag and lie.

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

    fn find(&self, which: BlockKey) -> Option<Block> {
        let mut all = (0..=self.height).rev().map(|number| self.block(number));
        all.find(|block| match which {
            BlockKey::Number(number) => block.number == number,
            BlockKey::Hash(hash) => block.hash == hash,
        })
    }
}

/// An announcement to subscribers.
#[derive(Debug, PartialEq)]
enum Announced {
    Added(u64, u8),
    Removed(u64),
    Lost(Loss),
}
use Announced::{Added, Lost, Removed};

/// Carries out each step until the chain waits.
fn settle(chain: &mut Chain, upstream: Upstream, mut next: Step) -> Vec<Announced> {
    let mut announced = Vec::new();
    loop {
        next = match next {
            Step::Wait => return announced,
            Step::Fetch(which) => match upstream.find(which) {
                Some(block) => chain.add(block),
                None => chain.missing(),
            },
            Step::Announce { removed, added } => {
                announced.extend(removed.iter().map(|block| Removed(block.number)));
                let added = added.iter();
                announced
                    .extend(added.map(|block| Added(block.number, upstream.fork_at(block.number))));
                chain.resume()
            }
            Step::Lost(loss) => {
                announced.push(Lost(loss));
                return announced;
            }
        };
    }
}

fn poll(chain: &mut Chain, upstream: Upstream) -> Vec<Announced> {
    let next = chain.on_head(upstream.block(upstream.height));
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
    let announced = poll(&mut chain, main(head));
    assert_eq!(announced, (first + 1..=head).map(|number| Added(number, 0)).collect::<Vec<_>>());
    chain
}

#[test]
fn blocks_are_announced_once_and_in_order() {
    let mut chain = Chain::default();
    assert_eq!(poll(&mut chain, main(5)), [], "earlier blocks are not announced");
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
    assert_eq!(poll(&mut chain, main(3)), [], "older than all remembered blocks");
    assert_eq!(poll(&mut chain, main(11)), [Added(11, 0)]);
}

#[test]
fn reorganisations_are_announced_from_the_fork_on() {
    let mut chain = followed(5, 10);
    assert_eq!(
        poll(&mut chain, fork(1, 9, 11)),
        [Removed(10), Removed(9), Added(9, 1), Added(10, 1), Added(11, 1)]
    );
    assert_eq!(poll(&mut chain, fork(1, 9, 12)), [Added(12, 1)]);
    // To a shorter chain, too.
    let announced = poll(&mut chain, fork(2, 11, 11));
    let back = [Removed(12), Removed(11), Removed(10), Removed(9)];
    assert_eq!(announced[..4], back);
    assert_eq!(announced[4..], [Added(9, 0), Added(10, 0), Added(11, 2)]);
}

#[test]
fn a_block_that_replaces_another_is_announced_without_growth() {
    let mut chain = followed(5, 10);
    assert_eq!(poll(&mut chain, fork(1, 10, 10)), [Removed(10), Added(10, 1)]);
    assert_eq!(poll(&mut chain, fork(1, 10, 10)), []);
    let announced = poll(&mut chain, fork(2, 9, 10));
    assert_eq!(announced, [Removed(10), Removed(9), Added(9, 2), Added(10, 2)]);
    // A shorter one, too.
    assert_eq!(poll(&mut chain, fork(3, 9, 9)), [Removed(10), Removed(9), Added(9, 3)]);
    assert_eq!(poll(&mut chain, fork(3, 9, 10)), [Added(10, 3)]);
}

#[test]
fn pushed_headers_need_no_height() {
    let mut chain = followed(5, 10);
    let push = |chain: &mut Chain, upstream: Upstream| {
        let next = chain.add(upstream.block(upstream.height));
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
    let announced = poll(&mut chain, main(6 + GAP_MAX));
    assert_eq!(announced.len() as u64, GAP_MAX);
    let mut chain = followed(5, 6);
    assert_eq!(poll(&mut chain, main(7 + GAP_MAX)), [Lost(Loss::Gap)]);
    assert_eq!(poll(&mut chain, main(7 + GAP_MAX)), [], "it starts again");
    assert_eq!(poll(&mut chain, main(8 + GAP_MAX)), [Added(8 + GAP_MAX, 0)]);
}

#[test]
fn a_fork_is_followed_as_deep_as_blocks_are_remembered() {
    let head = 300;
    let oldest = head + 1 - REMEMBERED_MAX as u64;
    let mut chain = followed(5, head);
    let announced = poll(&mut chain, fork(1, oldest + 1, head + 1));
    assert_eq!(announced.len(), 2 * REMEMBERED_MAX - 1);
    let mut chain = followed(5, head);
    assert_eq!(poll(&mut chain, fork(1, oldest, head + 1)), [Lost(Loss::Fork)]);
}

#[test]
fn another_chain_is_a_loss() {
    // The chain was started again, and is longer, as long, or shorter than the known one.
    let mut chain = followed(5, 10);
    assert_eq!(poll(&mut chain, fork(1, 0, 20)), [Lost(Loss::Fork)]);
    let mut chain = followed(5, 10);
    assert_eq!(poll(&mut chain, fork(1, 0, 10)), [Lost(Loss::Fork)]);
    let mut chain = followed(5, 10);
    assert_eq!(poll(&mut chain, fork(1, 0, 7)), [Lost(Loss::Fork)]);
    let mut chain = followed(5, 10);
    assert_eq!(poll(&mut chain, fork(1, 0, 5)), [Lost(Loss::Fork)]);
}

#[test]
fn an_upstream_far_behind_is_a_loss_soon_but_not_for_one_answer() {
    let mut chain = followed(5, 200);
    for height in 201..210 {
        for _ in 0..BEHIND_MAX / FAR_BEHIND {
            assert_eq!(poll(&mut chain, main(3)), []);
        }
        assert_eq!(poll(&mut chain, main(height)), [Added(height, 0)]);
    }
    for _ in 0..BEHIND_MAX / FAR_BEHIND {
        assert_eq!(poll(&mut chain, main(3)), []);
    }
    assert_eq!(poll(&mut chain, main(3)), [Lost(Loss::Behind)]);
}

#[test]
fn the_block_before_the_first_announcement_may_be_replaced() {
    let mut chain = Chain::default();
    assert_eq!(poll(&mut chain, main(5)), []);
    assert_eq!(poll(&mut chain, fork(1, 5, 5)), [Removed(5), Added(5, 1)]);
    assert_eq!(poll(&mut chain, fork(1, 5, 6)), [Added(6, 1)]);
}

#[test]
fn blocks_whose_numbers_do_not_increase_by_one_are_rejected() {
    let mut chain = followed(5, 10);
    for number in [0, 9, 10, 12, 500, u64::MAX] {
        let block = Block { number, hash: hash(1, 9), ..main(11).block(11) };
        assert!(matches!(chain.add(block), Step::Wait), "{number}");
    }
    assert_eq!(poll(&mut chain, main(11)), [Added(11, 0)]);

    let last = Block { number: u64::MAX, ..main(5).block(5) };
    let mut chain = Chain::default();
    assert!(matches!(chain.add(last.clone()), Step::Wait));
    let beyond = Block { number: 0, hash: hash(1, 9), parent: last.hash, ..last };
    assert!(matches!(chain.add(beyond), Step::Wait));
}

#[test]
fn an_upstream_that_stays_behind_is_a_loss_in_the_end() {
    let mut chain = followed(5, 10);
    for _ in 0..BEHIND_MAX {
        assert_eq!(poll(&mut chain, main(3)), []);
    }
    assert_eq!(poll(&mut chain, main(3)), [Lost(Loss::Behind)]);
}

#[test]
fn missing_blocks_are_fetched_again_up_to_a_limit() {
    let mut chain = followed(5, 10);
    for _ in 0..MISSES_MAX {
        let next = chain.on_head(main(12).block(12));
        assert_eq!(settle(&mut chain, main(10), next), []);
    }
    assert_eq!(poll(&mut chain, main(12)), [Added(11, 0), Added(12, 0)]);
    for _ in 0..MISSES_MAX {
        let next = chain.on_head(main(14).block(14));
        assert_eq!(settle(&mut chain, main(12), next), []);
    }
    let next = chain.on_head(main(14).block(14));
    assert_eq!(settle(&mut chain, main(12), next), [Lost(Loss::Missing)]);
}

#[test]
fn an_unexpected_block_ends_the_search_for_a_fork() {
    let mut chain = followed(5, 10);
    assert!(matches!(chain.add(fork(1, 8, 11).block(11)), Step::Fetch(BlockKey::Hash(_))));
    assert!(matches!(chain.add(fork(2, 8, 9).block(9)), Step::Wait));
    assert_eq!(poll(&mut chain, main(11)), [Added(11, 0)]);
}

#[test]
fn a_fork_whose_numbers_do_not_decrease_ends() {
    let mut chain = followed(5, 10);
    let mut block = fork(1, 0, 11).block(11);
    for fork in 0..=u8::MAX {
        block.hash = hash(1 << 40, fork);
        block.parent = hash(1 << 40, fork.wrapping_add(1));
        if let Step::Lost(loss) = chain.add(block.clone()) {
            return assert_eq!(loss, Loss::Missing);
        }
    }
    panic!("it does not end");
}
