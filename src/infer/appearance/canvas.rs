//! A frame on the grid that masks are divided on: dividing it by evidence, and finding again what was on the frame before.
//! Leaves what is evidence to [`super::boxed`] and [`super::carried`].

use super::{
    NEVER,
    cut::{Grid, NEIGHBOURS},
    mixture::{Rgb, squared},
};
use crate::{infer::preprocess::Bounds, video::RgbFrame};

/// Width of the surroundings, in parts of a box.
const RING: f32 = 0.5;
/// Pixels that a mask is looked for around where it was, in parts of the grid.
const SEARCH: f32 = 0.06;
/// Pixels that this search compares.
const COMPARED: usize = 400;
/// Most that two pixels can differ in it, over all channels.
const OUTLIER: f32 = 120.0;
/// What a pixel of way costs in it: where everything looks alike, nothing moves.
const SLUGGISH: f32 = 0.02;
/// Costs are whole numbers of this part of a natural logarithm.
const UNIT: f32 = 64.0;

/// A frame on the grid.
pub(in crate::infer) struct Canvas {
    pub(super) side: usize,
    pub(super) pixels: Vec<Rgb>,
    /// Twice the mean squared difference of neighbours.
    contrast: f32,
}

impl Canvas {
    /// A frame that was scaled to `side × side`.
    pub(in crate::infer) fn new(frame: &RgbFrame, side: usize) -> Self {
        let pixels: Vec<Rgb> = frame
            .data
            .chunks_exact(3)
            .map(|p| [f32::from(p[0]), f32::from(p[1]), f32::from(p[2])])
            .collect();
        let (mut sum, mut count) = (0.0_f64, 0_u32);
        for i in 0..pixels.len() {
            let right = (i % side + 1 < side).then_some(i + 1);
            for j in [right, Some(i + side)].into_iter().flatten() {
                if let Some(other) = pixels.get(j) {
                    sum += f64::from(squared(pixels[i], *other));
                    count += 1;
                }
            }
        }
        Self {
            side,
            pixels,
            contrast: 2.0 * (sum / f64::from(count.max(1))) as f32 + 1e-3,
        }
    }

    /// Bytes that it holds.
    pub(in crate::infer) fn bytes(&self) -> usize {
        std::mem::size_of_val(self.pixels.as_slice())
    }

    /// Colours of some pixels.
    pub(super) fn of(&self, chosen: impl Fn(usize) -> bool) -> Vec<Rgb> {
        let pixels = self.pixels.iter().enumerate();
        pixels
            .filter(|(i, _)| chosen(*i))
            .map(|(_, p)| *p)
            .collect()
    }

    /// Divides the pixels of `area` by evidence for the object, which has a value for every pixel of the grid; none outside
    /// is object.
    pub(super) fn divide(&self, area: Area, evidence: &[f32], border: f32) -> Vec<bool> {
        let (columns, rows) = (area.width(), area.height());
        let mut grid = Grid::new(columns, rows);
        for (k, i) in area.pixels(self.side).enumerate() {
            grid.prefer(k, (evidence[i].clamp(-NEVER, NEVER) * UNIT) as i32);
            for (direction, other, length) in self.borders(i) {
                let likeness = self.likeness(self.pixels[i], self.pixels[other]);
                grid.border(k, direction, (border / length * likeness * UNIT) as i32);
            }
        }
        let mut mask = vec![false; self.pixels.len()];
        for (i, object) in area.pixels(self.side).zip(grid.divide()) {
            mask[i] = object;
        }
        mask
    }

    /// How much of a mask's border within `area` runs where the picture has no edge: 0 along edges, 1 through one colour, and 1
    /// for a mask without a border, which divides nothing.
    pub(super) fn weakness(&self, area: Area, mask: &[bool]) -> f32 {
        let (mut weak, mut length) = (0.0, 0.0);
        for i in area.pixels(self.side) {
            for (_, other, apart) in self.borders(i) {
                if mask[i] != mask[other] {
                    weak += self.likeness(self.pixels[i], self.pixels[other]) / apart;
                    length += 1.0 / apart;
                }
            }
        }
        if length > 0.0 { weak / length } else { 1.0 }
    }

    /// Borders of a pixel, so that those of all pixels are every border once: direction, pixel beyond, distance of the two.
    fn borders(&self, i: usize) -> impl Iterator<Item = (usize, usize, f32)> {
        let side = self.side;
        (0..NEIGHBOURS.len())
            .step_by(2)
            .filter_map(move |direction| {
                let (dx, dy) = NEIGHBOURS[direction];
                let x = (i % side).checked_add_signed(dx).filter(|x| *x < side)?;
                let y = (i / side).checked_add_signed(dy).filter(|y| *y < side)?;
                Some((direction, y * side + x, (dx as f32).hypot(dy as f32)))
            })
    }

