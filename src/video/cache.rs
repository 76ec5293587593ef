//! Decoded frames within a byte budget, and what to decode next while nobody asks. Pure bookkeeping: the decoding is
//! done by [`super::decoder`].
//!
//! What goes when the budget is spent follows from where the user is and which way they go, not from when a frame was used
//! last: going back, the frames that come next were all decoded in one go and are the longest unused.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::Frame;

/// Going back, a frame behind the user counts as so many times as far away as one before them.
const BEHIND: u64 = 8;

/// Where the user is in the video.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) playhead: u32,
    pub(super) direction: Direction,
}

impl View {
    /// How far away a frame is, as the user goes: the frame in view is at 0, no two on one side are as far.
    fn distance(self, index: u32) -> u64 {
        let frames = u64::from(index.abs_diff(self.playhead));
        match self.direction {
            Direction::Backward if index > self.playhead => BEHIND * frames,
            Direction::Backward => frames,
            // Both sides alike, ahead a little before behind.
            Direction::Still | Direction::Forward if index > self.playhead => 2 * frames - 1,
            Direction::Still | Direction::Forward => 2 * frames,
        }
    }
}

/// Frames by display index. Those farthest from the user go first.
pub(super) struct FrameCache {
    budget: usize,
    used: usize,
    frames: BTreeMap<u32, Arc<Frame>>,
}

impl FrameCache {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            budget,
            used: 0,
            frames: BTreeMap::new(),
        }
    }

    /// Bytes of pixels held.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.frames.contains_key(&index)
    }

    pub(super) fn get(&self, index: u32) -> Option<Arc<Frame>> {
        self.frames.get(&index).map(Arc::clone)
    }

    /// Takes a frame and lets go of those farthest away beyond the budget, itself if it is the one. The frame in view always
    /// stays, so that a frame larger than the budget can be shown at all.
    pub(super) fn insert(&mut self, frame: Arc<Frame>, view: View) {
        let index = frame.index.0;
        self.remove(index);
        self.used += frame.bytes();
        self.frames.insert(index, frame);
        while self.used > self.budget && self.frames.len() > 1 {
            let (Some((&first, _)), Some((&last, _))) =
                (self.frames.first_key_value(), self.frames.last_key_value())
            else {
                break;
            };
            let first_is_farther = view.distance(first) > view.distance(last);
            self.remove(if first_is_farther { first } else { last });
        }
    }

    fn remove(&mut self, index: u32) {
        if let Some(frame) = self.frames.remove(&index) {
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
    /// Frames ahead, going forward. As many of those just seen stay.
    ahead: u32,
    /// Frames before the playhead, going back: nearly all there is room for. Each group of pictures is decoded from its key
    /// frame, whether one frame of it is wanted or all; the more are kept, the less often it is decoded.
    window: u32,
    /// Going back, so many frames are left to show when the next are decoded.
    lead: u32,
}

impl Reach {
    /// For a cache that holds `room` frames.
    pub(super) fn new(room: u32) -> Self {
        let others = room.saturating_sub(1);
        // Of nine frames beside the one in view, eight lie before it and one behind it, which is as far by `BEHIND`: what is
        // within the window is never let go for anything else, or it would be decoded again and again.
        let window = others - others / 9;
        Self {
            ahead: (room / 2).min(256),
            window,
            lead: window.div_ceil(4),
        }
    }

    /// Frames before the playhead that are decoded and kept, going back.
    pub(super) fn window(self) -> u32 {
        self.window
    }

    /// What to keep on the way to frame `index`. Who does not go back may yet turn round, but every frame kept takes time.
    pub(super) fn keep_before(self, index: u32, direction: Direction) -> Range<u32> {
        let kept = if direction == Direction::Backward {
            self.window
        } else {
            self.lead
        };
        index.saturating_sub(kept)..index
    }

    /// The next frame worth decoding around the playhead of `frames` frames, if any. `done` tells what needs no decoding,
    /// `start` from which frame on a frame has to be decoded, if that is known.
    pub(super) fn next(
        self,
        View {
            playhead,
            direction,
        }: View,
        frames: u32,
        start: impl Fn(u32) -> Option<u32>,
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
                let low = playhead.saturating_sub(self.window);
                let index = (low..playhead).rev().find(|&i| !done(i))?;
                // A group that begins in the window is kept whole, and decoded once. One that begins before it will have to
                // be decoded again: not before there is room for much of it.
                let is_near = playhead - index <= self.lead;
                (is_near || start(index).is_some_and(|key| key >= low)).then_some(Fetch {
                    index,
                    keep: low..index,
                })
            }
        }
    }
}

