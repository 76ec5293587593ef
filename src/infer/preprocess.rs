//! Between the video's pixels and the networks' tensors, both ways.
//!
//! Frames are stretched to the networks' square inputs with an antialiased triangle filter; boxes and clicks are scaled
//! alike; low-resolution mask logits become run lengths at the video's size without ever making a full-size float image.
//! Leaves decoding to [`crate::video`] and the released preprocessing, exact to the pixel, to the networks' own room.

use candle_core::{Device, Result, Tensor};

use crate::{
    project::{BoxPx, FrameIndex, PointPx, Rle, Size},
    video::RgbFrame,
};

use super::model::Normalisation;

/// `n` frame indices from 0 to `frames - 1`, evenly spaced and cut down to whole numbers; the last one is repeated when
/// the video is shorter.
pub fn spread_frames(frames: u32, n: usize) -> Vec<FrameIndex> {
    let last = u64::from(frames.saturating_sub(1));
    if u64::from(frames) < n as u64 {
        return (0..n as u64)
            .map(|i| FrameIndex(i.min(last) as u32))
            .collect();
    }
    let steps = (n as u64).saturating_sub(1).max(1);
    (0..n as u64)
        .map(|i| FrameIndex((i * last / steps) as u32))
        .collect()
}

/// As [`spread_frames`], over the clip from `frame` on: the frame that the model is asked about is the first that it sees,
/// as it was in training.
pub fn spread_frames_from(frames: u32, n: usize, frame: FrameIndex) -> Vec<FrameIndex> {
    let first = frame.0.min(frames.saturating_sub(1));
    let mut all = spread_frames(frames - first, n);
    for f in &mut all {
        f.0 += first;
    }
    all
}

/// Weights of a triangle filter that takes `input` samples to `output`: first index and weights per output sample.
fn triangle(input: usize, output: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = input as f64 / output as f64;
    let support = scale.max(1.0);
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5).floor().max(0.0) as usize).min(input - 1);
            let end = ((centre + support + 0.5).floor() as usize).clamp(first + 1, input);
            let mut weights: Vec<f32> = (first..end)
                .map(|k| (1.0 - ((k as f64 + 0.5 - centre) / support).abs()).max(0.0) as f32)
                .collect();
            let sum: f32 = weights.iter().sum();
            if sum > 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            } else {
                weights.fill(1.0 / (end - first) as f32);
            }
            (first, weights)
        })
        .collect()
}

/// Stretches the part of a frame inside `crop` (whole pixels, inside the frame) to `side × side`; planar RGB, 0–255.
fn stretch(frame: &RgbFrame, crop: [usize; 4], side: usize) -> Vec<f32> {
    let [x1, y1, x2, y2] = crop;
    let stride = frame.size.width as usize * 3;
    let columns = triangle(x2 - x1, side);
    let rows = triangle(y2 - y1, side);
    let mut out = vec![0_f32; 3 * side * side];
    let mut line = vec![0_f32; (x2 - x1) * 3];
    for (y, (first, weights)) in rows.iter().enumerate() {
        line.fill(0.0);
        for (k, &weight) in weights.iter().enumerate() {
            let at = (y1 + first + k) * stride;
            let source = &frame.data[at + x1 * 3..at + x2 * 3];
            for (sum, &value) in line.iter_mut().zip(source) {
                *sum += weight * f32::from(value);
            }
        }
        for (x, (first, weights)) in columns.iter().enumerate() {
            let mut rgb = [0_f32; 3];
            for (pixel, &weight) in line[first * 3..].chunks_exact(3).zip(weights) {
                for (sum, &value) in rgb.iter_mut().zip(pixel) {
                    *sum += weight * value;
                }
            }
            for (channel, value) in rgb.into_iter().enumerate() {
                out[(channel * side + y) * side + x] = value;
            }
        }
    }
    out
}

fn normalised(
    mut planes: Vec<f32>,
    side: usize,
    scale: f32,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    for (channel, plane) in planes.chunks_exact_mut(side * side).enumerate() {
        let (mean, std) = (norm.mean[channel], norm.std[channel]);
        for value in plane {
            *value = (*value * scale - mean) / std;
        }
    }
    Tensor::from_vec(planes, (1, 3, side, side), device)
}

