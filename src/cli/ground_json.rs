//! What `sparrow ground --json` writes. Scripts outside the repository read it: fields are added, never changed.

use serde::Serialize;

use crate::project::{Emission, FrameMask, Object, VideoInfo};

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct GroundJson<'a> {
    /// Version of this layout.
    pub(super) schema: u32,
    pub(super) video: VideoJson<'a>,
    /// Model id.
    pub(super) model: String,
    pub(super) emissions: Vec<EmissionJson<'a>>,
    pub(super) objects: Vec<ObjectJson<'a>>,
    pub(super) timing: TimingJson,
}

#[derive(Debug, Serialize)]
pub(super) struct VideoJson<'a> {
    path: &'a str,
    width: u32,
    height: u32,
    frames: u32,
    fps: f64,
    hash: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct EmissionJson<'a> {
    frame: u32,
    phrase: &'a str,
    text: &'a str,
    proposals: Vec<ProposalJson>,
    objects: Vec<u32>,
    /// `[typed, read as]` for each word the model does not know.
    unknown_words: &'a [(String, String)],
}

#[derive(Debug, Serialize)]
struct ProposalJson {
    #[serde(rename = "box")]
    box_px: [f32; 4],
    objectness: f32,
    filtration: f32,
    confidence: f32,
    selected: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ObjectJson<'a> {
    id: u32,
    phrase: &'a str,
    frames: Vec<FrameJson>,
}

#[derive(Debug, Serialize)]
struct FrameJson {
    index: u32,
    pts_secs: Option<f64>,
    score: f32,
    iou: f32,
    /// All zeros for an empty mask.
    #[serde(rename = "box")]
    box_px: [f32; 4],
    rle: RleJson,
}

#[derive(Debug, Serialize)]
struct RleJson {
    /// Height, width.
    size: [u32; 2],
    counts: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct TimingJson {
    pub(super) load_secs: f64,
    pub(super) ground_secs: f64,
    pub(super) propagate_secs: f64,
}

impl<'a> From<&'a VideoInfo> for VideoJson<'a> {
    fn from(v: &'a VideoInfo) -> Self {
        Self {
            path: &v.path,
            width: v.size.width,
            height: v.size.height,
            frames: v.frames,
            fps: v.fps,
            hash: &v.hash,
        }
    }
}

impl<'a> From<&'a Emission> for EmissionJson<'a> {
    fn from(e: &'a Emission) -> Self {
        Self {
            frame: e.frame.0,
            phrase: &e.phrase,
            text: &e.text,
            proposals: e
                .proposals
                .iter()
                .map(|p| ProposalJson {
                    box_px: p.box_px.to_array(),
                    objectness: p.objectness,
                    filtration: p.filtration,
                    confidence: p.confidence,
                    selected: p.selected,
                })
                .collect(),
            objects: e.objects.iter().map(|id| id.0).collect(),
            unknown_words: &e.unknown_words,
        }
    }
}

impl<'a> ObjectJson<'a> {
    /// `pts` gives a frame's time.
    pub(super) fn new(object: &'a Object, pts: impl Fn(u32) -> Option<f64>) -> Self {
        Self {
            id: object.id.0,
            phrase: &object.phrase,
            frames: object
                .frames
                .iter()
                .map(|(&frame, mask)| FrameJson::new(frame.0, pts(frame.0), mask))
                .collect(),
        }
    }
}

impl FrameJson {
    fn new(index: u32, pts_secs: Option<f64>, mask: &FrameMask) -> Self {
        Self {
            index,
            pts_secs,
            score: mask.score,
            iou: mask.iou,
            box_px: mask.rle.bounding_box().map_or([0.0; 4], |b| b.to_array()),
            rle: RleJson {
                size: [mask.rle.size.height, mask.rle.size.width],
                counts: mask.rle.to_coco_string(),
            },
        }
    }
}
