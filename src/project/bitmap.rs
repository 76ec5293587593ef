//! What a hand does to a mask, and what needs a pixel's neighbours: boxes, brush strokes, connected components, holes,
//! outlines, nearest-neighbour resizing. Leaves run lengths to [`super::rle_ops`].

use super::{
    geometry::{BoxPx, PointPx, Size},
    mask::Bitmap,
};

/// Which pixels touch each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Left, right, above, below.
    Four,
    /// The diagonals too.
    Eight,
}

/// What a brush leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrushMode {
    /// Pixels become part of the mask.
    Add,
    /// Pixels leave the mask.
    Erase,
}

/// Connected parts of a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// Per pixel, row-major: 0 outside the mask, else the part's number from 1, in reading order of first pixels.
    pub labels: Vec<u32>,
    /// `areas[i]` is the number of pixels of part `i + 1`.
    pub areas: Vec<u64>,
}

const AROUND: [(i64, i64); 8] = [
    (-1, 0),
    (1, 0),
    (0, -1),
    (0, 1),
    (-1, -1),
    (1, -1),
    (-1, 1),
    (1, 1),
];

/// First pixel whose centre is at or past `edge`, within `0..=limit`.
fn first_centre(edge: f32, limit: u32) -> u32 {
    // A float-to-int cast saturates, and NaN becomes 0.
    ((edge - 0.5).ceil().max(0.0) as u32).min(limit)
}

impl Bitmap {
    /// The pixels whose centres lie in `box_px`; a box of whole numbers is filled exactly.
    pub fn from_box(size: Size, box_px: BoxPx) -> Self {
        let mut out = Self::new(size);
        let (x1, x2) = (
            first_centre(box_px.x1, size.width),
            first_centre(box_px.x2, size.width),
        );
        for y in first_centre(box_px.y1, size.height)..first_centre(box_px.y2, size.height) {
            let row = y as usize * size.width as usize;
            if x1 < x2 {
                out.data[row + x1 as usize..row + x2 as usize].fill(1);
            }
        }
        out
    }

    /// Draws a disc of `radius` pixels along the polyline through `points` (one point: a dot). A pixel is hit when its
    /// centre is within the radius; the pixel under each point always is. Points that are not finite are left out.
    pub fn stroke(&mut self, points: &[PointPx], radius: f32, mode: BrushMode) {
        // Half a pixel's diagonal: what a smaller brush would need to hit the pixel it stands on.
        let radius = if radius.is_finite() {
            radius.max(std::f32::consts::FRAC_1_SQRT_2)
        } else {
            std::f32::consts::FRAC_1_SQRT_2
        };
        let finite: Vec<PointPx> = points
            .iter()
            .copied()
            .filter(|p| p.x.is_finite() && p.y.is_finite())
            .collect();
        match finite.as_slice() {
            [] => {}
            [one] => self.capsule(*one, *one, radius, mode),
            many => {
                for pair in many.windows(2) {
                    self.capsule(pair[0], pair[1], radius, mode);
                }
            }
        }
    }

