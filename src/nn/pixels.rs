//! The released pixel pipelines, exact to the bit: the resamplers of Pillow and OpenCV in their fixed-point arithmetic,
//! and what the released code does with them for CLIP, InternVideo2, SAM2 and the proposer.
//!
//! A network sees other numbers if a pixel is off by one, so these stand apart from the faster resizing that the
//! miniature model is trained with. Images are 8-bit RGB, rows first, three bytes a pixel; tensors `(3, h, w)`.
//! Decoding and choosing frames are left to others.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::ops;

/// An 8-bit RGB image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb8 {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Rgb8 {
    /// `height × width × 3` bytes.
    ///
    /// # Errors
    /// If a side is zero or the bytes are not that many.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        if width == 0 || height == 0 || data.len() != width * height * 3 {
            candle_core::bail!("{} bytes are no RGB image of {width}×{height}", data.len());
        }
        Ok(Self {
            width,
            height,
            data,
        })
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `height × width × 3` bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    fn filled(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            data: vec![0; width * height * 3],
        }
    }

    /// The part of `width × height` pixels at `(x, y)`.
    ///
    /// # Errors
    /// If it does not lie inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Self> {
        if x + width > self.width || y + height > self.height {
            candle_core::bail!(
                "a crop of {width}×{height} at ({x}, {y}) leaves the image of {}×{}",
                self.width,
                self.height
            );
        }
        let rows = (y..y + height).map(|row| {
            let at = (row * self.width + x) * 3;
            &self.data[at..at + width * 3]
        });
        Self::new(width, height, rows.flatten().copied().collect())
    }

    /// As a tensor `(3, h, w)` of `(x · scale − mean) / std`, worked out in f64.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn normalised(
        &self,
        scale: f64,
        mean: [f32; 3],
        std: [f32; 3],
        device: &Device,
    ) -> Result<Tensor> {
        let plane = self.width * self.height;
        let mut out = vec![0_f32; 3 * plane];
        for c in 0..3 {
            let (m, s) = (f64::from(mean[c]), f64::from(std[c]));
            let table: Vec<f32> = (0..256)
                .map(|v| ((f64::from(v) * scale - m) / s) as f32)
                .collect();
            for (o, px) in out[c * plane..][..plane]
                .iter_mut()
                .zip(self.data.chunks_exact(3))
            {
                *o = table[px[c] as usize];
            }
        }
        Tensor::from_vec(out, (3, self.height, self.width), device)
    }
}

/// Filters of Pillow's antialiased resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle.
    Bilinear,
    /// Cubic with a = −0.5.
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// Bits behind the point in Pillow's coefficients: 32 less 8 for the pixel less 2 for overshoot.
const PIL_BITS: u32 = 22;

/// For each of some output positions the first input position and its fixed-point coefficients.
type Taps = Vec<(usize, Vec<i32>)>;

fn pil_taps(from: usize, to: usize, outputs: Range<usize>, filter: Filter) -> Taps {
    if from == to {
        return outputs.map(|o| (o, vec![1 << PIL_BITS])).collect();
    }
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    outputs
        .map(|o| {
            let centre = (o as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..end)
                .map(|i| filter.at((i as f64 - centre + 0.5) * (1.0 / stretch)))
                .collect();
            let sum: f64 = weights.iter().sum();
            let fixed = weights
                .iter()
                .map(|w| {
                    let w = if sum == 0.0 { *w } else { w / sum };
                    (w * f64::from(1 << PIL_BITS)).round() as i32
                })
                .collect();
            (first, fixed)
        })
        .collect()
}

fn pil_pixel(sum: i32) -> u8 {
    (sum >> PIL_BITS).clamp(0, 255) as u8
}

/// Pillow's `resize` of an RGB image: across, then down, rounded to 8 bits in between, as Pillow did when the released
/// code was written (10.4 gives the same bytes). Newer ones (13.0) go down first where that is cheaper, which changes
/// bytes of upright pictures by one here and there. An image that shrinks in height and grows in width, which no released
/// pipeline makes, goes the newer way, as in the reference's stored values.
///
/// # Errors
/// If a side is zero.
pub fn resize_pil(image: &Rgb8, width: usize, height: usize, filter: Filter) -> Result<Rgb8> {
    if width == 0 || height == 0 {
        candle_core::bail!("cannot resize an image to {width}×{height}");
    }
    Ok(pil_part(
        image,
        (width, height),
        (0..width, 0..height),
        filter,
    ))
}

