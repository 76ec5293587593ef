//! The document: a video's identity, the objects in it, and what the model said.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    geometry::{BoxPx, Size},
    mask::Rle,
};

/// Display index of a frame, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrameIndex(pub u32);

/// Identity of an object (one referent) within a document; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub u32);

/// Who made a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// Drawn, clicked or accepted by a person.
    Human,
    /// Emitted by the model on this very frame.
    Model,
    /// Carried here from another frame.
    Propagated,
}

/// Signs that a propagated mask may have drifted; each in 0..=1, 1 = worth a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftSignal {
    /// The object score fell.
    pub object_score: f32,
    /// The predicted IoU is low; of a carried mask, lower than is usual of the object's.
    pub predicted_iou: f32,
    /// The area jumped against the frame before.
    pub area_jump: f32,
    /// The centroid jumped, in units of the object's size.
    pub centroid_jump: f32,
    /// The mask and its box (or proposal) disagree.
    pub box_mask: f32,
    /// The mask lies on another object's, see [`super::lies_on`].
    #[serde(default)]
    pub on_other: f32,
    /// The mask is in parts far from each other, where it was given it was not.
    #[serde(default)]
    pub split: f32,
    /// What lies right around the mask looks like the object, more than where it was given.
    #[serde(default)]
    pub left_out: f32,
}

impl DriftSignal {
    /// All signals, in the order of the fields.
    pub fn signs(&self) -> [f32; 8] {
        [
            self.object_score,
            self.predicted_iou,
            self.area_jump,
            self.centroid_jump,
            self.box_mask,
            self.on_other,
            self.split,
            self.left_out,
        ]
    }

    /// The strongest of the signals.
    pub fn total(&self) -> f32 {
        self.signs().into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// One object's mask on one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameMask {
    /// The mask, at the video's displayed size.
    pub rle: Rle,
    /// Confidence of the object's presence, 0..=1 (sigmoid of SAM2's object score).
    pub score: f32,
    /// SAM2's predicted IoU, 0..=1.
    pub iou: f32,
    /// Who made it.
    pub provenance: Provenance,
    /// A person made or accepted it: no model may change it.
    pub anchor: bool,
    /// Signs of drift.
    pub drift: DriftSignal,
}

impl FrameMask {
    /// A mask that a person vouches for as it is: an anchor.
    pub fn by_hand(rle: Rle) -> Self {
        Self {
            rle,
            score: 1.0,
            iou: 1.0,
            provenance: Provenance::Human,
            anchor: true,
            drift: DriftSignal::default(),
        }
    }

    /// Whether a person says that the object is not on the frame: an anchor without a pixel.
    pub fn says_absent(&self) -> bool {
        self.anchor && self.rle.is_empty()
    }

    /// Whether it stands by itself, where others are carried from: all but what was carried and not accepted.
    pub fn is_given(&self) -> bool {
        self.anchor || self.provenance != Provenance::Propagated
    }
}

/// One referent with its masks over time (its masklet).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Identity.
    pub id: ObjectId,
    /// Short name shown in lists; starts as the phrase.
    pub name: String,
    /// The referring phrase it came from, empty if it was drawn.
    pub phrase: String,
    /// Index into the palette; changes only where a person gives the object another.
    pub colour: u32,
    /// Drawn on the canvas.
    pub visible: bool,
    /// Untouched by propagation.
    pub locked: bool,
    /// Masks by frame; a frame without an entry has not been looked at.
    pub frames: BTreeMap<FrameIndex, FrameMask>,
}

impl Object {
    /// Frames whose mask a person made or accepted.
    pub fn anchors(&self) -> impl Iterator<Item = FrameIndex> + '_ {
        self.frames
            .iter()
            .filter(|(_, m)| m.anchor)
            .map(|(&f, _)| f)
    }
}

/// A box the proposer (or a person) offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Where.
    pub box_px: BoxPx,
    /// The proposer's score, 0..=1 (1 for a drawn box).
    pub objectness: f32,
    /// Match with the phrase, 0..=1.
    pub filtration: f32,
    /// The final score, 0..=1, that the keep threshold is compared with.
    pub confidence: f32,
    /// Kept as a prompt of the mask.
    pub selected: bool,
    /// Drawn by a person.
    pub drawn: bool,
    /// Not kept because SAM2, prompted with it alone, did not fill it, or filled enough others better: no threshold keeps it.
    #[serde(default)]
    pub incredible: bool,
}

