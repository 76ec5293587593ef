//! Arithmetic on run lengths, without ever drawing the pixels: set operations, IoU, centroid, translation of frames.
//! Leaves what needs neighbours (components, outlines, brushes) to [`super::bitmap`].

use super::{
    geometry::{PointPx, Size},
    mask::{MaskError, Rle},
};

/// Builds canonical run lengths from `(value, length)` pieces.
struct Runs {
    counts: Vec<u32>,
    value: bool,
    run: u32,
}

impl Runs {
    fn new() -> Self {
        Self {
            counts: Vec::new(),
            value: false,
            run: 0,
        }
    }

    fn push(&mut self, value: bool, length: u32) {
        if length == 0 {
            return;
        }
        if value != self.value {
            self.counts.push(self.run);
            self.value = value;
            self.run = 0;
        }
        self.run += length;
    }

    fn finish(mut self, size: Size) -> Rle {
        self.counts.push(self.run);
        Rle {
            size,
            counts: self.counts,
        }
    }
}

impl Rle {
    /// Run lengths from outside: checked, and runs of zero length inside joined.
    ///
    /// # Errors
    /// [`MaskError::WrongLength`] if the runs do not add up to the frame's pixels.
    pub fn new(size: Size, counts: Vec<u32>) -> Result<Self, MaskError> {
        let got = counts.iter().map(|&c| u64::from(c)).sum();
        if got != size.area() || got > u64::from(u32::MAX) {
            return Err(MaskError::WrongLength {
                got,
                expected: size.area(),
            });
        }
        if counts.iter().skip(1).all(|&c| c > 0) && !counts.is_empty() {
            return Ok(Self { size, counts });
        }
        let mut runs = Runs::new();
        for (i, &count) in counts.iter().enumerate() {
            runs.push(i % 2 == 1, count);
        }
        Ok(runs.finish(size))
    }

    /// Whether the runs fill the frame, as every mask built here does; one read from elsewhere may not.
    ///
    /// # Errors
    /// [`MaskError::WrongLength`] if they do not.
    pub fn check(&self) -> Result<(), MaskError> {
        let got = self.counts.iter().map(|&c| u64::from(c)).sum();
        if got == self.size.area() {
            Ok(())
        } else {
            Err(MaskError::WrongLength {
                got,
                expected: self.size.area(),
            })
        }
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        self.area() == 0
    }

    /// Walks both masks at once: `visit(in a, in b, pixels)` for each stretch where neither changes.
    fn zip(&self, other: &Self, mut visit: impl FnMut(bool, bool, u32)) -> Result<(), MaskError> {
        if self.size != other.size {
            return Err(MaskError::SizesDiffer {
                a: self.size,
                b: other.size,
            });
        }
        self.check()?;
        other.check()?;
        let (mut a, mut b) = (self.counts.iter(), other.counts.iter());
        // `None` only when the runs are spent; both spend at the same pixel because both fill the frame.
        let (mut in_a, mut in_b) = (false, false);
        let (mut left_a, mut left_b) = (a.next().copied(), b.next().copied());
        while let (Some(ra), Some(rb)) = (left_a, left_b) {
            let step = ra.min(rb);
            visit(in_a, in_b, step);
            left_a = if ra == step {
                in_a = !in_a;
                a.next().copied()
            } else {
                Some(ra - step)
            };
            left_b = if rb == step {
                in_b = !in_b;
                b.next().copied()
            } else {
                Some(rb - step)
            };
        }
        Ok(())
    }

    fn combine(&self, other: &Self, f: impl Fn(bool, bool) -> bool) -> Result<Self, MaskError> {
        let mut runs = Runs::new();
        self.zip(other, |a, b, n| runs.push(f(a, b), n))?;
        Ok(runs.finish(self.size))
    }

    /// Pixels in both.
    ///
    /// # Errors
    /// [`MaskError::SizesDiffer`], or [`MaskError::WrongLength`] for damaged runs.
    pub fn intersection(&self, other: &Self) -> Result<Self, MaskError> {
        self.combine(other, |a, b| a && b)
    }

    /// Pixels in either.
    ///
    /// # Errors
    /// [`MaskError::SizesDiffer`], or [`MaskError::WrongLength`] for damaged runs.
    pub fn union(&self, other: &Self) -> Result<Self, MaskError> {
        self.combine(other, |a, b| a || b)
    }

    /// Pixels in this one and not in the other.
    ///
    /// # Errors
    /// [`MaskError::SizesDiffer`], or [`MaskError::WrongLength`] for damaged runs.
    pub fn difference(&self, other: &Self) -> Result<Self, MaskError> {
        self.combine(other, |a, b| a && !b)
    }

    /// Pixels in both, and pixels in either: `(intersection, union)`.
    ///
    /// # Errors
    /// [`MaskError::SizesDiffer`], or [`MaskError::WrongLength`] for damaged runs.
    pub fn overlap(&self, other: &Self) -> Result<(u64, u64), MaskError> {
        let (mut both, mut either) = (0, 0);
        self.zip(other, |a, b, n| {
            both += if a && b { u64::from(n) } else { 0 };
            either += if a || b { u64::from(n) } else { 0 };
        })?;
        Ok((both, either))
    }

    /// Intersection over union, 0..=1; two empty masks agree, so theirs is 1 (as in the DAVIS protocol).
    ///
    /// # Errors
    /// [`MaskError::SizesDiffer`], or [`MaskError::WrongLength`] for damaged runs.
    pub fn iou(&self, other: &Self) -> Result<f64, MaskError> {
        let (both, either) = self.overlap(other)?;
        Ok(if either == 0 {
            1.0
        } else {
            both as f64 / either as f64
        })
    }

