//! Spatio-temporal grounding (`VidSTG`, `HC-STVG`): a box per frame, a span of frames, and how well both fit. Boxes here are
//! the released evaluation's: `[min x, min y, max x, max y]` of the mask's pixels, the last ones included.

use crate::project::{Bitmap, Connectivity};

/// Parts of a predicted mask with fewer pixels than this are noise.
pub const MIN_PART: u64 = 20;

/// What the released evaluation takes for a mask without pixels: a box that overlaps nothing.
pub const NO_BOX: [f64; 4] = [1e8, 1e8, 0.0, 0.0];

/// The mask without its parts (connected by sides) of fewer than `min_part` pixels, [`MIN_PART`] in the protocol.
pub fn cleaned(mask: &Bitmap, min_part: u64) -> Bitmap {
    let mut out = mask.clone();
    out.remove_small(min_part, Connectivity::Four);
    out
}

/// The mask's box, [`NO_BOX`] if it is empty.
pub fn mask_box(mask: &Bitmap) -> [f64; 4] {
    let w = mask.size.width as usize;
    let mut out = NO_BOX;
    for (k, _) in mask.data.iter().enumerate().filter(|(_, v)| **v != 0) {
        let (x, y) = ((k % w) as f64, (k / w) as f64);
        out = [out[0].min(x), out[1].min(y), out[2].max(x), out[3].max(y)];
    }
    out
}

/// IoU of two boxes, 0 if they do not overlap.
pub fn box_iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let inter = width * height;
    let union = area(a) + area(b) - inter;
    if inter > 0.0 && union > 0.0 {
        inter / union
    } else {
        0.0
    }
}

/// A span of frames; what `end` means is said where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First frame.
    pub start: usize,
    /// End.
    pub end: usize,
}

/// How well one tube fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TubeScore {
    /// IoU of the spans, as lengths on the time axis.
    pub t_iou: f64,
    /// Box IoUs summed over the frames of both spans (ends excluded), over the number of frames of either.
    pub v_iou: f64,
    /// Mean box IoU over the true span, its end included.
    pub gt_v_iou: f64,
}

impl TubeScore {
    /// `[vIoU > 0.3, vIoU > 0.5, gt_vIoU > 0.3, gt_vIoU > 0.5]`.
    pub fn above(&self) -> [bool; 4] {
        [
            self.v_iou > 0.3,
            self.v_iou > 0.5,
            self.gt_v_iou > 0.3,
            self.gt_v_iou > 0.5,
        ]
    }
}

/// Scores a predicted span and its boxes' IoUs with the true boxes (`ious[frame]`; frames past its end count 0).
pub fn tube_score(truth: Span, predicted: Span, ious: &[f64]) -> TubeScore {
    let at = |frame: usize| ious.get(frame).copied().unwrap_or(0.0);
    let start = truth.start.max(predicted.start);
    let end = truth.end.min(predicted.end);
    let shared = end.saturating_sub(start);
    let length = |s: Span| s.end.saturating_sub(s.start);
    let union = length(truth) + length(predicted) - shared;
    let sum: f64 = (start..end.max(start)).map(at).sum();
    let true_frames = truth.start..=truth.end.max(truth.start);
    let n = true_frames.clone().count();
    TubeScore {
        t_iou: if shared == 0 {
            0.0
        } else {
            shared as f64 / union as f64
        },
        v_iou: sum / union.max(1) as f64,
        gt_v_iou: true_frames.map(at).sum::<f64>() / n as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{BoxPx, Size};

    #[test]
    fn a_mask_loses_its_specks_and_gives_its_box() {
        let b = BoxPx::from_array([10.0, 5.0, 20.0, 9.0]);
        let mut mask = Bitmap::from_box(Size::new(40, 30), b);
        mask.data[0] = 1;
        assert_eq!(mask_box(&mask), [0.0, 0.0, 19.0, 8.0]);
        assert_eq!(mask_box(&cleaned(&mask, MIN_PART)), [10.0, 5.0, 19.0, 8.0]);
        let empty = Bitmap::new(mask.size);
        assert_eq!(box_iou(mask_box(&empty), [0.0, 0.0, 9.0, 9.0]), 0.0);
    }

    #[test]
    fn spans_that_do_not_meet_score_nothing() {
        let ious = [1.0; 10];
        let span = |start, end| Span { start, end };
        let s = tube_score(span(2, 5), span(6, 8), &ious);
        assert_eq!((s.t_iou, s.v_iou, s.gt_v_iou), (0.0, 0.0, 1.0));
        let s = tube_score(span(1, 7), span(1, 7), &ious);
        assert_eq!((s.t_iou, s.v_iou), (1.0, 1.0));
        assert_eq!(s.above(), [true; 4]);
        let s = tube_score(span(3, 3), span(3, 3), &ious);
        assert_eq!((s.t_iou, s.v_iou, s.gt_v_iou), (0.0, 0.0, 1.0));
        let s = tube_score(span(7, 1), span(5, 2), &ious);
        assert_eq!((s.t_iou, s.v_iou), (0.0, 0.0));
    }
}
