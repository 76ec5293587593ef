//! The two measures of the DAVIS protocol on one frame: region similarity J and boundary accuracy F, as the official
//! toolkit computes them. Leaves sequences to [`super::sequence`].

use crate::project::{Bitmap, Size};

/// How far apart two boundaries may lie and still count as the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// A fraction of the frame's diagonal, rounded up to whole pixels.
    Diagonal(f64),
    /// Pixels.
    Pixels(u32),
}

impl Default for Tolerance {
    /// The protocol's: 0.008 of the diagonal.
    fn default() -> Self {
        Self::Diagonal(0.008)
    }
}

impl Tolerance {
    /// Radius in pixels for frames of `size`.
    pub fn radius(self, size: Size) -> u32 {
        match self {
            Self::Diagonal(fraction) => {
                let (w, h) = (f64::from(size.width), f64::from(size.height));
                (fraction * (w * w + h * h).sqrt()).ceil() as u32
            }
            Self::Pixels(radius) => radius,
        }
    }
}

fn without(mask: &Bitmap, void: Option<&Bitmap>) -> Bitmap {
    let mut out = mask.clone();
    if let Some(void) = void {
        for (value, &v) in out.data.iter_mut().zip(&void.data) {
            *value &= u8::from(v == 0);
        }
    }
    out
}

/// Region similarity: intersection over union outside `void`, 0..=1; 1 if both are empty there. All masks have one
/// size; otherwise 0.
pub fn region(truth: &Bitmap, prediction: &Bitmap, void: Option<&Bitmap>) -> f64 {
    if truth.size != prediction.size {
        return 0.0;
    }
    let (mut both, mut either) = (0_u64, 0_u64);
    for k in 0..truth.data.len() {
        if void.is_some_and(|v| v.data.get(k).is_some_and(|&v| v != 0)) {
            continue;
        }
        let (t, p) = (truth.data[k] != 0, prediction.data[k] != 0);
        both += u64::from(t && p);
        either += u64::from(t || p);
    }
    if either == 0 {
        1.0
    } else {
        both as f64 / either as f64
    }
}

/// Boundary pixels of a mask: those that differ from their right, lower or lower right neighbour. In the last row only
/// the right one counts, in the last column only the lower one, and the last corner is never a boundary.
pub fn boundary_map(mask: &Bitmap) -> Bitmap {
    let (w, h) = (mask.size.width as usize, mask.size.height as usize);
    let mut out = Bitmap::new(mask.size);
    let at = |x: usize, y: usize| mask.data[y * w + x] != 0;
    for y in 0..h {
        for x in 0..w {
            let here = at(x, y);
            let edge = match (x + 1 < w, y + 1 < h) {
                (true, true) => {
                    here != at(x + 1, y) || here != at(x, y + 1) || here != at(x + 1, y + 1)
                }
                (true, false) => here != at(x + 1, y),
                (false, true) => here != at(x, y + 1),
                (false, false) => false,
            };
            out.data[y * w + x] = u8::from(edge);
        }
    }
    out
}

/// Every pixel within `radius` of a set one (a disc: `dx² + dy² ≤ radius²`).
fn dilated(map: &Bitmap, radius: u32) -> Bitmap {
    let (w, h) = (i64::from(map.size.width), i64::from(map.size.height));
    let r = i64::from(radius);
    // Half width of the disc in each of its rows.
    let half: Vec<i64> = (-r..=r)
        .map(|dy| {
            let rest = r * r - dy * dy;
            (0..=r).rev().find(|x| x * x <= rest).unwrap_or(0)
        })
        .collect();
    let mut out = Bitmap::new(map.size);
    for y in 0..h {
        for x in 0..w {
            if map.data[(y * w + x) as usize] == 0 {
                continue;
            }
            for (row, &reach) in (y - r..=y + r).zip(&half) {
                if row >= 0 && row < h {
                    let from = (row * w + (x - reach).max(0)) as usize;
                    let to = (row * w + (x + reach).min(w - 1)) as usize;
                    out.data[from..=to].fill(1);
                }
            }
        }
    }
    out
}

