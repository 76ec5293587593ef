//! Referring phrases about a clip, by grammar: `the [superlative] [texture] [colour] noun [(that is) motion]`.
//!
//! A phrase is kept only if it is true of its referents and false of everything else in view, also of objects that are
//! hardly visible. Superlatives speak of frame 0. No-match phrases keep one true attribute and change another, so that
//! nothing but reading the whole phrase tells them from true ones.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    ObjectInfo, Vocabulary,
    draw::{chance, one_of, pick},
    words::{Colour, Motion, Shape, Superlative, Texture},
};

/// What a phrase hinges on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhraseKind {
    /// Colour, shape, texture; one referent.
    Attribute,
    /// Leftmost, rightmost, topmost, bottom; one referent.
    Position,
    /// Biggest, smallest; one referent.
    Size,
    /// Motion; one referent.
    Motion,
    /// Two or more referents.
    Plural,
    /// No referent.
    NoMatch,
}

/// What a phrase says, word class by word class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Colour named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Shape named; `None` for "object", "thing".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Texture named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texture: Option<Texture>,
    /// Superlative named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superlative: Option<Superlative>,
    /// Motion named; any diagonal stands for "moving diagonally".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motion: Option<Motion>,
}

/// A phrase and what it refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phrase {
    /// Words, lower case, without the prompt's frame.
    pub words: Vec<String>,
    /// What it hinges on.
    pub kind: PhraseKind,
    /// Ids of the objects meant, ascending; empty if there is none.
    pub referents: Vec<u8>,
    /// What it says.
    pub slots: Slots,
}

/// Nouns that name no shape, of one thing and of several.
const ANY: [(&str, &str); 4] = [
    ("object", "objects"),
    ("thing", "things"),
    ("shape", "shapes"),
    ("one", "ones"),
];

impl Phrase {
    /// Whether it speaks of several things; where nothing is meant, its noun says.
    pub fn speaks_of_several(&self) -> bool {
        let is_plural = |word: &String| {
            let names = Shape::ALL.iter().map(|s| s.plural());
            names.chain(ANY.map(|(_, many)| many)).any(|p| p == word)
        };
        match self.referents.len() {
            0 => self.words.iter().any(is_plural),
            n => n > 1,
        }
    }

    /// Ids of the objects that it would mean without its superlative, ascending.
    pub fn could_mean(&self, objects: &[ObjectInfo]) -> Vec<u8> {
        match self.slots.superlative {
            None => self.referents.clone(),
            Some(_) => objects
                .iter()
                .filter(|o| o.is_referable() && is_true_of(&self.slots, o))
                .map(|o| o.id)
                .collect(),
        }
    }
}

/// How phrases are drawn: probabilities, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageOptions {
    /// Colour is named.
    pub colour: f32,
    /// Shape is named.
    pub shape: f32,
    /// Texture is named.
    pub texture: f32,
    /// Motion is named.
    pub motion: f32,
    /// A superlative is tried.
    pub superlative: f32,
    /// A phrase is made false.
    pub no_match: f32,
    /// A phrase made false has a superlative, too: else hearing one would mean that there is such a thing.
    pub false_superlative: f32,
    /// Weight of a wrong texture where a phrase is made false, beside 0.4 of a wrong colour and of a wrong shape.
    pub false_texture: f32,
    /// Weight of a wrong motion, likewise.
    pub false_motion: f32,
    /// A phrase with several referents is kept.
    pub plural: f32,
}

impl Default for LanguageOptions {
    fn default() -> Self {
        Self {
            colour: 0.6,
            shape: 0.55,
            texture: 0.15,
            motion: 0.25,
            superlative: 0.22,
            no_match: 0.25,
            false_superlative: 0.0,
            false_texture: 0.0,
            false_motion: 0.2,
            plural: 0.5,
        }
    }
}

impl LanguageOptions {
    /// More of what is hard and rare: places, motions, several things, things that are not there.
    pub fn practice() -> Self {
        Self {
            colour: 0.5,
            shape: 0.5,
            motion: 0.32,
            superlative: 0.32,
            no_match: 0.27,
            false_superlative: 0.2,
            false_texture: 0.2,
            false_motion: 0.5,
            plural: 0.8,
            ..Self::default()
        }
    }

    /// Colour and shape alone: where reading starts.
    pub fn attributes_only() -> Self {
        Self {
            colour: 0.75,
            shape: 0.65,
            texture: 0.0,
            motion: 0.0,
            superlative: 0.0,
            ..Self::default()
        }
    }
}

