//! Which proposals are kept as prompts of a mask: a pure function of scores and thresholds, so that sliders act at once
//! and the window, the command line and the networks' side can never disagree.

use super::document::{Choosing, Emission, Proposal, Thresholds};

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

/// The one reason why a proposal is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// SAM2, prompted with its box alone, did not fill it.
    Incredible,
    /// Its objectness is below the threshold.
    BelowObjectness,
    /// Its confidence is below the threshold.
    BelowKeep,
    /// The answer speaks of several things, and it is below [`PEER`] of the best confidence.
    MuchLessSure,
    /// A better box lies on the same thing.
    SameThing,
    /// The answer speaks of one thing, and another is it.
    OnlyOne,
    /// As many as are kept are better.
    AtMost,
    /// The rule would keep it, but the answer says that there is no such thing.
    NothingMeant,
}

impl WhyNot {
    /// For scripts: a word that stays.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incredible => "incredible",
            Self::BelowObjectness => "below_objectness",
            Self::BelowKeep => "below_keep",
            Self::MuchLessSure => "much_less_sure",
            Self::SameThing => "same_thing",
            Self::OnlyOne => "only_one",
            Self::AtMost => "at_most",
            Self::NothingMeant => "nothing_meant",
        }
    }

    /// For a person: a clause.
    pub fn words(self, thresholds: &Thresholds) -> String {
        let Thresholds {
            objectness,
            keep,
            at_most,
        } = thresholds;
        match self {
            Self::Incredible => "SAM2 does not fill its box with a mask".to_owned(),
            Self::BelowObjectness => format!("its objectness is below {objectness:.2}"),
            Self::BelowKeep => format!("its confidence is below {keep:.2}"),
            Self::MuchLessSure => "it is much less sure than the best".to_owned(),
            Self::SameThing => "a better box lies on the same thing".to_owned(),
            Self::OnlyOne => "the answer speaks of one thing, and a better box is it".to_owned(),
            Self::AtMost => format!("at most {at_most} are kept, and so many are better"),
            Self::NothingMeant => "the answer says that there is no such thing".to_owned(),
        }
    }
}

/// What the rule decides: the indices of the kept, best first, and of every other proposal the reason.
fn decided(
    proposals: &[Proposal],
    thresholds: &Thresholds,
    choosing: Choosing,
) -> (Vec<usize>, Vec<Option<WhyNot>>) {
    let confidence = |i: usize| {
        let c = proposals[i].confidence;
        if c.is_nan() { f32::NEG_INFINITY } else { c }
    };
    let mut why = vec![None; proposals.len()];
    let mut order = Vec::with_capacity(proposals.len());
    for (i, proposal) in proposals.iter().enumerate() {
        if proposal.incredible {
            why[i] = Some(WhyNot::Incredible);
        } else if offered(proposal, thresholds) {
            order.push(i);
        } else {
            why[i] = Some(WhyNot::BelowObjectness);
        }
    }
    // Stable, so ties stay in the order given.
    order.sort_by(|&a, &b| confidence(b).total_cmp(&confidence(a)));
    let good = order
        .iter()
        .take_while(|&&i| confidence(i) >= thresholds.keep)
        .count();
    let least = usize::from(!choosing.may_be_none);
    cut(&mut order, good.max(least), WhyNot::BelowKeep, &mut why);
    if choosing.peers {
        let least = order.first().map_or(0.0, |&i| PEER * confidence(i));
        order.retain(|&i| {
            let stays = proposals[i].drawn || confidence(i) >= least;
            if !stays {
                why[i] = Some(WhyNot::MuchLessSure);
            }
            stays
        });
    }
    if choosing.once {
        let mut apart: Vec<usize> = Vec::new();
        for i in order {
            let again = |&k: &usize| proposals[k].box_px.iou(proposals[i].box_px) >= SAME;
            if apart.iter().any(again) {
                why[i] = Some(WhyNot::SameThing);
            } else {
                apart.push(i);
            }
        }
        order = apart;
    }
    let at_most = usize::try_from(thresholds.at_most).unwrap_or(usize::MAX);
    if choosing.one && at_most > 0 {
        cut(&mut order, 1, WhyNot::OnlyOne, &mut why);
    }
    cut(&mut order, at_most, WhyNot::AtMost, &mut why);
    (order, why)
}

/// Shortens a list to its first entries; the others have the reason.
fn cut(order: &mut Vec<usize>, stay: usize, reason: WhyNot, why: &mut [Option<WhyNot>]) {
    for i in order.drain(stay.min(order.len())..) {
        why[i] = Some(reason);
    }
}

/// The indices of the kept proposals, best confidence first; equal confidences in the order given.
///
/// Kept are the offered ones (see [`offered`]), but for [`Proposal::incredible`] ones, whose confidence is at or above `keep`;
/// where `choosing` says so, of boxes on one thing the best alone, and none but drawn ones below [`PEER`] of the best confidence.
/// If there is none, the one of them with the highest confidence is kept alone, for an emission that says the object is there needs
/// a place for it; nothing, if the model can say that there is none. Of more than `at_most`, or than one where one is meant, the
/// best stay. A confidence that is not a number counts as below everything.
pub fn kept(proposals: &[Proposal], thresholds: &Thresholds, choosing: Choosing) -> Vec<usize> {
    decided(proposals, thresholds, choosing).0
}

