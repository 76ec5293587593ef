//! Which proposals are kept as prompts of a mask: a pure function of scores and thresholds, so that sliders act at once
//! and the window, the command line and the networks' side can never disagree.

use super::document::{Choosing, Proposal, Thresholds};

impl Default for Thresholds {
    /// The released defaults: every proposal is offered, 0.4 is kept, four at most. Weights carry their own.
    fn default() -> Self {
        Self {
            objectness: 0.0,
            keep: 0.4,
            at_most: 4,
        }
    }
}

/// Whether a proposal takes part in the choice at all: drawn by a person, or objectness at or above the threshold.
pub fn offered(proposal: &Proposal, thresholds: &Thresholds) -> bool {
    proposal.drawn || proposal.objectness >= thresholds.objectness
}

/// Overlap from which two boxes are taken to lie on one thing.
const SAME: f32 = 0.6;

/// Part of the best confidence that a further thing must reach where the answer speaks of several: a threshold that is low enough for one
/// thing that is hard to make out lets in, beside things that are not, what only looks like them.
pub const PEER: f32 = 0.4;

/// The indices of the kept proposals, best confidence first; equal confidences in the order given.
///
/// Kept are the offered ones (see [`offered`]), but for [`Proposal::incredible`] ones, whose confidence is at or above `keep`;
/// where `choosing` says so, of boxes on one thing the best alone, and none but drawn ones below [`PEER`] of the best confidence.
/// If there is none, the one of them with the highest confidence is kept alone, for an emission that says the object is there needs
/// a place for it; nothing, if the model can say that there is none. Of more than `at_most`, or than one where one is meant, the
/// best stay. A confidence that is not a number counts as below everything.
pub fn kept(proposals: &[Proposal], thresholds: &Thresholds, choosing: Choosing) -> Vec<usize> {
    let confidence = |i: usize| {
        let c = proposals[i].confidence;
        if c.is_nan() { f32::NEG_INFINITY } else { c }
    };
    let mut order: Vec<usize> = (0..proposals.len())
        .filter(|&i| offered(&proposals[i], thresholds) && !proposals[i].incredible)
        .collect();
    // Stable, so ties stay in the order given.
    order.sort_by(|&a, &b| confidence(b).total_cmp(&confidence(a)));
    let good = order
        .iter()
        .take_while(|&&i| confidence(i) >= thresholds.keep)
        .count();
    order.truncate(if choosing.may_be_none {
        good
    } else {
        good.max(1)
    });
    if choosing.peers {
        let least = order.first().map_or(0.0, |&i| PEER * confidence(i));
        order.retain(|&i| proposals[i].drawn || confidence(i) >= least);
    }
    if choosing.once {
        let mut apart: Vec<usize> = Vec::new();
        for i in order {
            let again = |&k: &usize| proposals[k].box_px.iou(proposals[i].box_px) >= SAME;
            if !apart.iter().any(again) {
                apart.push(i);
            }
        }
        order = apart;
    }
    let most = if choosing.one {
        thresholds.at_most.min(1)
    } else {
        thresholds.at_most
    };
    order.truncate(most as usize);
    order
}