/// Frames of a prompt: what may stand before a phrase.
pub const PROMPTS: &[&[&str]] = &[
    &[],
    &["find"],
    &["show"],
    &["segment"],
    &["track"],
    &["where", "is"],
    &["please", "find"],
    &["please", "segment"],
];

fn is_true_of(slots: &Slots, object: &ObjectInfo) -> bool {
    slots.colour.is_none_or(|c| c == object.colour)
        && slots.shape.is_none_or(|s| s == object.shape)
        && slots.texture.is_none_or(|t| t == object.texture)
        && slots.motion.is_none_or(|m| same_words(m, object.motion))
}

/// All diagonals are said alike.
fn same_words(said: Motion, motion: Motion) -> bool {
    said == motion || (is_diagonal(said) && is_diagonal(motion))
}

fn is_diagonal(m: Motion) -> bool {
    m.direction().is_some_and(|(x, y)| x != 0 && y != 0)
}

/// Whether the phrase could be taken to mean the object although it does not.
fn is_nearly_true_of(slots: &Slots, object: &ObjectInfo) -> bool {
    let Some(said) = slots.motion else {
        return false;
    };
    let rest = Slots {
        motion: None,
        ..*slots
    };
    !is_diagonal(said)
        && said != object.motion
        && object.motion.could_be_called(said)
        && is_true_of(&rest, object)
}

/// The one of `candidates` that the superlative means on frame 0, if it wins by a clear margin.
fn winner(superlative: Superlative, candidates: &[&ObjectInfo], size: (f32, f32)) -> Option<u8> {
    let key = |o: &ObjectInfo| -> Option<f32> {
        let [x1, y1, x2, y2] = o.boxes.first().copied().flatten()?;
        Some(match superlative {
            Superlative::Leftmost => -(x1 + x2) / (2.0 * size.0) / 0.05,
            Superlative::Rightmost => (x1 + x2) / (2.0 * size.0) / 0.05,
            Superlative::Topmost => -(y1 + y2) / (2.0 * size.1) / 0.05,
            Superlative::Bottom => (y1 + y2) / (2.0 * size.1) / 0.05,
            Superlative::Biggest => libm::logf(o.areas[0].max(1) as f32) / 0.3,
            Superlative::Smallest => -libm::logf(o.areas[0].max(1) as f32) / 0.3,
        })
    };
    let mut keyed = candidates
        .iter()
        .map(|o| Some((key(o)?, o.id)))
        .collect::<Option<Vec<_>>>()?;
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    let margin = keyed.first()?.0 - keyed.get(1)?.0;
    (margin > 1.0).then_some(keyed[0].1)
}

/// Draws one phrase about `objects` in a frame of `size` pixels; `None` if the draw came to nothing clear.
pub(super) fn phrase(
    objects: &[ObjectInfo],
    size: (f32, f32),
    options: &LanguageOptions,
    vocabulary: Vocabulary,
    rng: &mut ChaCha8Rng,
) -> Option<Phrase> {
    let seen: Vec<&ObjectInfo> = objects.iter().filter(|o| o.is_referable()).collect();
    let doubtful: Vec<&ObjectInfo> = objects
        .iter()
        .filter(|o| !o.is_referable() && o.ever_visible())
        .collect();
    if seen.is_empty() {
        return None;
    }
    let target = seen[pick(rng, &vec![1.0; seen.len()])];
    let mut slots = Slots::default();
    if chance(rng, options.colour) {
        slots.colour = Some(target.colour);
    }
    if chance(rng, options.shape) {
        slots.shape = Some(target.shape);
    }
    if chance(rng, options.texture) {
        slots.texture = Some(target.texture);
    }
    if chance(rng, options.motion) {
        slots.motion = Some(target.motion);
    }
    if chance(rng, options.no_match) {
        return no_match(objects, slots, (options, vocabulary), rng);
    }
    let unclear = |slots: &Slots| {
        doubtful.iter().any(|o| is_true_of(slots, o))
            || objects.iter().any(|o| is_nearly_true_of(slots, o))
    };
    if unclear(&slots) {
        return None;
    }
    let matches: Vec<&ObjectInfo> = seen
        .iter()
        .copied()
        .filter(|o| is_true_of(&slots, o))
        .collect();
    let says_something = slots != Slots::default();
    if matches.len() >= 2
        && (chance(rng, options.superlative * 2.0)
            || (!says_something && options.superlative > 0.0))
    {
        let superlative = one_of(rng, Superlative::ALL);
        let id = winner(superlative, &matches, size)?;
        slots.superlative = Some(superlative);
        let kind = match superlative {
            Superlative::Biggest | Superlative::Smallest => PhraseKind::Size,
            _ => PhraseKind::Position,
        };
        return Some(Phrase {
            words: words(&slots, 1, rng),
            kind,
            referents: vec![id],
            slots,
        });
    }
    let mut referents: Vec<u8> = matches.iter().map(|o| o.id).collect();
    referents.sort_unstable();
    let kind = match referents.len() {
        1 if !says_something => return None,
        1 if slots.motion.is_some() => PhraseKind::Motion,
        1 => PhraseKind::Attribute,
        _ if chance(rng, options.plural) => PhraseKind::Plural,
        _ => return None,
    };
    Some(Phrase {
        words: words(&slots, referents.len(), rng),
        kind,
        referents,
        slots,
    })
}

