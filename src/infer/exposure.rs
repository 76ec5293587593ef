//! Dark frames as a longer exposure would have shown them, for networks that have never seen the dark. The person sees the
//! video as it is. Leaves sizes and normalisation to [`super::preprocess`].

use crate::video::RgbFrame;

/// Luma, 0 to 255, of a frame's bright parts: from `DAY` on nothing is done, up to `NIGHT` everything. Of the 60
/// plain clips that `models/README.md` measures no frame lies below 75.
const NIGHT: f32 = 64.0;
const DAY: f32 = 75.0;
/// Below this there is nothing but noise to be seen: the black between two shots.
const BLACK: f32 = 12.0;
/// Level that bright parts are brought to, with this gain at most: a few stars do not make the sky bright.
const BRIGHT: f32 = 225.0;
const MOST: f32 = 12.0;
/// Part of the samples that lie below what counts as bright.
const BRIGHT_PART: f32 = 0.99;

/// The frame with one gain for all three channels, so that colours stay what they are, and with its noise smoothed over 3 × 3
/// pixels, which the gain would make as large as things; `None` where there is light enough, or none at all.
pub(super) fn lifted(frame: &RgbFrame) -> Option<RgbFrame> {
    let luma = |p: &[u8]| (3 * u16::from(p[0]) + 6 * u16::from(p[1]) + u16::from(p[2])) / 10;
    let level = bright_level(frame.data.chunks_exact(3).map(|p| luma(p) as u8))?;
    if !(BLACK..DAY).contains(&level) {
        return None;
    }
    let smooth = smoothed(frame);
    let top = bright_level(smooth.iter().map(|v| *v as u8))?.max(1.0);
    let strength = ((DAY - level) / (DAY - NIGHT)).min(1.0);
    let gain = 1.0 + strength * ((BRIGHT / top).clamp(1.0, MOST) - 1.0);
    let mixed = smooth.iter().zip(&frame.data).map(|(s, &v)| {
        let v = f32::from(v);
        ((v + strength * (s - v)) * gain).round().clamp(0.0, 255.0) as u8
    });
    Some(RgbFrame {
        size: frame.size,
        data: mixed.collect(),
    })
}

/// The level that [`BRIGHT_PART`] of the values lie at or below; `None` without values.
fn bright_level(values: impl Iterator<Item = u8>) -> Option<f32> {
    let mut counts = [0_usize; 256];
    values.for_each(|v| counts[usize::from(v)] += 1);
    let total: usize = counts.iter().sum();
    let wanted = (total as f32 * BRIGHT_PART) as usize;
    let mut below = 0;
    counts.iter().enumerate().find_map(|(level, n)| {
        below += n;
        (below > 0 && below >= wanted).then_some(level as f32)
    })
}

/// Each sample as the binomial mean of its 3 × 3 neighbourhood; past the edge, the edge.
fn smoothed(frame: &RgbFrame) -> Vec<f32> {
    let (w, h) = (frame.size.width as usize, frame.size.height as usize);
    let row = |y: usize| &frame.data[y * w * 3..][..w * 3];
    let mut out = Vec::with_capacity(frame.data.len());
    let mut line = vec![0_f32; w * 3];
    for y in 0..h {
        let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(h - 1)));
        for (sum, ((a, b), c)) in line.iter_mut().zip(above.iter().zip(here).zip(below)) {
            *sum = f32::from(*a) + 2.0 * f32::from(*b) + f32::from(*c);
        }
        for x in 0..w {
            let (left, right) = (x.saturating_sub(1) * 3, (x + 1).min(w - 1) * 3);
            let across = |c: usize| line[left + c] + 2.0 * line[x * 3 + c] + line[right + c];
            out.extend([0, 1, 2].map(|c| across(c) / 16.0));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Size;

    /// A square of `inside` on `outside`, with a speckle of ±`noise` by turns.
    fn frame(outside: [u8; 3], inside: [u8; 3], noise: i16) -> RgbFrame {
        let data = (0..32 * 32).flat_map(|i: usize| {
            let (x, y) = (i % 32, i / 32);
            let is_inside = (8..24).contains(&x) && (8..24).contains(&y);
            let speckle = if (x + y) % 2 == 0 { noise } else { -noise };
            let colour = if is_inside { inside } else { outside };
            colour.map(|v| (i16::from(v) + speckle).clamp(0, 255) as u8)
        });
        RgbFrame {
            size: Size::new(32, 32),
            data: data.collect(),
        }
    }

    fn at(frame: &RgbFrame, x: usize, y: usize) -> [u8; 3] {
        let i = (y * 32 + x) * 3;
        [frame.data[i], frame.data[i + 1], frame.data[i + 2]]
    }

    #[test]
    fn the_dark_is_lifted_by_one_gain_and_its_noise_smoothed() {
        let dark = frame([10, 12, 16], [45, 20, 20], 4);
        let light = lifted(&dark).unwrap();
        let ([r, g, b], [r2, g2, b2]) = (at(&light, 16, 16), at(&light, 17, 16));
        assert!((205..=235).contains(&r), "{r}");
        let ratio = f32::from(r) / f32::from(g);
        assert!((ratio - 45.0 / 20.0).abs() < 0.1 && g == b, "{ratio}");
        // A speckle of ±4 under this gain would be some 40 from one pixel to the next.
        let steps = [r.abs_diff(r2), g.abs_diff(g2), b.abs_diff(b2)];
        assert!(steps.iter().all(|d| *d < 4), "{steps:?}");
    }

    #[test]
    fn the_day_stays_as_it_is_and_so_does_black() {
        assert!(lifted(&frame([10, 10, 10], [90, 90, 90], 0)).is_none());
        assert!(lifted(&frame([0, 0, 0], [6, 6, 6], 3)).is_none());
        let none = RgbFrame {
            size: Size::new(0, 0),
            data: vec![],
        };
        assert!(lifted(&none).is_none());
    }

    #[test]
    fn between_day_and_night_nothing_jumps() {
        let mean = |v: u8| {
            let frame = frame([10, 10, 10], [v, v, v], 0);
            let seen = lifted(&frame).unwrap_or(frame);
            f64::from(at(&seen, 16, 16)[0])
        };
        let steps: Vec<f64> = (60..=80).map(mean).collect();
        assert!(steps[0] > 200.0 && steps[20] < 90.0, "{steps:?}");
        assert!(
            steps.windows(2).all(|s| (s[0] - s[1]).abs() < 16.0),
            "{steps:?}"
        );
    }
}
