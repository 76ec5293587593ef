//! The box-prior filter: a box is credible if SAM2, prompted with it alone, draws a mask that fills it. Scores only;
//! drawing the mask is the caller's.

use super::select::best;

/// Credibility 0..1 of a box `x1, y1, x2, y2` (fractions) given the mask `(h, w)` that it prompts, row-major.
///
/// Four fifths are the overlap of the box with the mask's tight box, one fifth the likeness of the two areas, on the
/// mask's own grid. A mask that is next to nothing or nearly everything keeps a fifth of that, an empty one nothing.
pub fn credibility(bounds: [f32; 4], mask: &[bool], (h, w): (usize, usize)) -> f32 {
    let (mut x1, mut y1, mut x2, mut y2) = (w, h, 0, 0);
    let mut area = 0_usize;
    for (at, _) in mask.iter().take(h * w).enumerate().filter(|(_, on)| **on) {
        let (x, y) = (at % w, at / w);
        (x1, y1, x2, y2) = (x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1));
        area += 1;
    }
    if area == 0 {
        return 0.0;
    }
    let [left, top, right, bottom] = bounds.map(|v| v.clamp(0.0, 1.0));
    let (wide, high) = (w as f32, h as f32);
    let own = [left * wide, top * high, right * wide, bottom * high];
    let tight = [x1 as f32, y1 as f32, x2 as f32, y2 as f32];
    let mask_share = area as f32 / (wide * high);
    let own_share = ((right - left).max(0.0) * (bottom - top).max(0.0)).max(1e-6);
    let likeness = 1.0 / (1.0 + (mask_share / own_share).max(1e-6).ln().abs());
    let score = 0.8 * overlap(own, tight) + 0.2 * likeness;
    if (1e-4..=0.9).contains(&mask_share) {
        score
    } else {
        0.2 * score
    }
}

/// Intersection over union of boxes given by their corners, 0..1.
pub(super) fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |r: [f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let common = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    common / (area(a) + area(b) - common).max(1e-6)
}

/// The boxes to keep: those at or above `least` by index, else the best one; of more than `most` the best, best first.
/// `most` 0 counts as 1.
pub fn keep(scores: &[f32], least: f32, most: usize) -> Vec<usize> {
    let all: Vec<usize> = (0..scores.len()).collect();
    let good: Vec<usize> = all
        .iter()
        .copied()
        .filter(|&i| scores[i] >= least)
        .collect();
    if good.is_empty() {
        best(scores, &all, 1)
    } else {
        best(scores, &good, most.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_box_is_credible_and_extremes_are_not() {
        let mut mask = vec![false; 64];
        for y in 2..6 {
            for x in 2..6 {
                mask[y * 8 + x] = true;
            }
        }
        assert!((credibility([0.25, 0.25, 0.75, 0.75], &mask, (8, 8)) - 1.0).abs() < 1e-6);
        assert!(credibility([0.0, 0.0, 0.2, 0.2], &mask, (8, 8)) < 0.1);
        let whole = credibility([0.0, 0.0, 1.0, 1.0], &[true; 64], (8, 8));
        assert!((whole - 0.2).abs() < 1e-6);
        assert_eq!(credibility([0.0, 0.0, 1.0, 1.0], &[false; 64], (8, 8)), 0.0);
        assert!(credibility([0.5, 0.5, 0.5, 0.5], &mask, (8, 8)).is_finite());
    }

    #[test]
    fn the_best_box_stays_when_none_is_credible() {
        assert_eq!(keep(&[0.1, 0.3, 0.2], 0.35, 4), [1]);
        assert_eq!(keep(&[0.5, 0.1, 0.6], 0.35, 4), [0, 2]);
        assert_eq!(keep(&[0.5, 0.1, 0.6], 0.35, 1), [2]);
        assert!(keep(&[], 0.35, 1).is_empty());
    }
}
