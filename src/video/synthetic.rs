//! A clip made of arithmetic: a disc and a block move over a gradient, the same on every machine. For tests and for
//! trying things out without a file; clips with referring phrases are made elsewhere.

use super::{Frame, FrameSource, Pixels, VideoError};
use crate::project::{BoxPx, FrameIndex, Size, VideoInfo};

/// Bars in the top rows that spell the frame's index in binary, most significant bit first.
const BARS: u32 = 16;

/// A moving-shape clip.
#[derive(Clone, Debug)]
pub struct SyntheticSource {
    info: VideoInfo,
}

impl SyntheticSource {
    /// A clip of `frames` frames at `fps` frames per second; sides of 0 count as 1.
    pub fn new(size: Size, frames: u32, fps: f64) -> Self {
        Self {
            info: VideoInfo {
                path: format!("synthetic:{}x{}x{frames}", size.width, size.height),
                size: Size::new(size.width.max(1), size.height.max(1)),
                frames,
                fps,
                hash: String::new(),
            },
        }
    }

    /// Where the block is on a frame.
    pub fn block(&self, index: FrameIndex) -> BoxPx {
        let Size { width, height } = self.info.size;
        let (w, h) = (width / 5, height / 5);
        let x = bounce(index.0.wrapping_mul(3), width - w);
        let y = bounce(index.0.wrapping_mul(2).wrapping_add(height / 3), height - h);
        BoxPx {
            x1: x as f32,
            y1: y as f32,
            x2: (x + w) as f32,
            y2: (y + h) as f32,
        }
    }

    /// The frame's index as it can be read back from its pixels, also after lossy coding.
    pub fn read_index(rgb: &[u8], size: Size) -> u32 {
        let y = bar_rows(size) / 2;
        (0..BARS).fold(0, |index, bit| {
            let x = (bit * 2 + 1) * size.width / (BARS * 2);
            let at = (y as usize * size.width as usize + x as usize) * 3;
            index << 1 | u32::from(rgb.get(at + 1).is_some_and(|&g| g > 127))
        })
    }

    fn pixels(&self, index: FrameIndex) -> Vec<u8> {
        let Size { width, height } = self.info.size;
        let block = self.block(index);
        let radius = i64::from(width.min(height) / 8);
        let cx = i64::from(bounce(index.0.wrapping_mul(5), width));
        let cy = i64::from(height / 2);
        let bars = bar_rows(self.info.size);
        let mut out = Vec::with_capacity(self.info.size.area() as usize * 3);
        for y in 0..height {
            for x in 0..width {
                let (dx, dy) = (i64::from(x) - cx, i64::from(y) - cy);
                let in_block = (x as f32) >= block.x1
                    && (x as f32) < block.x2
                    && (y as f32) >= block.y1
                    && (y as f32) < block.y2;
                let rgb = if y < bars {
                    let bit = BARS - 1 - (x * BARS / width).min(BARS - 1);
                    if index.0 >> bit & 1 == 1 {
                        [235; 3]
                    } else {
                        [20; 3]
                    }
                } else if dx * dx + dy * dy <= radius * radius {
                    [220, 60, 40]
                } else if in_block {
                    [40, 90, 210]
                } else {
                    let shade = |v: u32, n: u32| 60 + (v * 100 / n.max(1)) as u8;
                    [shade(x, width), shade(y, height), 110]
                };
                out.extend_from_slice(&rgb);
            }
        }
        out
    }
}

/// Rows that the bars take.
fn bar_rows(size: Size) -> u32 {
    if size.width < BARS * 2 {
        0
    } else {
        size.height / 8
    }
}

/// A triangle wave over `0..=span`.
fn bounce(t: u32, span: u32) -> u32 {
    if span == 0 {
        return 0;
    }
    let t = t % (2 * span);
    if t <= span { t } else { 2 * span - t }
}

impl FrameSource for SyntheticSource {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        (index.0 < self.info.frames).then(|| f64::from(index.0) / self.info.fps)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        let pts_secs = self.pts_secs(index).ok_or(VideoError::OutOfRange {
            index: index.0,
            frames: self.info.frames,
        })?;
        Ok(Frame {
            index,
            pts_secs,
            coded_size: self.info.size,
            rotation: 0,
            pixels: Pixels::Rgb(self.pixels(index)),
        })
    }

    fn second_reader(&self) -> Option<Box<dyn FrameSource>> {
        Some(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_which_they_are() {
        let mut clip = SyntheticSource::new(Size::new(96, 64), 300, 25.0);
        for i in [0, 1, 2, 255, 256, 299] {
            let frame = clip.frame(FrameIndex(i)).expect("in range");
            let Pixels::Rgb(rgb) = frame.pixels else {
                panic!("made as RGB");
            };
            assert_eq!(rgb.len(), 96 * 64 * 3);
            assert_eq!(SyntheticSource::read_index(&rgb, frame.coded_size), i);
        }
        assert!(clip.frame(FrameIndex(300)).is_err());
    }

    #[test]
    fn tiny_clips_work() {
        let mut clip = SyntheticSource::new(Size::new(1, 1), 2, 25.0);
        assert!(clip.frame(FrameIndex(1)).is_ok());
    }
}
