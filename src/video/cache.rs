//! Decoded frames within a byte budget, and what to decode next while nobody asks. Pure bookkeeping: the decoding is
//! done by [`super::decoder`].

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::Frame;

/// Least-recently-used cache of frames, keyed by display index.
pub(super) struct FrameCache {
    budget: usize,
    used: usize,
    clock: u64,
    frames: BTreeMap<u32, (u64, Arc<Frame>)>,
    by_age: BTreeMap<u64, u32>,
}

impl FrameCache {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            budget,
            used: 0,
            clock: 0,
            frames: BTreeMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// Bytes of pixels held.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.frames.contains_key(&index)
    }

    /// The frame, which counts as used now.
    pub(super) fn get(&mut self, index: u32) -> Option<Arc<Frame>> {
        let (age, frame) = self.frames.get_mut(&index)?;
        self.by_age.remove(age);
        self.clock += 1;
        *age = self.clock;
        self.by_age.insert(self.clock, index);
        Some(Arc::clone(frame))
    }

    /// Takes a frame and lets go of the least recently used ones beyond the budget; the new one always stays, so that a
    /// frame larger than the budget can be shown at all.
    pub(super) fn insert(&mut self, frame: Arc<Frame>) {
        let index = frame.index.0;
        self.remove(index);
        self.used += frame.bytes();
        while self.used > self.budget {
            let Some((_, &oldest)) = self.by_age.first_key_value() else {
                break;
            };
            self.remove(oldest);
        }
        self.clock += 1;
        self.by_age.insert(self.clock, index);
        self.frames.insert(index, (self.clock, frame));
    }

    fn remove(&mut self, index: u32) {
        if let Some((age, frame)) = self.frames.remove(&index) {
            self.by_age.remove(&age);
            self.used -= frame.bytes();
        }
    }

    /// Frames of `bytes` bytes that fit the budget.
    pub(super) fn room(&self, bytes: usize) -> u32 {
        u32::try_from(self.budget / bytes.max(1)).unwrap_or(u32::MAX)
    }

    /// Ranges of display indices that are held, ascending.
    pub(super) fn ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for &index in self.frames.keys() {
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => ranges.push(index..index + 1),
            }
        }
        ranges
    }
}

/// Which way the user moves through the video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Nothing is known yet.
    Still,
    Forward,
    Backward,
}

/// A frame to decode, and which of the frames on the way to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) index: u32,
    pub(super) keep: Range<u32>,
}

/// How far around the playhead frames are decoded before they are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Frames in the direction of movement.
    ahead: u32,
    /// Frames kept in one go when decoding has to start before the frame asked for.
    chunk: u32,
}

impl Reach {
    /// For a cache that holds `room` frames. Half of it lies ahead; the other half is what was just seen. A chunk is
    /// half of that again: while one is shown, the next is decoded.
    pub(super) fn new(room: u32) -> Self {
        let ahead = (room / 2).min(256);
        Self {
            ahead,
            chunk: ahead / 2,
        }
    }

    /// What to keep on the way to frame `index`.
    pub(super) fn keep_before(self, index: u32) -> Range<u32> {
        index.saturating_sub(self.chunk)..index
    }

    /// The next frame worth decoding around `playhead` of `frames`, if any. `done` tells what needs no decoding.
    pub(super) fn next(
        self,
        playhead: u32,
        frames: u32,
        direction: Direction,
        done: impl Fn(u32) -> bool,
    ) -> Option<Fetch> {
        match direction {
            Direction::Forward | Direction::Still => {
                let ahead = if direction == Direction::Still {
                    self.ahead.min(8)
                } else {
                    self.ahead
                };
                let from = playhead.saturating_add(1);
                let end = from.saturating_add(ahead).min(frames);
                let index = (from..end).find(|&i| !done(i))?;
                Some(Fetch {
                    index,
                    keep: from..index,
                })
            }
            Direction::Backward => {
                let low = playhead.saturating_sub(self.ahead);
                let index = (low..playhead).rev().find(|&i| !done(i))?;
                // Each backward fetch decodes a whole chunk: not worth it for one frame at the far end.
                (playhead - index <= self.ahead - self.chunk).then(|| Fetch {
                    index,
                    keep: self.keep_before(index),
                })
            }
        }
    }
}

/// Frames that could not be decoded, and why; asking again would only fail again.
pub(super) type Failed = BTreeMap<u32, String>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{FrameIndex, Size},
        video::Pixels,
    };

    fn frame(index: u32, bytes: usize) -> Arc<Frame> {
        Arc::new(Frame {
            index: FrameIndex(index),
            pts_secs: 0.0,
            coded_size: Size::new(1, 1),
            rotation: 0,
            pixels: Pixels::Rgb(vec![0; bytes]),
        })
    }

    #[test]
    fn the_budget_holds_and_the_oldest_goes() {
        let mut cache = FrameCache::new(100);
        for i in 0..10 {
            cache.insert(frame(i, 30));
            assert!(cache.used() <= 100);
        }
        assert!((7..10).eq(cache.ranges().into_iter().flatten()));
        assert!(cache.get(7).is_some());
        cache.insert(frame(20, 30));
        assert_eq!(cache.ranges(), [7..8, 9..10, 20..21]);
        cache.insert(frame(9, 60));
        assert!(cache.used() <= 100);
        assert!(cache.contains(9));
    }

    #[test]
    fn a_frame_beyond_the_budget_is_still_held() {
        let mut cache = FrameCache::new(100);
        cache.insert(frame(1, 50));
        cache.insert(frame(2, 500));
        assert!((2..3).eq(cache.ranges().into_iter().flatten()));
        cache.insert(frame(3, 50));
        assert!((3..4).eq(cache.ranges().into_iter().flatten()));
        assert_eq!(cache.used(), 50);
    }

    #[test]
    fn fetching_follows_the_movement() {
        let reach = Reach::new(40);
        let nothing = |_| false;
        let fetch = |index, keep| Some(Fetch { index, keep });
        assert_eq!(
            reach.next(50, 100, Direction::Forward, nothing),
            fetch(51, 51..51)
        );
        assert_eq!(
            reach.next(50, 100, Direction::Forward, |i| i < 60),
            fetch(60, 51..60)
        );
        assert_eq!(reach.next(50, 100, Direction::Forward, |i| i < 71), None);
        assert_eq!(reach.next(99, 100, Direction::Forward, nothing), None);
        assert_eq!(reach.next(50, 100, Direction::Still, |i| i < 59), None);
        assert_eq!(
            reach.next(50, 100, Direction::Backward, nothing),
            fetch(49, 39..49)
        );
        // Ten frames left before the playhead: time for the next chunk. Eleven: not yet.
        assert_eq!(
            reach.next(50, 100, Direction::Backward, |i| i > 40),
            fetch(40, 30..40)
        );
        assert_eq!(reach.next(50, 100, Direction::Backward, |i| i > 39), None);
        assert_eq!(
            reach.next(3, 100, Direction::Backward, nothing),
            fetch(2, 0..2)
        );
        assert_eq!(reach.next(0, 100, Direction::Backward, nothing), None);
    }

    #[test]
    fn a_cache_for_one_frame_fetches_nothing() {
        for direction in [Direction::Still, Direction::Forward, Direction::Backward] {
            assert_eq!(Reach::new(1).next(5, 10, direction, |_| false), None);
        }
    }
}
