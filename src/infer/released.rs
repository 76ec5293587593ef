//! Frames and pixels as the released program takes them: about one frame a second, each network's own library and crop,
//! and the proposer's picture, which went through SAM2's preprocessing and back.
//!
//! The arithmetic, exact to the bit, is [`crate::nn::pixels`]'s; the miniature model's faster way is
//! [`super::preprocess`]'s.

use candle_core::{Device, Result, Tensor};

use crate::{
    nn::pixels::{self, Rgb8},
    project::{BoxPx, FrameIndex},
    video::RgbFrame,
};

use super::model::Normalisation;

/// Frames that a video is thinned to at most before the encoders' are chosen.
const SECONDS: usize = 64;

/// `n` of the numbers `0..count`, evenly spaced and cut down to whole ones; the last is repeated if there are fewer.
fn spread(count: usize, n: usize) -> Vec<usize> {
    let last = count.saturating_sub(1);
    if count < n {
        return (0..n).map(|i| i.min(last)).collect();
    }
    // The released program cuts down numpy's floats, of which some lie just below the whole number that is meant.
    let step = last as f64 / (n - 1).max(1) as f64;
    (0..n)
        .map(|i| {
            if n > 1 && i + 1 == n {
                last
            } else {
                (i as f64 * step) as usize
            }
        })
        .collect()
}

/// The encoders' `n` frames of a clip of `frames` frames, from `first` on: every frame that begins a second, thinned to
/// 64, thinned to `n`; the last is repeated in a shorter clip.
pub(super) fn encoder_frames(
    frames: u32,
    fps: f64,
    first: FrameIndex,
    n: usize,
) -> Vec<FrameIndex> {
    let first = first.0.min(frames.saturating_sub(1));
    // Python rounds a half to the even neighbour; a rate below one half would round to a stride of nothing.
    let stride = if fps.is_finite() {
        fps.round_ties_even().clamp(1.0, 1e6) as usize
    } else {
        1
    };
    let seconds: Vec<u32> = (first..frames.max(first + 1)).step_by(stride).collect();
    let seconds: Vec<u32> = if seconds.len() > SECONDS {
        let kept = spread(seconds.len(), SECONDS);
        kept.into_iter().map(|i| seconds[i]).collect()
    } else {
        seconds
    };
    let chosen = spread(seconds.len(), n);
    chosen.into_iter().map(|i| FrameIndex(seconds[i])).collect()
}

fn rgb8(frame: &RgbFrame) -> Result<Rgb8> {
    let (w, h) = (frame.size.width as usize, frame.size.height as usize);
    Rgb8::new(w, h, frame.data.clone())
}

fn unit(image: &Rgb8, norm: &Normalisation, device: &Device) -> Result<Tensor> {
    image
        .normalised(1.0 / 255.0, norm.mean, norm.std, device)?
        .unsqueeze(0)
}

/// The spatial tower's input `(1, 3, side, side)`: shortest side to `side`, middle square.
pub(super) fn spatial_input(
    frame: &RgbFrame,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    unit(&pixels::clip_pixels(&rgb8(frame)?, side)?, norm, device)
}

/// The spatial tower's input of a part of a frame, grown to whole pixels.
pub(super) fn crop_input(
    frame: &RgbFrame,
    box_px: BoxPx,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    let image = rgb8(frame)?;
    let inside = box_px.clamped(frame.size);
    let x1 = (inside.x1.floor() as usize).min(image.width() - 1);
    let y1 = (inside.y1.floor() as usize).min(image.height() - 1);
    let x2 = (inside.x2.ceil() as usize).clamp(x1 + 1, image.width());
    let y2 = (inside.y2.ceil() as usize).clamp(y1 + 1, image.height());
    let crop = image.crop(x1, y1, x2 - x1, y2 - y1)?;
    unit(&pixels::clip_pixels(&crop, side)?, norm, device)
}

/// The temporal tower's input `(1, 3, side, side)`: stretched without antialias.
pub(super) fn temporal_input(
    frame: &RgbFrame,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    unit(
        &pixels::resize_opencv(&rgb8(frame)?, side, side)?,
        norm,
        device,
    )
}

/// SAM2's input `(1, 3, side, side)`: longest side to `side`, then stretched as floats.
pub(super) fn sam_input(
    frame: &RgbFrame,
    side: usize,
    norm: &Normalisation,
    device: &Device,
) -> Result<Tensor> {
    pixels::sam_input(&rgb8(frame)?, side, norm.mean, norm.std, device)
}

/// The proposer's input `(1, 3, side, side)` from SAM2's `(1, 3, s, s)`.
pub(super) fn proposer_input(
    sam: &Tensor,
    sam_norm: &Normalisation,
    side: usize,
    norm: &Normalisation,
) -> Result<Tensor> {
    let image = pixels::proposer_pixels(&sam.squeeze(0)?, side, sam_norm.mean, sam_norm.std)?;
    unit(&image, norm, sam.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(frames: u32, fps: f64, first: u32, n: usize) -> Vec<u32> {
        let all = encoder_frames(frames, fps, FrameIndex(first), n);
        all.into_iter().map(|f| f.0).collect()
    }

    #[test]
    fn a_frame_a_second_then_spread_over_the_clip() {
        // 5 seconds at 25: fewer than 16, the last one repeated.
        let five = indices(125, 25.0, 0, 16);
        assert_eq!(five[..6], [0, 25, 50, 75, 100, 100]);
        assert_eq!(five[15], 100);
        // 100 seconds at 30: 64 of the 100, then 16 of those.
        let long = indices(3000, 30.0, 0, 16);
        assert_eq!((long[0], long[15]), (0, 99 * 30));
        assert!(long.is_sorted() && long.iter().all(|i| i % 30 == 0));
        // numpy: np.linspace(0, 99, 64).astype(int)[np.linspace(0, 63, 16).astype(int)][:5]
        assert_eq!(long[..5], [0, 6 * 30, 12 * 30, 18 * 30, 25 * 30]);
        // From the middle on, and a rate that would give no stride.
        assert_eq!(indices(10, 0.3, 8, 4), [8, 9, 9, 9]);
        assert_eq!(indices(1, f64::NAN, 5, 2), [0, 0]);
    }

    /// round(12.5) is 12 in Python, round(13.5) is 14.
    #[test]
    fn a_rate_half_way_between_two_strides_takes_the_even_one() {
        assert_eq!(indices(60, 12.5, 0, 4), [0, 12, 24, 48]);
        assert_eq!(indices(60, 13.5, 0, 4), [0, 14, 28, 56]);
        assert_eq!(indices(3, 0.5, 0, 3), [0, 1, 2]);
    }

    /// np.linspace(0, 153, 64).astype(int)[[21, 42]] is [50, 101], one less than the exact quotients.
    #[test]
    fn frames_of_a_clip_of_154_seconds_are_those_that_numpy_takes() {
        let found = indices(154 * 25, 25.0, 0, 16);
        let seconds: Vec<u32> = found.iter().map(|i| i / 25).collect();
        let want = [
            0, 9, 19, 29, 38, 50, 60, 70, 80, 89, 101, 111, 121, 131, 140, 153,
        ];
        assert_eq!(seconds, want);
    }
}
