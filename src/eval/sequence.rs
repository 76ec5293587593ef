//! The DAVIS protocol on sequences: statistics over frames, and the unsupervised task's assignment of predictions to
//! objects. Leaves single frames to [`super::measure`].

use std::collections::BTreeMap;

use super::{
    assign::best_assignment,
    measure::{Tolerance, boundary, region},
};
use crate::project::{Bitmap, Size};

/// More predictions than this are refused by the unsupervised protocol.
pub const MAX_PROPOSALS: usize = 20;

/// A value per frame, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Mean over frames.
    pub mean: f64,
    /// Fraction of frames above 0.5.
    pub recall: f64,
    /// Mean of the first quarter minus mean of the last.
    pub decay: f64,
}

fn mean_of_numbers(values: &[f64]) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    for value in values.iter().filter(|v| !v.is_nan()) {
        sum += value;
        n += 1;
    }
    sum / f64::from(n)
}

/// First index of each quarter, and the last index of the last: the toolkit rounds halves to even.
pub(super) fn quarters(length: usize) -> [usize; 5] {
    let step = (length as f64 - 1.0) / 4.0;
    [0.0, 1.0, 2.0, 3.0, 4.0].map(|i| (1.0 + i * step + 1e-10).round_ties_even() as usize - 1)
}

/// Mean, recall and decay of one value per frame. A value that is not a number is left out of the means and counts as
/// not above 0.5. Nothing for no frames.
pub fn statistics(values: &[f64]) -> Option<Statistics> {
    if values.is_empty() {
        return None;
    }
    let q = quarters(values.len());
    Some(with_quarters(values, q))
}

pub(super) fn with_quarters(values: &[f64], q: [usize; 5]) -> Statistics {
    // An upper index below the lower one (it cannot come from `quarters`) means an empty quarter.
    let quarter = |i: usize| {
        values
            .get(q[i]..(q[i + 1] + 1).min(values.len()))
            .unwrap_or(&[])
    };
    Statistics {
        mean: mean_of_numbers(values),
        recall: values.iter().filter(|&&v| v > 0.5).count() as f64 / values.len() as f64,
        decay: mean_of_numbers(quarter(0)) - mean_of_numbers(quarter(3)),
    }
}

/// J and F of one object, frame by frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerFrame {
    /// Region similarity.
    pub j: Vec<f64>,
    /// Boundary accuracy.
    pub f: Vec<f64>,
}

impl PerFrame {
    /// Compares two mask sequences; `void` has a mask per frame, or is empty. Ends with the shortest.
    pub fn of(truth: &[Bitmap], prediction: &[Bitmap], void: &[Bitmap]) -> Self {
        let mut out = Self::default();
        for (i, (t, p)) in truth.iter().zip(prediction).enumerate() {
            out.j.push(region(t, p, void.get(i)));
            out.f
                .push(boundary(t, p, void.get(i), Tolerance::default()));
        }
        out
    }

    /// Mean of the mean J and the mean F.
    pub fn jf(&self) -> f64 {
        f64::midpoint(mean_of_numbers(&self.j), mean_of_numbers(&self.f))
    }
}

/// Seven numbers that sum up a set of objects, each the mean over objects.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Global {
    /// Mean of `j` and `f`.
    pub jf: f64,
    /// Region similarity.
    pub j: f64,
    /// Fraction of frames with J above 0.5.
    pub j_recall: f64,
    /// J's loss from the first to the last quarter.
    pub j_decay: f64,
    /// Boundary accuracy.
    pub f: f64,
    /// Fraction of frames with F above 0.5.
    pub f_recall: f64,
    /// F's loss from the first to the last quarter.
    pub f_decay: f64,
}

/// Sums up objects; nothing for none. Objects without frames are left out.
pub fn global(objects: &[PerFrame]) -> Option<Global> {
    let pairs: Vec<(Statistics, Statistics)> = objects
        .iter()
        .filter_map(|o| Some((statistics(&o.j)?, statistics(&o.f)?)))
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let n = pairs.len() as f64;
    let mean =
        |pick: &dyn Fn(&(Statistics, Statistics)) -> f64| pairs.iter().map(pick).sum::<f64>() / n;
    let (j, f) = (mean(&|p| p.0.mean), mean(&|p| p.1.mean));
    Some(Global {
        jf: f64::midpoint(j, f),
        j,
        j_recall: mean(&|p| p.0.recall),
        j_decay: mean(&|p| p.0.decay),
        f,
        f_recall: mean(&|p| p.1.recall),
        f_decay: mean(&|p| p.1.decay),
    })
}

