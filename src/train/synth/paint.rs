//! Colours, textures and backgrounds. Colour names hold whatever the texture: the second shade keeps the hue.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    draw::{pick, uniform},
    words::{Colour, Texture},
};

/// Linear mix of two RGB values.
pub(super) fn mix(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    [
        a[0] + (b[0] - a[0]) * t,
        a[1] + (b[1] - a[1]) * t,
        a[2] + (b[2] - a[2]) * t,
    ]
}

/// Hue in degrees, saturation and value 0 to 1 → RGB 0 to 255.
pub(super) fn rgb_from_hsv(h: f32, s: f32, v: f32) -> [f32; 3] {
    let h = h.rem_euclid(360.0) / 60.0;
    let channel = |n: f32| {
        let k = (n + h) % 6.0;
        255.0 * (v - v * s * k.min(4.0 - k).clamp(0.0, 1.0))
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// A shade that people call `colour`.
pub(super) fn shade(colour: Colour, rng: &mut ChaCha8Rng) -> [f32; 3] {
    let vivid = |rng: &mut ChaCha8Rng, lo: f32, hi: f32| {
        rgb_from_hsv(
            uniform(rng, lo, hi),
            uniform(rng, 0.68, 1.0),
            uniform(rng, 0.68, 1.0),
        )
    };
    match colour {
        Colour::Red => vivid(rng, -8.0, 10.0),
        Colour::Orange => rgb_from_hsv(
            uniform(rng, 26.0, 38.0),
            uniform(rng, 0.8, 1.0),
            uniform(rng, 0.88, 1.0),
        ),
        Colour::Yellow => rgb_from_hsv(
            uniform(rng, 51.0, 62.0),
            uniform(rng, 0.65, 1.0),
            uniform(rng, 0.85, 1.0),
        ),
        Colour::Green => rgb_from_hsv(
            uniform(rng, 95.0, 150.0),
            uniform(rng, 0.6, 1.0),
            uniform(rng, 0.5, 0.95),
        ),
        Colour::Cyan => rgb_from_hsv(
            uniform(rng, 172.0, 190.0),
            uniform(rng, 0.6, 1.0),
            uniform(rng, 0.8, 1.0),
        ),
        Colour::Blue => vivid(rng, 214.0, 242.0),
        Colour::Purple => rgb_from_hsv(
            uniform(rng, 264.0, 288.0),
            uniform(rng, 0.6, 1.0),
            uniform(rng, 0.55, 0.9),
        ),
        Colour::Pink => rgb_from_hsv(
            uniform(rng, 315.0, 340.0),
            uniform(rng, 0.3, 0.6),
            uniform(rng, 0.9, 1.0),
        ),
        Colour::Brown => rgb_from_hsv(
            uniform(rng, 18.0, 32.0),
            uniform(rng, 0.55, 0.85),
            uniform(rng, 0.3, 0.5),
        ),
        Colour::White => rgb_from_hsv(
            uniform(rng, 0.0, 360.0),
            uniform(rng, 0.0, 0.06),
            uniform(rng, 0.92, 1.0),
        ),
        Colour::Gray => rgb_from_hsv(
            uniform(rng, 0.0, 360.0),
            uniform(rng, 0.0, 0.07),
            uniform(rng, 0.4, 0.62),
        ),
        Colour::Black => rgb_from_hsv(
            uniform(rng, 0.0, 360.0),
            uniform(rng, 0.0, 0.5),
            uniform(rng, 0.02, 0.14),
        ),
    }
}

/// The second shade of a texture: darker, or lighter where darker would vanish.
pub(super) fn second_shade(base: [f32; 3], rng: &mut ChaCha8Rng) -> [f32; 3] {
    let luma = 0.3 * base[0] + 0.59 * base[1] + 0.11 * base[2];
    if luma < 60.0 && base.iter().all(|&c| c < 110.0) {
        let lift = uniform(rng, 55.0, 80.0);
        base.map(|c| (c + lift).min(255.0))
    } else {
        let factor = uniform(rng, 0.35, 0.6);
        base.map(|c| c * factor)
    }
}

/// How a surface is coloured, in the unit space of its object.
#[derive(Clone, Debug)]
pub(super) struct Paint {
    texture: Texture,
    first: [f32; 3],
    second: [f32; 3],
    /// Direction and frequency of the pattern.
    across: (f32, f32),
    phase: f32,
    salt: u32,
}

impl Paint {
    /// A paint of two shades with a pattern drawn from `rng`.
    pub(super) fn new(
        texture: Texture,
        first: [f32; 3],
        second: [f32; 3],
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let angle = uniform(rng, 0.0, std::f32::consts::TAU);
        let frequency = match texture {
            Texture::Striped => uniform(rng, 1.6, 3.2),
            Texture::Dotted => uniform(rng, 2.0, 3.6),
            Texture::Checkered => uniform(rng, 1.5, 2.8),
            Texture::Noisy => uniform(rng, 5.0, 9.0),
            Texture::Plain | Texture::Gradient => 0.5,
        };
        Self {
            texture,
            first,
            second,
            across: (libm::cosf(angle) * frequency, libm::sinf(angle) * frequency),
            phase: uniform(rng, 0.0, 1.0),
            salt: rng.random(),
        }
    }

    /// Colour at a point of the unit space.
    pub(super) fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let u = x * self.across.0 + y * self.across.1 + self.phase;
        let v = y * self.across.0 - x * self.across.1 + self.phase;
        match self.texture {
            Texture::Plain => self.first,
            Texture::Gradient => mix(
                self.first,
                self.second,
                (u - self.phase + 0.5).clamp(0.0, 1.0) * 0.85,
            ),
            Texture::Striped => self.either(u - u.floor() < 0.45),
            Texture::Dotted => {
                let (a, b) = (u - u.floor() - 0.5, v - v.floor() - 0.5);
                self.either(a * a + b * b < 0.085)
            }
            Texture::Checkered => self.either((u.floor() as i32 + v.floor() as i32) & 1 == 0),
            Texture::Noisy => {
                let t =
                    f32::from(hash(u.floor() as i32, v.floor() as i32, self.salt) as u8) / 255.0;
                mix(self.first, self.second, t * 0.9)
            }
        }
    }

    fn either(&self, second: bool) -> [f32; 3] {
        if second { self.second } else { self.first }
    }
}

/// A well-mixed 32-bit value for a lattice point.
pub(super) fn hash(x: i32, y: i32, salt: u32) -> u32 {
    let mut h = (x as u32)
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add((y as u32).wrapping_mul(0x85eb_ca77))
        .wrapping_add(salt);
    h ^= h >> 15;
    h = h.wrapping_mul(0x2c1b_3c6d);
    h ^= h >> 12;
    h = h.wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// Value noise, 0 to 1, smooth between lattice points.
pub(super) fn smooth_noise(x: f32, y: f32, salt: u32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (ease(x - fx), ease(y - fy));
    let corner = |dx: i32, dy: i32| hash(ix + dx, iy + dy, salt) as f32 / u32::MAX as f32;
    let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * tx;
    let low = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * tx;
    top + (low - top) * ty
}

/// A static picture behind the objects, larger than the frame so that the camera may move.
pub(super) struct Background {
    pub(super) width: usize,
    pub(super) height: usize,
    /// RGB, row-major.
    pub(super) data: Vec<u8>,
}

impl Background {
    /// Draws one of `width × height` pixels; `unit` is the number of pixels that one pixel of a 256-pixel frame takes.
    pub(super) fn new(width: usize, height: usize, unit: f32, rng: &mut ChaCha8Rng) -> Self {
        let any = |rng: &mut ChaCha8Rng| {
            rgb_from_hsv(
                uniform(rng, 0.0, 360.0),
                uniform(rng, 0.0, 0.55),
                uniform(rng, 0.15, 0.95),
            )
        };
        let a = any(rng);
        let b = if rng.random::<f32>() < 0.5 {
            let shift = uniform(rng, -60.0, 60.0);
            a.map(|c| (c + shift).clamp(0.0, 255.0))
        } else {
            any(rng)
        };
        let kind = pick(rng, &[0.15, 0.2, 0.4, 0.13, 0.12]);
        let angle = uniform(rng, 0.0, std::f32::consts::TAU);
        let (dx, dy) = (libm::cosf(angle), libm::sinf(angle));
        let period = uniform(rng, 14.0, 70.0) * unit;
        let coarse = uniform(rng, 24.0, 110.0) * unit;
        let salt: u32 = rng.random();
        let diagonal = ((width * width + height * height) as f32).sqrt();
        let mut data = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                let (xf, yf) = (x as f32, y as f32);
                let along = xf * dx + yf * dy;
                let t = match kind {
                    0 => 0.0,
                    1 => along / diagonal + 0.5,
                    2 => {
                        let n = |scale: f32, s: u32| smooth_noise(xf / scale, yf / scale, salt ^ s);
                        0.55 * n(coarse, 1) + 0.3 * n(coarse * 0.4, 2) + 0.15 * n(coarse * 0.15, 3)
                    }
                    3 => {
                        // A triangle wave, bent to look like a sine: no trigonometry per pixel.
                        let w = (along / period).rem_euclid(1.0);
                        let tri = (2.0 * w - 1.0).abs();
                        tri * tri * (3.0 - 2.0 * tri)
                    }
                    _ => {
                        let v = yf * dx - xf * dy;
                        if ((along / period).floor() as i32 + (v / period).floor() as i32) & 1 == 0
                        {
                            0.0
                        } else {
                            1.0
                        }
                    }
                };
                let c = mix(a, b, t.clamp(0.0, 1.0));
                data.extend(c.map(|v| v as u8));
            }
        }
        let mut out = Self {
            width,
            height,
            data,
        };
        if rng.random::<f32>() < 0.5 {
            let clutter = rng.random_range(3..15);
            for _ in 0..clutter {
                out.polygon(mix(a, b, rng.random()), unit, rng);
            }
        }
        if rng.random::<f32>() < 0.4 {
            out.grain(uniform(rng, 4.0, 22.0), rng.random());
        }
        out
    }

    /// A convex polygon near the background's own colours: something that is there and is nobody's object.
    fn polygon(&mut self, near: [f32; 3], unit: f32, rng: &mut ChaCha8Rng) {
        let (cx, cy) = (
            uniform(rng, 0.0, self.width as f32),
            uniform(rng, 0.0, self.height as f32),
        );
        let r = uniform(rng, 6.0, 45.0) * unit;
        let sides = rng.random_range(3..7);
        let turn = uniform(rng, 0.0, std::f32::consts::TAU);
        let planes: Vec<(f32, f32, f32)> = (0..sides)
            .map(|i| {
                let angle = turn
                    + std::f32::consts::TAU * (i as f32 + uniform(rng, -0.25, 0.25)) / sides as f32;
                (
                    libm::cosf(angle),
                    libm::sinf(angle),
                    r * uniform(rng, 0.4, 1.0),
                )
            })
            .collect();
        let colour = near.map(|c| (c + uniform(rng, -38.0, 38.0)).clamp(0.0, 255.0) as u8);
        let reach = r * 2.2;
        let rows = clip_range(cy - reach, cy + reach, self.height);
        for y in rows {
            for x in clip_range(cx - reach, cx + reach, self.width) {
                let (dx, dy) = (x as f32 - cx, y as f32 - cy);
                if dx * dx + dy * dy < reach * reach
                    && planes.iter().all(|p| dx * p.0 + dy * p.1 < p.2)
                {
                    let at = (y * self.width + x) * 3;
                    self.data[at..at + 3].copy_from_slice(&colour);
                }
            }
        }
    }

    fn grain(&mut self, strength: f32, salt: u32) {
        for (i, px) in self.data.chunks_exact_mut(3).enumerate() {
            let n = (f32::from(hash(i as i32, 0, salt) as u8) / 127.5 - 1.0) * strength;
            for c in px {
                *c = (f32::from(*c) + n).clamp(0.0, 255.0) as u8;
            }
        }
    }
}

