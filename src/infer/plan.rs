//! Which frame is carried from which known frame, and in what order: pure arithmetic, decided before the first frame.
//!
//! A *known* frame of an object is one whose mask conditions the memory (an anchor or an emitted mask); it is never
//! computed. Every other frame of the range is carried forward from the known frame before it, or backward from the known
//! frame after it; with [`PropagateDirection::Both`] from the nearer of the two. Objects with the same known frames share
//! their runs, so that they are tracked together.

use std::{collections::BTreeSet, ops::RangeInclusive};

use crate::task::PropagateDirection;

/// One sweep away from a known frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The objects (as numbered by the caller) that are carried together.
    pub(super) objects: Vec<usize>,
    /// The known frame it starts from.
    pub(super) from: u32,
    /// Towards later frames.
    pub(super) forward: bool,
    /// Number of frames to compute, the first right beside `from`. Frames outside the range are computed as well where
    /// they lie between `from` and the range, because the memory needs them.
    pub(super) frames: u32,
}

impl Run {
    /// The frames in the order in which they are computed.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        (1..=self.frames).map(|i| {
            if self.forward {
                self.from + i
            } else {
                self.from - i
            }
        })
    }
}

/// The runs that fill `range` for objects with these known frames; an object without any gets none.
pub(super) fn runs(
    known: &[BTreeSet<u32>],
    range: &RangeInclusive<u32>,
    direction: PropagateDirection,
) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for (object, frames) in known.iter().enumerate() {
        for mut run in runs_of_one(frames, range, direction) {
            match all.iter_mut().find(|r| {
                known[r.objects[0]] == *frames
                    && (r.from, r.forward, r.frames) == (run.from, run.forward, run.frames)
            }) {
                Some(same) => same.objects.push(object),
                None => {
                    run.objects.push(object);
                    all.push(run);
                }
            }
        }
    }
    // Forward sweeps first and from the front: neighbouring runs then find their frames decoded.
    all.sort_by_key(|r| {
        (
            !r.forward,
            if r.forward { r.from } else { u32::MAX - r.from },
        )
    });
    all
}

fn runs_of_one(
    known: &BTreeSet<u32>,
    range: &RangeInclusive<u32>,
    direction: PropagateDirection,
) -> Vec<Run> {
    let (first, last) = (*range.start(), *range.end());
    let mut out = Vec::new();
    let mut add = |from: u32, forward: bool, frames: u32| {
        if frames > 0 {
            out.push(Run {
                objects: Vec::new(),
                from,
                forward,
                frames,
            });
        }
    };
    for &at in known {
        let next = known.range(at + 1..).next().copied();
        let previous = known.range(..at).next_back().copied();
        if direction != PropagateDirection::Backward && at < last {
            // Up to the frame before the next known one, or only half of the gap, the middle included.
            let end = match (next, direction) {
                (None, _) => last,
                (Some(n), PropagateDirection::Both) => at + (n - at) / 2,
                (Some(n), _) => n - 1,
            }
            .min(last);
            if end >= first {
                add(at, true, end - at);
            }
        }
        if direction != PropagateDirection::Forward && at > first {
            let end = match (previous, direction) {
                (None, _) => first,
                (Some(p), PropagateDirection::Both) => p + (at - p) / 2 + 1,
                (Some(p), _) => p + 1,
            }
            .max(first);
            if end <= last && end < at {
                add(at, false, at - end);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use PropagateDirection::{Backward, Both, Forward};

    fn set(frames: &[u32]) -> BTreeSet<u32> {
        frames.iter().copied().collect()
    }

    fn plan(
        known: &[&[u32]],
        range: RangeInclusive<u32>,
        d: PropagateDirection,
    ) -> Vec<(Vec<usize>, Vec<u32>)> {
        let known: Vec<_> = known.iter().map(|k| set(k)).collect();
        runs(&known, &range, d)
            .into_iter()
            .map(|r| (r.objects.clone(), r.indices().collect()))
            .collect()
    }

    #[test]
    fn one_known_frame_reaches_the_ends_of_the_range() {
        assert_eq!(plan(&[&[0]], 0..=3, Forward), [(vec![0], vec![1, 2, 3])]);
        assert_eq!(plan(&[&[0]], 0..=3, Backward), []);
        assert_eq!(plan(&[&[3]], 0..=3, Backward), [(vec![0], vec![2, 1, 0])]);
        assert_eq!(
            plan(&[&[2]], 1..=4, Both),
            [(vec![0], vec![3, 4]), (vec![0], vec![1])]
        );
        assert_eq!(plan(&[&[]], 0..=9, Both), []);
        assert_eq!(plan(&[&[5]], 5..=5, Both), []);
    }

    #[test]
    fn between_anchors_each_frame_comes_from_the_nearer() {
        // Gap 0…5: 1 and 2 are nearer to 0, 3 and 4 to 5. Gap 5…9: 7 is in the middle and goes forward.
        assert_eq!(
            plan(&[&[0, 5, 9]], 0..=9, Both),
            [
                (vec![0], vec![1, 2]),
                (vec![0], vec![6, 7]),
                (vec![0], vec![8]),
                (vec![0], vec![4, 3])
            ]
        );
        assert_eq!(
            plan(&[&[0, 5]], 0..=7, Forward),
            [(vec![0], vec![1, 2, 3, 4]), (vec![0], vec![6, 7])]
        );
        assert_eq!(
            plan(&[&[0, 5]], 0..=7, Backward),
            [(vec![0], vec![4, 3, 2, 1])]
        );
    }

    #[test]
    fn a_known_frame_outside_the_range_leads_into_it() {
        assert_eq!(plan(&[&[0]], 3..=4, Both), [(vec![0], vec![1, 2, 3, 4])]);
        assert_eq!(
            plan(&[&[9]], 3..=4, Both),
            [(vec![0], vec![8, 7, 6, 5, 4, 3])]
        );
        assert_eq!(plan(&[&[0, 2]], 5..=6, Both), [(vec![0], vec![3, 4, 5, 6])]);
        assert_eq!(plan(&[&[9]], 3..=4, Forward), []);
    }

    #[test]
    fn every_frame_of_the_range_is_covered_once() {
        for mask in 1_u32..256 {
            let known: Vec<u32> = (0..8).filter(|b| mask & (1 << b) != 0).collect();
            let mut seen: Vec<u32> = plan(&[&known], 0..=7, Both)
                .into_iter()
                .flat_map(|(_, f)| f)
                .collect();
            seen.extend(&known);
            seen.sort_unstable();
            assert_eq!(seen, (0..8).collect::<Vec<_>>(), "{known:?}");
        }
    }

    #[test]
    fn objects_with_the_same_known_frames_travel_together() {
        assert_eq!(
            plan(&[&[0], &[2], &[0]], 0..=3, Forward),
            [(vec![0, 2], vec![1, 2, 3]), (vec![1], vec![3])]
        );
    }
}