fn no_match(
    objects: &[ObjectInfo],
    mut slots: Slots,
    (options, vocabulary): (&LanguageOptions, Vocabulary),
    rng: &mut ChaCha8Rng,
) -> Option<Phrase> {
    // What is said and may be changed: colour, shape, motion, texture.
    let said = |is_said: bool, weight: f32| if is_said { weight } else { 0.0 };
    let weights = [
        said(slots.colour.is_some(), 0.4),
        said(slots.shape.is_some(), 0.4),
        said(slots.motion.is_some(), options.false_motion),
        said(slots.texture.is_some(), options.false_texture),
    ];
    if weights.iter().all(|w| *w == 0.0) {
        return None;
    }
    match pick(rng, &weights) {
        0 => slots.colour = Some(one_of(rng, vocabulary.colours())),
        1 => slots.shape = Some(one_of(rng, vocabulary.shapes())),
        2 => slots.motion = Some(Motion::ALL[pick(rng, &vocabulary.motions())]),
        _ => slots.texture = Some(one_of(rng, Texture::ALL)),
    }
    let present = objects
        .iter()
        .any(|o| o.ever_visible() && (is_true_of(&slots, o) || is_nearly_true_of(&slots, o)));
    if present {
        return None;
    }
    let count = if chance(rng, 0.15) { 2 } else { 1 };
    // No number is drawn where none may be: the clips of a seed stay what they are.
    if count == 1 && options.false_superlative > 0.0 && chance(rng, options.false_superlative) {
        slots.superlative = Some(one_of(rng, Superlative::ALL));
    }
    Some(Phrase {
        words: words(&slots, count, rng),
        kind: PhraseKind::NoMatch,
        referents: Vec::new(),
        slots,
    })
}

/// Words of a phrase about `count` objects.
fn words(slots: &Slots, count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut out: Vec<&str> = Vec::with_capacity(8);
    let plural = count > 1;
    if plural {
        let pair: &[&[&str]] = &[
            &["both"],
            &["the", "two"],
            &["all"],
            &["all", "the"],
            &["the"],
        ];
        let trio: &[&[&str]] = &[
            &["the", "three"],
            &["all", "three"],
            &["all"],
            &["all", "the"],
            &["the"],
        ];
        let many: &[&[&str]] = &[&["all"], &["all", "the"], &["the"], &["every"]];
        let lead = match count {
            2 => one_of(rng, pair),
            3 => one_of(rng, trio),
            _ => one_of(rng, many),
        };
        out.extend(lead);
    } else {
        out.extend(match pick(rng, &[0.75, 0.08, 0.17]) {
            0 => Some("the"),
            1 if slots.superlative.is_none() => Some("a"),
            _ => None,
        });
    }
    let one_by_one = out.last() == Some(&"every");
    out.extend(slots.superlative.map(Superlative::word));
    out.extend(slots.texture.map(Texture::word));
    out.extend(slots.colour.map(Colour::word));
    out.push(match slots.shape {
        Some(s) if plural && !one_by_one => s.plural(),
        Some(s) => s.word(),
        None => {
            let (one, many) = one_of(rng, &ANY);
            if plural && !one_by_one { many } else { one }
        }
    });
    if let Some(motion) = slots.motion {
        if chance(rng, 0.4) {
            out.push(one_of(rng, &["that", "which"]));
            out.push(if plural && !one_by_one { "are" } else { "is" });
        }
        let said = if is_diagonal(motion) {
            "moving diagonally"
        } else {
            motion.word()
        };
        out.extend(said.split(' '));
    }
    out.into_iter().map(str::to_owned).collect()
}
