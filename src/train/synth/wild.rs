//! Clips that look more like footage: things of many pieces in front of many pieces, natural light, limbs that swing,
//! bodies that bend, a camera that travels, a compressed picture. Names of colours mean nothing here, so such clips teach
//! masks and proposals, never words.
//!
//! The background is a pile of leaves, each hiding the ones below (after Lee, Mumford and Huang 2001): what a real picture
//! owes its statistics to.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    draw::{chance, normal, one_of, pick, uniform},
    paint::{Background, clip_range, hash, mix, rgb_from_hsv, smooth_noise},
    scene::{Camera, Part, Thing, travelling},
    shapes::{PartShape, Wave, part_distance},
};

/// Colours that belong together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette([[f32; 3]; 4]);

impl Palette {
    /// Mostly dull, of neighbouring hues, from dark to light.
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let hue = uniform(rng, 0.0, 360.0);
        let dull = if chance(rng, 0.7) { 0.45 } else { 0.95 };
        let spread = uniform(rng, 5.0, 70.0);
        Self(std::array::from_fn(|_| {
            rgb_from_hsv(
                hue + spread * normal(rng),
                uniform(rng, 0.0, dull),
                uniform(rng, 0.08, 0.98),
            )
        }))
    }

    /// Nearly the same colours.
    fn near(self, rng: &mut ChaCha8Rng) -> Self {
        Self(self.0.map(|c| {
            let gain = uniform(rng, 0.75, 1.3);
            c.map(|v| (v * gain + uniform(rng, -14.0, 14.0)).clamp(0.0, 255.0))
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Weave {
    /// Irregular patches with sharp edges.
    Patches,
    /// Two colours that run into each other.
    Clouds,
    /// Bent bands.
    Bands,
    /// One colour.
    Even,
}

/// A surface.
#[derive(Clone, Debug)]
pub(super) struct Skin {
    weave: Weave,
    palette: Palette,
    /// Direction and frequency.
    across: (f32, f32),
    /// How much finer grain lightens and darkens.
    rough: f32,
    salt: u32,
}

impl Skin {
    /// `frequency`: patches or bands per unit.
    pub(super) fn new(palette: Palette, frequency: f32, rng: &mut ChaCha8Rng) -> Self {
        let angle = uniform(rng, 0.0, std::f32::consts::TAU);
        Self {
            weave: [Weave::Patches, Weave::Clouds, Weave::Bands, Weave::Even]
                [pick(rng, &[0.3, 0.3, 0.15, 0.25])],
            palette,
            across: (libm::cosf(angle) * frequency, libm::sinf(angle) * frequency),
            rough: uniform(rng, 0.0, 0.4),
            salt: rng.random(),
        }
    }

    /// Colour at a point.
    pub(super) fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let u = x * self.across.0 + y * self.across.1;
        let v = y * self.across.0 - x * self.across.1;
        let [a, b, c, _] = self.palette.0;
        let base = match self.weave {
            Weave::Even => a,
            Weave::Clouds => mix(a, b, smooth_noise(u, v, self.salt)),
            Weave::Bands => {
                let bent = u * 2.0 + 1.5 * smooth_noise(u, v, self.salt);
                if bent - bent.floor() < 0.5 { a } else { b }
            }
            Weave::Patches => {
                // The nearest of the jittered lattice points around.
                let (fu, fv) = (u.floor(), v.floor());
                let mut nearest = (f32::INFINITY, 0);
                for j in -1..=1 {
                    for i in -1..=1 {
                        let bits = hash(fu as i32 + i, fv as i32 + j, self.salt);
                        let at = |shift: u32| f32::from((bits >> shift) as u8) / 255.0;
                        let (dx, dy) = (fu + i as f32 + at(0) - u, fv + j as f32 + at(8) - v);
                        let d = dx * dx + dy * dy;
                        if d < nearest.0 {
                            nearest = (d, bits >> 16);
                        }
                    }
                }
                [a, b, c, a][(nearest.1 & 3) as usize]
            }
        };
        let grain = smooth_noise(u * 3.1, v * 3.1, self.salt ^ 5) * 0.6
            + smooth_noise(u * 9.7, v * 9.7, self.salt ^ 9) * 0.4;
        let gain = 1.0 + self.rough * (2.0 * grain - 1.0);
        base.map(|c| c * gain)
    }
}

/// How a body changes while it moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flex {
    stretch: f32,
    shear: f32,
    swing: f32,
    rate: f32,
    phase: f32,
}

/// A body in one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bent {
    /// Rows of the matrix from the picture to the body.
    pub(super) rows: [[f32; 2]; 2],
    /// Angle that every other part has swung by; the rest swing the other way.
    pub(super) swing: f32,
}

impl Flex {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        Self {
            stretch: uniform(rng, 0.0, 0.3),
            shear: uniform(rng, 0.0, 0.35),
            swing: if chance(rng, 0.6) {
                uniform(rng, 0.1, 0.9)
            } else {
                0.0
            },
            rate: uniform(rng, 0.4, 1.4),
            phase: uniform(rng, 0.0, std::f32::consts::TAU),
        }
    }

    /// On frame `f`, at the speed of a clip of eight frames.
    pub(super) fn at(&self, f: usize) -> Bent {
        let wave = |shift: f32| libm::sinf(self.rate * f as f32 + self.phase + shift);
        let wide = 1.0 + self.stretch * wave(0.0);
        Bent {
            rows: [[1.0 / wide, self.shear * wave(1.0)], [0.0, wide]],
            swing: self.swing * wave(2.0),
        }
    }
}

