//! Where proposals of one frame have gone by later ones, so that a phrase can ask for what moves: found again among the
//! later frames' own proposals by what they look like and how near they lie, without any memory and without a gradient.
//!
//! Nano's own; the released head sees one frame and nothing of motion. Leaves the looks to [`super::region_code`], and
//! what a phrase makes of the numbers to the selector.

/// Weight of the likeness of two codes, −1..1.
const LIKE: f32 = 10.0;
/// Distance of two centres, in parts of the image, that costs as much as one step of likeness.
const REACH: f32 = 0.18;
/// Cost of a natural logarithm of the size's ratio.
const GROWTH: f32 = 2.0;
/// Weight of the logarithm of the objectness.
const OBJECTNESS: f32 = 0.7;
/// Displacement that counts as one, in parts of the image.
const FAR: f32 = 0.2;
/// Growth that counts as one, as a natural logarithm.
const MUCH: f32 = 0.5;
/// Part of that below which something counts as still.
const STILL: f32 = 0.2;
/// How loud the numbers are beside features of variance 1, which are many.
const LOUDNESS: f32 = 3.0;
/// Numbers per later frame.
pub const WIDTH: usize = 9;

/// Proposals of one frame.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    /// x1, y1, x2, y2 as fractions.
    pub boxes: Vec<[f32; 4]>,
    /// Region codes.
    pub codes: Vec<Vec<f32>>,
    /// 0..1.
    pub objectness: Vec<f32>,
}

/// Centre and logarithm of the size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Centre, in parts of the image.
    pub x: f32,
    /// Likewise.
    pub y: f32,
    /// ln √(w·h).
    pub size: f32,
}

impl Place {
    fn of(b: [f32; 4]) -> Self {
        let side = |low: f32, high: f32| (high - low).max(1e-3);
        Self {
            x: f32::midpoint(b[0], b[2]),
            y: f32::midpoint(b[1], b[3]),
            size: (side(b[0], b[2]) * side(b[1], b[3])).sqrt().ln(),
        }
    }
}

fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-6)
}

/// What became of one proposal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Way {
    /// Where it is on each later frame.
    pub places: Vec<Place>,
    /// The mean of its codes on all frames: what hides a form on one frame shows it on another.
    pub looks: Vec<f32>,
}

/// Where each of the first frame's proposals is on each later frame, and what it looks like on all of them. A frame
/// without proposals leaves everything where it was.
pub fn follow(first: &Sighting, later: &[Sighting]) -> Vec<Way> {
    let one = |(start, code): (&[f32; 4], &Vec<f32>)| {
        let mut at = Place::of(*start);
        let mut looks = code.clone();
        let mut places = Vec::with_capacity(later.len());
        for there in later {
            let (to, seen) = next(at, code, there);
            at = to;
            places.push(to);
            looks.iter_mut().zip(&seen).for_each(|(sum, v)| *sum += v);
        }
        let frames = (1 + later.len()) as f32;
        looks.iter_mut().for_each(|v| *v /= frames);
        Way { places, looks }
    };
    first.boxes.iter().zip(&first.codes).map(one).collect()
}

/// The mean of a frame's proposals and of their codes, weighted by how well each goes on from `at`: several lie on one thing.
fn next(at: Place, code: &[f32], there: &Sighting) -> (Place, Vec<f32>) {
    let candidates = there.boxes.iter().zip(&there.codes).zip(&there.objectness);
    let scored: Vec<(Place, f32, &Vec<f32>)> = candidates
        .map(|((b, other), objectness)| {
            let to = Place::of(*b);
            let far = ((to.x - at.x).powi(2) + (to.y - at.y).powi(2)) / REACH.powi(2);
            let score = LIKE * likeness(code, other) - far - GROWTH * (to.size - at.size).abs()
                + OBJECTNESS * objectness.max(1e-3).ln();
            (to, score, other)
        })
        .collect();
    let best = scored.iter().map(|s| s.1).fold(f32::MIN, f32::max);
    let mut sum = Place::default();
    let mut looks = vec![0.0; code.len()];
    let mut total = 0.0;
    for (to, score, other) in scored {
        let w = (score - best).exp();
        if w.is_finite() {
            sum.x += w * to.x;
            sum.y += w * to.y;
            sum.size += w * to.size;
            looks.iter_mut().zip(other).for_each(|(s, v)| *s += w * v);
            total += w;
        }
    }
    if total > 0.0 {
        let place = Place {
            x: sum.x / total,
            y: sum.y / total,
            size: sum.size / total,
        };
        looks.iter_mut().for_each(|v| *v /= total);
        (place, looks)
    } else {
        (at, code.to_vec())
    }
}