/// Label maps of one sequence, row-major, one value per pixel: 0 background, 255 void in the truth, else an object.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Frame size.
    pub size: Size,
    /// One map per frame.
    pub frames: &'a [&'a [u8]],
}

impl Labels<'_> {
    /// The masks of label `id` on every frame.
    fn masks(&self, id: u8) -> Vec<Bitmap> {
        let one = |map: &&[u8]| Bitmap {
            size: self.size,
            data: map.iter().map(|&v| u8::from(v == id)).collect(),
        };
        self.frames.iter().map(one).collect()
    }
}

/// The unsupervised protocol on one sequence: objects are the labels up to the largest of the *first* true frame,
/// predictions the labels up to the largest anywhere; each object gets one prediction, so that the sum of (J+F)/2 is
/// best; objects without a prediction are compared with nothing. In the order of the predictions, as the official
/// toolkit lists them. `None` if there are more than [`MAX_PROPOSALS`] predictions.
pub fn unsupervised(truth: Labels<'_>, prediction: Labels<'_>) -> Option<Vec<PerFrame>> {
    let void = truth.masks(255);
    let first = truth.frames.first()?;
    let objects = first.iter().copied().filter(|&v| v != 255).max()?;
    let predictions = prediction.frames.iter().flat_map(|m| m.iter().copied());
    let predictions = usize::from(predictions.max()?);
    if predictions > MAX_PROPOSALS {
        return None;
    }
    let rows = predictions.max(usize::from(objects));
    let truths: BTreeMap<u8, Vec<Bitmap>> = (1..=objects).map(|id| (id, truth.masks(id))).collect();
    let mut table = Vec::with_capacity(rows * truths.len());
    for id in 1..=rows as u8 {
        // Labels that no pixel has give empty masks: the padding.
        let masks = prediction.masks(id);
        for truth in truths.values() {
            table.push(PerFrame::of(truth, &masks, &void));
        }
    }
    let scores: Vec<f64> = table.iter().map(PerFrame::jf).collect();
    let pairs = best_assignment(&scores, rows, truths.len());
    Some(
        pairs
            .into_iter()
            .map(|(r, c)| table[r * truths.len() + c].clone())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_ramp() {
        let values: Vec<f64> = (0..8).map(|i| 1.0 - f64::from(i) / 10.0).collect();
        let s = statistics(&values).unwrap();
        assert!((s.mean - 0.65).abs() < 1e-12);
        assert_eq!(s.recall, 5.0 / 8.0);
        // Quarters share their borders: linspace(1, 8, 5) = 1 2.75 4.5 6.25 8 -> 1 3 5(4.5+1e-10) 6 8.
        assert_eq!(quarters(8), [0, 2, 4, 5, 7]);
        assert!((s.decay - (0.9 - 0.4)).abs() < 1e-12);
        assert_eq!(statistics(&[]), None);
        assert_eq!(statistics(&[0.7]).unwrap().decay, 0.0);
    }

    /// Released, borders of quarters are bytes: past 255 frames they wrap, and the last quarter may be empty.
    #[test]
    fn oddity_34_quarters_of_long_clips_do_not_wrap() {
        assert_eq!(quarters(300), [0, 75, 150, 224, 299]);
        let values: Vec<f64> = (0..300).map(|i| f64::from(u8::from(i < 150))).collect();
        let right = statistics(&values).unwrap();
        assert_eq!(right.decay, 1.0);
        let wrapped = with_quarters(&values, quarters(300).map(|q| q % 256));
        assert!(wrapped.decay.is_nan());
    }

    #[test]
    fn permuted_ids_are_found_and_missing_ones_count_zero() {
        let size = Size::new(6, 2);
        let truth: [&[u8]; 2] = [&[1, 1, 0, 2, 2, 0, 1, 1, 0, 2, 2, 0]; 2];
        let swapped: [&[u8]; 2] = [&[2, 2, 0, 1, 1, 0, 2, 2, 0, 1, 1, 0]; 2];
        let labels = |frames| Labels { size, frames };
        let all = unsupervised(labels(&truth), labels(&swapped)).unwrap();
        assert_eq!(global(&all).unwrap().jf, 1.0);
        let one: [&[u8]; 2] = [&[0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0]; 2];
        let half = unsupervised(labels(&truth), labels(&one)).unwrap();
        assert_eq!(half.len(), 2);
        assert_eq!(global(&half).unwrap().j, 0.5);
        let many: [&[u8]; 2] = [&[21; 12]; 2];
        assert_eq!(unsupervised(labels(&truth), labels(&many)), None);
    }
}
