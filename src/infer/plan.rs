//! Which frame is carried from which known frame, and in what order: pure arithmetic, decided before the first frame.
//!
//! A *known* frame of an object is one whose mask conditions the memory (an anchor or an emitted mask), or one on which a
//! person says that the object is not there; it is never computed. Every other frame of the range is carried forward from the
//! known frame before it, or backward from the known frame after it; with [`PropagateDirection::Both`] from the nearer of the
//! two. Objects with the same known frames share their runs, so that they are tracked together.
//!
//! Nothing can be seen of an object on a frame where it is *gone*. A gap between such a frame and one where it is there is
//! carried from there, the whole of it; where the direction forbids that, or no known frame follows, the run starts at the
//! gone frame with the memory of the frames behind it, so that what was hidden is found again. A gap between two gone frames
//! is left without the object, and nothing is computed.

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::task::PropagateDirection;

/// What is known of an object on a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Its mask.
    There,
    /// That it is not there, by a person's word.
    Gone,
}

/// The known frames of one object.
pub(super) type KnownFrames = BTreeMap<u32, Seen>;

/// One sweep away from a known frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The objects (as numbered by the caller) that are carried together.
    pub(super) objects: Vec<usize>,
    /// The known frame it starts from. If the objects are gone there, they are there on a known frame behind it.
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