/// Gives a thing a skin, more and stranger parts, and a body that bends. `behind` is what it stands in front of.
pub(super) fn dress(thing: &mut Thing, behind: Palette, rng: &mut ChaCha8Rng) {
    let own = if chance(rng, 0.35) {
        behind.near(rng)
    } else {
        Palette::new(rng)
    };
    let frequency = uniform(rng, 0.6, 3.0);
    thing.skin = Some(Skin::new(own, frequency, rng));
    thing.shading = uniform(rng, -0.3, 0.4);
    thing.shadow = if chance(rng, 0.4) {
        uniform(rng, 0.15, 0.6)
    } else {
        0.0
    };
    let parts = rng.random_range(1..6);
    thing.parts.clear();
    for _ in 0..parts {
        let turn = uniform(rng, 0.0, std::f32::consts::TAU);
        let size = uniform(rng, 0.18, 0.7);
        let palette = if chance(rng, 0.5) {
            own
        } else {
            Palette::new(rng)
        };
        let frequency = uniform(rng, 0.8, 5.0);
        thing.parts.push(Part {
            shape: one_of(rng, &[PartShape::Ellipse, PartShape::Box, PartShape::Blob]),
            x: uniform(rng, -0.95, 0.95),
            y: uniform(rng, -0.95, 0.95),
            a: size,
            b: size * uniform(rng, 0.25, 1.0),
            cos: libm::cosf(turn),
            sin: libm::sinf(turn),
            wave: wave(rng),
            skin: Some(Skin::new(palette, frequency, rng)),
            paint: thing.paint.clone(),
        });
    }
    if chance(rng, 0.7) {
        thing.flex = Some(Flex::new(rng));
    }
}

fn wave(rng: &mut ChaCha8Rng) -> Wave {
    Wave {
        terms: [0.2, 0.14, 0.08].map(|a: f32| {
            let phase = uniform(rng, 0.0, std::f32::consts::TAU);
            (a * libm::cosf(phase), a * libm::sinf(phase))
        }),
    }
}

/// The parts of a thing as they have swung.
pub(super) fn swung(parts: &[Part], bent: Bent) -> Vec<Part> {
    let (sin, cos) = (libm::sinf(bent.swing), libm::cosf(bent.swing));
    let turned = |part: &Part, sin: f32| Part {
        x: part.x * cos - part.y * sin,
        y: part.x * sin + part.y * cos,
        cos: part.cos * cos - part.sin * sin,
        sin: part.sin * cos + part.cos * sin,
        ..part.clone()
    };
    let each = parts.iter().enumerate();
    each.map(|(i, p)| turned(p, if i % 2 == 0 { sin } else { -sin }))
        .collect()
}

