//! Batches that are seen more than once. Where the trunk is held still, nine tenths of a step go into looking at new images; what is
//! left of them is small, so it is kept and shown several more times. Leaves what is seen to [`super::model`] and
//! [`super::regions`].

use candle_core::Tensor;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{batch::Truth, regions::Shown};

/// Batches that are kept: some 2 MB each.
const KEPT: usize = 500;

/// What is left of a batch.
pub(super) enum Look {
    /// For the proposer.
    Whole(Sight),
    /// For region codes.
    Regions(Shown),
}

/// Images as the proposer sees them, and what it should find.
pub(super) struct Sight {
    /// `(n, c, h, w)`.
    pub(super) map: Tensor,
    /// Per image.
    pub(super) truths: Vec<Vec<Truth>>,
}

/// The latest looks, to be taken again.
pub(super) struct Memory<T = Look> {
    looks: Vec<T>,
    next: usize,
    rng: ChaCha8Rng,
}

impl<T> Memory<T> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            looks: Vec::new(),
            next: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Keeps a look in place of the oldest.
    pub(super) fn keep(&mut self, look: T) {
        match self.looks.get_mut(self.next) {
            Some(oldest) => *oldest = look,
            None => self.looks.push(look),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// The latest look the first time, then any; no more of them than there are.
    pub(super) fn again(&mut self, round: usize) -> Option<&T> {
        if round >= self.looks.len() {
            return None;
        }
        let at = match round {
            0 => (self.next + KEPT - 1) % KEPT,
            _ => self.rng.random_range(0..self.looks.len()),
        };
        self.looks.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_look_comes_first_and_the_oldest_goes() {
        let mut memory = Memory::new(1);
        assert!(memory.again(0).is_none());
        for n in 0..KEPT + 3 {
            memory.keep(n);
            assert_eq!(memory.again(0), Some(&n));
        }
        assert_eq!(memory.looks.len(), KEPT);
        assert!(memory.looks.iter().all(|n| *n >= 3));
    }
}