/// Each proposal's way in numbers that a linear layer can read, `later · WIDTH` of them: how far to the right, down and
/// how much larger, each with its sign, without it, and whether it is next to nothing.
pub fn describe(first: &Sighting, ways: &[Way]) -> Vec<Vec<f32>> {
    let row = |(start, way): (&[f32; 4], &Way)| {
        let start = Place::of(*start);
        way.places
            .iter()
            .flat_map(|to| {
                [
                    (to.x - start.x) / FAR,
                    (to.y - start.y) / FAR,
                    (to.size - start.size) / MUCH,
                ]
            })
            .flat_map(|v| {
                let v = v.clamp(-2.0, 2.0);
                [v, v.abs(), (-(v / STILL).powi(2)).exp()].map(|v| LOUDNESS * v)
            })
            .collect()
    };
    first.boxes.iter().zip(ways).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32, side: f32) -> [f32; 4] {
        [
            x - side / 2.0,
            y - side / 2.0,
            x + side / 2.0,
            y + side / 2.0,
        ]
    }

    fn sighting(things: &[([f32; 4], usize)]) -> Sighting {
        Sighting {
            boxes: things.iter().map(|t| t.0).collect(),
            codes: things
                .iter()
                .map(|t| (0..4).map(|i| if i == t.1 { 2.0 } else { -0.5 }).collect())
                .collect(),
            objectness: vec![0.9; things.len()],
        }
    }

    #[test]
    fn things_are_found_again_by_their_looks_and_twins_by_their_nearness() {
        let first = sighting(&[
            (square(0.3, 0.5, 0.2), 0),
            (square(0.7, 0.5, 0.2), 1),
            (square(0.2, 0.1, 0.1), 2),
            (square(0.8, 0.1, 0.1), 2),
        ]);
        // The first two have come close to each other's place, the twins have moved a little.
        let later = [
            sighting(&[
                (square(0.62, 0.5, 0.2), 0),
                (square(0.38, 0.5, 0.3), 1),
                (square(0.25, 0.1, 0.1), 2),
                (square(0.75, 0.1, 0.1), 2),
            ]),
            Sighting::default(),
        ];
        let ways = follow(&first, &later);
        // Seen twice as itself and once not at all, where it keeps what it was.
        assert!(ways[0].looks[0] > 1.9 && ways[1].looks[1] > 1.9, "{ways:?}");
        let ways: Vec<&Vec<Place>> = ways.iter().map(|w| &w.places).collect();
        let near = |a: f32, b: f32| (a - b).abs() < 0.02;
        assert!(
            near(ways[0][0].x, 0.62) && near(ways[1][0].x, 0.38),
            "{ways:?}"
        );
        assert!(near(ways[1][0].size, 0.3_f32.ln()));
        assert!(
            near(ways[2][0].x, 0.25) && near(ways[3][0].x, 0.75),
            "{ways:?}"
        );
        assert_eq!(ways[0][0], ways[0][1], "nothing to see is no news");
    }

    #[test]
    fn a_way_is_told_by_sign_by_size_and_by_stillness() {
        let first = sighting(&[(square(0.3, 0.5, 0.2), 0), (square(0.7, 0.2, 0.2), 1)]);
        let later = [sighting(&[
            (square(0.5, 0.5, 0.2), 0),
            (square(0.7, 0.2, 0.2), 1),
        ])];
        let rows = describe(&first, &follow(&first, &later));
        assert_eq!((rows.len(), rows[0].len()), (2, WIDTH));
        let moved: Vec<f32> = rows[0].iter().map(|v| v / LOUDNESS).collect();
        assert!((moved[0] - 1.0).abs() < 0.05 && (moved[1] - 1.0).abs() < 0.05 && moved[2] < 0.1);
        let still: Vec<f32> = rows[1].iter().map(|v| v / LOUDNESS).collect();
        assert!(still[0].abs() < 0.05 && still[2] > 0.9 && still[5] > 0.9 && still[8] > 0.9);
    }
}