/// A pile of leaves.
pub(super) fn background(
    (width, height): (usize, usize),
    unit: f32,
    palette: Palette,
    rng: &mut ChaCha8Rng,
) -> Background {
    let ground = Skin::new(palette, 1.0 / (uniform(rng, 25.0, 160.0) * unit), rng);
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let colour = ground.at(x as f32, y as f32);
            data.extend(colour.map(|v| v.clamp(0.0, 255.0) as u8));
        }
    }
    let second = Palette::new(rng);
    let leaves = rng.random_range(0..70);
    for _ in 0..leaves {
        let radius = (5.0 / uniform(rng, 0.05, 1.0)).min(70.0) * unit;
        let palette = if chance(rng, 0.7) { palette } else { second }.near(rng);
        let skin = Skin::new(palette, uniform(rng, 0.5, 2.5) / radius, rng);
        let (cx, cy) = (
            uniform(rng, 0.0, width as f32),
            uniform(rng, 0.0, height as f32),
        );
        let shape = one_of(rng, &[PartShape::Ellipse, PartShape::Box, PartShape::Blob]);
        let (a, b) = (1.0, uniform(rng, 0.15, 1.0));
        let turn = uniform(rng, 0.0, std::f32::consts::TAU);
        let (sin, cos) = (libm::sinf(turn), libm::cosf(turn));
        let wave = wave(rng);
        let slope = uniform(rng, -0.25, 0.25);
        let reach = radius * 1.5;
        for y in clip_range(cy - reach, cy + reach, height) {
            for x in clip_range(cx - reach, cx + reach, width) {
                let (dx, dy) = ((x as f32 - cx) / radius, (y as f32 - cy) / radius);
                let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
                let d = part_distance(shape, u, v, a, b, &wave) * radius;
                let cover = (0.5 - d).clamp(0.0, 1.0);
                if cover <= 0.0 {
                    continue;
                }
                let colour = skin.at(x as f32 - cx, y as f32 - cy);
                let at = (y * width + x) * 3;
                for (p, c) in data[at..at + 3].iter_mut().zip(colour) {
                    let c = (c * (1.0 + slope * u)).clamp(0.0, 255.0);
                    *p = (f32::from(*p) + (c - f32::from(*p)) * cover) as u8;
                }
            }
        }
    }
    Background {
        width,
        height,
        data,
    }
}

/// Margin of the background that [`camera`] may uncover, in pixels of a 256-pixel frame.
pub(super) const MARGIN: f32 = 90.0;

/// A camera that travels.
pub(super) fn camera(frames: usize, unit: f32, rng: &mut ChaCha8Rng) -> Vec<Camera> {
    let span = ((frames as f32 - 1.0) / 7.0).min(1.0);
    let reach = 60.0 * unit * span;
    let (px, py) = (
        uniform(rng, -reach, reach),
        uniform(rng, -reach, reach) * 0.5,
    );
    let shake = if chance(rng, 0.5) {
        uniform(rng, 0.5, 4.0) * unit
    } else {
        0.0
    };
    let zoom = if chance(rng, 0.5) {
        uniform(rng, -0.2, 0.2) * span
    } else {
        0.0
    };
    travelling(frames, (px, py), (shake, zoom), rng)
}

/// The picture after a JPEG encoder of `quality`; as it was if the encoder refuses its size.
pub(super) fn compressed(rgb: Vec<u8>, width: usize, height: usize, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoded = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality).encode(
        &rgb,
        width as u32,
        height as u32,
        image::ExtendedColorType::Rgb8,
    );
    let decoded = encoded
        .ok()
        .and_then(|()| image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).ok());
    decoded.map_or(rgb, |picture| picture.into_rgb8().into_raw())
}