fn whole(size: Size) -> [usize; 4] {
    [0, 0, size.width as usize, size.height as usize]
}

/// SAM2's input: the frame stretched to `side × side`, normalised on the 0–255 scale → `(1, 3, side, side)`.
///
/// # Errors
/// If the device refuses the tensor.
pub fn sam_input(
    frame: &RgbFrame,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    normalised(
        stretch(frame, whole(frame.size), side),
        side,
        1.0,
        norm,
        device,
    )
}

/// A tower's input: the frame stretched to `side × side`, normalised on the 0–1 scale → `(1, 3, side, side)`.
///
/// # Errors
/// If the device refuses the tensor.
pub fn tower_input(
    frame: &RgbFrame,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    let planes = stretch(frame, whole(frame.size), side);
    normalised(planes, side, 1.0 / 255.0, norm, device)
}

/// A crop as a tower's input: the part of the frame inside `box_px` (grown to whole pixels, at least one) stretched to
/// `side × side` → `(1, 3, side, side)`.
///
/// # Errors
/// If the device refuses the tensor.
pub fn crop_input(
    frame: &RgbFrame,
    box_px: BoxPx,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    let (w, h) = (frame.size.width as usize, frame.size.height as usize);
    let inside = box_px.clamped(frame.size);
    let x1 = (inside.x1.floor() as usize).min(w - 1);
    let y1 = (inside.y1.floor() as usize).min(h - 1);
    let x2 = (inside.x2.ceil() as usize).clamp(x1 + 1, w);
    let y2 = (inside.y2.ceil() as usize).clamp(y1 + 1, h);
    let planes = stretch(frame, [x1, y1, x2, y2], side);
    normalised(planes, side, 1.0 / 255.0, norm, device)
}

/// A box of the video in pixels of a square input of `side`.
pub fn box_to_model(box_px: BoxPx, size: Size, side: usize) -> [f32; 4] {
    let (sx, sy) = scales(size, side);
    [
        box_px.x1 * sx,
        box_px.y1 * sy,
        box_px.x2 * sx,
        box_px.y2 * sy,
    ]
}

/// A point of the video in pixels of a square input of `side`.
pub fn point_to_model(point: PointPx, size: Size, side: usize) -> [f32; 2] {
    let (sx, sy) = scales(size, side);
    [point.x * sx, point.y * sy]
}

fn scales(size: Size, side: usize) -> (f32, f32) {
    (
        side as f32 / size.width.max(1) as f32,
        side as f32 / size.height.max(1) as f32,
    )
}

/// A box with corners in 0..=1 in pixels of the video, cut off at the frame's edge.
pub fn box_from_norm(corners: [f32; 4], size: Size) -> BoxPx {
    let (w, h) = (size.width as f32, size.height as f32);
    let [x1, y1, x2, y2] = corners;
    BoxPx {
        x1: x1 * w,
        y1: y1 * h,
        x2: x2 * w,
        y2: y2 * h,
    }
    .clamped(size)
}

/// The smallest box that holds all of `boxes`, corners x1, y1, x2, y2; `None` of none.
pub(super) fn box_around(boxes: &[[f32; 4]]) -> Option<[f32; 4]> {
    boxes.iter().copied().reduce(|a, b| {
        [
            a[0].min(b[0]),
            a[1].min(b[1]),
            a[2].max(b[2]),
            a[3].max(b[3]),
        ]
    })
}

/// A box in parts of the image: x1, y1, x2, y2.
pub type Bounds = [f32; 4];

/// A box of the video with corners in 0..=1.
pub fn box_to_norm(box_px: BoxPx, size: Size) -> [f32; 4] {
    box_to_model(box_px, size, 1)
}

/// Where samples of a bilinear upsampling lie (edges repeated, pixel centres aligned): lower index, upper index, weight
/// of the upper one.
pub(super) fn taps(input: usize, output: usize) -> Vec<(usize, usize, f32)> {
    let scale = input as f32 / output as f32;
    (0..output)
        .map(|i| {
            let at = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
            let low = (at as usize).min(input - 1);
            (low, (low + 1).min(input - 1), at - low as f32)
        })
        .collect()
}