    /// 1 for neighbours of one colour, towards 0 the more they differ for this picture.
    fn likeness(&self, a: Rgb, b: Rgb) -> f32 {
        (-squared(a, b) / self.contrast).exp()
    }

    /// Where the pixels of a mask on the frame before have gone as a whole, as `(columns, rows)`, within reach of one of
    /// `starts`.
    pub(super) fn shift(
        &self,
        before: &Self,
        mask: &[bool],
        starts: &[(isize, isize)],
    ) -> (isize, isize) {
        let side = self.side as isize;
        let of: Vec<usize> = (0..mask.len()).filter(|i| mask[*i]).collect();
        let step = of.len().div_ceil(COMPARED).max(1);
        let of: Vec<usize> = of.into_iter().step_by(step).collect();
        let most = (SEARCH * side as f32).ceil() as isize;
        let mut best = (f32::INFINITY, (0, 0));
        for &(x0, y0) in starts {
            for (dx, dy) in (-most..=most).flat_map(|dy| (-most..=most).map(move |dx| (dx, dy))) {
                let mut sum = 0.0;
                for &i in &of {
                    let x = (i as isize % side + x0 + dx).clamp(0, side - 1);
                    let y = (i as isize / side + y0 + dy).clamp(0, side - 1);
                    let (a, b) = (before.pixels[i], self.pixels[(y * side + x) as usize]);
                    let difference: f32 = (0..3).map(|c| (a[c] - b[c]).abs()).sum();
                    // What is hidden, or has turned, differs by any amount.
                    sum += difference.min(OUTLIER);
                }
                let far = (dx as f32).hypot(dy as f32);
                let cost = sum / of.len().max(1) as f32 + SLUGGISH * far;
                if cost < best.0 {
                    best = (cost, (x0 + dx, y0 + dy));
                }
            }
        }
        best.1
    }
}

/// Columns and rows, the ends not among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) x: (usize, usize),
    pub(super) y: (usize, usize),
}

impl Area {
    pub(super) fn width(&self) -> usize {
        self.x.1 - self.x.0
    }

    pub(super) fn height(&self) -> usize {
        self.y.1 - self.y.0
    }

    pub(super) fn pixels(self, side: usize) -> impl Iterator<Item = usize> {
        (self.y.0..self.y.1).flat_map(move |y| (self.x.0..self.x.1).map(move |x| y * side + x))
    }

    pub(super) fn contains(&self, i: usize, side: usize) -> bool {
        let (x, y) = (i % side, i / side);
        (self.x.0..self.x.1).contains(&x) && (self.y.0..self.y.1).contains(&y)
    }

    /// The pixels whose centres lie in the bounds; at least one.
    pub(super) fn of(bounds: Bounds, side: usize) -> Self {
        let n = side as f32;
        let axis = |a: f32, b: f32| {
            let first = (a * n - 0.5).ceil().clamp(0.0, n - 1.0) as usize;
            let end = ((b * n - 0.5).floor() + 1.0).clamp(0.0, n) as usize;
            (first, end.max(first + 1))
        };
        Self {
            x: axis(bounds[0], bounds[2]),
            y: axis(bounds[1], bounds[3]),
        }
    }

    /// Around the pixels of a mask; `None` if it has none.
    pub(super) fn around(mask: &[bool], side: usize) -> Option<Self> {
        let mut found: Option<Self> = None;
        for (i, _) in mask.iter().enumerate().filter(|(_, m)| **m) {
            let (x, y) = (i % side, i / side);
            let a = found.get_or_insert(Self {
                x: (x, x + 1),
                y: (y, y + 1),
            });
            a.x = (a.x.0.min(x), a.x.1.max(x + 1));
            a.y = (a.y.0.min(y), a.y.1.max(y + 1));
        }
        found
    }

    pub(super) fn grown(&self, x: usize, y: usize, side: usize) -> Self {
        Self {
            x: (self.x.0.saturating_sub(x), (self.x.1 + x).min(side)),
            y: (self.y.0.saturating_sub(y), (self.y.1 + y).min(side)),
        }
    }

    /// Around both.
    pub(super) fn joined(self, other: Self) -> Self {
        let join = |a: (usize, usize), b: (usize, usize)| (a.0.min(b.0), a.1.max(b.1));
        Self {
            x: join(self.x, other.x),
            y: join(self.y, other.y),
        }
    }

    /// Grown by [`RING`].
    pub(super) fn surroundings(&self, side: usize) -> Self {
        let by = |n: usize| (n as f32 * RING).ceil() as usize + 4;
        self.grown(by(self.width()), by(self.height()), side)
    }
}