/// The given columns and rows of [`resize_pil`]'s image, to the bit; of the rest nothing is made.
fn pil_part(
    image: &Rgb8,
    (width, height): (usize, usize),
    (columns, rows): (Range<usize>, Range<usize>),
    filter: Filter,
) -> Rgb8 {
    let across = pil_taps(image.width, width, columns, filter);
    let mut down = pil_taps(image.height, height, rows, filter);
    if height < image.height && width > image.width {
        let image = pil_down(image, &down);
        return pil_across(&image, 0..image.height, &across);
    }
    let top = down.iter().map(|(first, _)| *first).min().unwrap_or(0);
    let bottom = down.iter().map(|(first, w)| first + w.len()).max();
    for (first, _) in &mut down {
        *first -= top;
    }
    let image = pil_across(image, top..bottom.unwrap_or(top), &across);
    pil_down(&image, &down)
}

/// Of some rows of an image.
fn pil_across(image: &Rgb8, rows: Range<usize>, taps: &[(usize, Vec<i32>)]) -> Rgb8 {
    let mut out = Rgb8::filled(taps.len(), rows.len());
    let (from, to) = (image.width * 3, taps.len() * 3);
    let sources = image.data[rows.start * from..rows.end * from].chunks_exact(from);
    for (source, target) in sources.zip(out.data.chunks_exact_mut(to)) {
        for ((first, weights), px) in taps.iter().zip(target.chunks_exact_mut(3)) {
            let mut sum = [1 << (PIL_BITS - 1); 3];
            for (w, s) in weights.iter().zip(source[first * 3..].chunks_exact(3)) {
                for c in 0..3 {
                    sum[c] += w * i32::from(s[c]);
                }
            }
            px.copy_from_slice(&sum.map(pil_pixel));
        }
    }
    out
}

fn pil_down(image: &Rgb8, taps: &[(usize, Vec<i32>)]) -> Rgb8 {
    let stride = image.width * 3;
    let mut out = Rgb8::filled(image.width, taps.len());
    let mut sums = vec![0_i32; stride];
    for ((first, weights), target) in taps.iter().zip(out.data.chunks_exact_mut(stride)) {
        sums.fill(1 << (PIL_BITS - 1));
        let rows = image.data[first * stride..].chunks_exact(stride);
        for (w, source) in weights.iter().zip(rows) {
            for (sum, &s) in sums.iter_mut().zip(source) {
                *sum += w * i32::from(s);
            }
        }
        for (t, &sum) in target.iter_mut().zip(&sums) {
            *t = pil_pixel(sum);
        }
    }
    out
}

/// Bits behind the point in OpenCV's coefficients.
const CV_BITS: u32 = 11;

/// For each output position both input positions and their fixed-point coefficients.
fn cv_coefficients(from: usize, to: usize) -> Vec<[(usize, i32); 2]> {
    let scale = from as f64 / to as f64;
    let one = f32::from(1_u16 << CV_BITS);
    (0..to)
        .map(|o| {
            let at = ((o as f64 + 0.5) * scale - 0.5) as f32;
            let base = at.floor();
            let part = at - base;
            let inside = |i: f32| (i.max(0.0) as usize).min(from - 1);
            let fixed = |w: f32| (w * one).round_ties_even() as i32;
            [
                (inside(base), fixed(1.0 - part)),
                (inside(base + 1.0), fixed(part)),
            ]
        })
        .collect()
}