/// Boundary accuracy: the F-measure of boundary precision and recall, 0..=1, outside `void`. All masks have one size;
/// otherwise 0.
pub fn boundary(
    truth: &Bitmap,
    prediction: &Bitmap,
    void: Option<&Bitmap>,
    tolerance: Tolerance,
) -> f64 {
    if truth.size != prediction.size {
        return 0.0;
    }
    let radius = tolerance.radius(truth.size);
    let truth = boundary_map(&without(truth, void));
    let prediction = boundary_map(&without(prediction, void));
    let matched = |a: &Bitmap, near: &Bitmap| {
        let hits = a
            .data
            .iter()
            .zip(&near.data)
            .filter(|(a, n)| **a & **n != 0);
        hits.count() as f64
    };
    let (in_prediction, in_truth) = (prediction.area() as f64, truth.area() as f64);
    let (precision, recall) = match (in_prediction > 0.0, in_truth > 0.0) {
        (false, true) => (1.0, 0.0),
        (true, false) => (0.0, 1.0),
        (false, false) => (1.0, 1.0),
        (true, true) => (
            matched(&prediction, &dilated(&truth, radius)) / in_prediction,
            matched(&truth, &dilated(&prediction, radius)) / in_truth,
        ),
    };
    if precision + recall == 0.0 {
        0.0
    } else {
        2.0 * precision * recall / (precision + recall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::BoxPx;

    fn boxed(b: [f32; 4]) -> Bitmap {
        Bitmap::from_box(Size::new(100, 80), BoxPx::from_array(b))
    }

    #[test]
    fn equal_masks_are_perfect_and_disjoint_ones_worthless() {
        let (a, b) = (
            boxed([10.0, 10.0, 30.0, 40.0]),
            boxed([60.0, 50.0, 80.0, 70.0]),
        );
        let f = |t: &Bitmap, p: &Bitmap| boundary(t, p, None, Tolerance::default());
        assert_eq!((region(&a, &a, None), f(&a, &a)), (1.0, 1.0));
        assert_eq!((region(&a, &b, None), f(&a, &b)), (0.0, 0.0));
        let empty = Bitmap::new(a.size);
        assert_eq!(
            (region(&empty, &empty, None), f(&empty, &empty)),
            (1.0, 1.0)
        );
        assert_eq!((region(&a, &empty, None), f(&a, &empty)), (0.0, 0.0));
    }

    #[test]
    fn a_shift_within_the_radius_costs_j_but_not_f() {
        let (a, b) = (
            boxed([10.0, 10.0, 30.0, 30.0]),
            boxed([11.0, 10.0, 31.0, 30.0]),
        );
        assert_eq!(Tolerance::default().radius(a.size), 2);
        assert_eq!(region(&a, &b, None), 19.0 / 21.0);
        assert_eq!(boundary(&a, &b, None, Tolerance::default()), 1.0);
        assert!(boundary(&a, &b, None, Tolerance::Pixels(0)) < 0.7);
    }

    #[test]
    fn void_pixels_count_for_nobody() {
        let (a, b) = (
            boxed([10.0, 10.0, 30.0, 30.0]),
            boxed([10.0, 10.0, 40.0, 30.0]),
        );
        let void = boxed([30.0, 0.0, 100.0, 80.0]);
        assert_eq!(region(&a, &b, Some(&void)), 1.0);
        assert_eq!(boundary(&a, &b, Some(&void), Tolerance::default()), 1.0);
    }

    #[test]
    fn masks_of_other_sizes_never_agree() {
        let a = boxed([0.0, 0.0, 9.0, 9.0]);
        let b = Bitmap::new(Size::new(3, 3));
        assert_eq!(region(&a, &b, None), 0.0);
        assert_eq!(boundary(&a, &b, None, Tolerance::default()), 0.0);
    }
}
