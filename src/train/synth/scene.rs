//! What happens in a clip: objects, their motions, the camera, the light. Leaves pixels to [`super::render`].

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    SynthOptions, Vocabulary,
    draw::{chance, normal, one_of, pick, uniform},
    paint::{Background, Paint, second_shade, shade},
    shapes::{PartShape, Wave},
    wild::{self, Flex, Palette, Skin},
    words::{Colour, Motion, Shape, Texture},
};

/// Where an object is in one frame, camera included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub(super) cx: f32,
    pub(super) cy: f32,
    /// Pixels per unit of the object's space.
    pub(super) scale: f32,
    pub(super) turn: f32,
}

/// A piece that moves rigidly with its object.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) shape: PartShape,
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) a: f32,
    pub(super) b: f32,
    pub(super) cos: f32,
    pub(super) sin: f32,
    pub(super) wave: Wave,
    pub(super) paint: Paint,
    /// Stands in for the paint.
    pub(super) skin: Option<Skin>,
}

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) shape: Shape,
    pub(super) colour: Colour,
    pub(super) texture: Texture,
    pub(super) motion: Motion,
    pub(super) radius: f32,
    pub(super) paint: Paint,
    pub(super) wave: Wave,
    /// Wobble of the contour; amplitudes are zero for most.
    pub(super) wobble: Option<Wave>,
    pub(super) parts: Vec<Part>,
    /// Light from the upper left on the body: relative gain per unit.
    pub(super) shading: f32,
    pub(super) poses: Vec<Pose>,
    /// Stands in for the body's paint.
    pub(super) skin: Option<Skin>,
    /// How the body bends.
    pub(super) flex: Option<Flex>,
    /// How much darker it is below.
    pub(super) shadow: f32,
}

impl Thing {
    /// Largest distance from the centre that the object reaches, in units.
    pub(super) fn reach(&self) -> f32 {
        let parts = self
            .parts
            .iter()
            .map(|p| (p.x * p.x + p.y * p.y).sqrt() + (p.a * p.a + p.b * p.b).sqrt());
        let reach = parts.fold(1.16, f32::max) * if self.wobble.is_some() { 1.2 } else { 1.05 };
        reach * if self.flex.is_some() { 1.6 } else { 1.0 }
    }
}

/// Position of the camera in one frame: `screen = centre + (world − centre) · zoom + (dx, dy)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Camera {
    pub(super) dx: f32,
    pub(super) dy: f32,
    pub(super) zoom: f32,
}

/// A clip before it is drawn.
pub(super) struct Scene {
    /// In drawing order, farthest first. The id of an object is its place in this list plus one.
    pub(super) things: Vec<Thing>,
    pub(super) background: Background,
    pub(super) cameras: Vec<Camera>,
    pub(super) noise: f32,
    pub(super) blur: bool,
    /// Gain slope per pixel in x and y.
    pub(super) light: Option<(f32, f32)>,
    /// Made to look like footage, see [`super::wild`].
    pub(super) wild: bool,
    /// Quality of the encoder that the picture has gone through.
    pub(super) quality: Option<u8>,
}

/// Pixels that one pixel of a 256-pixel frame takes.
pub(super) fn unit(options: &SynthOptions) -> f32 {
    options.width.min(options.height) as f32 / 256.0
}

