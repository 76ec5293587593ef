//! From decoded pixels to RGB as displayed: colour matrix, range and rotation. The window does this on the GPU; these
//! are for inference, exports and thumbnails.
//!
//! With `k` the matrix' factors and chroma replicated (each chroma sample serves its 2 × 2 pixels), a pixel is
//!
//! ```text
//! Y' = (Y − 16)·255/219, C' = (C − 128)·255/224      limited range
//! Y' = Y,                C' = C − 128                full range
//! R = Y' + k.rv·V'    G = Y' − k.gu·U' − k.gv·V'    B = Y' + k.bu·U'
//! ```
//!
//! in 16-bit fixed point, rounded to nearest and clamped to 0..=255: never more than 1 off the exact value.

use super::{Frame, Pixels, RgbFrame, frame::displayed_size};
use crate::project::Size;

/// How a file means its YUV values.
#[derive(Clone, Copy)]
struct Coding {
    full_range: bool,
    bt709: bool,
}

/// Fixed-point factors: one unit is 2⁻¹⁶.
struct Matrix {
    y: i32,
    y_offset: i32,
    rv: i32,
    gu: i32,
    gv: i32,
    bu: i32,
}

impl Matrix {
    fn new(coding: Coding) -> Self {
        // Kr and Kb of the standard; everything else follows.
        let (kr, kb) = if coding.bt709 {
            (0.2126, 0.0722)
        } else {
            (0.299, 0.114)
        };
        let kg = 1.0 - kr - kb;
        let (luma, chroma, y_offset) = if coding.full_range {
            (1.0, 1.0, 0)
        } else {
            (255.0 / 219.0, 255.0 / 224.0, 16)
        };
        let fixed = |v: f64| (v * 65536.0).round() as i32;
        Self {
            y: fixed(luma),
            y_offset,
            rv: fixed(chroma * 2.0 * (1.0 - kr)),
            gu: fixed(chroma * 2.0 * (1.0 - kb) * kb / kg),
            gv: fixed(chroma * 2.0 * (1.0 - kr) * kr / kg),
            bu: fixed(chroma * 2.0 * (1.0 - kb)),
        }
    }

    #[inline(always)]
    fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let y = (i32::from(y) - self.y_offset) * self.y + 32768;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
        [
            byte(y + self.rv * v),
            byte(y - self.gu * u - self.gv * v),
            byte(y + self.bu * u),
        ]
    }
}

/// The frame as displayed, at its own size.
pub fn to_rgb(frame: &Frame) -> RgbFrame {
    let Size { width, height } = frame.coded_size;
    let (w, h) = (width as usize, height as usize);
    let data = match &frame.pixels {
        Pixels::Rgb(rgb) => turn(rgb, frame.coded_size, frame.rotation),
        Pixels::Yuv420 {
            y,
            u,
            v,
            full_range,
            bt709,
        } => {
            let matrix = Matrix::new(Coding {
                full_range: *full_range,
                bt709: *bt709,
            });
            let mut out = vec![0; w * h * 3];
            let cw = w.div_ceil(2);
            let rows = y.chunks_exact(w).zip(out.chunks_exact_mut(w * 3));
            for (row, (luma, out)) in rows.enumerate() {
                let at = row / 2 * cw;
                rgb_row(&matrix, luma, &u[at..at + cw], &v[at..at + cw], out);
            }
            turn(&out, frame.coded_size, frame.rotation)
        }
    };
    RgbFrame {
        size: frame.displayed_size(),
        data,
    }
}

/// RGB to BT.709 limited range 4:2:0; the chroma of a block is that of its mean colour.
#[cfg(feature = "ffmpeg")]
pub(super) fn to_yuv420(rgb: &RgbFrame) -> Pixels {
    const KR: f32 = 0.2126;
    const KB: f32 = 0.0722;
    let (w, h) = (rgb.size.width as usize, rgb.size.height as usize);
    let pixels = rgb.data.as_chunks::<3>().0;
    let luma = |[r, g, b]: [f32; 3]| KR * r + (1.0 - KR - KB) * g + KB * b;
    let y = pixels
        .iter()
        .map(|p| (16.5 + luma(p.map(f32::from)) * (219.0 / 255.0)) as u8)
        .collect();
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let mut u = Vec::with_capacity(cw * ch);
    let mut v = Vec::with_capacity(cw * ch);
    for row in (0..h).step_by(2) {
        for column in (0..w).step_by(2) {
            // At odd edges the block's last row or column counts twice.
            let (below, right) = ((row + 1).min(h - 1), (column + 1).min(w - 1));
            let corners = [(row, column), (row, right), (below, column), (below, right)];
            let mean = corners.iter().fold([0.0; 3], |sum, &(y, x)| {
                let p = pixels[y * w + x];
                [0, 1, 2].map(|c| sum[c] + f32::from(p[c]) / 4.0)
            });
            let grey = luma(mean);
            let chroma =
                |c: f32, k: f32| (128.5 + (c - grey) / (2.0 * (1.0 - k)) * (224.0 / 255.0)) as u8;
            u.push(chroma(mean[2], KB));
            v.push(chroma(mean[0], KR));
        }
    }
    Pixels::Yuv420 {
        y,
        u,
        v,
        full_range: false,
        bt709: true,
    }
}