/// Run lengths, at the video's size, of where the bilinearly upsampled logits are positive.
///
/// `logits` is `rows × columns`, row-major. The video's pixels are walked column by column as the run lengths want them;
/// between two rows of logits with the same sign nothing needs to be computed, so the cost follows the outline's length.
///
/// # Panics
/// If `logits` is not `rows × columns` long.
pub fn mask_from_logits(logits: &[f32], rows: usize, columns: usize, size: Size) -> Rle {
    assert_eq!(logits.len(), rows * columns, "logits fill their grid");
    let (w, h) = (size.width as usize, size.height as usize);
    let mut counts = Vec::new();
    let (mut value, mut run) = (false, 0_u32);
    let mut extend = |bit: bool, length: usize| {
        if length == 0 {
            return;
        }
        if bit != value {
            counts.push(run);
            value = bit;
            run = 0;
        }
        run += length as u32;
    };
    let across = taps(columns, w);
    let down = taps(rows, h);
    // Pixels [starts[r], starts[r + 1]) lie between the rows of logits r and r + 1.
    let mut starts = vec![0; rows + 1];
    for &(low, _, _) in &down {
        starts[low + 1] += 1;
    }
    for r in 0..rows {
        starts[r + 1] += starts[r];
    }
    let mut column = vec![0_f32; rows];
    for (left, right, weight) in across {
        for (r, value) in column.iter_mut().enumerate() {
            let row = &logits[r * columns..(r + 1) * columns];
            *value = (1.0 - weight) * row[left] + weight * row[right];
        }
        for r in 0..rows {
            let (top, bottom) = (column[r], column[(r + 1).min(rows - 1)]);
            let (from, to) = (starts[r], starts[r + 1]);
            if (top > 0.0) == (bottom > 0.0) {
                extend(top > 0.0, to - from);
            } else {
                for &(_, _, weight) in &down[from..to] {
                    extend((1.0 - weight) * top + weight * bottom > 0.0, 1);
                }
            }
        }
    }
    counts.push(run);
    Rle { size, counts }
}

/// The cells of a `side × side` grid over the frame that the mask covers by half or more, row-major.
pub fn mask_cells(mask: &Rle, side: usize) -> Vec<bool> {
    mask_coverage(mask, side)
        .iter()
        .map(|c| *c >= 0.5)
        .collect()
}