impl Scene {
    /// Draws a clip's plan from `rng`.
    pub(super) fn new(options: &SynthOptions, rng: &mut ChaCha8Rng) -> Self {
        let unit = unit(options);
        let (w, h) = (options.width as f32, options.height as f32);
        let frames = options.frames;
        // Nothing is drawn from the generator where the answer is known: seeds keep their clips.
        let wild = (options.wild > 0.0 && chance(rng, options.wild)).then(|| Palette::new(rng));
        let wanted = pick(rng, &options.objects) + 1;
        let mut things: Vec<Thing> = Vec::with_capacity(wanted);
        let mut places: Vec<(f32, f32, f32)> = Vec::new();
        for _ in 0..wanted {
            let (lo, hi) = options.radius;
            let crowd = 1.0 - 0.06 * (wanted as f32 - 1.0);
            let radius =
                libm::expf(uniform(rng, libm::logf(lo), libm::logf(hi.max(lo)))) * crowd * unit;
            let radius = radius.max(lo * unit);
            let place = (0..12)
                .map(|_| {
                    let inset = radius * 0.6;
                    let x = uniform(rng, inset.min(w * 0.5), (w - inset).max(w * 0.5 + 1.0));
                    let y = uniform(rng, inset.min(h * 0.5), (h - inset).max(h * 0.5 + 1.0));
                    (x, y)
                })
                .find(|&(x, y)| {
                    places.iter().all(|&(px, py, pr)| {
                        let apart = 0.75 * (radius + pr);
                        (x - px) * (x - px) + (y - py) * (y - py) > apart * apart
                    })
                });
            let Some((x, y)) = place else { continue };
            places.push((x, y, radius));
            let (shape, colour) = looks(options.vocabulary, &things, rng);
            let look = Look {
                shape,
                colour,
                texture: Texture::ALL[pick(rng, &[0.4, 0.12, 0.14, 0.12, 0.12, 0.1])],
                motion: Motion::ALL[pick(rng, &options.vocabulary.motions())],
                compound: chance(rng, options.compound),
            };
            things.push(thing(options, look, radius, (x, y), rng));
        }
        if chance(rng, 0.85) {
            things.sort_by(|a, b| b.radius.total_cmp(&a.radius));
        }
        if let Some(behind) = wild {
            things
                .iter_mut()
                .for_each(|thing| wild::dress(thing, behind, rng));
        }
        let moving_camera = frames > 1 && chance(rng, options.camera);
        let cameras = if moving_camera && wild.is_some() {
            wild::camera(frames, unit, rng)
        } else if moving_camera {
            camera_path(frames, unit, rng)
        } else {
            vec![
                Camera {
                    dx: 0.0,
                    dy: 0.0,
                    zoom: 1.0
                };
                frames
            ]
        };
        for thing in &mut things {
            for (pose, camera) in thing.poses.iter_mut().zip(&cameras) {
                pose.cx = w * 0.5 + (pose.cx - w * 0.5) * camera.zoom + camera.dx;
                pose.cy = h * 0.5 + (pose.cy - h * 0.5) * camera.zoom + camera.dy;
                pose.scale *= camera.zoom;
            }
        }
        let reach = if wild.is_some() { wild::MARGIN } else { 44.0 };
        let margin = if moving_camera {
            (reach * unit) as usize
        } else {
            0
        };
        let (width, height) = (options.width + 2 * margin, options.height + 2 * margin);
        let background = match wild {
            Some(palette) => wild::background((width, height), unit, palette, rng),
            None => Background::new(width, height, unit, rng),
        };
        let light =
            chance(rng, 0.3).then(|| (uniform(rng, -0.3, 0.3) / w, uniform(rng, -0.3, 0.3) / h));
        Self {
            things,
            background,
            cameras,
            noise: if chance(rng, 0.5) {
                uniform(rng, 0.5, 9.0)
            } else {
                0.0
            },
            blur: chance(rng, 0.25),
            light,
            wild: wild.is_some(),
            quality: (wild.is_some() && chance(rng, 0.4)).then(|| rng.random_range(15..60)),
        }
    }
}

impl Scene {
    /// A fixed plan that shows what phrases are for: five objects, no two of one colour, each with a motion of its own.
    /// One passes in front of another.
    pub(super) fn sample(options: &SynthOptions, rng: &mut ChaCha8Rng) -> Self {
        let unit = unit(options);
        let (w, h) = (options.width as f32, options.height as f32);
        let plan = [
            (
                Shape::Square,
                Colour::Blue,
                Texture::Plain,
                Motion::Still,
                38.0,
                (0.42, 0.66),
            ),
            (
                Shape::Ring,
                Colour::Yellow,
                Texture::Plain,
                Motion::Growing,
                24.0,
                (0.84, 0.34),
            ),
            (
                Shape::Star,
                Colour::Green,
                Texture::Striped,
                Motion::Up,
                34.0,
                (0.66, 0.60),
            ),
            (
                Shape::Heart,
                Colour::Pink,
                Texture::Plain,
                Motion::Down,
                30.0,
                (0.14, 0.34),
            ),
            (
                Shape::Circle,
                Colour::Red,
                Texture::Dotted,
                Motion::Right,
                30.0,
                (0.38, 0.46),
            ),
        ];
        let things = plan.map(|(shape, colour, texture, motion, radius, (x, y))| {
            let look = Look {
                shape,
                colour,
                texture,
                motion,
                compound: false,
            };
            Thing {
                wobble: None,
                ..thing(options, look, radius * unit, (x * w, y * h), rng)
            }
        });
        Self {
            things: things.into(),
            background: Background::new(options.width, options.height, unit, rng),
            cameras: vec![
                Camera {
                    dx: 0.0,
                    dy: 0.0,
                    zoom: 1.0
                };
                options.frames
            ],
            noise: 1.5,
            blur: false,
            light: None,
            wild: false,
            quality: None,
        }
    }
}

