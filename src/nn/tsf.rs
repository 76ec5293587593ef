//! Target-specific tracked features: which of many crop tokens represent a target (k-means, then the sample nearest to
//! each centre), what a box file means, and the crops used in training.
//!
//! Released: `arch.py` (selection), `chat.py` (box files), `util/dataset.py` (crops). Nothing is random. Cropping of
//! source frames, the tower and the projector are left to others.

use candle_core::{Result, Tensor};

use super::ops;

/// What k-means went through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KMeans {
    /// Samples that the centres started at.
    pub init: Vec<usize>,
    /// Nearest centre of each sample, per iteration.
    pub assignments: Vec<Vec<usize>>,
    /// Centres, `k` rows.
    pub centres: Vec<Vec<f32>>,
    /// The sample nearest to each centre, in the centres' order; may repeat.
    pub selected: Vec<usize>,
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y) * (x - y))
        .sum::<f32>()
        .sqrt()
}

/// First index of the smallest value.
fn nearest(distances: impl Iterator<Item = f32>) -> usize {
    let mut best = (0, f32::INFINITY);
    for (i, d) in distances.enumerate() {
        if d < best.1 {
            best = (i, d);
        }
    }
    best.0
}

/// Chooses `k` of the samples, or all of them if there are no more than `k`. Centres start evenly spread over the
/// samples' order, empty clusters keep theirs, and it stops early when no centre moves.
pub fn k_means(samples: &[Vec<f32>], k: usize, iterations: usize) -> KMeans {
    let n = samples.len();
    if n <= k {
        return KMeans {
            selected: (0..n).collect(),
            ..KMeans::default()
        };
    }
    let k = k.max(1);
    let step = if k > 1 {
        (n - 1) as f64 / (k - 1) as f64
    } else {
        0.0
    };
    let init: Vec<usize> = (0..k)
        .map(|i| (i as f64 * step).round_ties_even() as usize)
        .collect();
    let mut centres: Vec<Vec<f32>> = init.iter().map(|&i| samples[i].clone()).collect();
    let mut assignments = vec![];
    for _ in 0..iterations.max(1) {
        let assigned: Vec<usize> = samples
            .iter()
            .map(|s| nearest(centres.iter().map(|c| distance(s, c))))
            .collect();
        let moved: Vec<Vec<f32>> = centres
            .iter()
            .enumerate()
            .map(|(c, old)| mean(samples, &assigned, c).unwrap_or_else(|| old.clone()))
            .collect();
        assignments.push(assigned);
        let still = moved
            .iter()
            .flatten()
            .zip(centres.iter().flatten())
            .all(|(new, old)| (new - old).abs() <= 1e-4 + 1e-4 * old.abs());
        centres = moved;
        if still {
            break;
        }
    }
    let selected = centres
        .iter()
        .map(|c| nearest(samples.iter().map(|s| distance(s, c))))
        .collect();
    KMeans {
        init,
        assignments,
        centres,
        selected,
    }
}

fn mean(samples: &[Vec<f32>], assigned: &[usize], cluster: usize) -> Option<Vec<f32>> {
    let members: Vec<&Vec<f32>> = samples
        .iter()
        .zip(assigned)
        .filter(|(_, a)| **a == cluster)
        .map(|(s, _)| s)
        .collect();
    let first = members.first()?;
    let mut sum = vec![0_f32; first.len()];
    for member in &members {
        for (s, x) in sum.iter_mut().zip(member.iter()) {
            *s += x;
        }
    }
    Some(sum.into_iter().map(|s| s / members.len() as f32).collect())
}

/// Crop tokens `(n, h)` → the chosen ones `(min(k, n), h)` and their indices.
///
/// # Errors
/// If the tensor is not a matrix of floats.
pub fn select(tokens: &Tensor, k: usize, iterations: usize) -> Result<(Tensor, Vec<usize>)> {
    let samples: Vec<Vec<f32>> = tokens.to_dtype(candle_core::DType::F32)?.to_vec2()?;
    let chosen = k_means(&samples, k, iterations).selected;
    let index: Vec<u32> = chosen.iter().map(|&i| i as u32).collect();
    let index = Tensor::new(index, tokens.device())?;
    Ok((tokens.index_select(&index, 0)?, chosen))
}

/// How the four numbers of a line describe a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxFormat {
    /// Corners.
    Xyxy,
    /// Corner and size.
    Xywh,
}