/// One row with half as many chroma samples.
fn rgb_row(matrix: &Matrix, luma: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
    let pairs = luma.len() / 2;
    let (even, odd) = out.split_at_mut(pairs * 6);
    let chroma = u.iter().zip(v);
    for ((ys, (&u, &v)), rgb) in luma
        .chunks_exact(2)
        .zip(chroma)
        .zip(even.chunks_exact_mut(6))
    {
        rgb[..3].copy_from_slice(&matrix.rgb(ys[0], u, v));
        rgb[3..].copy_from_slice(&matrix.rgb(ys[1], u, v));
    }
    if let (1, Some(&y)) = (luma.len() % 2, luma.last()) {
        odd.copy_from_slice(&matrix.rgb(y, u[pairs], v[pairs]));
    }
}

/// The frame as displayed, scaled to `size` (sides of 0 count as 1): triangle filter, widened by the factor when
/// shrinking, so every source pixel counts (what Pillow calls `BILINEAR`). The planes are scaled before the colour
/// conversion, which makes a small copy of a large frame cost about one pass over its luma.
pub fn to_rgb_scaled(frame: &Frame, size: Size) -> RgbFrame {
    let size = Size::new(size.width.max(1), size.height.max(1));
    if size == frame.displayed_size() {
        return to_rgb(frame);
    }
    // Filter in coded orientation, then turn the small result.
    let target = displayed_size(size, frame.rotation);
    let (w, h) = (frame.coded_size.width, frame.coded_size.height);
    let across = Filter::new(w as usize, f64::from(w), target.width as usize);
    let down = Filter::new(h as usize, f64::from(h), target.height as usize);
    let data = match &frame.pixels {
        Pixels::Rgb(rgb) => scale::<3>(rgb, w as usize, &across, &down),
        Pixels::Yuv420 {
            y,
            u,
            v,
            full_range,
            bt709,
        } => {
            let (cw, ch) = (w.div_ceil(2) as usize, h.div_ceil(2) as usize);
            // The last chroma sample of an odd side covers one pixel only: the extent is half the pixels, not `cw`.
            let chroma_across = Filter::new(cw, f64::from(w) / 2.0, target.width as usize);
            let chroma_down = Filter::new(ch, f64::from(h) / 2.0, target.height as usize);
            let y = scale::<1>(y, w as usize, &across, &down);
            let u = scale::<1>(u, cw, &chroma_across, &chroma_down);
            let v = scale::<1>(v, cw, &chroma_across, &chroma_down);
            let matrix = Matrix::new(Coding {
                full_range: *full_range,
                bt709: *bt709,
            });
            let mut out = vec![0; y.len() * 3];
            for (rgb, ((&y, &u), &v)) in out.chunks_exact_mut(3).zip(y.iter().zip(&u).zip(&v)) {
                rgb.copy_from_slice(&matrix.rgb(y, u, v));
            }
            out
        }
    };
    RgbFrame {
        size,
        data: turn(&data, target, frame.rotation),
    }
}

/// Weights of a one-dimensional triangle filter in units of 2⁻²²; those of each output sample add up to one.
struct Filter {
    taps: Vec<(usize, Vec<i32>)>,
}

const WEIGHT_BITS: u32 = 22;

impl Filter {
    /// From `input` samples that cover `extent` units to `output` samples that cover the same.
    fn new(input: usize, extent: f64, output: usize) -> Self {
        let scale = extent / output as f64;
        let reach = scale.max(1.0);
        let taps = (0..output)
            .map(|i| {
                let centre = (i as f64 + 0.5) * scale;
                let from = ((centre - reach).floor().max(0.0) as usize).min(input - 1);
                let to = ((centre + reach).ceil().max(1.0) as usize).clamp(from + 1, input);
                let mut weights: Vec<f64> = (from..to)
                    .map(|s| (1.0 - ((s as f64 + 0.5 - centre) / reach).abs()).max(0.0))
                    .collect();
                let sum: f64 = weights.iter().sum();
                if sum <= 0.0 {
                    // Beyond the last sample of an odd chroma row.
                    weights.fill(1.0 / (to - from) as f64);
                } else {
                    weights.iter_mut().for_each(|w| *w /= sum);
                }
                let one = f64::from(1 << WEIGHT_BITS);
                let weights = weights.iter().map(|w| (w * one).round() as i32).collect();
                (from, weights)
            })
            .collect();
        Self { taps }
    }
}