/// OpenCV's `resize` with `INTER_LINEAR` (no antialias) of an 8-bit image.
///
/// # Errors
/// If a side is zero.
pub fn resize_opencv(image: &Rgb8, width: usize, height: usize) -> Result<Rgb8> {
    if width == 0 || height == 0 {
        candle_core::bail!("cannot resize an image to {width}×{height}");
    }
    if (width, height) == (image.width, image.height) {
        return Ok(image.clone());
    }
    let mut out = Rgb8::filled(width, height);
    let stride = image.width * 3;
    if (width * 2, height * 2) == (image.width, image.height) {
        // Halving is done by OpenCV as the mean of four.
        for (y, target) in out.data.chunks_exact_mut(width * 3).enumerate() {
            for (i, t) in target.iter_mut().enumerate() {
                let at = 2 * y * stride + (i / 3) * 6 + i % 3;
                let sum: u32 = [0, 3, stride, stride + 3]
                    .iter()
                    .map(|d| u32::from(image.data[at + d]))
                    .sum();
                *t = ((sum + 2) >> 2) as u8;
            }
        }
        return Ok(out);
    }
    let across = cv_coefficients(image.width, width);
    let line = |row: usize| -> Vec<i32> {
        let source = &image.data[row * stride..][..stride];
        across
            .iter()
            .flat_map(|[(a, wa), (b, wb)]| {
                (0..3).map(move |c| {
                    i32::from(source[a * 3 + c]) * wa + i32::from(source[b * 3 + c]) * wb
                })
            })
            .collect()
    };
    let rows = cv_coefficients(image.height, height);
    for ([(a, wa), (b, wb)], target) in rows.iter().zip(out.data.chunks_exact_mut(width * 3)) {
        let (top, bottom) = (line(*a), line(*b));
        for ((t, s0), s1) in target.iter_mut().zip(top).zip(bottom) {
            let sum = ((wa * (s0 >> 4)) >> 16) + ((wb * (s1 >> 4)) >> 16) + 2;
            *t = (sum >> 2).clamp(0, 255) as u8;
        }
    }
    Ok(out)
}

/// CLIP's pixels: shortest side to `side`, bicubic, then the middle square.
///
/// # Errors
/// If `side` is zero.
pub fn clip_pixels(image: &Rgb8, side: usize) -> Result<Rgb8> {
    let (w, h) = (image.width, image.height);
    let long = |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
    let (nw, nh) = if w <= h {
        (side, long(h, w))
    } else {
        (long(w, h), side)
    };
    if side == 0 {
        candle_core::bail!("cannot resize an image to {nw}×{nh}");
    }
    // Of a sliver, the whole would be many times as long as the part that is wanted.
    let (x, y) = ((nw - side) / 2, (nh - side) / 2);
    let middle = (x..x + side, y..y + side);
    Ok(pil_part(image, (nw, nh), middle, Filter::Bicubic))
}

/// SAM2's pixels before the stretch: longest side to `side`, bilinear with antialias.
///
/// # Errors
/// If `side` is zero.
pub fn sam_pixels(image: &Rgb8, side: usize) -> Result<Rgb8> {
    let scale = side as f64 / image.width.max(image.height) as f64;
    let scaled = |n: usize| ((n as f64 * scale + 0.5) as usize).max(1);
    resize_pil(
        image,
        scaled(image.width),
        scaled(image.height),
        Filter::Bilinear,
    )
}

/// SAM2's input `(1, 3, side, side)`: [`sam_pixels`], normalised on the 0–255 scale, then stretched to the square as
/// floats; the aspect ratio is not kept.
///
/// # Errors
/// If `side` is zero.
pub fn sam_input(
    image: &Rgb8,
    side: usize,
    mean: [f32; 3],
    std: [f32; 3],
    device: &Device,
) -> Result<Tensor> {
    let pixels = sam_pixels(image, side)?;
    let x = channels(&pixels.tensor()?, mean, Tensor::broadcast_sub)?;
    let x = channels(&x, std, Tensor::broadcast_div)?;
    ops::resize_bilinear(&x.unsqueeze(0)?.to_device(device)?, (side, side))
}

impl Rgb8 {
    /// The bytes as a float tensor `(3, h, w)`.
    fn tensor(&self) -> Result<Tensor> {
        Tensor::from_slice(&self.data, (self.height, self.width, 3), &Device::Cpu)?
            .permute((2, 0, 1))?
            .to_dtype(candle_core::DType::F32)?
            .contiguous()
    }
}

/// `op(x, values)` with a value per channel of `(3, h, w)`.
fn channels(
    x: &Tensor,
    values: [f32; 3],
    op: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    op(x, &Tensor::new(&values, x.device())?.reshape((3, 1, 1))?)
}

