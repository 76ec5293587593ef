//! The connected parts of a mask, found on its run lengths: no bitmap is made, so that every carried mask can be looked at.
//! Leaves parts of a bitmap, with their pixels, to [`super::bitmap`].

use super::{geometry::BoxPx, mask::Rle};

/// One connected part of a mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Pixels.
    pub area: u64,
    /// Tight box of its pixels.
    pub box_px: BoxPx,
}

impl Part {
    /// Pixels between the boxes of two parts, 0 where they touch or overlap.
    pub fn gap(&self, other: &Self) -> f32 {
        let (a, b) = (self.box_px, other.box_px);
        let between = |low: f32, high: f32| (low - high).max(0.0);
        let across = between(a.x1, b.x2).max(between(b.x1, a.x2));
        let down = between(a.y1, b.y2).max(between(b.y1, a.y2));
        across.hypot(down)
    }
}

/// The stretch of a run within one column: rows `top..bottom` of column `x`.
struct Piece {
    x: u64,
    top: u64,
    bottom: u64,
}

/// All runs column by column, from left to right and from top to bottom.
fn pieces(mask: &Rle) -> Vec<Piece> {
    let height = u64::from(mask.size.height);
    if height == 0 {
        return Vec::new();
    }
    let mut pieces = Vec::with_capacity(mask.counts.len());
    let mut at = 0_u64;
    for (i, &count) in mask.counts.iter().enumerate() {
        let end = at + u64::from(count);
        while i % 2 == 1 && at < end {
            let (x, top) = (at / height, at % height);
            let bottom = height.min(top + end - at);
            pieces.push(Piece { x, top, bottom });
            at += bottom - top;
        }
        at = end;
    }
    pieces
}

/// The piece that stands for the part of a piece.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

impl Rle {
    /// Its connected parts, the largest first; pixels that touch at a corner belong together.
    pub fn parts(&self) -> Vec<Part> {
        let pieces = pieces(self);
        let mut parents: Vec<usize> = (0..pieces.len()).collect();
        // The first piece of the column before that may still touch this one: both go down the columns together.
        let mut first = 0;
        for (i, piece) in pieces.iter().enumerate() {
            let is_past = |before: &Piece| {
                before.x + 1 < piece.x || (before.x + 1 == piece.x && before.bottom < piece.top)
            };
            while is_past(&pieces[first]) {
                first += 1;
            }
            let beside = pieces[first..i].iter().enumerate();
            for (k, _) in beside.take_while(|(_, b)| b.x + 1 == piece.x && b.top <= piece.bottom) {
                let (a, b) = (root(&mut parents, first + k), root(&mut parents, i));
                parents[b] = a;
            }
        }
        let mut found: Vec<Option<Part>> = vec![None; pieces.len()];
        for (i, piece) in pieces.iter().enumerate() {
            let part = &mut found[root(&mut parents, i)];
            let area = piece.bottom - piece.top;
            let (x, top, bottom) = (piece.x as f32, piece.top as f32, piece.bottom as f32);
            let here = BoxPx::from_array([x, top, x + 1.0, bottom]);
            *part = Some(part.map_or(Part { area, box_px: here }, |p| Part {
                area: p.area + area,
                box_px: around(p.box_px, here),
            }));
        }
        let mut parts: Vec<Part> = found.into_iter().flatten().collect();
        parts.sort_by_key(|p| std::cmp::Reverse(p.area));
        parts
    }
}

fn around(a: BoxPx, b: BoxPx) -> BoxPx {
    BoxPx {
        x1: a.x1.min(b.x1),
        y1: a.y1.min(b.y1),
        x2: a.x2.max(b.x2),
        y2: a.y2.max(b.y2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Bitmap, Connectivity, Size};

    /// All masks of 3×4 pixels against the parts of their bitmaps.
    #[test]
    fn parts_of_runs_are_those_of_the_bitmap() {
        let size = Size::new(3, 4);
        for bits in 0_u32..1 << 12 {
            let map = Bitmap {
                size,
                data: (0..12).map(|k| (bits >> k & 1) as u8).collect(),
            };
            let mut areas = map.components(Connectivity::Eight).areas;
            areas.sort_unstable_by(|a, b| b.cmp(a));
            let parts = Rle::from_bitmap(&map).parts();
            let found: Vec<u64> = parts.iter().map(|p| p.area).collect();
            assert_eq!(found, areas, "{bits:#b}");
        }
    }

    #[test]
    fn a_part_knows_its_place_and_how_far_off_another_is() {
        let size = Size::new(60, 40);
        let of = |corners| Rle::from_bitmap(&Bitmap::from_box(size, BoxPx::from_array(corners)));
        let (left, right) = ([2.0, 3.0, 12.0, 13.0], [15.0, 17.0, 20.0, 22.0]);
        let parts = of(left).union(&of(right)).unwrap().parts();
        let boxes: Vec<[f32; 4]> = parts.iter().map(|p| p.box_px.to_array()).collect();
        assert_eq!(boxes, [left, right]);
        assert_eq!((parts[0].area, parts[1].area), (100, 25));
        // Three columns and four rows between them.
        assert_eq!(parts[0].gap(&parts[1]), 5.0);
        assert_eq!(parts[1].gap(&parts[0]), 5.0);
        assert_eq!(parts[0].gap(&parts[0]), 0.0);
        // A run that goes on in the next column is one part where the columns touch, and two where they do not.
        let tall = Rle::new(Size::new(2, 4), vec![2, 4, 2]).unwrap();
        assert_eq!(tall.parts().len(), 1);
        let apart = Rle::new(Size::new(2, 4), vec![3, 2, 3]).unwrap();
        assert_eq!(apart.parts().len(), 2);
        assert!(Rle::empty(size).parts().is_empty());
        let flat = Rle {
            size: Size::new(3, 0),
            counts: vec![0, 4],
        };
        assert!(flat.parts().is_empty());
    }
}