/// Scales an image of `C` interleaved channels: down the columns first, because that runs along whole rows.
fn scale<const C: usize>(image: &[u8], width: usize, across: &Filter, down: &Filter) -> Vec<u8> {
    let row_bytes = width * C;
    let half = 1 << (WEIGHT_BITS - 1);
    let byte = |sum: i32| (sum >> WEIGHT_BITS).clamp(0, 255) as u8;
    let mut out = Vec::with_capacity(across.taps.len() * down.taps.len() * C);
    let mut sums = vec![0_i32; row_bytes];
    let mut squeezed = vec![0_u8; row_bytes];
    for (from, weights) in &down.taps {
        sums.fill(half);
        for (row, &weight) in image[from * row_bytes..]
            .chunks_exact(row_bytes)
            .zip(weights)
        {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(value);
            }
        }
        for (value, &sum) in squeezed.iter_mut().zip(&sums) {
            *value = byte(sum);
        }
        for (from, weights) in &across.taps {
            let mut pixel = [half; C];
            for (values, &weight) in squeezed[from * C..].as_chunks::<C>().0.iter().zip(weights) {
                for (sum, &value) in pixel.iter_mut().zip(values) {
                    *sum += weight * i32::from(value);
                }
            }
            out.extend(pixel.map(byte));
        }
    }
    out
}

