//! The first stage: every cell of the encoder proposes one box around its own anchor.

use candle_core::{D, DType, Device, Result, Tensor};

use super::position::sine_of_boxes;

/// Anchors with a component outside this open interval propose nothing.
const VALID: std::ops::Range<f32> = 0.01..0.99;

/// The anchors of all cells.
#[derive(Clone, Debug)]
pub(crate) struct Anchors {
    /// `(1, cells, 4)`: inverse sigmoid of cx, cy, w, h; infinite where invalid.
    pub(crate) logits: Tensor,
    /// `(1, cells, 1)`: 1 where valid, else 0.
    pub(crate) valid: Tensor,
}

impl Anchors {
    /// A square of `size · 2^level` around every cell's centre, as fractions of the image.
    pub(crate) fn new(shapes: &[(usize, usize)], size: f32, device: &Device) -> Result<Self> {
        let cells = shapes.iter().map(|(h, w)| h * w).sum::<usize>();
        let mut logits = Vec::with_capacity(cells * 4);
        let mut valid = Vec::with_capacity(cells);
        for (level, &(h, w)) in shapes.iter().enumerate() {
            let side = size * 2_f32.powi(level as i32);
            for cell in 0..h * w {
                let cx = ((cell % w) as f32 + 0.5) / w as f32;
                let cy = ((cell / w) as f32 + 0.5) / h as f32;
                let anchor = [cx, cy, side, side];
                let inside = anchor.iter().all(|v| *v > VALID.start && *v < VALID.end);
                valid.push(f32::from(u8::from(inside)));
                logits.extend(anchor.map(|v| {
                    if inside {
                        (v / (1.0 - v)).ln()
                    } else {
                        f32::INFINITY
                    }
                }));
            }
        }
        Ok(Self {
            logits: Tensor::from_vec(logits, (1, cells, 4), device)?,
            valid: Tensor::from_vec(valid, (1, cells, 1), device)?,
        })
    }
}

/// The `k` best cells of each image, best first, earlier cells first among equals: scores `(b, cells)` → `(b, k)` u32.
pub(crate) fn best_cells(scores: &Tensor, k: usize) -> Result<Tensor> {
    let rows = scores.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let b = rows.len();
    let mut best = Vec::with_capacity(b * k);
    for row in &rows {
        best.extend(descending(row).into_iter().take(k));
    }
    Tensor::from_vec(best, (b, k), scores.device())
}

/// As [`best_cells`], but a cell whose box overlaps that of a better one that is taken by more than `limit` comes after all that do not;
/// `k` is at most the number of cells: scores `(b, cells)` and corners `(b, cells, 4)` → `(b, k)` u32.
pub(crate) fn distinct_cells(
    scores: &Tensor,
    corners: &Tensor,
    k: usize,
    limit: f32,
) -> Result<Tensor> {
    let rows = scores.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let boxes = corners.to_dtype(DType::F32)?.to_vec3::<f32>()?;
    let mut best = Vec::with_capacity(rows.len() * k);
    for (row, boxes) in rows.iter().zip(&boxes) {
        let (mut kept, mut doubles) = (Vec::with_capacity(k), Vec::new());
        for cell in descending(row) {
            if kept.len() == k {
                break;
            }
            let own = &boxes[cell as usize];
            let known = |&other: &u32| overlap(own, &boxes[other as usize]) > limit;
            if kept.iter().any(known) {
                doubles.push(cell);
            } else {
                kept.push(cell);
            }
        }
        let missing = k - kept.len();
        kept.extend(doubles.into_iter().take(missing));
        best.extend(kept);
    }
    Tensor::from_vec(best, (rows.len(), k), scores.device())
}