/// Whole pixels from `lo` to `hi` that lie in `0..n`.
pub(super) fn clip_range(lo: f32, hi: f32, n: usize) -> std::ops::Range<usize> {
    let lo = lo.floor().max(0.0) as usize;
    let hi = (hi.ceil().max(0.0) as usize + 1).min(n);
    lo.min(hi)..hi
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn hsv_corners() {
        assert_eq!(rgb_from_hsv(0.0, 1.0, 1.0), [255.0, 0.0, 0.0]);
        assert_eq!(rgb_from_hsv(120.0, 1.0, 1.0), [0.0, 255.0, 0.0]);
        assert_eq!(rgb_from_hsv(240.0, 1.0, 1.0), [0.0, 0.0, 255.0]);
        assert_eq!(rgb_from_hsv(77.0, 0.0, 1.0), [255.0; 3]);
    }

    #[test]
    fn shades_keep_their_names_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let [r, g, b] = shade(Colour::Red, &mut rng);
            assert!(r > 1.5 * g && r > 1.5 * b);
            let [r, g, b] = shade(Colour::Blue, &mut rng);
            assert!(b > r && b > g);
            let white = shade(Colour::White, &mut rng);
            assert!(white.iter().all(|&c| c > 215.0));
            let black = shade(Colour::Black, &mut rng);
            assert!(black.iter().all(|&c| c < 40.0));
        }
    }
}
