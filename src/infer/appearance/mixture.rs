//! What colours something has: a mixture of a few Gaussians over red, green and blue, 0–255. Leaves what it is the colours
//! of to the caller.

/// Rounds of moving centres to the middle of what is nearest to them.
const ROUNDS: usize = 8;
/// Pixels that a mixture is fitted to at most.
const SAMPLES: usize = 1500;
/// Variance of camera noise: no group of pixels is purer.
const NOISE: f32 = 20.0;

/// A colour.
pub(super) type Rgb = [f32; 3];

struct Part {
    mean: Rgb,
    /// Inverse of the covariance: xx, yy, zz, xy, xz, yz, the last three doubled.
    inverse: [f32; 6],
    /// Logarithm of share and normalisation.
    offset: f32,
}

/// Colours of something.
pub(super) struct Mixture {
    parts: Vec<Part>,
}

impl Mixture {
    /// Fits at most `most` groups; `None` without pixels. The same pixels give the same groups.
    pub(super) fn fit(pixels: &[Rgb], most: usize) -> Option<Self> {
        let step = pixels.len().div_ceil(SAMPLES).max(1);
        let pixels: Vec<Rgb> = pixels.iter().step_by(step).copied().collect();
        let groups = group(&pixels, most);
        let parts: Vec<Part> = groups
            .iter()
            .map(|members| part(members, members.len() as f32 / pixels.len() as f32))
            .collect();
        (!parts.is_empty()).then_some(Self { parts })
    }

    /// Logarithm of the density of its likeliest group at a colour, but for a constant that all mixtures share.
    pub(super) fn log_likelihood(&self, colour: Rgb) -> f32 {
        let of = |p: &Part| {
            let [x, y, z] = [0, 1, 2].map(|i| colour[i] - p.mean[i]);
            let [xx, yy, zz, xy, xz, yz] = p.inverse;
            let far = xx * x * x + yy * y * y + zz * z * z + xy * x * y + xz * x * z + yz * y * z;
            p.offset - 0.5 * far
        };
        self.parts.iter().map(of).fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Squared distance of two colours.
pub(super) fn squared(a: Rgb, b: Rgb) -> f32 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum()
}

fn mean(pixels: &[Rgb]) -> Rgb {
    let n = pixels.len().max(1) as f32;
    [0, 1, 2].map(|i| pixels.iter().map(|p| p[i]).sum::<f32>() / n)
}

/// k-means; a new centre is the pixel at the 95th percentile of distance, which is far off and no stray.
fn group(pixels: &[Rgb], most: usize) -> Vec<Vec<Rgb>> {
    if pixels.is_empty() {
        return Vec::new();
    }
    let mut centres = vec![mean(pixels)];
    while centres.len() < most.max(1) {
        let mut far: Vec<(f32, Rgb)> = pixels
            .iter()
            .map(|&p| {
                let nearest = centres.iter().map(|&c| squared(p, c));
                (nearest.fold(f32::INFINITY, f32::min), p)
            })
            .collect();
        let at = far.len() * 19 / 20;
        let (_, next, _) = far.select_nth_unstable_by(at, |a, b| a.0.total_cmp(&b.0));
        if next.0 <= NOISE {
            break;
        }
        centres.push(next.1);
    }
    let mut groups = vec![Vec::new(); centres.len()];
    for round in 0..ROUNDS {
        groups.iter_mut().for_each(Vec::clear);
        for &p in pixels {
            let mut nearest = (f32::INFINITY, 0);
            for (i, &c) in centres.iter().enumerate() {
                let d = squared(p, c);
                if d < nearest.0 {
                    nearest = (d, i);
                }
            }
            groups[nearest.1].push(p);
        }
        if round + 1 < ROUNDS {
            for (centre, members) in centres.iter_mut().zip(&groups) {
                if !members.is_empty() {
                    *centre = mean(members);
                }
            }
        }
    }
    groups.retain(|g| !g.is_empty());
    groups
}

fn part(members: &[Rgb], share: f32) -> Part {
    let m = mean(members);
    let n = members.len() as f32;
    let product = |i: usize, j: usize| {
        let sum: f32 = members.iter().map(|p| (p[i] - m[i]) * (p[j] - m[j])).sum();
        sum / n + if i == j { NOISE } else { 0.0 }
    };
    let (a, b, c) = (product(0, 0), product(1, 1), product(2, 2));
    let (d, e, f) = (product(0, 1), product(0, 2), product(1, 2));
    let determinant = a * (b * c - f * f) - d * (d * c - e * f) + e * (d * f - b * e);
    let inverse = [
        b * c - f * f,
        a * c - e * e,
        a * b - d * d,
        2.0 * (e * f - d * c),
        2.0 * (d * f - b * e),
        2.0 * (d * e - a * f),
    ]
    .map(|v| v / determinant);
    Part {
        mean: m,
        inverse,
        offset: share.ln() - 0.5 * determinant.ln(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reds and blues with a little of everything around.
    fn two() -> Vec<Rgb> {
        let noise = |i: usize, k: usize| ((i * k) % 11) as f32 - 5.0;
        (0..400)
            .map(|i| {
                let base = if i % 4 == 0 {
                    [30.0, 40.0, 200.0]
                } else {
                    [210.0, 50.0, 40.0]
                };
                [0, 1, 2].map(|c| base[c] + noise(i, [3, 5, 7][c]))
            })
            .collect()
    }

    #[test]
    fn its_own_colours_are_likely_and_those_between_are_not() {
        let m = Mixture::fit(&two(), 5).unwrap();
        let at = |c: Rgb| m.log_likelihood(c);
        assert!(
            at([210.0, 50.0, 40.0]) > at([30.0, 40.0, 200.0]),
            "three times as many"
        );
        assert!(at([30.0, 40.0, 200.0]) > at([120.0, 45.0, 120.0]) + 5.0);
        assert!(at([120.0, 45.0, 120.0]) > at([20.0, 240.0, 20.0]));
    }

    #[test]
    fn one_colour_is_one_group_and_none_is_none() {
        assert_eq!(Mixture::fit(&[[9.0; 3]; 70], 5).unwrap().parts.len(), 1);
        assert!(Mixture::fit(&[], 5).is_none());
        let m = Mixture::fit(&[[0.0; 3]], 5).unwrap();
        assert!(m.log_likelihood([0.0; 3]).is_finite());
    }
}