/// Guesses the format of a whole box file by votes, for an image of `width × height` pixels; corners win only with more
/// votes.
pub fn guess_box_format(lines: &[[f32; 4]], (width, height): (f32, f32)) -> BoxFormat {
    let (mut xyxy, mut xywh) = (0, 0);
    for &[a, b, c, d] in lines {
        let corners = c > a && d > b;
        if corners {
            xyxy += 1;
        } else {
            xywh += 2;
        }
        if c > 0.0 && d > 0.0 {
            xywh += 1;
        }
        let inside = a >= 0.0 && b >= 0.0 && c <= width && d <= height;
        if corners && inside {
            xyxy += 1;
        } else {
            xywh += 1;
        }
        if a + c <= width && b + d <= height {
            xywh += 1;
        } else {
            xyxy += 1;
        }
    }
    if xyxy > xywh {
        BoxFormat::Xyxy
    } else {
        BoxFormat::Xywh
    }
}

/// `n` evenly spaced whole numbers from 0 to `last`, truncated toward zero.
pub fn linspace_int(last: usize, n: usize) -> Vec<usize> {
    match n {
        0 => vec![],
        1 => vec![0],
        _ => (0..n)
            .map(|i| (i as f64 * (last as f64 / (n - 1) as f64)) as usize)
            .collect(),
    }
}

/// Tight box of the first object with a positive pixel at time `t`: `(x1, y1, x2, y2)` in fractions of the mask's size.
/// `masks`: `rows × times × h × w`, row-major, −1 where unknown.
fn mask_box(
    masks: &[f32],
    (rows, times, h, w): (usize, usize, usize, usize),
    t: usize,
) -> Option<[f64; 4]> {
    (0..rows).find_map(|r| {
        let plane = &masks[(r * times + t) * h * w..][..h * w];
        let mut found: Option<[usize; 4]> = None;
        for (i, _) in plane.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            let (x, y) = (i % w, i / w);
            let b = found.get_or_insert([x, y, x + 1, y + 1]);
            *b = [b[0].min(x), b[1].min(y), b[2].max(x + 1), b[3].max(y + 1)];
        }
        let [x1, y1, x2, y2] = found?.map(|v| v as f64);
        let (w, h) = (w as f64, h as f64);
        Some([x1 / w, y1 / h, x2 / w, y2 / h])
    })
}

/// Training crops, as released: from frames `(n, c, h, w)` that already are the tower's input, guided by the objects'
/// masks `(rows, times, h', w')`; a frame without a mask takes the frame before's box, else the whole frame.
///
/// # Errors
/// If a tensor has another rank.
pub fn training_crops(frames: &Tensor, masks: &Tensor, count: usize) -> Result<Tensor> {
    let (n, _, h, w) = frames.dims4()?;
    let shape = masks.dims4()?;
    let values: Vec<f32> = masks
        .to_dtype(candle_core::DType::F32)?
        .flatten_all()?
        .to_vec1()?;
    let mut last = [0.0, 0.0, 1.0, 1.0];
    let mut crops = Vec::with_capacity(count);
    for source in linspace_int(n.saturating_sub(1), count) {
        let t = if n > 1 {
            let at = source as f64 / (n - 1) as f64 * (shape.1.saturating_sub(1)) as f64;
            at.round_ties_even() as usize
        } else {
            0
        };
        if let Some(found) = mask_box(&values, shape, t) {
            last = found;
        }
        let span = |a: f64, b: f64, size: usize| {
            let lo = ((a * size as f64).floor().max(0.0) as usize).min(size - 1);
            let hi = ((b * size as f64).ceil().max(0.0) as usize).clamp(lo + 1, size);
            (lo, hi - lo)
        };
        let (x, cw) = span(last[0], last[2], w);
        let (y, ch) = span(last[1], last[3], h);
        let crop = frames
            .narrow(0, source, 1)?
            .narrow(2, y, ch)?
            .narrow(3, x, cw)?
            .contiguous()?;
        crops.push(ops::resize_bilinear(&crop, (h, w))?);
    }
    Tensor::cat(&crops, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oddity_15_features_alone_form_the_groups() {
        let samples: Vec<Vec<f32>> = [0.0, 0.1, 0.2, 9.0, 9.1, 9.2]
            .iter()
            .map(|&x| vec![x, 1.0])
            .collect();
        let found = k_means(&samples, 2, 8);
        assert_eq!(found.init, [0, 5]);
        assert_eq!(found.selected, [1, 4]);
        assert_eq!(k_means(&samples[..2], 4, 8).selected, [0, 1]);
        assert!(k_means(&[], 4, 8).selected.is_empty());
    }

    #[test]
    fn spaced_indices_truncate() {
        assert_eq!(linspace_int(7, 4), [0, 2, 4, 7]);
        assert_eq!(linspace_int(0, 3), [0, 0, 0]);
        assert!(linspace_int(5, 0).is_empty());
    }
}
