//! Thresholds of finished weights: below which probability an answer counts as "there is none", and from which confidence
//! a proposal is kept. Both are chosen together on held-out clips, as the program uses them together.

/// What was predicted for one phrase.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Probability that there is such a thing.
    pub(super) presence: f32,
    /// Confidence of each proposal and the object it lies on, 0 for none.
    pub(super) proposals: Vec<(f32, u8)>,
    /// What was meant; empty if nothing.
    pub(super) referents: Vec<u8>,
}

/// Both thresholds and what they are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) presence: f32,
    pub(super) keep: f32,
    /// Mean overlap of what is kept with what is meant, 0 to 1.
    pub(super) value: f64,
    /// Mean of that over phrases that mean nothing.
    pub(super) none: f64,
}

impl Record {
    /// Overlap of the kept objects with those that are meant.
    fn value(&self, presence: f32, keep: f32, at_most: usize) -> f64 {
        let mut kept: Vec<(f32, u8)> = vec![];
        if self.presence >= presence {
            kept.extend(self.proposals.iter().filter(|p| p.0 >= keep));
            kept.sort_by(|a, b| b.0.total_cmp(&a.0));
            kept.truncate(at_most);
        }
        let mut found: Vec<u8> = kept.iter().map(|p| p.1).collect();
        found.sort_unstable();
        found.dedup();
        let common = found
            .iter()
            .filter(|id| self.referents.contains(id))
            .count();
        let either = found.len() + self.referents.len() - common;
        if either == 0 {
            1.0
        } else {
            common as f64 / either as f64
        }
    }
}

/// The best thresholds where at most `at_most` proposals are kept; `None` without records.
pub(super) fn fit(records: &[Record], at_most: usize) -> Option<Fit> {
    let mean = |presence: f32, keep: f32, only_none: bool| {
        let values: Vec<f64> = records
            .iter()
            .filter(|r| !only_none || r.referents.is_empty())
            .map(|r| r.value(presence, keep, at_most))
            .collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let grid = |n: u8| (1..n).map(move |i| f32::from(i) / f32::from(n));
    let mut best: Option<Fit> = None;
    for presence in grid(20) {
        for keep in grid(40) {
            let value = mean(presence, keep, false);
            if !records.is_empty() && best.is_none_or(|b| value > b.value) {
                best = Some(Fit {
                    presence,
                    keep,
                    value,
                    none: mean(presence, keep, true),
                });
            }
        }
    }
    best
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
        };
        let records = [
            record(0.9, &[(0.8, 1), (0.3, 2)], &[1]),
            record(0.6, &[(0.7, 2), (0.2, 1)], &[2]),
            record(0.8, &[(0.35, 1), (0.3, 2)], &[]),
            record(0.2, &[(0.9, 1), (0.1, 2)], &[]),
        ];
        let found = fit(&records, 4).unwrap();
        assert_eq!((found.value, found.none), (1.0, 1.0));
        assert!(found.keep > 0.35 && found.keep <= 0.7, "{found:?}");
        assert!(found.presence > 0.2 && found.presence <= 0.6, "{found:?}");
        assert!(fit(&[], 4).is_none());
    }
}
