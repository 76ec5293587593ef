//! Procedural clips: coloured, textured, moving shapes with exact instance masks, and phrases that refer to them.
//!
//! A clip is a function of its seed and its options, the same on every platform (trigonometry from `libm`, random
//! numbers from ChaCha). Seeds from [`HELD_OUT`] up belong to evaluation: training refuses them.

mod draw;
mod paint;
mod phrases;
mod render;
mod scene;
mod shapes;
mod variant;
mod wild;
mod words;
mod write;

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use phrases::{LanguageOptions, PROMPTS, Phrase, PhraseKind, Slots};
pub use variant::Variant;
pub use words::{Colour, Motion, Shape, Superlative, Texture};
pub use write::{ClipFile, write_clip};

/// Seeds at or above this are for evaluation only.
pub const HELD_OUT: u64 = 1_000_000_000;

/// The seed of training clip `n` of a run. Never reaches [`HELD_OUT`].
pub fn training_seed(run: u64, n: u64) -> u64 {
    // Runs start far apart, and the stream wraps before it touches what is held out.
    run.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n) % HELD_OUT
}

/// Width and height of the picture of `seed`, `short` pixels on its short side: nearly half are square, the others as films,
/// cameras and phones make them. Each network sees all of them as squares, and must have seen what that does to shapes.
pub fn picture_size(seed: u64, short: usize) -> (usize, usize) {
    const SIDES: [(usize, usize); 4] = [(1, 1), (16, 9), (4, 3), (9, 16)];
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0077_6964_6500);
    let (w, h) = SIDES[draw::pick(&mut rng, &[0.45, 0.3, 0.15, 0.1])];
    // Even, as videos are.
    let long = (short * w.max(h) / w.min(h)).next_multiple_of(2);
    match w.cmp(&h) {
        std::cmp::Ordering::Less => (short, long),
        std::cmp::Ordering::Equal => (short, short),
        std::cmp::Ordering::Greater => (long, short),
    }
}

/// Which words the objects of a clip are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Eight shapes, nine colours and seven motions that are hard to mistake for each other.
    Core,
    /// All of them.
    Full,
}

impl Vocabulary {
    /// Shapes in use.
    pub fn shapes(self) -> &'static [Shape] {
        match self {
            Self::Core => &[
                Shape::Circle,
                Shape::Square,
                Shape::Triangle,
                Shape::Star,
                Shape::Ring,
                Shape::Cross,
                Shape::Heart,
                Shape::Blob,
            ],
            Self::Full => Shape::ALL,
        }
    }

    /// Colours in use.
    pub fn colours(self) -> &'static [Colour] {
        match self {
            Self::Core => &[
                Colour::Red,
                Colour::Yellow,
                Colour::Green,
                Colour::Cyan,
                Colour::Blue,
                Colour::Purple,
                Colour::Pink,
                Colour::White,
                Colour::Black,
            ],
            Self::Full => Colour::ALL,
        }
    }

    /// Weight of each motion, in the order of [`Motion::ALL`].
    pub(crate) fn motions(self) -> [f32; 14] {
        match self {
            Self::Core => [
                0.24, 0.13, 0.13, 0.13, 0.13, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.12, 0.12, 0.0,
            ],
            Self::Full => [
                0.2, 0.08, 0.08, 0.08, 0.08, 0.03, 0.03, 0.03, 0.03, 0.07, 0.07, 0.075, 0.075, 0.07,
            ],
        }
    }
}

/// How a clip is made.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthOptions {
    /// Columns in pixels.
    pub width: usize,
    /// Rows in pixels.
    pub height: usize,
    /// Frames.
    pub frames: usize,
    /// Smallest and largest radius in pixels of a 256-pixel frame; drawn log-uniformly.
    pub radius: (f32, f32),
    /// Weights of 1 to 6 objects.
    pub objects: [f32; 6],
    /// Part of the objects that have extra parts.
    pub compound: f32,
    /// Part of the clips whose camera moves.
    pub camera: f32,
    /// Part of the clips that are made to look like footage; their colours have no names.
    pub wild: f32,
    /// Words that objects are drawn from.
    pub vocabulary: Vocabulary,
    /// Phrases wanted; fewer come if the clip does not allow as many different ones.
    pub phrases: usize,
    /// How phrases are drawn.
    pub language: LanguageOptions,
}

impl Default for SynthOptions {
    fn default() -> Self {
        Self {
            width: 256,
            height: 256,
            frames: 8,
            radius: (16.0, 100.0),
            objects: [0.15, 0.25, 0.25, 0.18, 0.12, 0.05],
            compound: 0.6,
            camera: 0.45,
            wild: 0.0,
            vocabulary: Vocabulary::Full,
            phrases: 8,
            language: LanguageOptions::default(),
        }
    }
}