/// Intersection over union of two boxes given by their corners; 0 where one of them is empty or not a number.
fn overlap(a: &[f32], b: &[f32]) -> f32 {
    if !a.iter().chain(b).all(|v| v.is_finite()) {
        return 0.0;
    }
    let side = |b: &[f32], low: usize| (b[low + 2] - b[low]).max(0.0);
    let common = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let inner = common(0) * common(1);
    let union = side(a, 0) * side(a, 1) + side(b, 0) * side(b, 1) - inner;
    if union > 0.0 { inner / union } else { 0.0 }
}

/// Indices by falling value; equals keep their order, what is not a number comes last.
pub(crate) fn descending(values: &[f32]) -> Vec<u32> {
    let key = |i: u32| {
        let v = values[i as usize];
        if v.is_nan() { f32::NEG_INFINITY } else { v }
    };
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|&i, &j| key(j).total_cmp(&key(i)));
    order
}

/// Rows `index (b, k)` of `x (b, n, c)` → `(b, k, c)`.
pub(crate) fn rows(x: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (b, k) = index.dims2()?;
    let c = x.dim(D::Minus1)?;
    let index = index.unsqueeze(2)?.broadcast_as((b, k, c))?.contiguous()?;
    x.contiguous()?.gather(&index, 1)
}

/// The sine code of box logits `(b, q, 4)` → `(b, q, 2 · d)`: cx, cy, w, h one after another.
pub(crate) fn proposal_code(box_logits: &Tensor, d: usize) -> Result<Tensor> {
    sine_of_boxes(&candle_nn::ops::sigmoid(box_logits)?, d / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_near_the_border_or_wider_than_the_image_are_invalid() -> Result<()> {
        // 60 columns: the first centre is at 1/120 < 0.01. Level 5 has squares of 0.05 · 32 > 0.99.
        let shapes = [(1, 60), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)];
        let anchors = Anchors::new(&shapes, 0.05, &Device::Cpu)?;
        let valid = anchors.valid.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!((valid[0], valid[1], valid[59]), (0.0, 1.0, 0.0));
        assert_eq!(valid[60..], [1.0, 1.0, 1.0, 1.0, 0.0]);
        let logits = anchors.logits.flatten_all()?.to_vec1::<f32>()?;
        assert!(logits[..4].iter().all(|v| *v == f32::INFINITY));
        assert_eq!(logits[4 * 60], 0.0);
        Ok(())
    }

    #[test]
    fn a_cell_that_another_stands_for_comes_last() -> Result<()> {
        let scores = Tensor::new(
            &[[3_f32, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]],
            &Device::Cpu,
        )?;
        let image = [
            [0_f32, 0.0, 0.4, 0.4],
            [0.02, 0.0, 0.42, 0.4],
            [0.2, 0.0, 0.6, 0.4],
            [0.0, 0.5, 0.4, 0.9],
        ];
        let corners = Tensor::new(&[image, image], &Device::Cpu)?;
        let chosen = |limit| distinct_cells(&scores, &corners, 3, limit)?.to_vec2::<u32>();
        assert_eq!(chosen(0.7)?, [[0, 2, 3], [3, 2, 1]]);
        assert_eq!(chosen(0.3)?, [[0, 3, 1], [3, 2, 1]]);
        assert_eq!(chosen(1.0)?, best_cells(&scores, 3)?.to_vec2::<u32>()?);
        Ok(())
    }

    #[test]
    fn what_is_no_box_overlaps_nothing() {
        let whole = [0.0_f32, 0.0, 1.0, 1.0];
        for odd in [
            [f32::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, f32::INFINITY, 1.0],
            [0.5; 4],
            [1.0, 1.0, 0.0, 0.0],
        ] {
            assert_eq!(overlap(&whole, &odd), 0.0, "{odd:?}");
        }
        assert_eq!(overlap(&whole, &whole), 1.0);
    }

    #[test]
    fn equal_scores_keep_their_order_and_nan_comes_last() {
        assert_eq!(descending(&[1.0, f32::NAN, 3.0, 1.0, 3.0]), [2, 4, 0, 3, 1]);
    }
}
