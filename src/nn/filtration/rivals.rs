//! How each proposal stands among its rivals, the others that a phrase could mean as well: which of them lie farther to
//! the left, which are bigger. "The leftmost red one" says nothing of a proposal by itself, and nothing of all the others
//! either: only of those that are red.
//!
//! Nano's own; the released head scores every proposal alone. Numbers only, without a gradient; what a phrase makes of
//! them, and who could be meant, is the selector's.

use candle_core::{DType, Result};

use super::{Candidates, prior::overlap};

/// Numbers per proposal: the strongest rival farther left, right, up and down, the strongest bigger and smaller one.
pub(super) const SIDES: usize = 6;

/// Distance of two centres, in parts of the image, from which one lies clearly farther out; this and the next are the margins
/// by which the clips' phrases are true (`train/synth/phrases.rs`).
const FARTHER: f32 = 0.05;
/// Difference of two areas, as a natural logarithm, from which one is clearly bigger.
const BIGGER: f32 = 0.3;
/// Overlap from which two boxes are of one thing, which is no rival of itself.
const SAME: f32 = 0.5;
/// How loud the numbers are beside a query's, which are many.
const LOUDNESS: f32 = 4.0;

/// What is compared of a proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// x1, y1, x2, y2 as fractions.
    corners: [f32; 4],
    /// Part of the image that it covers.
    area: f32,
}

/// What every candidate covers: of the painted mask what lies in its box; where nothing is painted, the box itself.
pub(super) fn extents(candidates: &Candidates<'_>) -> Result<Vec<Extent>> {
    let boxes = candidates.boxes.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let painted = match candidates.cut.masks {
        Some(masks) => Some((
            masks.dims4()?,
            masks
                .to_dtype(DType::F32)?
                .flatten_all()?
                .to_vec1::<f32>()?,
        )),
        None => None,
    };
    Ok(boxes
        .iter()
        .enumerate()
        .map(|(i, b)| {
            let corners = [b[0], b[1], b[2], b[3]];
            let inside = painted.as_ref().map_or(0.0, |((_, _, h, w), logits)| {
                painted_inside(&logits[i * h * w..][..h * w], (*h, *w), corners)
            });
            let side = |low: f32, high: f32| (high.min(1.0) - low.max(0.0)).max(0.0);
            let own = side(b[0], b[2]) * side(b[1], b[3]);
            Extent {
                corners,
                area: if inside > 0.0 { inside } else { own },
            }
        })
        .collect())
}

/// Part of a `h × w` grid whose logits are above 0 in cells that have their middle in the box.
fn painted_inside(logits: &[f32], (h, w): (usize, usize), [x1, y1, x2, y2]: [f32; 4]) -> f32 {
    let cells = |low: f32, high: f32, n: usize| {
        let at = |v: f32| (v.clamp(0.0, 1.0) * n as f32).round() as usize;
        at(low)..at(high)
    };
    let across = cells(x1, x2, w);
    let count: usize = cells(y1, y2, h)
        .map(|y| {
            let row = &logits[y * w..][..w];
            let row = row.get(across.clone()).unwrap_or_default();
            row.iter().filter(|v| **v > 0.0).count()
        })
        .sum();
    count as f32 / (h * w).max(1) as f32
}

/// How things stand for one phrase: per proposal the [`SIDES`], each 0 … [`LOUDNESS`]. `could_be` is the probability, 0..1,
/// that the phrase without its superlative means a proposal. The strongest rival counts, not the sum of all: several
/// proposals lie on one thing.
pub(super) fn standing(extents: &[Extent], could_be: &[f32]) -> Vec<[f32; SIDES]> {
    let key = |e: &Extent| {
        let [x1, y1, x2, y2] = e.corners;
        let centre = |a, b| f32::midpoint(a, b) / FARTHER;
        [
            centre(x1, x2),
            centre(y1, y2),
            e.area.max(1e-6).ln() / BIGGER,
        ]
    };
    let keys: Vec<[f32; 3]> = extents.iter().map(key).collect();
    extents
        .iter()
        .zip(&keys)
        .map(|(mine, own)| {
            let mut sides = [0.0_f32; SIDES];
            for ((theirs, key), p) in extents.iter().zip(&keys).zip(could_be) {
                let other = 1.0 - (overlap(mine.corners, theirs.corners) / SAME).min(1.0);
                let weight = LOUDNESS * p * other;
                let [x, y, size] = [0, 1, 2].map(|k| (own[k] - key[k]).clamp(-1.0, 1.0));
                for (side, beyond) in sides.iter_mut().zip([x, -x, y, -y, -size, size]) {
                    *side = side.max(weight * beyond);
                }
            }
            sides
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::filtration::Cuttings;

    fn square(x: f32, y: f32, side: f32) -> Extent {
        let r = side / 2.0;
        Extent {
            corners: [x - r, y - r, x + r, y + r],
            area: side * side,
        }
    }

    #[test]
    fn only_what_could_be_meant_is_a_rival_and_nothing_is_its_own() {
        let things = [
            square(0.1, 0.5, 0.1),
            square(0.5, 0.5, 0.2),
            square(0.52, 0.5, 0.2),
            square(0.9, 0.45, 0.3),
        ];
        // The first is of another colour; the second and third are one thing.
        let sides = standing(&things, &[0.0, 1.0, 1.0, 0.5]);
        let [left, right, up, down, bigger, smaller] = sides[1];
        assert_eq!((left, down), (0.0, 0.0), "{sides:?}");
        assert!((right - LOUDNESS / 2.0).abs() < 1e-4 && (up - LOUDNESS / 2.0).abs() < 1e-3);
        assert!((bigger - LOUDNESS / 2.0).abs() < 1e-4 && smaller == 0.0);
        assert!((sides[3][0] - LOUDNESS).abs() < 1e-4, "{sides:?}");
        assert_eq!(sides[3][1], 0.0);
        assert!(
            (sides[0][1] - LOUDNESS).abs() < 1e-4,
            "others are seen from everywhere"
        );
        assert!(standing(&[], &[]).is_empty());
    }

    #[test]
    fn a_thing_is_as_big_as_what_is_painted_in_its_box() -> Result<()> {
        let device = &Device::Cpu;
        let mut logits = vec![-1_f32; 2 * 64];
        for y in 0..4 {
            for x in 0..8 {
                logits[y * 8 + x] = 1.0;
            }
        }
        let boxes = Tensor::new(&[[0_f32, 0.0, 0.5, 1.0], [-0.5, 0.5, 0.5, 1.5]], device)?;
        let one = Tensor::ones((2, 1), DType::F32, device)?;
        let candidates = Candidates {
            features: &one,
            scores: &one,
            boxes: &boxes,
            valid: vec![true; 2],
            image: None,
            followed: None,
            cut: Cuttings {
                masks: Some(&Tensor::from_vec(logits, (2, 1, 8, 8), device)?),
                crops: None,
                aspect: 0.0,
            },
        };
        let areas: Vec<f32> = extents(&candidates)?.iter().map(|e| e.area).collect();
        assert_eq!(
            areas,
            [0.25, 0.25],
            "half of the first box; all that is seen of the second"
        );
        Ok(())
    }
}
