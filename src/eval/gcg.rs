//! Grounded conversation: pairing of predicted and true spatio-temporal masks, greedily by IoU, as the released
//! evaluation does. Leaves the similarity of texts to whoever has a text model.

use crate::project::Bitmap;

/// A `rows × columns` matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// `rows × columns` values.
    pub values: Vec<f64>,
}

impl Matrix {
    /// Place and value of the largest entry, the first of equals; `None` if there is none.
    fn largest(&self) -> Option<(usize, usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (k, &v) in self.values.iter().enumerate() {
            if best.is_none_or(|(_, b)| v > b) {
                best = Some((k, v));
            }
        }
        best.map(|(k, v)| (k / self.columns, k % self.columns, v))
    }

    fn clear(&mut self, row: usize, column: usize) {
        for c in 0..self.columns {
            self.values[row * self.columns + c] = 0.0;
        }
        for r in 0..self.rows {
            self.values[r * self.columns + column] = 0.0;
        }
    }

    /// Rows as columns.
    pub fn transposed(&self) -> Self {
        let values = (0..self.columns)
            .flat_map(|c| (0..self.rows).map(move |r| (r, c)))
            .map(|(r, c)| self.values[r * self.columns + c])
            .collect();
        Self {
            rows: self.columns,
            columns: self.rows,
            values,
        }
    }
}

/// IoU of two mask sequences stacked over frames; 0 if both are empty.
pub fn tube_iou(a: &[Bitmap], b: &[Bitmap]) -> f64 {
    let (mut both, mut either) = (0_u64, 0_u64);
    for (a, b) in a.iter().zip(b) {
        for (&x, &y) in a.data.iter().zip(&b.data) {
            both += u64::from(x & y != 0);
            either += u64::from(x | y != 0);
        }
    }
    if either == 0 {
        0.0
    } else {
        both as f64 / either as f64
    }
}

/// IoUs of every prediction (rows) with every truth (columns).
pub fn iou_matrix(predictions: &[Vec<Bitmap>], truths: &[Vec<Bitmap>]) -> Matrix {
    let values = predictions
        .iter()
        .flat_map(|p| truths.iter().map(|t| tube_iou(p, t)))
        .collect();
    Matrix {
        rows: predictions.len(),
        columns: truths.len(),
        values,
    }
}

/// Mean IoU of the greedily paired masks of one video: the best pair first, both taken out, until nothing overlaps. The
/// mean is over the pairs found; 0 if there is none.
pub fn mean_iou(ious: &Matrix) -> f64 {
    let mut left = ious.clone();
    let (mut sum, mut pairs) = (0.0, 0);
    while let Some((row, column, iou)) = left.largest()
        && iou > 0.0
    {
        sum += iou;
        pairs += 1;
        left.clear(row, column);
    }
    if pairs == 0 {
        0.0
    } else {
        sum / f64::from(pairs)
    }
}

/// What a pair must reach to count as found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatchThresholds {
    /// IoU of the masks.
    pub iou: f64,
    /// Similarity of the texts.
    pub text: f64,
}

impl Default for MatchThresholds {
    fn default() -> Self {
        Self {
            iou: 0.5,
            text: 0.5,
        }
    }
}

/// The `(truth, prediction)` pairs that count for recall. Both matrices have truths as rows. Pairs are taken by IoU; the
/// first that fails either threshold ends the search.
pub fn matches(
    ious: &Matrix,
    similarity: &Matrix,
    thresholds: MatchThresholds,
) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    if (ious.rows, ious.columns) != (similarity.rows, similarity.columns) {
        return found;
    }
    let mut left = ious.clone();
    while let Some((row, column, iou)) = left.largest() {
        let text = similarity.values[row * similarity.columns + column];
        // A matched pair is zero from then on, so the search always ends.
        if iou < thresholds.iou || iou <= 0.0 || text < thresholds.text {
            break;
        }
        found.push((row, column));
        left.clear(row, column);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, values: &[f64]) -> Matrix {
        Matrix {
            rows,
            columns,
            values: values.to_vec(),
        }
    }

    #[test]
    fn pairs_are_taken_best_first() {
        let ious = matrix(2, 2, &[0.8, 0.6, 0.7, 0.1]);
        assert!((mean_iou(&ious) - 0.45).abs() < 1e-12);
        assert_eq!(mean_iou(&matrix(0, 3, &[])), 0.0);
        assert_eq!(mean_iou(&matrix(1, 2, &[0.0, 0.0])), 0.0);
        assert_eq!(ious.transposed().values, vec![0.8, 0.7, 0.6, 0.1]);
    }

    /// As released: who finds one of two objects well, and another that is not there, has the mean of the one.
    #[test]
    fn oddity_33_surplus_objects_cost_nothing() {
        let surplus = matrix(2, 2, &[0.8, 0.0, 0.0, 0.0]);
        assert_eq!(mean_iou(&surplus), 0.8);
        assert_eq!(mean_iou(&surplus), mean_iou(&matrix(1, 1, &[0.8])));
    }

    #[test]
    fn oddity_31_one_bad_pair_ends_the_search() {
        let ious = matrix(2, 2, &[0.9, 0.0, 0.0, 0.6]);
        let alike = matrix(2, 2, &[0.9; 4]);
        let t = MatchThresholds::default();
        assert_eq!(matches(&ious, &alike, t), vec![(0, 0), (1, 1)]);
        let unlike = matrix(2, 2, &[0.4, 0.9, 0.9, 0.9]);
        assert_eq!(matches(&ious, &unlike, t), vec![]);
        assert_eq!(matches(&matrix(2, 0, &[]), &matrix(2, 0, &[]), t), vec![]);
    }
}