/// Share of each cell of a `side × side` grid over the frame that the mask covers, 0..=1, row-major.
pub fn mask_coverage(mask: &Rle, side: usize) -> Vec<f32> {
    let (w, h) = (mask.size.width as usize, mask.size.height as usize);
    let mut grid = vec![0_f32; side * side];
    if w == 0 || h == 0 {
        return grid;
    }
    let (sx, sy) = (side as f64 / w as f64, side as f64 / h as f64);
    let mut add = |x: usize, y1: usize, y2: usize| {
        let (left, right) = (x as f64 * sx, (x + 1) as f64 * sx);
        let (top, bottom) = (y1 as f64 * sy, y2 as f64 * sy);
        for j in top as usize..(bottom.ceil() as usize).min(side) {
            let tall = (bottom.min((j + 1) as f64) - top.max(j as f64)).max(0.0);
            for i in left as usize..(right.ceil() as usize).min(side) {
                let wide = (right.min((i + 1) as f64) - left.max(i as f64)).max(0.0);
                grid[j * side + i] += (tall * wide) as f32;
            }
        }
    };
    let mut at = 0;
    for (i, &count) in mask.counts.iter().enumerate() {
        let end = (at + count as usize).min(w * h);
        if i % 2 == 1 {
            while at < end {
                let x = at / h;
                let stop = end.min((x + 1) * h);
                add(x, at - x * h, stop - x * h);
                at = stop;
            }
        }
        at = end;
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oddity_50_frames_spread_over_any_clip() {
        let indices = |frames, n| {
            spread_frames(frames, n)
                .iter()
                .map(|f| f.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(indices(8, 4), [0, 2, 4, 7]);
        assert_eq!(indices(1, 4), [0, 0, 0, 0]);
        assert_eq!(indices(3, 4), [0, 1, 2, 2]);
        assert_eq!(indices(64, 16)[15], 63);
        assert_eq!(indices(5, 1), [0]);
        let from = |frame| {
            let all = spread_frames_from(100, 4, FrameIndex(frame));
            all.iter().map(|f| f.0).collect::<Vec<_>>()
        };
        assert_eq!(from(60), [60, 73, 86, 99]);
        assert_eq!(from(98), [98, 99, 99, 99]);
        assert_eq!(from(500), [99, 99, 99, 99]);
    }

    fn picture(w: u32, h: u32) -> RgbFrame {
        let data = (0..w * h * 3).map(|i| (i * 7 % 251) as u8).collect();
        RgbFrame {
            size: Size::new(w, h),
            data,
        }
    }

    #[test]
    fn stretching_keeps_flat_colours_and_the_identity() {
        let flat = RgbFrame {
            size: Size::new(37, 19),
            data: [10, 20, 30].repeat(37 * 19),
        };
        let out = stretch(&flat, [0, 0, 37, 19], 8);
        for (channel, plane) in out.chunks(64).enumerate() {
            assert!(
                plane
                    .iter()
                    .all(|v| (v - 10.0 * (channel as f32 + 1.0)).abs() < 1e-4)
            );
        }
        let same = picture(16, 16);
        let out = stretch(&same, [0, 0, 16, 16], 16);
        assert_eq!(out[16 * 3 + 5], f32::from(same.data[(16 * 3 + 5) * 3]));
        assert_eq!(out[256 * 2], f32::from(same.data[2]));
    }

    #[test]
    fn halving_averages_with_a_triangle() {
        let mut frame = RgbFrame {
            size: Size::new(8, 8),
            data: vec![0; 192],
        };
        for y in 0..8 {
            frame.data[(y * 8 + 3) * 3] = 160;
        }
        // Column 3 is 0.5 px from output centre 2 (x = 3..4 → centre 3.5 against 3.0) and 1.5 px from centre 5.
        let out = stretch(&frame, [0, 0, 8, 8], 4);
        assert!((out[1] - 160.0 * 0.375).abs() < 1e-3, "{}", out[1]);
        assert!((out[2] - 160.0 * 0.125).abs() < 1e-3, "{}", out[2]);
    }

    #[test]
    fn crops_never_leave_the_frame() {
        let frame = picture(10, 6);
        let norm = Normalisation {
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        for corners in [
            [-5.0, -5.0, 3.0, 3.0],
            [9.9, 5.9, 50.0, 50.0],
            [20.0, 20.0, 30.0, 30.0],
            [4.0, 4.0, 4.0, 4.0],
        ] {
            let crop =
                crop_input(&frame, BoxPx::from_array(corners), 4, &norm, &Device::Cpu).unwrap();
            assert_eq!(crop.dims(), [1, 3, 4, 4]);
        }
    }

    /// Released training cuts crops out of the spatial tower's input, where the sides of a wide frame are gone.
    #[test]
    fn oddity_14_crops_are_cut_from_the_frame_itself() {
        let frame = picture(90, 20);
        let norm = Normalisation {
            mean: [0.1; 3],
            std: [0.5; 3],
        };
        // Left of the middle square.
        let corners = BoxPx::from_array([2.0, 3.0, 22.0, 17.0]);
        let part = (3..17).flat_map(|y| frame.data[(y * 90 + 2) * 3..(y * 90 + 22) * 3].to_vec());
        let alone = RgbFrame {
            size: Size::new(20, 14),
            data: part.collect(),
        };
        let bits = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let crop = crop_input(&frame, corners, 16, &norm, &Device::Cpu).unwrap();
        let want = tower_input(&alone, 16, &norm, &Device::Cpu).unwrap();
        assert_eq!(bits(crop), bits(want));
    }

    /// As released, whose own way of filling them is switched off.
    #[test]
    fn oddity_29_holes_are_not_filled() {
        let size = Size::new(8, 8);
        let but_one = |most: f32| -> Vec<f32> {
            (0..64)
                .map(|i| if i == 27 { -most } else { most })
                .collect()
        };
        let mask = |logits: &[f32]| mask_from_logits(logits, 8, 8, size);
        assert_eq!(mask(&but_one(1.0)).area(), 63);
        assert_eq!(mask(&but_one(-1.0)).area(), 1);
    }

    #[test]
    fn boxes_go_to_the_model_and_back() {
        let size = Size::new(1280, 720);
        let b = BoxPx::from_array([128.0, 72.0, 640.0, 360.0]);
        assert_eq!(box_to_model(b, size, 256), [25.6, 25.6, 128.0, 128.0]);
        assert_eq!(
            box_from_norm(box_to_norm(b, size), size).to_array(),
            b.to_array()
        );
        assert_eq!(
            box_from_norm([-0.1, 0.0, 1.2, 0.5], size).to_array(),
            [0.0, 0.0, 1280.0, 360.0]
        );
    }

    /// What the fast walk must equal: every pixel computed.
    fn plain(logits: &[f32], rows: usize, columns: usize, size: Size) -> Rle {
        let (w, h) = (size.width as usize, size.height as usize);
        let (across, down) = (taps(columns, w), taps(rows, h));
        let mut bitmap = crate::project::Bitmap::new(size);
        for (y, &(t, b, wy)) in down.iter().enumerate() {
            for (x, &(l, r, wx)) in across.iter().enumerate() {
                let at = |y: usize, x: usize| logits[y * columns + x];
                let top = (1.0 - wx) * at(t, l) + wx * at(t, r);
                let bottom = (1.0 - wx) * at(b, l) + wx * at(b, r);
                bitmap.data[y * w + x] = u8::from((1.0 - wy) * top + wy * bottom > 0.0);
            }
        }
        Rle::from_bitmap(&bitmap)
    }

    #[test]
    fn the_fast_mask_equals_the_plain_one() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        for (rows, columns, w, h) in [
            (8, 8, 64, 48),
            (5, 7, 9, 31),
            (1, 1, 3, 2),
            (16, 16, 7, 5),
            (4, 4, 4, 4),
        ] {
            let logits: Vec<f32> = (0..rows * columns).map(|_| noise()).collect();
            let size = Size::new(w, h);
            let fast = mask_from_logits(&logits, rows, columns, size);
            assert_eq!(
                fast,
                plain(&logits, rows, columns, size),
                "{rows}x{columns} to {w}x{h}"
            );
            assert_eq!(
                fast.counts.iter().map(|&c| u64::from(c)).sum::<u64>(),
                size.area()
            );
        }
    }

    #[test]
    fn empty_and_full_masks_are_one_run() {
        let size = Size::new(5, 4);
        assert_eq!(mask_from_logits(&[-1.0; 4], 2, 2, size).counts, [20]);
        assert_eq!(mask_from_logits(&[1.0; 4], 2, 2, size).counts, [0, 20]);
        assert_eq!(mask_from_logits(&[0.0; 4], 2, 2, size).counts, [20]);
    }

    #[test]
    fn coverage_adds_up_to_the_area() {
        let size = Size::new(30, 20);
        let logits: Vec<f32> = (0..16)
            .map(|i| if [5, 6, 9].contains(&i) { 1.0 } else { -1.0 })
            .collect();
        let mask = mask_from_logits(&logits, 4, 4, size);
        for side in [1, 3, 8, 64] {
            let cell = size.area() as f32 / (side * side) as f32;
            let total: f32 = mask_coverage(&mask, side).iter().map(|c| c * cell).sum();
            assert!(
                (total - mask.area() as f32).abs() < 0.05,
                "{side}: {total} {}",
                mask.area()
            );
        }
        let full = Rle {
            size,
            counts: vec![0, 600],
        };
        assert!(
            mask_coverage(&full, 7)
                .iter()
                .all(|c| (c - 1.0).abs() < 1e-4)
        );
    }
}
