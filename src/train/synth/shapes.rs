//! Outlines as signed distances: negative inside, about one per unit near the edge. Leaves colour to [`super::paint`].
//!
//! Shapes live in a unit space of radius about 1, x right, y down, upright. No trigonometry per pixel: angles enter
//! through reflections and through cos kθ as polynomials of x/r and y/r.

use super::words::Shape;

/// Distance to the outline of `shape` at `(x, y)`. `wave` bends blobs; other shapes ignore it.
pub(super) fn distance(shape: Shape, x: f32, y: f32, wave: &Wave) -> f32 {
    match shape {
        Shape::Circle => length(x, y) - 0.92,
        Shape::Oval => ellipse(x, y, 1.0, 0.6),
        Shape::Square => boxed(x, y, 0.8, 0.8),
        Shape::Rectangle => boxed(x, y, 1.0, 0.5),
        Shape::Triangle => {
            // Base at the bottom, tip at the top: three half-planes.
            let slant = 0.866_025_4 * x.abs() - 0.5 * y;
            (slant - 0.5).max(y - 0.5)
        }
        Shape::Star => star(x, y),
        Shape::Ring => (length(x, y) - 0.7).abs() - 0.25,
        Shape::Cross => {
            let (x, y) = (x.abs(), y.abs());
            (x - 0.95).max(y - 0.32).min((x - 0.32).max(y - 0.95))
        }
        Shape::Diamond => (x.abs() * 1.5 + y.abs() - 1.0) * 0.555,
        Shape::Heart => {
            // A square on its tip and a disc on each upper edge.
            let x = x.abs();
            let y = y - 0.1;
            let square = (x + y.abs() - 0.75) * std::f32::consts::FRAC_1_SQRT_2;
            square.min(length(x - 0.375, y + 0.375) - 0.530_33)
        }
        Shape::Moon => (length(x, y) - 0.95).max(0.8 - length(x - 0.5, y)),
        Shape::Arrow => {
            let shaft = boxed(x + 0.35, y, 0.6, 0.22);
            let head = (std::f32::consts::FRAC_1_SQRT_2 * (x - 0.95)
                + std::f32::consts::FRAC_1_SQRT_2 * y.abs())
            .max(0.2 - x);
            shaft.min(head)
        }
        Shape::Person => person(x, y),
        Shape::Blob => {
            let r = length(x, y);
            r - 0.8 * (1.0 + wave.at(x, y, r))
        }
    }
}

/// Parts that make an object compound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PartShape {
    Ellipse,
    Box,
    Blob,
}

/// Distance to a part of half sizes `(a, b)`.
pub(super) fn part_distance(shape: PartShape, x: f32, y: f32, a: f32, b: f32, wave: &Wave) -> f32 {
    match shape {
        PartShape::Ellipse => ellipse(x, y, a, b),
        PartShape::Box => boxed(x, y, a, b),
        PartShape::Blob => {
            let (u, v) = (x / a, y / b);
            let r = length(u, v);
            (r - 0.85 * (1.0 + wave.at(u, v, r))) * a.min(b)
        }
    }
}

/// A smooth wave around the circle: Σ aₖ cos(kθ + φₖ) for k = 2, 3, 5.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wave {
    /// `(aₖ cos φₖ, aₖ sin φₖ)` for k = 2, 3, 5.
    pub(super) terms: [(f32, f32); 3],
}