/// One language-model pass that produced `[BOX]`/`[SEG]` for one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Emission {
    /// The frame it speaks of.
    pub frame: FrameIndex,
    /// The phrase as typed.
    pub phrase: String,
    /// The model's own words, `[BOX]` and `[SEG]` included.
    pub text: String,
    /// Probability of each emitted `[BOX]`/`[SEG]` and word, in order: `(token, probability)`.
    pub tokens: Vec<(String, f32)>,
    /// Words of the phrase that the model does not know, with what it reads in their place.
    pub unknown_words: Vec<(String, String)>,
    /// Everything offered, best confidence first.
    pub proposals: Vec<Proposal>,
    /// Objects that came of it; empty if nothing matched.
    pub objects: Vec<ObjectId>,
    /// Number of TSF tokens (from anchors) that were in the prompt.
    pub tsf_tokens: u32,
    /// Seconds it took.
    pub secs: f32,
    /// How its boxes are chosen, whatever the thresholds.
    #[serde(default)]
    pub choosing: Choosing,
    /// Numbers of the proposals that a person kept or dropped: no threshold decides about those. `None` in what a program wrote
    /// that did not say.
    #[serde(default)]
    pub by_hand: Option<BTreeSet<usize>>,
}

impl Emission {
    /// One that says and offers nothing yet.
    pub fn new(frame: FrameIndex, phrase: impl Into<String>) -> Self {
        Self {
            frame,
            phrase: phrase.into(),
            text: String::new(),
            tokens: Vec::new(),
            unknown_words: Vec::new(),
            proposals: Vec::new(),
            objects: Vec::new(),
            tsf_tokens: 0,
            secs: 0.0,
            choosing: Choosing::default(),
            by_hand: None,
        }
    }

    /// Whether the model says that there is no such thing: it has words, and no `[SEG]` among them.
    pub fn says_nothing(&self) -> bool {
        !self.text.is_empty() && !self.text.contains("[SEG]")
    }
}

/// What a model's way of answering says about the choice among its proposals; the default is the released one, which keeps
/// its best box come what may and does not ask whether two boxes lie on one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choosing {
    /// The model says when there is no such thing: then no box below the threshold stands in for a match.
    pub may_be_none: bool,
    /// Of boxes that lie on one thing only the best is kept.
    pub once: bool,
    /// A further thing must be nearly as sure as the best, see [`super::kept`].
    pub peers: bool,
    /// The answer speaks of one thing: one box is meant, however many are good enough.
    pub one: bool,
}

/// What decides which proposals are kept; changing it never runs the model again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Proposals below this objectness are not offered.
    pub objectness: f32,
    /// Proposals at or above this confidence are kept.
    pub keep: f32,
    /// At most this many are kept.
    pub at_most: u32,
}

/// Identity of the video that a document speaks of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// Path as opened.
    pub path: String,
    /// Displayed size (rotation applied).
    pub size: Size,
    /// Number of frames.
    pub frames: u32,
    /// Mean frames per second.
    pub fps: f64,
    /// SHA-256 of the file's bytes (or of the folder's file names and sizes), hex; empty until computed.
    pub hash: String,
}

/// Everything a project file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The video.
    pub video: VideoInfo,
    /// Objects in the order of the list: as they were made, unless a person has moved one.
    pub objects: Vec<Object>,
    /// Emissions in the order they were made.
    pub emissions: Vec<Emission>,
    /// Thresholds in force.
    pub thresholds: Thresholds,
    /// The model that was used.
    pub model: String,
    /// The lowest id that no object ever had. Grows with each object, never falls: an id is not given twice.
    #[serde(default)]
    pub next_id: u32,
}

impl Document {
    /// A document without objects.
    pub fn new(video: VideoInfo, model: impl Into<String>, thresholds: Thresholds) -> Self {
        Self {
            video,
            objects: Vec::new(),
            emissions: Vec::new(),
            thresholds,
            model: model.into(),
            next_id: 1,
        }
    }

    /// The object with this id.
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.iter().find(|o| o.id == id)
    }

    /// The mask of an object on a frame.
    pub fn mask(&self, id: ObjectId, frame: FrameIndex) -> Option<&FrameMask> {
        self.object(id)?.frames.get(&frame)
    }

    /// An id that no object of this document has or had; ids start at 1.
    pub fn next_object_id(&self) -> ObjectId {
        let used = self.objects.iter().map(|o| o.id.0.saturating_add(1)).max();
        ObjectId(self.next_id.max(used.unwrap_or(1)).max(1))
    }

    /// An object without masks, with the next id and that id's colour; it is not in the document yet (see
    /// [`super::Edit::add_object`]).
    pub fn new_object(&self, phrase: impl Into<String>) -> Object {
        let id = self.next_object_id();
        let phrase = phrase.into();
        Object {
            id,
            name: if phrase.is_empty() {
                format!("object {}", id.0)
            } else {
                phrase.clone()
            },
            phrase,
            colour: id.0.saturating_sub(1),
            visible: true,
            locked: false,
            frames: BTreeMap::new(),
        }
    }
}
