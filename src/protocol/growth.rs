//! How a large buffer grows while bytes of an announced total arrive.
//!
//! A buffer that doubles leaves outgrown copies behind, together almost as large as its last
//! capacity. An allocator that moves blocks keeps them for a while. A known total allows fewer and
//! larger steps. But the peer has sent that number, so the bytes received bound each step.

/// Buffers double up to this size. Their outgrown copies are small.
pub(crate) const DOUBLING_BYTES_MAX: usize = 256 * 1024;

/// Maximum capacity of a growing buffer for each received byte.
///
/// The outgrown copies take 1/(factor - 1) of the total: a third, where doubling leaves up to twice
/// the total. A larger factor saves little more, and a peer could reserve more of the memory limit
/// with each byte it sends. The limit of the message stays what one connection can reserve at most,
/// and memory that is reserved but not yet written is not resident.
pub(crate) const GROWTH_MAX: usize = 4;

/// A buffer grows when less room than this is left, so that no read is small.
pub(crate) const ROOM_BYTES_MIN: usize = 4 * 1024;

/// The next capacity of a large buffer in which at most [`ROOM_BYTES_MIN`] bytes are left: above
/// `received`, and at most [`GROWTH_MAX`] times that.
///
/// It is `total` if that is near enough, else a size from which `total` is reached in full steps.
/// `received` is at most `total`, and at least [`DOUBLING_BYTES_MAX`] less the room.
pub(crate) fn next_capacity(received: usize, total: usize) -> usize {
    debug_assert!(received > ROOM_BYTES_MIN && total >= received, "{received} of {total}");
    let most = received.saturating_mul(GROWTH_MAX);
    let mut capacity = total;
    while capacity > most {
        capacity = capacity / GROWTH_MAX + 1 + ROOM_BYTES_MIN;
    }
    capacity
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = DOUBLING_BYTES_MAX;

    /// The capacities of a buffer until it has room for `total` bytes, if `left` bytes are left each
    /// time it grows.
    fn steps(total: usize, left: usize) -> Vec<usize> {
        let mut capacities = vec![FIRST];
        let mut capacity = FIRST;
        while capacity < total {
            let received = capacity - left;
            let next = next_capacity(received, total);
            assert!(next > received && next <= GROWTH_MAX * received, "{received}: {next}");
            capacity = next.max(capacity + 1);
            capacities.push(capacity);
        }
        capacities
    }

    #[test]
    fn outgrown_buffers_take_a_third_of_the_total() {
        for total in (FIRST..100 * FIRST).step_by(FIRST / 7).chain([usize::MAX / 5]) {
            for left in [0, 1, ROOM_BYTES_MIN] {
                let capacities = steps(total, left);
                let (last, outgrown) = capacities.split_last().unwrap();
                assert_eq!(*last, total);
                let rounding = outgrown.len() * 2 * ROOM_BYTES_MIN;
                let most = total / 3 + FIRST + rounding;
                assert!(outgrown.iter().sum::<usize>() <= most, "{capacities:?}");
            }
        }
    }

    #[test]
    fn a_total_that_is_far_away_is_approached_in_steps() {
        assert_eq!(next_capacity(FIRST, 4 * FIRST), 4 * FIRST);
        assert_eq!(next_capacity(FIRST, 4 * FIRST + 3), FIRST + 1 + ROOM_BYTES_MIN);
        assert_eq!(steps(5_000_000, 0), [262_144, 317_621, 1_254_097, 5_000_000]);
    }
}
