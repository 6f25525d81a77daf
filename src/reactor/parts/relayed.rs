//! Sums of bytes by route, for connections through which requests and tunnels pass.
//!
//! It only adds up. [`conn::relayed`](crate::reactor::conn::relayed) says which connections count, and
//! with how much.

use super::ledger::Sum;
use crate::reactor::api::id::RouteId;

/// What one connection is counted with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Relayed {
    pub(crate) route: RouteId,
    /// In 32 bits: more would be 4 GiB of one connection, and each idle tunnel has two of these.
    bytes: u32,
}

impl Relayed {
    pub(crate) fn new(route: RouteId, bytes: usize) -> Relayed {
        Relayed { route, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
    }

    pub(crate) fn bytes(self) -> usize {
        self.bytes as usize
    }
}

/// The sum of each route.
#[derive(Debug, Default)]
pub(crate) struct RelayedSums(Vec<Sum>);

impl RelayedSums {
    pub(crate) fn get(&self, route: RouteId) -> usize {
        self.0.get(route.index()).map_or(0, Sum::get)
    }

    pub(crate) fn replace(&mut self, route: RouteId, before: usize, after: usize) {
        if before == after {
            return;
        }
        if self.0.len() <= route.index() {
            self.0.resize_with(route.index() + 1, Sum::default);
        }
        self.0[route.index()].replace(before, after);
    }

    /// Compares each sum with the connections, given what each of them is counted with. For debug
    /// assertions.
    pub(crate) fn are_sums_of(&self, counted: impl Iterator<Item = Relayed>) -> bool {
        let mut sums = vec![0; self.0.len()];
        for counted in counted.filter(|counted| counted.bytes > 0) {
            match sums.get_mut(counted.route.index()) {
                Some(sum) => *sum += counted.bytes(),
                None => return false,
            }
        }
        self.0.iter().map(Sum::get).eq(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_a_sum_of_its_own() {
        let mut sums = RelayedSums::default();
        sums.replace(RouteId(3), 0, 100);
        sums.replace(RouteId(1), 0, 7);
        sums.replace(RouteId(3), 40, 10);
        let of = |route| sums.get(RouteId(route));
        assert_eq!([of(0), of(1), of(2), of(3), of(4)], [0, 7, 0, 70, 0]);
        let counted = [(1, 7), (3, 60), (3, 10), (9, 0)];
        let counted = counted.map(|(route, bytes)| Relayed::new(RouteId(route), bytes));
        assert!(sums.are_sums_of(counted.into_iter()));
        assert!(!sums.are_sums_of(counted[1..].iter().copied()), "a sum without its connection");
        let other = Relayed::new(RouteId(9), 1);
        assert!(!sums.are_sums_of(counted.into_iter().chain([other])), "no sum for a connection");
    }
}