/// What is known about an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Its value in the instance maps, from 1.
    pub id: u8,
    /// Colour of the body.
    pub colour: Colour,
    /// Outline of the body.
    pub shape: Shape,
    /// Pattern of the body.
    pub texture: Texture,
    /// What it does.
    pub motion: Motion,
    /// Box of its visible pixels in each frame, `[x1, y1, x2, y2]` half-open; `None` where nothing is visible.
    pub boxes: Vec<Option<[f32; 4]>>,
    /// Visible pixels in each frame.
    pub areas: Vec<u32>,
    /// Whether it can be referred to: enough of it is visible on frame 0.
    pub referable: bool,
}

impl ObjectInfo {
    /// Enough of it is visible on frame 0 to refer to it.
    pub fn is_referable(&self) -> bool {
        self.referable
    }

    /// A pixel of it is visible on some frame.
    pub fn ever_visible(&self) -> bool {
        self.areas.iter().any(|a| *a > 0)
    }
}

/// A clip.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Per frame `height × width × 3` bytes, RGB.
    pub frames: Vec<Vec<u8>>,
    /// Per frame `height × width` instance ids, 0 = background.
    pub ids: Vec<Vec<u8>>,
    /// The objects, by id.
    pub objects: Vec<ObjectInfo>,
    /// Phrases, no two alike.
    pub phrases: Vec<Phrase>,
    /// Made to look like footage: colour words do not hold, and there are no phrases.
    pub wild: bool,
}

impl Clip {
    /// The object with `id`.
    pub fn object(&self, id: u8) -> Option<&ObjectInfo> {
        self.objects.get(usize::from(id).checked_sub(1)?)
    }
}

/// Makes the clip of `seed`.
pub fn generate(seed: u64, options: &SynthOptions) -> Clip {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scene = scene::Scene::new(options, &mut rng);
    finish(&scene, options, &mut rng)
}

/// Makes the clip that the program shows on its first start: fixed objects and motions, details from `seed`.
pub fn sample(seed: u64, options: &SynthOptions) -> Clip {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scene = scene::Scene::sample(options, &mut rng);
    finish(&scene, options, &mut rng)
}

/// Draws a scene, looks at what is visible and speaks about it.
fn finish(scene: &scene::Scene, options: &SynthOptions, rng: &mut ChaCha8Rng) -> Clip {
    let drawn = render::render(scene, options, rng);
    let least = (80.0 * scene::unit(options) * scene::unit(options)) as u32;
    let objects: Vec<ObjectInfo> = scene
        .things
        .iter()
        .enumerate()
        .map(|(i, thing)| {
            let id = (i + 1) as u8;
            let seen: Vec<_> = drawn
                .iter()
                .map(|d| extent(&d.ids, options.width, id))
                .collect();
            ObjectInfo {
                id,
                colour: thing.colour,
                shape: thing.shape,
                texture: thing.texture,
                motion: thing.motion,
                boxes: seen.iter().map(|s| s.0).collect(),
                areas: seen.iter().map(|s| s.1).collect(),
                referable: seen.first().is_some_and(|s| {
                    // A sliver behind something else has neither shape nor colour to speak of.
                    s.1 >= least.max((0.25 * thing.radius * thing.radius) as u32)
                }),
            }
        })
        .collect();
    let size = (options.width as f32, options.height as f32);
    let mut phrases: Vec<Phrase> = Vec::new();
    let mut said = BTreeSet::new();
    let wanted = if scene.wild { 0 } else { options.phrases };
    for _ in 0..wanted * 6 {
        if phrases.len() == options.phrases {
            break;
        }
        let drawn = phrases::phrase(&objects, size, &options.language, options.vocabulary, rng);
        if let Some(phrase) = drawn
            && said.insert(phrase.words.clone())
        {
            phrases.push(phrase);
        }
    }
    let (frames, ids) = drawn.into_iter().map(|d| (d.rgb, d.ids)).unzip();
    Clip {
        width: options.width,
        height: options.height,
        frames,
        ids,
        objects,
        phrases,
        wild: scene.wild,
    }
}

/// Box and number of the pixels that are `id`.
fn extent(ids: &[u8], width: usize, id: u8) -> (Option<[f32; 4]>, u32) {
    let (mut x1, mut y1, mut x2, mut y2, mut area) = (usize::MAX, usize::MAX, 0, 0, 0_u32);
    for (y, line) in ids.chunks_exact(width).enumerate() {
        for (x, _) in line.iter().enumerate().filter(|(_, v)| **v == id) {
            x1 = x1.min(x);
            x2 = x2.max(x + 1);
            y1 = y1.min(y);
            y2 = y + 1;
            area += 1;
        }
    }
    let found = (area > 0).then_some([x1 as f32, y1 as f32, x2 as f32, y2 as f32]);
    (found, area)
}

#[cfg(test)]
mod tests;