/// Why a frame cannot be shown; asking again would only fail again.
pub(super) struct Failure {
    pub(super) why: String,
    /// The frame whose picture is shown in its place.
    pub(super) shown: Option<u32>,
}

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

    fn view(playhead: u32, direction: Direction) -> View {
        View {
            playhead,
            direction,
        }
    }

    /// Frames in one piece.
    fn one(range: std::ops::Range<u32>) -> Vec<std::ops::Range<u32>> {
        vec![range]
    }

    #[test]
    fn the_budget_holds_and_the_farthest_goes() {
        let mut cache = FrameCache::new(100);
        for i in 0..10 {
            cache.insert(frame(i, 30), view(i, Direction::Forward));
            assert!(cache.used() <= 100);
        }
        assert_eq!(cache.ranges(), one(7..10));
        assert!(cache.get(7).is_some());
        assert!(cache.get(6).is_none());
        // A jump: what was around the place before goes, the farthest first.
        cache.insert(frame(20, 30), view(20, Direction::Forward));
        assert_eq!(cache.ranges(), [8..10, 20..21]);
        cache.insert(frame(9, 60), view(9, Direction::Backward));
        assert!(cache.used() <= 100);
        assert_eq!(cache.ranges(), one(8..10));
    }

    #[test]
    fn a_frame_beyond_the_budget_is_still_held() {
        let mut cache = FrameCache::new(100);
        cache.insert(frame(1, 50), view(1, Direction::Still));
        cache.insert(frame(2, 500), view(2, Direction::Still));
        assert_eq!(cache.ranges(), one(2..3));
        cache.insert(frame(3, 50), view(3, Direction::Still));
        assert_eq!(cache.ranges(), one(3..4));
        assert_eq!(cache.used(), 50);
    }

    #[test]
    fn going_back_what_is_behind_goes_first() {
        let mut cache = FrameCache::new(10);
        // Decoded in one go, the nearest last.
        for i in 11..=20 {
            cache.insert(frame(i, 1), view(20, Direction::Backward));
        }
        assert_eq!(cache.ranges(), one(11..21));
        cache.insert(frame(10, 1), view(18, Direction::Backward));
        assert_eq!(cache.ranges(), one(10..20));
        // What nobody waits for any more makes no room for itself.
        cache.insert(frame(90, 1), view(18, Direction::Backward));
        assert_eq!(cache.ranges(), one(10..20));
    }

    /// What is fetched ahead of time must stay when it comes, or it is fetched for ever.
    #[test]
    fn everything_within_reach_fits() {
        for room in 0..200 {
            let reach = Reach::new(room);
            for direction in [Direction::Still, Direction::Forward, Direction::Backward] {
                let at = view(500, direction);
                let mut cache = FrameCache::new(room as usize);
                // Full of the worst: frames on the other side.
                for i in 400..600 {
                    cache.insert(frame(i, 1), at);
                }
                cache.insert(frame(500, 1), at);
                for turn in 0.. {
                    assert!(turn < 1000, "room for {room}, {direction:?}: no end");
                    let next = reach.next(at, 1000, |_| Some(0), |i| cache.contains(i));
                    let Some(fetch) = next else {
                        break;
                    };
                    for i in fetch.keep.chain([fetch.index]) {
                        cache.insert(frame(i, 1), at);
                    }
                    assert!(
                        cache.contains(fetch.index),
                        "room for {room}, {direction:?}"
                    );
                }
                assert!(cache.contains(500));
            }
        }
    }

    #[test]
    fn fetching_follows_the_movement() {
        let reach = Reach::new(40);
        let fetch = |index, keep| Some(Fetch { index, keep });
        let forward = |playhead, done: fn(u32) -> bool| {
            reach.next(view(playhead, Direction::Forward), 100, |_| None, done)
        };
        assert_eq!(forward(50, |_| false), fetch(51, 51..51));
        assert_eq!(forward(50, |i| i < 60), fetch(60, 51..60));
        assert_eq!(forward(50, |i| i < 71), None);
        assert_eq!(forward(99, |_| false), None);
        let still = view(50, Direction::Still);
        assert_eq!(reach.next(still, 100, |_| None, |i| i < 59), None);
        // 35 of 40 frames lie before the playhead; with nine left the next are due.
        let backward = |playhead, start: Option<u32>, done: fn(u32) -> bool| {
            reach.next(view(playhead, Direction::Backward), 100, |_| start, done)
        };
        assert_eq!(backward(50, None, |_| false), fetch(49, 15..49));
        assert_eq!(backward(50, None, |i| i > 41), fetch(41, 15..41));
        assert_eq!(backward(50, None, |i| i > 40), None);
        assert_eq!(backward(3, None, |_| false), fetch(2, 0..2));
        assert_eq!(backward(0, None, |_| false), None);
        // A group that is kept whole is fetched early, one that is not has time.
        assert_eq!(backward(50, Some(15), |i| i > 30), fetch(30, 15..30));
        assert_eq!(backward(50, Some(14), |i| i > 30), None);
    }

    #[test]
    fn only_who_goes_back_keeps_all_that_is_on_the_way() {
        let reach = Reach::new(40);
        assert_eq!(reach.keep_before(100, Direction::Backward), 65..100);
        assert_eq!(reach.keep_before(100, Direction::Still), 91..100);
        assert_eq!(reach.keep_before(3, Direction::Backward), 0..3);
    }

    #[test]
    fn a_cache_for_one_frame_fetches_nothing() {
        for direction in [Direction::Still, Direction::Forward, Direction::Backward] {
            let at = view(5, direction);
            assert_eq!(Reach::new(1).next(at, 10, |_| None, |_| false), None);
        }
    }
}
