//! Thresholds of finished weights: below which probability an answer counts as "there is none", and from which confidence
//! a proposal is kept. Both are chosen together on held-out clips, as the program uses them together, and as those that are
//! shipped: the strictest that still answer [`ANSWERED`] of what is there.

use crate::project::PEER;

/// Part of the phrases of something that is there which must be answered.
pub(super) const ANSWERED: f64 = 0.95;

/// Powers of the presence that are tried.
const POWERS: [f32; 4] = [0.0, 0.25, 0.5, 1.0];

/// What was predicted for one phrase.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Probability that there is such a thing.
    pub(super) presence: f32,
    /// Confidence of each proposal and the object it lies on, 0 for none.
    pub(super) proposals: Vec<(f32, u8)>,
    /// What was meant; empty if nothing.
    pub(super) referents: Vec<u8>,
    /// The answer speaks of several things; else one box is kept at most.
    pub(super) several: bool,
}

/// The thresholds and what they are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) presence: f32,
    pub(super) keep: f32,
    /// Power of the probability that joins the confidence.
    pub(super) presence_power: f32,
    /// Mean overlap of what is kept with what is meant, 0 to 1.
    pub(super) value: f64,
    /// Part of the phrases that mean nothing which are answered with nothing.
    pub(super) none: f64,
    /// Part of the others that are answered.
    pub(super) answered: f64,
}

impl Record {
    /// Whether anything is kept, and the overlap of the kept objects with those that are meant.
    fn value(&self, (presence, power, keep): (f32, f32, f32), at_most: usize) -> (bool, f64) {
        let mut kept: Vec<(f32, u8)> = vec![];
        if self.presence >= presence {
            let share = self.presence.powf(power);
            kept.extend(self.proposals.iter().filter(|p| p.0 * share >= keep));
            kept.sort_by(|a, b| b.0.total_cmp(&a.0));
            let least = kept.first().map_or(0.0, |best| PEER * best.0);
            kept.retain(|p| p.0 >= least);
            // As the program counts: things, not boxes.
            let mut seen = std::collections::BTreeSet::new();
            kept.retain(|p| p.1 == 0 || seen.insert(p.1));
            kept.truncate(if self.several {
                at_most
            } else {
                at_most.min(1)
            });
        }
        let answered = !kept.is_empty();
        let mut found: Vec<u8> = kept.iter().map(|p| p.1).collect();
        found.sort_unstable();
        found.dedup();
        let common = found
            .iter()
            .filter(|id| self.referents.contains(id))
            .count();
        let either = found.len() + self.referents.len() - common;
        let value = match either {
            0 => 1.0,
            n => common as f64 / n as f64,
        };
        (answered, value)
    }
}

/// The strictest thresholds that answer enough, where at most `at_most` proposals are kept: most phrases of nothing are answered
/// with nothing, among equals the overlap is best. If none answers enough, those that answer most. `None` without records.
pub(super) fn fit(records: &[Record], at_most: usize) -> Option<Fit> {
    let grid = |n: u8| (1..n).map(move |i| f32::from(i) / f32::from(n));
    let settings = grid(20)
        .flat_map(|presence| POWERS.map(|power| (presence, power)))
        .flat_map(|(presence, power)| grid(40).map(move |keep| (presence, power, keep)));
    let fits = settings.map(|at| {
        let (mut value, mut silent, mut answered) = (0.0, 0.0, 0.0);
        for record in records {
            let (any, overlap) = record.value(at, at_most);
            value += overlap;
            match record.referents.is_empty() {
                true => silent += f64::from(u8::from(!any)),
                false => answered += f64::from(u8::from(any)),
            }
        }
        let nothing = records.iter().filter(|r| r.referents.is_empty()).count();
        let part = |of: f64, n: usize| of / n.max(1) as f64;
        Fit {
            presence: at.0,
            presence_power: at.1,
            keep: at.2,
            value: part(value, records.len()),
            none: part(silent, nothing),
            answered: part(answered, records.len() - nothing),
        }
    });
    let rank = |f: &Fit| (f.answered.min(ANSWERED), f.none, f.value);
    let better = |a: &Fit, b: &Fit| {
        let (a, b) = (rank(a), rank(b));
        let by_parts = a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
        by_parts.then(a.2.total_cmp(&b.2)).is_gt()
    };
    let best = fits.reduce(|best, next| if better(&next, &best) { next } else { best });
    best.filter(|_| !records.is_empty())
}

/// Part of the phrases that mean nothing which are answered with nothing where `answered` of the others are answered, by the
/// power that does best; `None` where phrases of one of the two are lacking. It compares weights whatever their thresholds.
pub(super) fn nothing_at(records: &[Record], answered: f64) -> Option<f64> {
    let rate_at = |power: f32| {
        let score = |r: &Record| {
            let best = r.proposals.iter().map(|p| p.0).fold(0.0, f32::max);
            best * r.presence.powf(power)
        };
        let (nothing, something): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|r| r.referents.is_empty());
        let mut there: Vec<f32> = something.into_iter().map(score).collect();
        there.sort_by(f32::total_cmp);
        let may_miss = (there.len() as f64 * (1.0 - answered)) as usize;
        let least = *there.get(may_miss)?;
        let silent = nothing.iter().filter(|r| score(r) < least).count();
        (!nothing.is_empty()).then(|| silent as f64 / nothing.len() as f64)
    };
    POWERS.into_iter().filter_map(rate_at).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_part_what_is_there_from_what_is_not() {
        let record = |presence, proposals: &[(f32, u8)], referents: &[u8]| Record {
            presence,
            proposals: proposals.to_vec(),
            referents: referents.to_vec(),
            several: false,
        };
        let records = [
            record(0.9, &[(0.8, 1), (0.3, 2)], &[1]),
            record(0.6, &[(0.7, 2), (0.2, 1)], &[2]),
            record(0.8, &[(0.35, 1), (0.3, 2)], &[]),
            record(0.2, &[(0.9, 1), (0.1, 2)], &[]),
        ];
        let found = fit(&records, 4).unwrap();
        assert_eq!((found.value, found.none, found.answered), (1.0, 1.0, 1.0));
        let kept = |presence: f32, confidence: f32| {
            let share = presence.powf(found.presence_power);
            presence >= found.presence && confidence * share >= found.keep
        };
        assert!(kept(0.9, 0.8) && kept(0.6, 0.7), "{found:?}");
        assert!(!kept(0.8, 0.35) && !kept(0.2, 0.9), "{found:?}");
        assert!(fit(&[], 4).is_none());
        // Much that is there is only just seen: it is answered all the same, though the overlap were better without.
        let mut many = vec![record(0.9, &[(0.05, 1)], &[1])];
        many.extend((0..2).map(|_| record(0.9, &[(0.06, 1)], &[])));
        assert_eq!(
            fit(&many, 4).map(|f| (f.answered, f.none)),
            Some((1.0, 0.0))
        );
        // By confidence alone one of the two that mean nothing lies below the least sure of the others, by presence both do.
        assert_eq!(nothing_at(&records, 1.0), Some(1.0));
        assert_eq!(nothing_at(&records[..2], 1.0), None);
    }
}
