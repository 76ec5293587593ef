//! Small draws from a seeded generator.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// Uniform in `[lo, hi)`.
pub(super) fn uniform(rng: &mut ChaCha8Rng, lo: f32, hi: f32) -> f32 {
    lo + (hi - lo) * rng.random::<f32>()
}

/// True with probability `p`.
pub(super) fn chance(rng: &mut ChaCha8Rng, p: f32) -> bool {
    rng.random::<f32>() < p
}

/// An index, drawn in proportion to `weights`.
pub(super) fn pick(rng: &mut ChaCha8Rng, weights: &[f32]) -> usize {
    let total: f32 = weights.iter().sum();
    let mut at = rng.random::<f32>() * total;
    for (i, w) in weights.iter().enumerate() {
        if at < *w {
            return i;
        }
        at -= w;
    }
    weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
}

/// One of `items`; they are never empty where this is called.
pub(super) fn one_of<T: Copy>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    items[rng.random_range(0..items.len())]
}

/// About standard normal: a sum of uniforms is enough for jitter.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let sum: f32 = (0..6).map(|_| rng.random::<f32>()).sum();
    (sum - 3.0) * std::f32::consts::SQRT_2
}