/// The image back from SAM2's input `(3, h, w)`, as the proposer's released pipeline does: normalisation undone, rounded
/// half to even.
///
/// # Errors
/// If the tensor has another shape.
pub fn recovered(input: &Tensor, mean: [f32; 3], std: [f32; 3]) -> Result<Rgb8> {
    let (_, h, w) = input.dims3()?;
    let x = channels(input, std, Tensor::broadcast_mul)?;
    let values: Vec<f32> = channels(&x, mean, Tensor::broadcast_add)?
        .permute((1, 2, 0))?
        .flatten_all()?
        .to_vec1()?;
    let bytes = values
        .into_iter()
        .map(|v| v.round_ties_even().clamp(0.0, 255.0) as u8)
        .collect();
    Rgb8::new(w, h, bytes)
}

/// The proposer's pixels from SAM2's input `(3, h, w)`: [`recovered`], then bicubic to `side × side`.
///
/// # Errors
/// If the tensor has another shape or `side` is zero.
pub fn proposer_pixels(input: &Tensor, side: usize, mean: [f32; 3], std: [f32; 3]) -> Result<Rgb8> {
    resize_pil(&recovered(input, mean, std)?, side, side, Filter::Bicubic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> Rgb8 {
        let data = (0..6 * 4 * 3).map(|i| (i * 3) as u8).collect();
        Rgb8::new(6, 4, data).expect("72 bytes")
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = gradient();
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            assert_eq!(resize_pil(&image, 6, 4, filter).expect("sizes"), image);
        }
        assert_eq!(resize_opencv(&image, 6, 4).expect("sizes"), image);
    }

    #[test]
    fn a_flat_image_stays_flat() {
        let image = Rgb8::new(5, 7, [9, 120, 255].repeat(35)).expect("105 bytes");
        for (w, h) in [(3, 2), (11, 20), (1, 1)] {
            let want = [9, 120, 255].repeat(w * h);
            let cubic = resize_pil(&image, w, h, Filter::Bicubic).expect("sizes");
            assert_eq!(cubic.data(), want);
            assert_eq!(resize_opencv(&image, w, h).expect("sizes").data(), want);
        }
    }

    #[test]
    fn the_middle_square_is_that_of_the_whole_image_to_the_bit() {
        for (w, h, side) in [
            (6, 4, 5),
            (40, 7, 9),
            (30, 53, 8),
            (8, 8, 8),
            (8, 31, 8),
            (1, 200, 24),
            (333, 2, 14),
        ] {
            let data = (0..w * h * 3).map(|i| (i * i * 7 % 253) as u8).collect();
            let image = Rgb8::new(w, h, data).expect("bytes");
            let (nw, nh) = if w <= h {
                (side, side * h / w)
            } else {
                (side * w / h, side)
            };
            let whole = resize_pil(&image, nw, nh, Filter::Bicubic).expect("sizes");
            let want = whole.crop((nw - side) / 2, (nh - side) / 2, side, side);
            let found = clip_pixels(&image, side).expect("a side");
            assert_eq!(found, want.expect("inside"), "{w}×{h} to {side}");
        }
        assert!(clip_pixels(&gradient(), 0).is_err());
    }

    /// Whole, it would be 336 × 725 760 pixels.
    #[test]
    fn the_middle_of_a_sliver_is_made_of_few_of_its_rows() {
        let taps = pil_taps(2160, 725_760, 362_712..363_048, Filter::Bicubic);
        assert!(taps[0].0 > 1070 && taps[335].0 + taps[335].1.len() < 1090);
    }

    #[test]
    fn oddity_47_pixels_survive_the_way_through_floats() {
        let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
        let image = gradient();
        let x = image
            .normalised(1.0, mean, std, &Device::Cpu)
            .expect("a tensor");
        assert_eq!(recovered(&x, mean, std).expect("three planes"), image);
    }

    #[test]
    fn nothing_has_no_size() {
        assert!(Rgb8::new(0, 4, vec![]).is_err());
        assert!(Rgb8::new(2, 2, vec![0; 11]).is_err());
        assert!(gradient().crop(5, 0, 2, 1).is_err());
        assert!(resize_pil(&gradient(), 0, 3, Filter::Bilinear).is_err());
    }
}