/// Turns an RGB image clockwise by quarter turns.
fn turn(rgb: &[u8], size: Size, quarters: u8) -> Vec<u8> {
    let (w, h) = (size.width as usize, size.height as usize);
    let pixels = rgb.as_chunks::<3>().0;
    let gather = |at: &dyn Fn(usize, usize) -> usize, columns: usize, rows: usize| {
        let mut out = Vec::with_capacity(rgb.len());
        for y in 0..rows {
            for x in 0..columns {
                out.extend_from_slice(&pixels[at(x, y)]);
            }
        }
        out
    };
    match quarters % 4 {
        1 => gather(&|x, y| (h - 1 - x) * w + y, h, w),
        2 => pixels.iter().rev().flatten().copied().collect(),
        3 => gather(&|x, y| x * w + (w - 1 - y), h, w),
        _ => rgb.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::FrameIndex;

    fn frame(size: Size, rotation: u8, pixels: Pixels) -> Frame {
        Frame {
            index: FrameIndex(0),
            pts_secs: 0.0,
            coded_size: size,
            rotation,
            pixels,
        }
    }

    fn yuv(size: Size, [y, u, v]: [u8; 3], coding: Coding) -> Frame {
        let Coding { full_range, bt709 } = coding;
        let chroma = (size.width.div_ceil(2) * size.height.div_ceil(2)) as usize;
        let pixels = Pixels::Yuv420 {
            y: vec![y; size.area() as usize],
            u: vec![u; chroma],
            v: vec![v; chroma],
            full_range,
            bt709,
        };
        frame(size, 0, pixels)
    }

    /// The formula in floating point, straight from the standards.
    fn exact([y, u, v]: [u8; 3], coding: Coding) -> [f64; 3] {
        let (kr, kb) = if coding.bt709 {
            (0.2126, 0.0722)
        } else {
            (0.299, 0.114)
        };
        let kg = 1.0 - kr - kb;
        let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
        let (y, u, v) = if coding.full_range {
            (y, u / 255.0, v / 255.0)
        } else {
            ((y - 16.0) * 255.0 / 219.0, u / 224.0, v / 224.0)
        };
        let r = y + 255.0 * 2.0 * (1.0 - kr) * v;
        let b = y + 255.0 * 2.0 * (1.0 - kb) * u;
        let g = (y - kr * r - kb * b) / kg;
        [r, g, b].map(|c| c.clamp(0.0, 255.0))
    }

    #[test]
    fn colours_are_within_one_of_the_formula() {
        let size = Size::new(1, 1);
        for full_range in [false, true] {
            for bt709 in [false, true] {
                let coding = Coding { full_range, bt709 };
                for y in (0..=255).step_by(15) {
                    for u in (0..=255).step_by(15) {
                        for v in (0..=255).step_by(15) {
                            let got = to_rgb(&yuv(size, [y, u, v], coding)).data;
                            let want = exact([y, u, v], coding);
                            for (g, w) in got.iter().zip(want) {
                                assert!((f64::from(*g) - w).abs() < 0.51, "{y} {u} {v}: {got:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn black_white_and_grey_stay_so() {
        for bt709 in [false, true] {
            let all = |y: u8, full_range: bool, want: u8| {
                let coding = Coding { full_range, bt709 };
                let rgb = to_rgb(&yuv(Size::new(3, 3), [y, 128, 128], coding));
                assert_eq!(rgb.data, [want; 27]);
            };
            all(16, false, 0);
            all(235, false, 255);
            all(77, true, 77);
        }
    }

    #[test]
    fn turning_is_clockwise() {
        // a b c
        // d e f
        let rgb: Vec<u8> = (1..=6).flat_map(|p| [p; 3]).collect();
        let shown = |rotation| {
            let f = frame(Size::new(3, 2), rotation, Pixels::Rgb(rgb.clone()));
            let out = to_rgb(&f);
            assert_eq!(out.size, f.displayed_size());
            out.data.iter().step_by(3).copied().collect::<Vec<u8>>()
        };
        assert_eq!(shown(0), [1, 2, 3, 4, 5, 6]);
        assert_eq!(shown(1), [4, 1, 5, 2, 6, 3]);
        assert_eq!(shown(2), [6, 5, 4, 3, 2, 1]);
        assert_eq!(shown(3), [3, 6, 2, 5, 1, 4]);
    }

    #[test]
    fn scaling_keeps_flat_colours_and_sizes() {
        let coding = Coding {
            full_range: false,
            bt709: true,
        };
        let flat = yuv(Size::new(37, 21), [120, 90, 200], coding);
        let want = to_rgb(&flat).data[..3].to_vec();
        for target in [
            Size::new(8, 8),
            Size::new(64, 5),
            Size::new(1, 1),
            Size::new(80, 50),
        ] {
            let out = to_rgb_scaled(&flat, target);
            assert_eq!(out.size, target);
            assert_eq!(out.data.len() as u64, target.area() * 3);
            assert!(out.data.chunks(3).all(|p| p == want), "{target:?}");
        }
    }

    #[test]
    fn halving_weighs_neighbours() {
        // Weights ¼ ¾ ¾ ¼ around each new centre, renormalised at the ends:
        // 12.5/1.75, 167.5/2, 72.5/2, 90/1.75.
        let row: Vec<u8> = [0, 10, 20, 200, 0, 0, 90, 30]
            .iter()
            .flat_map(|&v| [v; 3])
            .collect();
        let f = frame(Size::new(8, 1), 0, Pixels::Rgb(row));
        let out = to_rgb_scaled(&f, Size::new(4, 1));
        let got: Vec<u8> = out.data.iter().step_by(3).copied().collect();
        assert_eq!(got, [7, 84, 36, 51]);
    }

    #[test]
    fn scaled_turns_like_unscaled() {
        let rgb: Vec<u8> = (0..4 * 6 * 3).map(|v| (v * 3) as u8).collect();
        for rotation in 0..4 {
            let f = frame(Size::new(4, 6), rotation, Pixels::Rgb(rgb.clone()));
            let upright = frame(f.displayed_size(), 0, Pixels::Rgb(to_rgb(&f).data));
            let small = displayed_size(Size::new(2, 3), rotation);
            let (a, b) = (to_rgb_scaled(&f, small), to_rgb_scaled(&upright, small));
            assert_eq!(a.size, b.size);
            for (x, y) in a.data.iter().zip(&b.data) {
                assert!(x.abs_diff(*y) <= 1, "rotation {rotation}");
            }
        }
    }

    #[cfg(feature = "ffmpeg")]
    #[test]
    fn rgb_survives_the_way_there_and_back() {
        let size = Size::new(5, 3);
        for colour in [
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 255],
            [255; 3],
            [0; 3],
            [90, 140, 33],
        ] {
            let rgb = RgbFrame {
                size,
                data: colour.repeat(15),
            };
            let back = to_rgb(&frame(size, 0, to_yuv420(&rgb)));
            for (a, b) in rgb.data.iter().zip(&back.data) {
                assert!(
                    a.abs_diff(*b) <= 3,
                    "{colour:?} became {:?}",
                    &back.data[..3]
                );
            }
        }
    }
}
