//! How well each pixel is fenced off from known ones: the least that colours must change on any way to it. A wall that
//! goes on beyond a box is reached from there without a step, whatever its colour; what stands before the wall is not. After
//! the minimum barrier distance of Strand et al. (CVIU 2013), in the raster passes of Zhang et al. (ICCV 2015).

use super::canvas::{Area, Canvas};

/// Passes over the grid, there and back in turn.
const PASSES: usize = 4;
/// Classes of barriers that a threshold is looked for between.
const BINS: usize = 64;
/// A threshold below this is camera noise.
const NOISE: f32 = 24.0;

/// For every pixel of the grid the height of the lowest barrier on a way from `known`, summed over channels, 0..=765; only
/// within `area`. Infinite elsewhere, and everywhere if nothing in it is known.
pub(super) fn barriers(canvas: &Canvas, area: Area, known: impl Fn(usize) -> bool) -> Vec<f32> {
    let mut total = vec![f32::INFINITY; canvas.pixels.len()];
    let pixels: Vec<usize> = area.pixels(canvas.side).collect();
    pixels.iter().for_each(|i| total[*i] = 0.0);
    for channel in 0..3 {
        let value = |i: usize| canvas.pixels[i][channel];
        // Lowest and highest value on the best way so far.
        let mut span: Vec<(f32, f32)> = vec![(f32::NEG_INFINITY, f32::INFINITY); total.len()];
        for &i in pixels.iter().filter(|i| known(**i)) {
            span[i] = (value(i), value(i));
        }
        let height = |s: (f32, f32)| s.1 - s.0;
        let (w, side) = (area.width(), canvas.side);
        for pass in 0..PASSES {
            let back = pass % 2 == 1;
            for k in 0..pixels.len() {
                let k = if back { pixels.len() - 1 - k } else { k };
                let i = pixels[k];
                let (beside, above) = if back {
                    (k % w + 1 < w, k + w < pixels.len())
                } else {
                    (k % w > 0, k >= w)
                };
                let step = |ok: bool, by: usize| ok.then(|| if back { i + by } else { i - by });
                for j in [step(beside, 1), step(above, side)].into_iter().flatten() {
                    let (low, high) = span[j];
                    if !low.is_finite() {
                        continue;
                    }
                    let through = (low.min(value(i)), high.max(value(i)));
                    if height(through) < height(span[i]) {
                        span[i] = through;
                    }
                }
            }
        }
        for &i in &pixels {
            total[i] += height(span[i]);
        }
    }
    total
}

/// What parts low barriers from high ones best (Otsu 1979), [`NOISE`] at least.
pub(super) fn threshold(barriers: &[f32]) -> f32 {
    let top = barriers.iter().copied().fold(1.0, f32::max);
    let mut counts = [0_f32; BINS];
    for b in barriers {
        counts[((b / top * BINS as f32) as usize).min(BINS - 1)] += 1.0;
    }
    let all: f32 = counts.iter().sum();
    let moment: f32 = counts.iter().enumerate().map(|(i, c)| i as f32 * c).sum();
    let (mut below, mut moment_below) = (0.0, 0.0);
    let mut best = (0.0, 0);
    for (i, c) in counts.iter().enumerate() {
        below += c;
        moment_below += i as f32 * c;
        let above = all - below;
        if below > 0.0 && above > 0.0 {
            let apart = moment_below / below - (moment - moment_below) / above;
            let between = below * above * apart * apart;
            if between > best.0 {
                best = (between, i + 1);
            }
        }
    }
    (best.1 as f32 / BINS as f32 * top).max(NOISE)
}