/// Shape and colour; often those of an earlier object, or words of place and motion would never be needed.
fn looks(vocabulary: Vocabulary, earlier: &[Thing], rng: &mut ChaCha8Rng) -> (Shape, Colour) {
    let mut shape = one_of(rng, vocabulary.shapes());
    let mut colour = one_of(rng, vocabulary.colours());
    if !earlier.is_empty() && chance(rng, 0.6) {
        let twin = &earlier[rng.random_range(0..earlier.len())];
        if chance(rng, 0.45) {
            shape = twin.shape;
        }
        if chance(rng, 0.4) {
            colour = twin.colour;
        }
    }
    (shape, colour)
}

fn wave(rng: &mut ChaCha8Rng, amplitudes: [f32; 3]) -> Wave {
    Wave {
        terms: amplitudes.map(|a| {
            let phase = uniform(rng, 0.0, std::f32::consts::TAU);
            let a = uniform(rng, 0.3, 1.0) * a;
            (a * libm::cosf(phase), a * libm::sinf(phase))
        }),
    }
}

/// What is settled about an object before the rest is drawn.
#[derive(Clone, Copy, Debug)]
struct Look {
    shape: Shape,
    colour: Colour,
    texture: Texture,
    motion: Motion,
    /// Has extra parts.
    compound: bool,
}

fn thing(
    options: &SynthOptions,
    look: Look,
    radius: f32,
    at: (f32, f32),
    rng: &mut ChaCha8Rng,
) -> Thing {
    let Look {
        shape,
        colour,
        texture,
        mut motion,
        compound,
    } = look;
    let first = shade(colour, rng);
    let second = second_shade(first, rng);
    let paint = Paint::new(texture, first, second, rng);
    if motion == Motion::Spinning && matches!(shape, Shape::Circle | Shape::Ring) {
        motion = Motion::Still;
    }
    let parts = if compound {
        (0..rng.random_range(1..4))
            .map(|_| part(options, first, rng))
            .collect()
    } else {
        Vec::new()
    };
    let free_turn = matches!(
        shape,
        Shape::Circle
            | Shape::Oval
            | Shape::Ring
            | Shape::Rectangle
            | Shape::Moon
            | Shape::Arrow
            | Shape::Blob
    );
    let turn = if free_turn {
        uniform(rng, 0.0, std::f32::consts::TAU)
    } else {
        uniform(rng, -0.35, 0.35)
    };
    let round = matches!(shape, Shape::Circle | Shape::Oval | Shape::Blob);
    Thing {
        shape,
        colour,
        texture,
        motion,
        radius,
        paint,
        wave: wave(rng, [0.16, 0.12, 0.07]),
        wobble: chance(rng, 0.3).then(|| wave(rng, if round { [0.05; 3] } else { [0.08; 3] })),
        parts,
        shading: if chance(rng, 0.4) {
            uniform(rng, 0.05, 0.22)
        } else {
            0.0
        },
        poses: poses(options, motion, radius, at, turn, rng),
        skin: None,
        flex: None,
        shadow: 0.0,
    }
}

/// An extra piece. Its own hue is allowed only while it is small, so that the object's colour word stays true.
fn part(options: &SynthOptions, body: [f32; 3], rng: &mut ChaCha8Rng) -> Part {
    let own_hue = chance(rng, 0.45);
    let (first, size) = if own_hue {
        let colour = one_of(rng, options.vocabulary.colours());
        (shade(colour, rng), uniform(rng, 0.18, 0.36))
    } else {
        let gain = uniform(rng, 0.6, 1.25);
        (
            body.map(|c| (c * gain).min(255.0)),
            uniform(rng, 0.25, 0.62),
        )
    };
    let texture = Texture::ALL[pick(rng, &[0.6, 0.1, 0.1, 0.08, 0.07, 0.05])];
    let second = second_shade(first, rng);
    let paint = Paint::new(texture, first, second, rng);
    let turn = uniform(rng, 0.0, std::f32::consts::TAU);
    Part {
        shape: one_of(rng, &[PartShape::Ellipse, PartShape::Box, PartShape::Blob]),
        x: uniform(rng, -0.7, 0.7),
        y: uniform(rng, -0.7, 0.7),
        a: size,
        b: size * uniform(rng, 0.5, 1.0),
        cos: libm::cosf(turn),
        sin: libm::sinf(turn),
        wave: wave(rng, [0.14, 0.1, 0.05]),
        paint,
        skin: None,
    }
}

