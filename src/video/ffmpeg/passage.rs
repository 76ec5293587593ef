//! What came out of a decoder since it was last set to a place in the file, and what should have come but did not. Pure
//! bookkeeping: what is made of it is left to the parent module.

use std::{collections::BTreeSet, ops::Range};

use super::REORDER_SLACK;

/// The pictures of one run of a decoder, by display index.
#[derive(Default)]
pub(super) struct Passage {
    /// A picture came. What is missing before the first one need not be damaged: a decoder may have to read for a while
    /// before it gives any.
    begun: bool,
    /// The highest index that came.
    last: u32,
    /// Frames that the decoder was allowed to leave out.
    spared: BTreeSet<u32>,
    /// Frames passed over, which may still come.
    missing: BTreeSet<u32>,
    /// The decoder has refused a packet: what is missing from then on is damaged, and not merely late.
    refused: bool,
}

impl Passage {
    /// The decoder may leave this frame out.
    pub(super) fn spare(&mut self, index: u32) {
        self.spared.insert(index);
    }

    /// The decoder has refused a packet.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// The highest index that came; 0 before the first.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// Picture `index` came when none below `expected` could be expected any more. Gives the frames before it that must be
    /// taken for damaged.
    pub(super) fn came(&mut self, index: u32, expected: u32) -> BTreeSet<u32> {
        if self.begun {
            self.pass(expected..index);
        }
        self.begun = true;
        self.last = self.last.max(index);
        self.missing.remove(&index);
        let firm = if self.refused {
            index
        } else {
            self.last.saturating_sub(REORDER_SLACK)
        };
        let late = self.missing.split_off(&firm);
        self.spared = self.spared.split_off(&firm.min(expected));
        std::mem::replace(&mut self.missing, late)
    }

    /// Nothing comes any more of `frames` frames. Gives those that must be taken for damaged.
    pub(super) fn ended(&mut self, expected: u32, frames: u32) -> BTreeSet<u32> {
        if self.begun && self.refused {
            self.pass(expected..frames);
        }
        std::mem::take(&mut self.missing)
    }

    fn pass(&mut self, frames: Range<u32>) {
        let spared = &self.spared;
        self.missing.extend(frames.filter(|i| !spared.contains(i)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<const N: usize>(frames: [u32; N]) -> BTreeSet<u32> {
        frames.into()
    }

    #[test]
    fn a_frame_passed_over_is_damaged_once_it_cannot_be_late_any_more() {
        let mut passage = Passage::default();
        assert_eq!(passage.came(20, 20), set([]));
        assert_eq!(passage.came(23, 21), set([]), "they may be late");
        assert_eq!(passage.came(22, 24), set([]));
        for i in 24..=37 {
            assert_eq!(passage.came(i, i), set([]), "{i}");
        }
        assert_eq!(passage.came(38, 38), set([21]));
        assert_eq!(passage.came(39, 39), set([]), "said once");
    }

    #[test]
    fn after_a_refusal_nothing_is_waited_for() {
        let mut passage = Passage::default();
        passage.came(20, 20);
        passage.refuse();
        assert_eq!(passage.came(24, 21), set([21, 22, 23]));
        assert_eq!(passage.ended(25, 28), set([25, 26, 27]));
    }

    #[test]
    fn what_was_to_be_left_out_is_not_missing() {
        let mut passage = Passage::default();
        passage.refuse();
        passage.spare(22);
        passage.spare(26);
        assert_eq!(passage.came(20, 20), set([]));
        assert_eq!(passage.came(24, 21), set([21, 23]));
        assert_eq!(passage.came(27, 25), set([25]));
    }

    #[test]
    fn before_the_first_picture_nothing_is_missing() {
        let mut passage = Passage::default();
        passage.refuse();
        assert_eq!(passage.came(38, 20), set([]));
        assert_eq!(passage.came(39, 39), set([]));
        assert_eq!(passage.last(), 39);
    }

    #[test]
    fn an_end_without_a_refusal_is_only_an_end() {
        let mut passage = Passage::default();
        passage.came(20, 20);
        assert_eq!(passage.ended(21, 500), set([]));
    }
}
