//! Overlaps of boxes given by their corners, for targets and counts. Leaves losses with a gradient to the stages.

use crate::project::BoxPx;

/// Intersection over union, 0..1.
pub(super) fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    BoxPx::from_array(a).iou(BoxPx::from_array(b))
}

/// Generalised intersection over union, −1..1: below 0 it says how far apart they lie.
pub(super) fn giou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |x: [f32; 4]| BoxPx::from_array(x).area();
    let inner = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let outer = area([
        a[0].min(b[0]),
        a[1].min(b[1]),
        a[2].max(b[2]),
        a[3].max(b[3]),
    ]);
    let union = area(a) + area(b) - inner;
    inner / union.max(1e-9) - (outer - union) / outer.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_by_hand() {
        let a = [0.0, 0.0, 2.0, 2.0];
        assert_eq!((iou(a, a), giou(a, a)), (1.0, 1.0));
        let b = [1.0, 0.0, 3.0, 2.0];
        assert!((iou(a, b) - 1.0 / 3.0).abs() < 1e-6 && (giou(a, b) - 1.0 / 3.0).abs() < 1e-6);
        let c = [3.0, 0.0, 4.0, 2.0];
        assert_eq!(iou(a, c), 0.0);
        assert!((giou(a, c) + 0.25).abs() < 1e-6);
        assert!(iou([1.0; 4], [1.0; 4]).is_finite() && giou([1.0; 4], [1.0; 4]).is_finite());
    }
}