/// Of each of an emission's proposals the one reason why it is not kept; `None` of one that is, and of one for which the rule knows
/// no reason: a person took it out.
///
/// Looked at is what [`kept`] decides under these thresholds. Where that is not what the flags say, what looked better when they
/// were decided and turned out [`Proposal::incredible`] may have been in the way.
pub fn why_not(emission: &Emission, thresholds: &Thresholds) -> Vec<Option<WhyNot>> {
    let proposals = &emission.proposals;
    if proposals.iter().all(|p| p.selected) {
        return vec![None; proposals.len()];
    }
    let now = decided(proposals, thresholds, emission.choosing).1;
    let then = proposals.iter().any(|p| p.incredible).then(|| {
        let mut before = proposals.clone();
        for proposal in &mut before {
            proposal.incredible = false;
        }
        decided(&before, thresholds, emission.choosing).1
    });
    let reason = |i: usize| {
        let by_rule = now[i].or_else(|| then.as_ref()?[i]);
        by_rule.or(emission.says_nothing().then_some(WhyNot::NothingMeant))
    };
    (proposals.iter().enumerate())
        .map(|(i, p)| if p.selected { None } else { reason(i) })
        .collect()
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
    use super::{
        WhyNot::{
            AtMost, BelowKeep, BelowObjectness, Incredible, MuchLessSure, NothingMeant, OnlyOne,
            SameThing,
        },
        *,
    };
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

    /// The window named every reason that there might be.
    #[test]
    fn what_is_not_kept_has_one_reason() {
        let at = |x: f32, confidence: f32| Proposal {
            box_px: BoxPx::from_array([x, 0.0, x + 10.0, 10.0]),
            ..offer(1.0, confidence)
        };
        let mut all = vec![
            at(0.0, 0.9),
            at(1.0, 0.8),
            at(20.0, 0.7),
            at(40.0, 0.6),
            at(60.0, 0.3),
            at(80.0, 0.1),
            at(100.0, 0.9),
            at(120.0, 0.85),
        ];
        all[6].objectness = 0.1;
        all[7].incredible = true;
        let choosing = Choosing {
            may_be_none: true,
            once: true,
            peers: true,
            one: false,
        };
        let of = |choosing: Choosing, text: &str, at_most: u32| {
            let mut emission = emission(all.clone(), choosing, text);
            let rule = rule(0.5, 0.2, at_most);
            if text.contains("[SEG]") {
                for i in kept(&all, &rule, choosing) {
                    emission.proposals[i].selected = true;
                }
            }
            why_not(&emission, &rule)
        };
        let common = [
            Some(MuchLessSure),
            Some(BelowKeep),
            Some(BelowObjectness),
            Some(Incredible),
        ];
        let with = |first: [Option<WhyNot>; 4]| [first, common].concat();
        assert_eq!(
            of(choosing, "it is [SEG]", 2),
            with([None, Some(SameThing), None, Some(AtMost)])
        );
        let one = Choosing {
            one: true,
            ..choosing
        };
        assert_eq!(
            of(one, "it is [SEG]", 2),
            with([None, Some(SameThing), Some(OnlyOne), Some(OnlyOne)])
        );
        assert_eq!(
            of(choosing, "there is none", 4),
            with([
                Some(NothingMeant),
                Some(SameThing),
                Some(NothingMeant),
                Some(NothingMeant)
            ])
        );
        // A person took it out: the rule has no reason.
        let mut emission = emission(all.clone(), choosing, "it is [SEG]");
        emission.proposals[2].selected = true;
        assert_eq!(why_not(&emission, &rule(0.5, 0.2, 4))[0], None);
        let clause = AtMost.words(&rule(0.5, 0.2, 4));
        assert!(clause.starts_with("at most 4 are kept"), "{clause}");
    }

    #[test]
    fn what_was_in_the_way_is_a_reason_though_it_fell_out_afterwards() {
        let mut all = vec![offer(1.0, 0.9), offer(1.0, 0.8)];
        all[0].incredible = true;
        let once = Choosing {
            once: true,
            ..RELEASED
        };
        let why = why_not(&emission(all, once, "[SEG]"), &rule(0.0, 0.4, 4));
        assert_eq!(why, [Some(WhyNot::Incredible), Some(WhyNot::SameThing)]);
    }

    fn emission(proposals: Vec<Proposal>, choosing: Choosing, text: &str) -> Emission {
        Emission {
            frame: crate::project::FrameIndex(0),
            phrase: "a dog".to_owned(),
            text: text.to_owned(),
            tokens: Vec::new(),
            unknown_words: Vec::new(),
            proposals,
            objects: Vec::new(),
            tsf_tokens: 0,
            secs: 0.0,
            choosing,
            by_hand: None,
        }
    }
}
