//! Which proposals are kept as prompts of a mask: a pure function of scores and thresholds, so that sliders act at once
//! and the window, the command line and the networks' side can never disagree.

use super::document::{Proposal, Thresholds};

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

/// The indices of the kept proposals, best confidence first; equal confidences in the order given.
///
/// Kept are the offered ones (see [`offered`]) whose confidence is at or above `keep`. If there is none, the offered
/// one with the highest confidence is kept alone: an emission that says the object is there needs a place for it. (That
/// nothing matched at all is said by the emission itself, not here.) Of more than `at_most`, the best stay. Nothing is
/// kept if nothing is offered or `at_most` is 0. A confidence that is not a number counts as below everything.
pub fn kept(proposals: &[Proposal], thresholds: &Thresholds) -> Vec<usize> {
    let confidence = |i: usize| {
        let c = proposals[i].confidence;
        if c.is_nan() { f32::NEG_INFINITY } else { c }
    };
    let mut order: Vec<usize> = (0..proposals.len())
        .filter(|&i| offered(&proposals[i], thresholds))
        .collect();
    // Stable, so ties stay in the order given.
    order.sort_by(|&a, &b| confidence(b).total_cmp(&confidence(a)));
    let good = order
        .iter()
        .take_while(|&&i| confidence(i) >= thresholds.keep)
        .count();
    order.truncate(good.max(1).min(thresholds.at_most as usize));
    order
}

/// [`kept`] as one flag per proposal, the form that [`Proposal::selected`] and the selection edit take.
pub fn select(proposals: &[Proposal], thresholds: &Thresholds) -> Vec<bool> {
    let mut flags = vec![false; proposals.len()];
    for i in kept(proposals, thresholds) {
        flags[i] = true;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::BoxPx;

    fn offer(objectness: f32, confidence: f32) -> Proposal {
        Proposal {
            box_px: BoxPx::from_array([0.0, 0.0, 1.0, 1.0]),
            objectness,
            filtration: confidence,
            confidence,
            selected: false,
            drawn: false,
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
        assert_eq!(kept(&all, &rule(0.0, 0.4, 9)), vec![1, 3, 0]);
        assert_eq!(
            select(&all, &rule(0.0, 0.4, 2)),
            vec![false, true, false, true]
        );
        assert_eq!(kept(&all, &rule(0.0, 0.4, 0)), Vec::<usize>::new());
    }

    #[test]
    fn the_best_stays_when_none_is_good() {
        let all = [offer(1.0, 0.1), offer(1.0, 0.2), offer(0.0, 0.3)];
        assert_eq!(kept(&all, &rule(0.0, 0.4, 4)), vec![2]);
        assert_eq!(kept(&all, &rule(0.5, 0.4, 4)), vec![1]);
        assert_eq!(kept(&all, &rule(1.1, 0.4, 4)), Vec::<usize>::new());
        assert_eq!(kept(&[], &rule(0.0, 0.4, 4)), Vec::<usize>::new());
    }

    #[test]
    fn drawn_boxes_are_always_offered_and_nan_is_last() {
        let mut drawn = offer(0.0, 0.45);
        drawn.drawn = true;
        let all = [offer(1.0, f32::NAN), drawn, offer(0.2, 0.99)];
        assert_eq!(kept(&all, &rule(0.5, 0.4, 4)), vec![1]);
        assert_eq!(kept(&all[..1], &rule(0.5, 0.4, 4)), vec![0]);
    }
}
