//! What `sparrow ground --json` writes. Scripts outside the repository read it: fields are added, never changed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::project::{
    Emission, FrameMask, Object, Proposal, Thresholds, VideoInfo, WhyNot, why_not,
};

use super::asked::AskedOf;

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
    /// Not all that was asked for is here: it was stopped, or something failed.
    pub(super) partial: bool,
    /// One sentence each.
    pub(super) warnings: &'a [String],
    pub(super) asked: Option<&'a GroundAsked>,
}

/// What was asked, and of what.
#[derive(Debug, Serialize)]
pub(super) struct GroundAsked {
    #[serde(flatten)]
    pub(super) of: AskedOf,
    pub(super) phrases: Vec<String>,
    pub(super) at: u32,
    /// First and last frame, both included, cut at the clip's end.
    pub(super) range: [u32; 2],
    /// `track` or `framewise`.
    pub(super) mode: &'static str,
    /// Whose rules of choice, if not this program's.
    pub(super) compat: Option<&'static str>,
    /// Cut at the frame's edges.
    #[serde(rename = "box")]
    pub(super) box_px: Option<[f32; 4]>,
    pub(super) tsf: bool,
    pub(super) tsf_boxes: Option<String>,
    /// `xyxy` or `xywh`.
    pub(super) tsf_format: Option<&'static str>,
    /// Those that the proposals were chosen by.
    pub(super) thresholds: Thresholds,
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
    tokens: Vec<TokenJson<'a>>,
    /// Those that its proposals were chosen by.
    thresholds: Thresholds,
}

#[derive(Debug, Serialize)]
struct TokenJson<'a> {
    token: &'a str,
    probability: f32,
}

#[derive(Debug, Serialize)]
struct ProposalJson {
    #[serde(rename = "box")]
    box_px: [f32; 4],
    objectness: f32,
    filtration: f32,
    confidence: f32,
    selected: bool,
    /// A person's box.
    drawn: bool,
    /// SAM2, prompted with it alone, did not fill it.
    incredible: bool,
    /// A word for the one reason why it is not kept.
    why_not: Option<&'static str>,
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
    /// Why the mask may have gone wrong, one clause each, the strongest first; empty where nothing speaks for it, and where
    /// it was carried on from one that may have.
    marks: Vec<String>,
    /// The frame from which on it may have gone wrong: this one, or one that it was carried through.
    marked_since: Option<u32>,
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

/// Of each proposal of an emission the one reason why it is not kept. By the `released` rules it has one that this program's
/// rule does not know: what reaches the threshold and is not kept was not credible to SAM2.
pub(super) fn reasons(
    emission: &Emission,
    thresholds: &Thresholds,
    released: bool,
) -> Vec<Option<WhyNot>> {
    let by_rule = why_not(emission, thresholds);
    let and_left = |(p, why): (&Proposal, Option<WhyNot>)| {
        why.or((released && !p.selected).then_some(WhyNot::Incredible))
    };
    let each = emission.proposals.iter().zip(by_rule);
    each.map(and_left).collect()
}

impl<'a> EmissionJson<'a> {
    /// `thresholds` are those in force.
    pub(super) fn new(e: &'a Emission, thresholds: Thresholds, released: bool) -> Self {
        let reasons = reasons(e, &thresholds, released);
        Self {
            frame: e.frame.0,
            phrase: &e.phrase,
            text: &e.text,
            proposals: (e.proposals.iter().zip(reasons))
                .map(|(p, why)| ProposalJson {
                    box_px: p.box_px.to_array(),
                    objectness: p.objectness,
                    filtration: p.filtration,
                    confidence: p.confidence,
                    selected: p.selected,
                    drawn: p.drawn,
                    incredible: why == Some(WhyNot::Incredible),
                    why_not: why.map(WhyNot::name),
                })
                .collect(),
            objects: e.objects.iter().map(|id| id.0).collect(),
            unknown_words: &e.unknown_words,
            tokens: (e.tokens.iter())
                .map(|(token, probability)| TokenJson {
                    token,
                    probability: *probability,
                })
                .collect(),
            thresholds,
        }
    }
}

impl<'a> ObjectJson<'a> {
    /// `pts` gives a frame's time.
    pub(super) fn new(object: &'a Object, pts: impl Fn(u32) -> Option<f64>) -> Self {
        let since: BTreeMap<_, _> = object.worth_a_look().into_iter().collect();
        let frames = object.frames.iter().map(|(frame, mask)| {
            let since = since.get(frame).map(|since| since.0);
            FrameJson::new((frame.0, pts(frame.0)), mask, since)
        });
        Self {
            id: object.id.0,
            phrase: &object.phrase,
            frames: frames.collect(),
        }
    }
}

impl FrameJson {
    fn new(
        (index, pts_secs): (u32, Option<f64>),
        mask: &FrameMask,
        marked_since: Option<u32>,
    ) -> Self {
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
            marks: match mask.is_worth_a_look() {
                true => mask.reasons().iter().map(ToString::to_string).collect(),
                false => Vec::new(),
            },
            marked_since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{BoxPx, Choosing, FrameIndex};

    /// What more of the answer would have been kept is counted by its reason, and the released rules leave nobody without one.
    #[test]
    fn whatever_is_not_kept_has_a_reason_by_either_rules() {
        let offer = |x: f32, selected: bool| Proposal {
            box_px: BoxPx::from_array([x, 0.0, x + 9.0, 9.0]),
            objectness: 0.9,
            filtration: 0.9,
            confidence: 0.9,
            selected,
            drawn: false,
            incredible: false,
        };
        let mut emission = Emission {
            frame: FrameIndex(0),
            phrase: "the dogs".to_owned(),
            text: "[BOX] [SEG]".to_owned(),
            tokens: vec![("[SEG]".to_owned(), 0.5)],
            unknown_words: Vec::new(),
            proposals: vec![offer(0.0, true), offer(20.0, true), offer(40.0, false)],
            objects: Vec::new(),
            tsf_tokens: 0,
            secs: 0.0,
            choosing: Choosing::default(),
            by_hand: None,
        };
        let thresholds = Thresholds {
            objectness: 0.0,
            keep: 0.4,
            at_most: 2,
        };
        let why = reasons(&emission, &thresholds, false);
        assert_eq!(why, [None, None, Some(WhyNot::AtMost)]);
        let sixteen = Thresholds {
            at_most: 16,
            ..thresholds
        };
        let why = reasons(&emission, &sixteen, true);
        assert_eq!(why, [None, None, Some(WhyNot::Incredible)]);
        emission.proposals[2].selected = true;
        let json = EmissionJson::new(&emission, thresholds, false);
        let json = serde_json::to_value(&json).unwrap();
        assert!(json["proposals"][2]["why_not"].is_null());
        assert_eq!(json["tokens"][0]["probability"], 0.5);
        assert_eq!(json["thresholds"]["at_most"], 2);
    }
}
