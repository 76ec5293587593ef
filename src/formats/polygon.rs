//! Polygons as the COCO tools fill them. Their rule is not that of any drawing library: the outline is walked on a grid
//! five times as fine, and a pixel belongs to the polygon if the column's crossings above it are odd in number. This is
//! `rleFrPoly`, step for step, so that areas and pixels equal theirs.

use crate::project::{Rle, Size};

/// How much finer the outline is walked.
const SCALE: f64 = 5.0;

/// The mask of one polygon, `x, y` pairs in pixels; empty for fewer than three corners or coordinates that are no
/// numbers or far outside.
pub fn fill(size: Size, corners: &[f64]) -> Rle {
    // Beyond this the walk would be long for nothing; no real outline is there.
    let limit = 16.0 * f64::from(size.width.max(size.height)) + 1024.0;
    let usable = corners.iter().all(|c| c.abs() <= limit);
    if corners.len() < 6 || !usable || size.area() == 0 {
        return Rle::empty(size);
    }
    let to_grid = |v: f64| (SCALE * v + 0.5) as i64;
    let mut points: Vec<(i64, i64)> = corners
        .chunks_exact(2)
        .map(|p| (to_grid(p[0]), to_grid(p[1])))
        .collect();
    points.push(points[0]);
    let outline = walk(&points);

    let (w, h) = (i64::from(size.width), i64::from(size.height));
    let mut crossings = Vec::new();
    for pair in outline.windows(2) {
        let ((u0, v0), (u1, v1)) = (pair[0], pair[1]);
        if u0 == u1 {
            continue;
        }
        let x = (if u1 < u0 { u1 } else { u1 - 1 }) as f64;
        let x = (x + 0.5) / SCALE - 0.5;
        if x.floor() != x || x < 0.0 || x > (w - 1) as f64 {
            continue;
        }
        let y = v1.min(v0) as f64;
        let y = ((y + 0.5) / SCALE - 0.5).clamp(0.0, h as f64).ceil();
        crossings.push((x as i64 * h + y as i64) as u32);
    }
    crossings.push(size.area() as u32);
    crossings.sort_unstable();

    // Distances between crossings are the runs; a run of no length joins its neighbours.
    let mut counts: Vec<u32> = Vec::with_capacity(crossings.len());
    let mut before = 0;
    let mut join = false;
    for (i, &at) in crossings.iter().enumerate() {
        let run = at - before;
        before = at;
        if join {
            if let Some(last) = counts.last_mut() {
                *last += run;
            }
            join = false;
        } else if i > 0 && run == 0 {
            join = true;
        } else {
            counts.push(run);
        }
    }
    Rle::new(size, counts).unwrap_or_else(|_| Rle::empty(size))
}

/// Grid points along a closed outline.
fn walk(points: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    for pair in points.windows(2) {
        let ((mut xs, mut ys), (mut xe, mut ye)) = (pair[0], pair[1]);
        let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
        let flat = dx >= dy;
        let flip = (flat && xs > xe) || (!flat && ys > ye);
        if flip {
            (xs, xe, ys, ye) = (xe, xs, ye, ys);
        }
        let (long, slope) = if flat {
            (dx, (ye - ys) as f64 / dx as f64)
        } else {
            (dy, (xe - xs) as f64 / dy as f64)
        };
        for d in 0..=long {
            let t = if flip { long - d } else { d };
            // A line of one point has no slope; 0 · NaN is still NaN, which the cast turns into 0, as C's would not.
            let step = if long == 0 { 0.0 } else { slope * t as f64 };
            out.push(if flat {
                (t + xs, (ys as f64 + step + 0.5) as i64)
            } else {
                ((xs as f64 + step + 0.5) as i64, t + ys)
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Bitmap, BoxPx};

    #[test]
    fn a_rectangle_is_its_box() {
        let size = Size::new(10, 8);
        let mask = fill(size, &[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]);
        let boxed = Bitmap::from_box(size, BoxPx::from_array([2.0, 1.0, 6.0, 5.0]));
        assert_eq!(mask, Rle::from_bitmap(&boxed));
    }

    #[test]
    fn nonsense_is_empty_and_outside_is_cut() {
        let size = Size::new(10, 8);
        for bad in [
            vec![],
            vec![1.0, 1.0, 2.0, 2.0],
            vec![f64::NAN; 6],
            vec![0.0, 0.0, 1e18, 0.0, 1e18, 1e18],
            vec![3.0; 6],
        ] {
            assert!(fill(size, &bad).is_empty(), "{bad:?}");
        }
        let over = fill(size, &[-5.0, -5.0, 50.0, -5.0, 50.0, 50.0, -5.0, 50.0]);
        assert_eq!(over.area(), 80);
    }
}