/// [`kept`] as one flag per proposal, the form that [`Proposal::selected`] and the selection edit take.
pub fn select(proposals: &[Proposal], thresholds: &Thresholds, choosing: Choosing) -> Vec<bool> {
    let mut flags = vec![false; proposals.len()];
    for i in kept(proposals, thresholds, choosing) {
        flags[i] = true;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::BoxPx;

    const RELEASED: Choosing = Choosing {
        may_be_none: false,
        once: false,
        peers: false,
        one: false,
    };

    fn offer(objectness: f32, confidence: f32) -> Proposal {
        Proposal {
            box_px: BoxPx::from_array([0.0, 0.0, 1.0, 1.0]),
            objectness,
            filtration: confidence,
            confidence,
            selected: false,
            drawn: false,
            incredible: false,
        }
    }

    fn rule(objectness: f32, keep: f32, at_most: u32) -> Thresholds {
        Thresholds {
            objectness,
            keep,
            at_most,
        }
    }

    #[test]
    fn at_the_threshold_is_kept_and_the_cap_takes_the_best() {
        let all = [
            offer(1.0, 0.4),
            offer(1.0, 0.9),
            offer(1.0, 0.399),
            offer(1.0, 0.5),
        ];
        assert_eq!(kept(&all, &rule(0.0, 0.4, 9), RELEASED), vec![1, 3, 0]);
        assert_eq!(
            select(&all, &rule(0.0, 0.4, 2), RELEASED),
            vec![false, true, false, true]
        );
        assert_eq!(
            kept(&all, &rule(0.0, 0.4, 0), RELEASED),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn the_best_stays_when_none_is_good() {
        let all = [offer(1.0, 0.1), offer(1.0, 0.2), offer(0.0, 0.3)];
        assert_eq!(kept(&all, &rule(0.0, 0.4, 4), RELEASED), vec![2]);
        assert_eq!(kept(&all, &rule(0.5, 0.4, 4), RELEASED), vec![1]);
        assert_eq!(
            kept(&all, &rule(1.1, 0.4, 4), RELEASED),
            Vec::<usize>::new()
        );
        assert_eq!(kept(&[], &rule(0.0, 0.4, 4), RELEASED), Vec::<usize>::new());
    }

    #[test]
    fn no_threshold_keeps_what_is_incredible() {
        let mut all = [offer(1.0, 0.9), offer(1.0, 0.5), offer(1.0, 0.1)];
        all[0].incredible = true;
        for at_least in [0.0, 0.4, 0.6] {
            let kept = kept(&all, &rule(0.0, at_least, 1), RELEASED);
            assert_eq!(kept, [1], "{at_least}");
        }
    }

    #[test]
    fn drawn_boxes_are_always_offered_and_nan_is_last() {
        let mut drawn = offer(0.0, 0.45);
        drawn.drawn = true;
        let all = [offer(1.0, f32::NAN), drawn, offer(0.2, 0.99)];
        assert_eq!(kept(&all, &rule(0.5, 0.4, 4), RELEASED), vec![1]);
        assert_eq!(kept(&all[..1], &rule(0.5, 0.4, 4), RELEASED), vec![0]);
    }

    #[test]
    fn a_model_that_can_say_none_keeps_nothing_below_the_threshold() {
        let all = [offer(1.0, 0.1), offer(1.0, 0.3)];
        let choosing = Choosing {
            may_be_none: true,
            ..RELEASED
        };
        assert!(kept(&all, &rule(0.0, 0.4, 4), choosing).is_empty());
        assert_eq!(kept(&all, &rule(0.0, 0.3, 4), choosing), vec![1]);
    }

    #[test]
    fn one_thing_is_kept_once_and_one_answer_keeps_one() {
        let at = |x: f32, confidence: f32| Proposal {
            box_px: BoxPx::from_array([x, 0.0, x + 10.0, 10.0]),
            ..offer(1.0, confidence)
        };
        let all = [at(0.0, 0.7), at(1.0, 0.9), at(20.0, 0.8), at(40.0, 0.6)];
        let once = Choosing {
            once: true,
            ..RELEASED
        };
        // The cap counts things, not boxes.
        assert_eq!(kept(&all, &rule(0.0, 0.5, 3), once), vec![1, 2, 3]);
        assert_eq!(kept(&all, &rule(0.0, 0.5, 3), RELEASED), vec![1, 2, 0]);
        let one = Choosing { one: true, ..once };
        assert_eq!(kept(&all, &rule(0.0, 0.5, 3), one), vec![1]);
        assert_eq!(kept(&all, &rule(0.0, 0.5, 0), one), Vec::<usize>::new());
    }

    #[test]
    fn of_several_things_none_is_kept_that_is_much_less_sure_than_the_best() {
        let peers = Choosing {
            peers: true,
            ..RELEASED
        };
        let mut all = [offer(1.0, 0.3), offer(1.0, 0.9), offer(1.0, 0.4)];
        assert_eq!(kept(&all, &rule(0.0, 0.2, 4), peers), vec![1, 2]);
        assert_eq!(kept(&all, &rule(0.0, 0.2, 4), RELEASED), vec![1, 2, 0]);
        // A person vouches for what they drew.
        all[0].drawn = true;
        assert_eq!(kept(&all, &rule(0.0, 0.2, 4), peers), vec![1, 2, 0]);
    }
}