    fn capsule(&mut self, a: PointPx, b: PointPx, radius: f32, mode: BrushMode) {
        let value = u8::from(mode == BrushMode::Add);
        let (w, h) = (self.size.width, self.size.height);
        let x1 = first_centre(a.x.min(b.x) - radius, w);
        let x2 = first_centre(a.x.max(b.x) + radius + 1.0, w);
        let y1 = first_centre(a.y.min(b.y) - radius, h);
        let y2 = first_centre(a.y.max(b.y) + radius + 1.0, h);
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let length2 = dx * dx + dy * dy;
        for y in y1..y2 {
            for x in x1..x2 {
                let (px, py) = (x as f32 + 0.5 - a.x, y as f32 + 0.5 - a.y);
                let t = if length2 > 0.0 {
                    ((px * dx + py * dy) / length2).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let (ex, ey) = (px - t * dx, py - t * dy);
                if ex * ex + ey * ey <= radius * radius {
                    self.data[y as usize * w as usize + x as usize] = value;
                }
            }
        }
    }

    fn at(&self, x: i64, y: i64) -> Option<usize> {
        let (w, h) = (i64::from(self.size.width), i64::from(self.size.height));
        (x >= 0 && y >= 0 && x < w && y < h).then(|| (y * w + x) as usize)
    }

    /// Splits the mask into connected parts.
    pub fn components(&self, connectivity: Connectivity) -> Components {
        let around = match connectivity {
            Connectivity::Four => &AROUND[..4],
            Connectivity::Eight => &AROUND[..],
        };
        let w = self.size.width as usize;
        let mut labels = vec![0_u32; self.data.len()];
        let mut areas = Vec::new();
        let mut stack = Vec::new();
        for start in 0..self.data.len() {
            if self.data[start] == 0 || labels[start] != 0 {
                continue;
            }
            let label = areas.len() as u32 + 1;
            labels[start] = label;
            stack.push(start);
            let mut area = 0;
            while let Some(k) = stack.pop() {
                area += 1;
                let (x, y) = ((k % w) as i64, (k / w) as i64);
                for &(dx, dy) in around {
                    if let Some(next) = self.at(x + dx, y + dy)
                        && self.data[next] != 0
                        && labels[next] == 0
                    {
                        labels[next] = label;
                        stack.push(next);
                    }
                }
            }
            areas.push(area);
        }
        Components { labels, areas }
    }

    /// Removes connected parts of fewer than `min_area` pixels.
    pub fn remove_small(&mut self, min_area: u64, connectivity: Connectivity) {
        let parts = self.components(connectivity);
        for (value, &label) in self.data.iter_mut().zip(&parts.labels) {
            if label != 0 && parts.areas[label as usize - 1] < min_area {
                *value = 0;
            }
        }
    }

    /// Sets enclosed gaps (connected by sides, not touching the frame's edge) of at most `max_area` pixels.
    pub fn fill_holes(&mut self, max_area: u64) {
        let outside = Self {
            size: self.size,
            data: self.data.iter().map(|&v| u8::from(v == 0)).collect(),
        };
        let parts = outside.components(Connectivity::Four);
        let (w, h) = (self.size.width as usize, self.size.height as usize);
        let mut open = vec![false; parts.areas.len()];
        for (k, &label) in parts.labels.iter().enumerate() {
            let (x, y) = (k % w, k / w);
            if label != 0 && (x == 0 || y == 0 || x + 1 == w || y + 1 == h) {
                open[label as usize - 1] = true;
            }
        }
        for (value, &label) in self.data.iter_mut().zip(&parts.labels) {
            if label != 0
                && !open[label as usize - 1]
                && parts.areas[label as usize - 1] <= max_area
            {
                *value = 1;
            }
        }
    }

    /// The mask's own pixels that touch (by sides) something outside it; the frame's edge counts as outside.
    pub fn outline(&self) -> Self {
        let w = self.size.width as usize;
        let mut out = Self::new(self.size);
        for k in 0..self.data.len() {
            if self.data[k] == 0 {
                continue;
            }
            let (x, y) = ((k % w) as i64, (k / w) as i64);
            let inside = AROUND[..4]
                .iter()
                .all(|&(dx, dy)| self.at(x + dx, y + dy).is_some_and(|n| self.data[n] != 0));
            out.data[k] = u8::from(!inside);
        }
        out
    }

    /// The mask at another size: each pixel takes the value under its centre.
    pub fn resized(&self, size: Size) -> Self {
        let mut out = Self::new(size);
        if self.data.is_empty() || out.data.is_empty() {
            return out;
        }
        let source = |i: usize, from: u32, to: u32| {
            ((2 * i as u64 + 1) * u64::from(from) / (2 * u64::from(to))) as usize
        };
        let columns: Vec<usize> = (0..size.width as usize)
            .map(|x| source(x, self.size.width, size.width))
            .collect();
        for (y, row) in out.data.chunks_mut(size.width as usize).enumerate() {
            let from = source(y, self.size.height, size.height) * self.size.width as usize;
            for (value, &x) in row.iter_mut().zip(&columns) {
                *value = self.data[from + x];
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Rle;

    fn art(rows: &[&str]) -> Bitmap {
        Bitmap {
            size: Size::new(rows[0].len() as u32, rows.len() as u32),
            data: rows
                .iter()
                .flat_map(|r| r.bytes().map(|b| u8::from(b == b'#')))
                .collect(),
        }
    }

    fn p(x: f32, y: f32) -> PointPx {
        PointPx { x, y }
    }

    #[test]
    fn a_box_is_filled_and_found_again() {
        let b = BoxPx::from_array([1.0, 0.0, 4.0, 2.0]);
        let map = Bitmap::from_box(Size::new(5, 3), b);
        assert_eq!(map, art(&[".###.", ".###.", "....."]));
        assert_eq!(Rle::from_bitmap(&map).bounding_box(), Some(b));
        let over = BoxPx::from_array([-9.0, 1.6, 99.0, f32::INFINITY]);
        let map = Bitmap::from_box(Size::new(3, 3), over);
        assert_eq!(map, art(&["...", "...", "###"]));
        let inverted = BoxPx::from_array([2.0, 2.0, 1.0, 1.0]);
        assert_eq!(Bitmap::from_box(Size::new(3, 3), inverted).area(), 0);
        let nan = BoxPx::from_array([f32::NAN; 4]);
        assert_eq!(Bitmap::from_box(Size::new(3, 3), nan).area(), 0);
    }

    #[test]
    fn a_stroke_covers_its_line_and_erasing_undoes_it() {
        let mut map = Bitmap::new(Size::new(9, 5));
        map.stroke(&[p(1.5, 2.5), p(7.5, 2.5)], 1.0, BrushMode::Add);
        assert_eq!(
            map,
            art(&[
                ".........",
                ".#######.",
                "#########",
                ".#######.",
                "........."
            ])
        );
        map.stroke(&[p(1.5, 2.5), p(7.5, 2.5)], 1.0, BrushMode::Erase);
        assert_eq!(map.area(), 0);
        map.stroke(&[p(4.01, 2.99)], 0.0, BrushMode::Add);
        assert_eq!(map.data[2 * 9 + 4], 1);
        // Far outside and not finite: nothing happens.
        let before = map.clone();
        map.stroke(&[p(-1e30, 1e30)], 3.0, BrushMode::Erase);
        map.stroke(&[p(f32::NAN, 1.0)], f32::INFINITY, BrushMode::Erase);
        assert_eq!(map, before);
    }

    #[test]
    fn parts_depend_on_the_connectivity() {
        let map = art(&["##..", "..#.", "...#", "#..."]);
        let four = map.components(Connectivity::Four);
        assert_eq!(four.areas, vec![2, 1, 1, 1]);
        let eight = map.components(Connectivity::Eight);
        assert_eq!(eight.areas, vec![4, 1]);
        let mut small = map.clone();
        small.remove_small(2, Connectivity::Eight);
        assert_eq!(small, art(&["##..", "..#.", "...#", "...."]));
    }

    #[test]
    fn only_enclosed_gaps_are_holes() {
        let mut map = art(&["####.", "#.##.", "##.#.", "###..", "#.#.#"]);
        map.fill_holes(1);
        assert_eq!(map, art(&["####.", "####.", "####.", "###..", "#.#.#"]));
        let mut wide = art(&["#####", "#...#", "#####"]);
        wide.fill_holes(2);
        assert_eq!(wide.area(), 12);
        wide.fill_holes(3);
        assert_eq!(wide.area(), 15);
    }

    #[test]
    fn the_outline_is_one_pixel_wide() {
        let map = art(&[".....", ".###.", ".###.", ".###.", "....."]);
        assert_eq!(
            map.outline(),
            art(&[".....", ".###.", ".#.#.", ".###.", "....."])
        );
        let full = art(&["###", "###", "###"]);
        assert_eq!(full.outline(), art(&["###", "#.#", "###"]));
    }

    #[test]
    fn resizing_takes_the_pixel_under_the_centre() {
        let map = art(&["#.", ".#"]);
        let big = art(&["##..", "##..", "..##", "..##"]);
        assert_eq!(map.resized(Size::new(4, 4)), big);
        assert_eq!(big.resized(Size::new(2, 2)), map);
        assert_eq!(map.resized(Size::new(0, 3)).area(), 0);
    }
}
