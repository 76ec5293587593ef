//! Which proposals a phrase means: targets and losses of the filtration head, and how often its first choice is right.

use candle_core::{D, Tensor};

use crate::train::{TrainResult, boxes::iou};

/// Overlap from which a proposal counts as an object.
const MATCH: f32 = 0.5;

/// Overlap from which a proposal lies on an object rather than on nothing.
const NEAR: f32 = 0.3;

/// What was meant, phrase by phrase.
pub(super) struct Meant<'a> {
    /// Corners of the proposals.
    pub(super) proposals: &'a [[f32; 4]],
    /// Corners of every object in view.
    pub(super) objects: &'a [(u8, [f32; 4])],
    /// Ids of the objects meant; empty where nothing is.
    pub(super) referents: Vec<&'a [u8]>,
}

/// Counts of a validation: phrases of one referent among several objects that a proposal covers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    /// The first choice covers the right object.
    pub(super) right: f64,
    /// The first choice lies on the right object rather than on another.
    pub(super) on: f64,
    /// Phrases.
    pub(super) counted: f64,
    /// Phrases whose object no proposal covers.
    pub(super) missed: f64,
}

impl Choice {
    /// Adds another's counts.
    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.on += other.on;
        self.counted += other.counted;
        self.missed += other.missed;
    }
}

impl Meant<'_> {
    fn targets(&self) -> Vec<f32> {
        let is_meant = |ids: &[u8], p: [f32; 4]| {
            self.objects
                .iter()
                .any(|(id, b)| ids.contains(id) && iou(*b, p) >= MATCH)
        };
        self.referents
            .iter()
            .flat_map(|ids| {
                self.proposals
                    .iter()
                    .map(move |p| f32::from(u8::from(is_meant(ids, *p))))
            })
            .collect()
    }

    /// Loss of logits `(phrases, proposals)`: every pair by itself, and the right ones against the others, so that both
    /// the threshold and the order become right.
    pub(super) fn loss(&self, logits: &Tensor) -> TrainResult<Tensor> {
        let (n, k) = logits.dims2()?;
        let device = logits.device();
        let targets = self.targets();
        let some: Vec<f32> = targets
            .chunks_exact(k.max(1))
            .map(|row| f32::from(u8::from(row.contains(&1.0))))
            .collect();
        let rows = f64::from(some.iter().sum::<f32>());
        let targets = Tensor::from_vec(targets, (n, k), device)?;
        // log(1 + e^x) − x·t, written so that neither side overflows.
        let pairs = (logits.relu()? - (logits * &targets)?)?;
        let pairs = (pairs + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        let pairs = (pairs.sum_all()? / n.max(1) as f64)?;
        if rows == 0.0 {
            return Ok(pairs);
        }
        // −log of the probability that the softmax gives to the right ones together.
        let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?;
        let right = ((log_p.exp()? * &targets)?.sum(D::Minus1)? + 1e-6)?.log()?;
        let some = Tensor::from_vec(some, n, device)?;
        let order = ((right * some)?.sum_all()? / -rows)?;
        Ok((pairs + order)?)
    }

    /// The word of motion of the object that each proposal covers, and 0 as the weight of those that cover none; `of` tells the
    /// word of an object.
    pub(super) fn motions(&self, of: impl Fn(u8) -> usize) -> (Vec<u32>, Vec<f32>) {
        let covered = |p: &[f32; 4]| {
            let objects = self.objects.iter().map(|(id, b)| (*id, iou(*b, *p)));
            let best = objects.max_by(|a, b| a.1.total_cmp(&b.1));
            best.filter(|(_, overlap)| *overlap >= MATCH)
        };
        let word = |p: &[f32; 4]| match covered(p) {
            Some((id, _)) => (of(id) as u32, 1.0),
            None => (0, 0.0),
        };
        self.proposals.iter().map(word).unzip()
    }

    /// For each phrase the confidence of every proposal and the object it lies on, from logits `(phrases, proposals)`.
    pub(super) fn confidences(&self, logits: &Tensor) -> TrainResult<Vec<Vec<(f32, u8)>>> {
        let on: Vec<u8> = self
            .proposals
            .iter()
            .map(|p| {
                let nearest = self
                    .objects
                    .iter()
                    .max_by(|a, b| iou(a.1, *p).total_cmp(&iou(b.1, *p)));
                nearest.filter(|n| iou(n.1, *p) >= NEAR).map_or(0, |n| n.0)
            })
            .collect();
        let rows: Vec<Vec<f32>> = candle_nn::ops::sigmoid(logits)?.to_vec2()?;
        Ok(rows
            .into_iter()
            .map(|row| row.into_iter().zip(on.iter().copied()).collect())
            .collect())
    }

    /// Counts the first choices of logits `(phrases, proposals)` over the phrases that `counts` accepts.
    pub(super) fn choices(
        &self,
        logits: &Tensor,
        counts: impl Fn(usize) -> bool,
    ) -> TrainResult<Choice> {
        let best: Vec<u32> = logits.argmax(1)?.to_vec1()?;
        let mut out = Choice::default();
        for (i, (ids, &best)) in self.referents.iter().zip(&best).enumerate() {
            if ids.len() != 1 || self.objects.len() < 2 || !counts(i) {
                continue;
            }
            let Some((_, wanted)) = self.objects.iter().find(|(id, _)| ids.contains(id)) else {
                continue;
            };
            let chosen = self.proposals[best as usize];
            out.counted += 1.0;
            let covered = self.proposals.iter().any(|p| iou(*p, *wanted) >= MATCH);
            out.missed += f64::from(u8::from(!covered));
            out.right += f64::from(u8::from(iou(chosen, *wanted) >= MATCH));
            let nearest = self
                .objects
                .iter()
                .max_by(|a, b| iou(a.1, chosen).total_cmp(&iou(b.1, chosen)));
            out.on += f64::from(u8::from(nearest.is_some_and(|n| ids.contains(&n.0))));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_right_order_costs_less_and_counts() {
        let proposals = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]];
        let objects = [(1, [0.0, 0.0, 0.5, 0.5]), (2, [0.5, 0.5, 1.0, 0.9])];
        let meant = Meant {
            proposals: &proposals,
            objects: &objects,
            referents: vec![&[1], &[2], &[]],
        };
        let right = Tensor::new(&[[4_f32, -4.0], [-4.0, 4.0], [-4.0, -4.0]], &Device::Cpu).unwrap();
        let cost = |x: &Tensor| meant.loss(x).unwrap().to_scalar::<f32>().unwrap();
        assert!(cost(&right) < 0.2);
        assert!(cost(&right.neg().unwrap()) > 5.0);
        let count = meant.choices(&right, |_| true).unwrap();
        assert_eq!((count.right, count.on, count.counted), (2.0, 2.0, 2.0));
        let count = meant.choices(&right.neg().unwrap(), |_| true).unwrap();
        assert_eq!((count.right, count.counted, count.missed), (0.0, 2.0, 0.0));
        let aside = [proposals[1], [0.9, 0.0, 1.0, 0.1], proposals[0]];
        let meant = Meant {
            proposals: &aside,
            ..meant
        };
        let of = |id: u8| 7 + usize::from(id);
        assert_eq!(meant.motions(of), (vec![9, 0, 8], vec![1.0, 0.0, 1.0]));
    }
}