fn poses(
    options: &SynthOptions,
    motion: Motion,
    radius: f32,
    at: (f32, f32),
    turn: f32,
    rng: &mut ChaCha8Rng,
) -> Vec<Pose> {
    let unit = unit(options);
    let frames = options.frames;
    // A short clip shows the same speeds, hence less travel.
    let span = ((frames as f32 - 1.0) / 7.0).min(1.0);
    let travel = uniform(rng, 45.0, 130.0) * unit * span;
    let phase = uniform(rng, 0.0, std::f32::consts::TAU);
    let orbit = uniform(rng, 16.0, 40.0) * unit;
    let turns = uniform(rng, 0.8, 1.6) * span;
    let hops = uniform(rng, 1.0, 2.2) * span;
    let growth = match motion {
        Motion::Growing => uniform(rng, 1.5, 2.1),
        Motion::Shrinking => uniform(rng, 0.4, 0.65),
        _ => 1.0,
    };
    let spin = if motion == Motion::Spinning {
        uniform(rng, 2.0, 5.0) * one_of(rng, &[-1.0, 1.0]) * span
    } else if motion.direction().is_some() && chance(rng, 0.3) {
        uniform(rng, -0.5, 0.5) * span
    } else {
        0.0
    };
    (0..frames)
        .map(|f| {
            let t = if frames > 1 {
                f as f32 / (frames as f32 - 1.0)
            } else {
                0.0
            };
            let (mut dx, mut dy, mut grow) = (0.0, 0.0, 1.0);
            if let Some((x, y)) = motion.direction() {
                let norm = if x != 0 && y != 0 { 0.75 } else { 1.0 };
                dx = f32::from(x) * norm * travel * (t - 0.5);
                dy = f32::from(y) * norm * travel * (t - 0.5);
            }
            match motion {
                Motion::Circling => {
                    let angle = phase + std::f32::consts::TAU * turns * t;
                    dx = orbit * libm::cosf(angle);
                    dy = orbit * libm::sinf(angle);
                }
                Motion::Bouncing => {
                    dy = orbit
                        - 2.0
                            * orbit
                            * libm::sinf(std::f32::consts::PI * hops * t + phase * 0.1).abs();
                }
                Motion::Growing | Motion::Shrinking => {
                    grow = libm::expf(libm::logf(growth) * t * span);
                }
                _ => {}
            }
            Pose {
                cx: at.0 + dx,
                cy: at.1 + dy,
                scale: radius * grow,
                turn: turn + spin * t,
            }
        })
        .collect()
}

fn camera_path(frames: usize, unit: f32, rng: &mut ChaCha8Rng) -> Vec<Camera> {
    let span = ((frames as f32 - 1.0) / 7.0).min(1.0);
    let pan = chance(rng, 0.6);
    let (px, py) = if pan {
        (
            uniform(rng, -24.0, 24.0) * unit * span,
            uniform(rng, -24.0, 24.0) * unit * span,
        )
    } else {
        (0.0, 0.0)
    };
    let shake = if chance(rng, 0.4) {
        uniform(rng, 0.5, 3.0) * unit
    } else {
        0.0
    };
    let zoom = if chance(rng, 0.4) {
        uniform(rng, -0.12, 0.12) * span
    } else {
        0.0
    };
    travelling(frames, (px, py), (shake, zoom), rng)
}

/// A camera that pans by `(px, py)` pixels and zooms by `zoom` from the first frame to the last, and shakes.
pub(super) fn travelling(
    frames: usize,
    (px, py): (f32, f32),
    (shake, zoom): (f32, f32),
    rng: &mut ChaCha8Rng,
) -> Vec<Camera> {
    (0..frames)
        .map(|f| {
            let t = if frames > 1 {
                f as f32 / (frames as f32 - 1.0)
            } else {
                0.5
            };
            Camera {
                dx: px * (t - 0.5) + shake * normal(rng).clamp(-2.0, 2.0),
                dy: py * (t - 0.5) + shake * normal(rng).clamp(-2.0, 2.0),
                zoom: 1.0 + zoom * t,
            }
        })
        .collect()
}