impl Wave {
    /// Value at the angle of `(x, y)`, whose length is `r`.
    pub(super) fn at(&self, x: f32, y: f32, r: f32) -> f32 {
        let inv = 1.0 / r.max(1e-4);
        let (c, s) = (x * inv, y * inv);
        let (c2, s2) = (c * c - s * s, 2.0 * c * s);
        let (c3, s3) = (c2 * c - s2 * s, s2 * c + c2 * s);
        let (c5, s5) = (c2 * c3 - s2 * s3, s2 * c3 + c2 * s3);
        let [a, b, d] = self.terms;
        a.0 * c2 - a.1 * s2 + b.0 * c3 - b.1 * s3 + d.0 * c5 - d.1 * s5
    }
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

fn boxed(x: f32, y: f32, a: f32, b: f32) -> f32 {
    (x.abs() - a).max(y.abs() - b)
}

fn ellipse(x: f32, y: f32, a: f32, b: f32) -> f32 {
    (length(x / a, y / b) - 1.0) * a.min(b)
}

fn segment(x: f32, y: f32, from: (f32, f32), to: (f32, f32), width: f32) -> f32 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (px, py) = (x - from.0, y - from.1);
    let t = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    length(px - t * dx, py - t * dy) - width
}

fn person(x: f32, y: f32) -> f32 {
    let x = x.abs();
    let head = length(x, y + 0.72) - 0.25;
    let trunk = segment(x, y, (0.0, -0.4), (0.0, 0.25), 0.17);
    let arm = segment(x, y, (0.0, -0.32), (0.5, 0.05), 0.1);
    let leg = segment(x, y, (0.05, 0.25), (0.32, 0.88), 0.12);
    head.min(trunk).min(arm).min(leg)
}

/// Five points, by folding the plane onto one half of one point.
fn star(x: f32, y: f32) -> f32 {
    const K1: (f32, f32) = (0.809_017, -0.587_785_24);
    const K2: (f32, f32) = (-0.809_017, -0.587_785_24);
    const TIP: f32 = 1.0;
    const WAIST: f32 = 0.48;
    let mut x = x.abs();
    let mut y = -y;
    let fold = 2.0 * (K1.0 * x + K1.1 * y).max(0.0);
    x -= fold * K1.0;
    y -= fold * K1.1;
    let fold = 2.0 * (K2.0 * x + K2.1 * y).max(0.0);
    x -= fold * K2.0;
    y -= fold * K2.1;
    x = x.abs();
    y -= TIP;
    // Edge from the tip to the waist, which lies 36° on.
    let edge = (WAIST * 0.587_785_24, WAIST * 0.809_017 - TIP);
    let h = ((x * edge.0 + y * edge.1) / (edge.0 * edge.0 + edge.1 * edge.1)).clamp(0.0, 1.0);
    let d = length(x - edge.0 * h, y - edge.1 * h);
    if y * edge.0 - x * edge.1 > 0.0 { d } else { -d }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covered fraction of the square of side 2, and the farthest inside point.
    fn measure(shape: Shape) -> (f32, f32) {
        let wave = Wave::default();
        let n = 200;
        let (mut inside, mut far) = (0, 0.0_f32);
        for i in 0..n {
            for j in 0..n {
                let x = (i as f32 + 0.5) / n as f32 * 3.0 - 1.5;
                let y = (j as f32 + 0.5) / n as f32 * 3.0 - 1.5;
                if distance(shape, x, y, &wave) < 0.0 {
                    inside += 1;
                    far = far.max(length(x, y));
                }
            }
        }
        (inside as f32 * 9.0 / (n * n) as f32, far)
    }

    #[test]
    fn shapes_fill_their_unit_and_do_not_leave_it() {
        for &shape in Shape::ALL {
            let (area, far) = measure(shape);
            assert!(area > 0.6 && area < 3.0, "{shape:?} covers {area}");
            assert!(far > 0.75 && far < 1.16, "{shape:?} reaches {far}");
        }
    }

    #[test]
    fn ring_and_moon_are_hollow_where_they_should_be() {
        let w = Wave::default();
        assert!(distance(Shape::Ring, 0.0, 0.0, &w) > 0.0);
        assert!(distance(Shape::Moon, 0.6, 0.0, &w) > 0.0);
        assert!(distance(Shape::Moon, -0.7, 0.0, &w) < 0.0);
        assert!(
            distance(Shape::Star, 0.0, -0.95, &w) < 0.0,
            "a star stands on two legs"
        );
        assert!(distance(Shape::Star, 0.0, 0.6, &w) > 0.0);
    }
}
