//! Masks: a bitmap to compute with, run lengths (COCO's column-major form) to keep.

use serde::{Deserialize, Serialize};

use super::geometry::{BoxPx, Size};

/// What can be wrong with a mask that came from outside.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MaskError {
    /// The runs do not add up to the frame's pixels.
    #[error("the mask's runs cover {got} pixels, its frame has {expected}")]
    WrongLength {
        /// Pixels the runs cover.
        got: u64,
        /// Pixels of the frame.
        expected: u64,
    },
    /// The compressed text holds a character or run outside COCO's coding.
    #[error("the mask's compressed counts are damaged at byte {at}")]
    BadCounts {
        /// Byte offset.
        at: usize,
    },
    /// Two masks of different frames were put together.
    #[error("a mask of {}×{} pixels does not fit one of {}×{}", a.width, a.height, b.width, b.height)]
    SizesDiffer {
        /// Frame size of the first.
        a: Size,
        /// Frame size of the second.
        b: Size,
    },
}

/// One byte a pixel (0 or 1), row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// Frame size.
    pub size: Size,
    /// `height × width` values, row by row, 0 or 1.
    pub data: Vec<u8>,
}

impl Bitmap {
    /// An empty mask of `size`.
    pub fn new(size: Size) -> Self {
        Self {
            size,
            data: vec![0; size.area() as usize],
        }
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.data.iter().map(|&v| u64::from(v != 0)).sum()
    }
}

/// Run lengths of a mask, column-major, starting with the run of zeros (COCO's uncompressed RLE).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rle {
    /// Frame size.
    pub size: Size,
    /// Alternating run lengths, zeros first; they add up to `size.area()`.
    pub counts: Vec<u32>,
}

impl Rle {
    /// A mask without a single pixel.
    pub fn empty(size: Size) -> Self {
        Self {
            size,
            counts: vec![size.area() as u32],
        }
    }

    /// Encodes a bitmap.
    pub fn from_bitmap(bitmap: &Bitmap) -> Self {
        let (w, h) = (bitmap.size.width as usize, bitmap.size.height as usize);
        let mut counts = Vec::new();
        let mut run = 0_u32;
        let mut value = 0_u8;
        for x in 0..w {
            for y in 0..h {
                let bit = u8::from(bitmap.data[y * w + x] != 0);
                if bit != value {
                    counts.push(run);
                    run = 0;
                    value = bit;
                }
                run += 1;
            }
        }
        counts.push(run);
        Self {
            size: bitmap.size,
            counts,
        }
    }

    /// Decodes to a bitmap. Runs past the frame are ignored.
    pub fn to_bitmap(&self) -> Bitmap {
        let (w, h) = (self.size.width as usize, self.size.height as usize);
        let mut out = Bitmap::new(self.size);
        let mut at = 0_usize;
        for (i, &count) in self.counts.iter().enumerate() {
            let end = (at + count as usize).min(w * h);
            if i % 2 == 1 {
                for k in at..end {
                    out.data[(k % h) * w + k / h] = 1;
                }
            }
            at = end;
        }
        out
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.counts
            .iter()
            .skip(1)
            .step_by(2)
            .map(|&c| u64::from(c))
            .sum()
    }

    /// Tight box of the set pixels, `None` if there is none.
    pub fn bounding_box(&self) -> Option<BoxPx> {
        let h = u64::from(self.size.height);
        if h == 0 {
            return None;
        }
        let (mut x1, mut y1, mut x2, mut y2) = (u64::MAX, u64::MAX, 0_u64, 0_u64);
        let mut at = 0_u64;
        for (i, &count) in self.counts.iter().enumerate() {
            let end = at + u64::from(count);
            if i % 2 == 1 && count > 0 {
                x1 = x1.min(at / h);
                x2 = x2.max((end - 1) / h + 1);
                if at / h == (end - 1) / h {
                    y1 = y1.min(at % h);
                    y2 = y2.max((end - 1) % h + 1);
                } else {
                    y1 = 0;
                    y2 = h;
                }
            }
            at = end;
        }
        (x1 < x2).then_some(BoxPx {
            x1: x1 as f32,
            y1: y1 as f32,
            x2: x2 as f32,
            y2: y2 as f32,
        })
    }
}