    /// Mean position of the set pixels' centres, `None` if there is none.
    pub fn centroid(&self) -> Option<PointPx> {
        let h = u64::from(self.size.height);
        if h == 0 {
            return None;
        }
        let (mut n, mut sum_x, mut sum_y) = (0_u64, 0.0_f64, 0.0_f64);
        let mut at = 0_u64;
        for (i, &count) in self.counts.iter().enumerate() {
            let end = at + u64::from(count);
            // One piece per column that the run touches.
            while i % 2 == 1 && at < end {
                let (x, y) = (at / h, at % h);
                let piece = (h - y).min(end - at);
                n += piece;
                sum_x += piece as f64 * (x as f64 + 0.5);
                sum_y += piece as f64 * (y as f64 + piece as f64 / 2.0);
                at += piece;
            }
            at = end;
        }
        (n > 0).then(|| PointPx {
            x: (sum_x / n as f64) as f32,
            y: (sum_y / n as f64) as f32,
        })
    }

    /// Whether the pixel at column `x`, row `y` is set; outside the frame it is not.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        if x >= self.size.width || y >= self.size.height {
            return false;
        }
        let place = u64::from(x) * u64::from(self.size.height) + u64::from(y);
        let mut at = 0_u64;
        for (i, &count) in self.counts.iter().enumerate() {
            at += u64::from(count);
            if place < at {
                return i % 2 == 1;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Bitmap;

    const S: Size = Size {
        width: 3,
        height: 3,
    };

    fn bitmap(bits: u32) -> Bitmap {
        Bitmap {
            size: S,
            data: (0..9).map(|k| (bits >> k & 1) as u8).collect(),
        }
    }

    fn rle(bits: u32) -> Rle {
        Rle::from_bitmap(&bitmap(bits))
    }

    /// All pairs of 3×3 masks against bit arithmetic; equality of values proves that results are canonical.
    #[test]
    fn set_operations_agree_with_bits() {
        let all: Vec<Rle> = (0..512).map(rle).collect();
        for a in (0_u32..512).step_by(3) {
            for b in 0_u32..512 {
                let (x, y) = (&all[a as usize], &all[b as usize]);
                assert_eq!(x.intersection(y).unwrap(), all[(a & b) as usize]);
                assert_eq!(x.union(y).unwrap(), all[(a | b) as usize]);
                assert_eq!(x.difference(y).unwrap(), all[(a & !b) as usize]);
                let iou = if a | b == 0 {
                    1.0
                } else {
                    f64::from((a & b).count_ones()) / f64::from((a | b).count_ones())
                };
                assert_eq!(x.iou(y).unwrap(), iou);
            }
        }
    }

    #[test]
    fn places_agree_with_the_pixels() {
        for bits in 0..512 {
            let (map, mask) = (bitmap(bits), rle(bits));
            assert_eq!(mask.to_bitmap(), map);
            assert_eq!(mask.area(), map.area());
            let set: Vec<(u32, u32)> = (0..9)
                .filter(|k| bits >> k & 1 == 1)
                .map(|k| (k % 3, k / 3))
                .collect();
            for k in 0..9 {
                assert_eq!(mask.contains(k % 3, k / 3), bits >> k & 1 == 1);
            }
            let Some(c) = mask.centroid() else {
                assert!(set.is_empty());
                continue;
            };
            let n = set.len() as f32;
            let x = set.iter().map(|p| p.0 as f32 + 0.5).sum::<f32>() / n;
            let y = set.iter().map(|p| p.1 as f32 + 0.5).sum::<f32>() / n;
            assert!((c.x - x).abs() < 1e-5 && (c.y - y).abs() < 1e-5);
            let b = mask.bounding_box().unwrap();
            assert_eq!(b.x1, set.iter().map(|p| p.0).min().unwrap() as f32);
            assert_eq!(b.y1, set.iter().map(|p| p.1).min().unwrap() as f32);
            assert_eq!(b.x2, set.iter().map(|p| p.0).max().unwrap() as f32 + 1.0);
            assert_eq!(b.y2, set.iter().map(|p| p.1).max().unwrap() as f32 + 1.0);
        }
    }

    #[test]
    fn zero_runs_are_joined() {
        let a = Rle::new(S, vec![2, 0, 1, 3, 0, 1, 2, 0]).unwrap();
        assert_eq!(a.counts, vec![3, 4, 2]);
        let b = Rle::new(S, vec![0, 9, 0]).unwrap();
        assert_eq!(b.counts, vec![0, 9]);
        assert_eq!(Rle::new(S, vec![9, 0]).unwrap(), Rle::empty(S));
        assert_eq!(Rle::new(Size::new(0, 0), vec![]).unwrap().counts, vec![0]);
    }

    #[test]
    fn damage_is_an_error() {
        let damaged = Rle {
            size: S,
            counts: vec![2, 3],
        };
        assert!(damaged.iou(&Rle::empty(S)).is_err());
        assert!(Rle::new(S, vec![10]).is_err());
        let other = Rle::empty(Size::new(2, 2));
        assert!(matches!(
            Rle::empty(S).union(&other),
            Err(MaskError::SizesDiffer { .. })
        ));
        // A frame without rows must not divide by zero.
        let flat = Rle {
            size: Size::new(3, 0),
            counts: vec![0, 4],
        };
        assert_eq!(flat.centroid(), None);
        assert_eq!(flat.bounding_box(), None);
    }
}