/// The runs that fill `range` for objects with these known frames; an object that is there on none of them gets none.
pub(super) fn runs(
    known: &[KnownFrames],
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

/// How much of the gap ahead of a known frame is carried from it.
enum Share {
    Nothing,
    /// The nearer half, the middle included if the gap is walked forward.
    Half,
    Whole,
}

/// `from`: what is known where a run would start; `beyond`: what at the far end of the gap, if anything; `behind`: whether the
/// object is there on any known frame behind the start; with `direction` both ways, the gap may be carried from its far end as well.
fn share(from: Seen, beyond: Option<Seen>, behind: bool, direction: PropagateDirection) -> Share {
    let both = direction == PropagateDirection::Both;
    match (from, beyond) {
        (Seen::There, Some(Seen::There)) if both => Share::Half,
        (Seen::There, _) => Share::Whole,
        // Nobody has seen it yet.
        (Seen::Gone, _) if !behind => Share::Nothing,
        // It is left gone, or carried from the far end alone.
        (Seen::Gone, Some(Seen::Gone)) => Share::Nothing,
        (Seen::Gone, Some(Seen::There)) if both => Share::Nothing,
        (Seen::Gone, _) => Share::Whole,
    }
}

fn runs_of_one(
    known: &KnownFrames,
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
    let mut there = known.iter().filter(|(_, seen)| **seen == Seen::There);
    let (earliest, latest) = (there.clone().next(), there.next_back());
    let split = |known: Option<(&u32, &Seen)>| known.map(|(f, seen)| (*f, *seen)).unzip();
    for (&at, &seen) in known {
        let (next, beyond) = split(known.range(at + 1..).next());
        if direction != PropagateDirection::Backward && at < last {
            let behind = earliest.is_some_and(|(f, _)| *f < at);
            let end = match (share(seen, beyond, behind, direction), next) {
                (Share::Nothing, _) => at,
                (_, None) => last,
                (Share::Half, Some(n)) => at + (n - at) / 2,
                (Share::Whole, Some(n)) => n - 1,
            }
            .min(last);
            if end >= first {
                add(at, true, end - at);
            }
        }
        let (previous, beyond) = split(known.range(..at).next_back());
        if direction != PropagateDirection::Forward && at > first {
            let behind = latest.is_some_and(|(f, _)| *f > at);
            let end = match (share(seen, beyond, behind, direction), previous) {
                (Share::Nothing, _) => at,
                (_, None) => first,
                (Share::Half, Some(p)) => p + (at - p) / 2 + 1,
                (Share::Whole, Some(p)) => p + 1,
            }
            .max(first);
            if end <= last && end < at {
                add(at, false, at - end);
            }
        }
    }
    out
}

/// Frames of `range` between two known ones on both of which the object is gone, in order: they are left without it.
pub(super) fn left_gone(known: &KnownFrames, range: &RangeInclusive<u32>) -> Vec<u32> {
    let pairs = known.iter().zip(known.iter().skip(1));
    let gone = pairs.filter(|((_, a), (_, b))| (**a, **b) == (Seen::Gone, Seen::Gone));
    let between = gone.flat_map(|((a, _), (b, _))| a + 1..*b);
    between.filter(|f| range.contains(f)).collect()
}

/// Whether a known frame on either side of a frame, with none between, is one where the object is gone.
pub(super) fn beside_gone(known: &KnownFrames, frame: u32) -> bool {
    let beside = [
        known.range(..frame).next_back(),
        known.range(frame..).next(),
    ];
    let mut beside = beside.into_iter().flatten();
    beside.any(|(_, seen)| *seen == Seen::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PropagateDirection::{Backward, Both, Forward};

    fn known(there: &[u32], gone: &[u32]) -> KnownFrames {
        let there = there.iter().map(|f| (*f, Seen::There));
        there.chain(gone.iter().map(|f| (*f, Seen::Gone))).collect()
    }

    fn plan(
        there: &[&[u32]],
        range: RangeInclusive<u32>,
        d: PropagateDirection,
    ) -> Vec<(Vec<usize>, Vec<u32>)> {
        let known: Vec<_> = there.iter().map(|k| known(k, &[])).collect();
        runs(&known, &range, d)
            .into_iter()
            .map(|r| (r.objects.clone(), r.indices().collect()))
            .collect()
    }

    /// The runs of one object, each as where it starts and what it fills.
    fn plan_one(
        (there, gone): (&[u32], &[u32]),
        range: RangeInclusive<u32>,
        d: PropagateDirection,
    ) -> Vec<(u32, Vec<u32>)> {
        runs(&[known(there, gone)], &range, d)
            .into_iter()
            .map(|r| (r.from, r.indices().collect()))
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
    fn a_gap_between_there_and_gone_is_carried_from_there_alone() {
        let all = |d| plan_one((&[0], &[5]), 0..=5, d);
        assert_eq!(all(Both), [(0, vec![1, 2, 3, 4])]);
        assert_eq!(all(Forward), [(0, vec![1, 2, 3, 4])]);
        // Backward it would come from where nobody has seen it.
        assert_eq!(all(Backward), []);
        let all = |d| plan_one((&[5], &[0]), 0..=5, d);
        assert_eq!(all(Both), [(5, vec![4, 3, 2, 1])]);
        assert_eq!(all(Backward), [(5, vec![4, 3, 2, 1])]);
        assert_eq!(all(Forward), []);
    }

    #[test]
    fn past_a_frame_where_it_is_gone_it_may_come_back() {
        // Nothing known follows: from the gone frame on, with the memory of what lies behind it.
        let all = |d| plan_one((&[0], &[3]), 0..=6, d);
        assert_eq!(all(Both), [(0, vec![1, 2]), (3, vec![4, 5, 6])]);
        assert_eq!(all(Forward), all(Both));
        let all = |d| plan_one((&[6], &[3]), 0..=6, d);
        assert_eq!(all(Both), [(6, vec![5, 4]), (3, vec![2, 1, 0])]);
        assert_eq!(all(Backward), all(Both));
        // The far end is better known than what may come back, unless the direction forbids to come from there.
        let all = |d| plan_one((&[0, 6], &[3]), 0..=6, d);
        assert_eq!(all(Both), [(0, vec![1, 2]), (6, vec![5, 4])]);
        assert_eq!(all(Forward), [(0, vec![1, 2]), (3, vec![4, 5])]);
        assert_eq!(all(Backward), [(6, vec![5, 4]), (3, vec![2, 1])]);
        // A range behind the gone frame needs nothing of what lies before it.
        assert_eq!(plan_one((&[0], &[3]), 5..=6, Both), [(3, vec![4, 5, 6])]);
    }

    #[test]
    fn between_two_frames_where_it_is_gone_nothing_is_computed() {
        let frames: (&[u32], &[u32]) = (&[0], &[3, 6]);
        for direction in [Both, Forward] {
            assert_eq!(
                plan_one(frames, 0..=8, direction),
                [(0, vec![1, 2]), (6, vec![7, 8])]
            );
        }
        assert_eq!(plan_one(frames, 0..=8, Backward), []);
        let left = |range| left_gone(&known(frames.0, frames.1), &range);
        assert_eq!(left(0..=8), [4, 5]);
        assert_eq!((left(5..=8), left(6..=8)), (vec![5], vec![]));
        assert!(left_gone(&known(&[2], &[0, 3, 4]), &(0..=9)).is_empty());
        // Nobody has seen it at all.
        for direction in [Both, Forward, Backward] {
            assert_eq!(plan_one((&[], &[3, 6]), 0..=8, direction), []);
        }
    }

    #[test]
    fn only_objects_that_are_gone_on_the_same_frames_travel_together() {
        let objects = [known(&[0], &[4]), known(&[0, 4], &[]), known(&[0], &[4])];
        let all = runs(&objects, &(0..=4), Both);
        let all: Vec<_> = all
            .iter()
            .map(|r| (r.objects.clone(), r.indices().collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            all,
            [
                (vec![0, 2], vec![1, 2, 3]),
                (vec![1], vec![1, 2]),
                (vec![1], vec![3])
            ]
        );
    }

    #[test]
    fn a_frame_is_beside_gone_up_to_the_next_known_one() {
        let known = known(&[2, 8], &[5]);
        let others = [0, 1, 3, 4, 6, 7, 9];
        assert_eq!(
            others.map(|f| beside_gone(&known, f)),
            [false, false, true, true, true, true, false]
        );
    }

    /// Each of eight frames there, gone or not known.
    #[test]
    fn with_frames_where_it_is_gone_the_range_is_covered_once_too() {
        for mut code in 0..3_u32.pow(8) {
            let mut frames = KnownFrames::new();
            for frame in 0..8 {
                let seen = [None, Some(Seen::There), Some(Seen::Gone)][code as usize % 3];
                frames.extend(seen.map(|seen| (frame, seen)));
                code /= 3;
            }
            if !frames.values().any(|seen| *seen == Seen::There) {
                continue;
            }
            let all = runs(std::slice::from_ref(&frames), &(0..=7), Both);
            let mut seen: Vec<u32> = all.iter().flat_map(Run::indices).collect();
            seen.extend(left_gone(&frames, &(0..=7)));
            seen.extend(frames.keys());
            seen.sort_unstable();
            assert_eq!(seen, (0..8).collect::<Vec<_>>(), "{frames:?}");
        }
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
