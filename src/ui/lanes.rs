//! What the timeline draws of an object, worked out once per change of the document: stretches, anchors, drift, scores.

use crate::project::{Object, ObjectId};

/// One object's lane. Frame ranges are inclusive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lane {
    pub(crate) id: ObjectId,
    pub(crate) name: String,
    pub(crate) colour: u32,
    pub(crate) visible: bool,
    pub(crate) locked: bool,
    /// Frames with a mask that holds a pixel.
    pub(crate) spans: Vec<(u32, u32)>,
    /// Frames that were looked at and hold nothing.
    pub(crate) gone: Vec<(u32, u32)>,
    /// Frames where a person says that the object is not to be seen.
    pub(crate) absent: Vec<(u32, u32)>,
    /// Frames whose mask a person made or accepted.
    pub(crate) anchors: Vec<u32>,
    /// Frames worth a look.
    pub(crate) drift: Vec<(u32, u32)>,
    /// `(frame, predicted IoU)` where there is a mask: the presence is near 1 whatever the mask is like.
    pub(crate) scores: Vec<(u32, f32)>,
    /// Stretches of `scores` without a gap: first index, and the one after the last.
    pub(crate) runs: Vec<(usize, usize)>,
}

fn extend(spans: &mut Vec<(u32, u32)>, frame: u32) {
    match spans.last_mut() {
        Some(last) if last.1 + 1 == frame => last.1 = frame,
        _ => spans.push((frame, frame)),
    }
}

impl Lane {
    /// Reads an object once, front to back.
    pub(crate) fn new(object: &Object) -> Self {
        let mut lane = Self {
            id: object.id,
            name: object.name.clone(),
            colour: object.colour,
            visible: object.visible,
            locked: object.locked,
            spans: Vec::new(),
            gone: Vec::new(),
            absent: Vec::new(),
            anchors: Vec::new(),
            drift: Vec::new(),
            scores: Vec::with_capacity(object.frames.len()),
            runs: Vec::new(),
        };
        for (frame, _) in object.worth_a_look() {
            extend(&mut lane.drift, frame.0);
        }
        for (frame, mask) in &object.frames {
            if mask.says_absent() {
                // No score says more, and nothing has drifted.
                extend(&mut lane.absent, frame.0);
                continue;
            }
            let is_seen = mask.rle.counts.len() > 1;
            if is_seen {
                extend(&mut lane.spans, frame.0);
            } else {
                extend(&mut lane.gone, frame.0);
            }
            if mask.anchor {
                lane.anchors.push(frame.0);
            }
            if !is_seen {
                // Its strip says so, and it has no quality.
                continue;
            }
            let joined = lane.scores.last().is_some_and(|l| l.0 + 1 == frame.0);
            lane.scores.push((frame.0, mask.iou));
            let end = lane.scores.len();
            match lane.runs.last_mut() {
                Some(run) if joined => run.1 = end,
                _ => lane.runs.push((end - 1, end)),
            }
        }
        lane
    }

    /// Whether the mask on a frame is worth a look.
    pub(crate) fn is_marked(&self, frame: u32) -> bool {
        let at = self.drift.partition_point(|(_, to)| *to < frame);
        self.drift.get(at).is_some_and(|(from, _)| *from <= frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{
        Document, DriftSignal, FrameIndex, FrameMask, Provenance, Rle, Size, Thresholds, VideoInfo,
    };

    fn mask(pixels: u32, anchor: bool, drift: f32) -> FrameMask {
        let size = Size::new(2, 1);
        FrameMask {
            rle: Rle {
                size,
                counts: if pixels > 0 { vec![1, 1] } else { vec![2] },
            },
            score: 1.0,
            iou: 0.5,
            provenance: Provenance::Propagated,
            anchor,
            drift: DriftSignal {
                area_jump: drift,
                ..DriftSignal::default()
            },
        }
    }

    #[test]
    fn neighbours_are_one_stretch_and_gaps_part_them() {
        let video = VideoInfo {
            path: String::new(),
            size: Size::new(2, 1),
            frames: 20,
            fps: 1.0,
            hash: String::new(),
        };
        let doc = Document::new(video, "nano", Thresholds::default());
        let mut object = doc.new_object("x");
        for (frame, m) in [
            (0, mask(1, true, 1.0)),
            (1, mask(1, false, 1.0)),
            (2, mask(1, false, 1.0)),
            (3, mask(0, false, 0.0)),
            (4, mask(0, true, 1.0)),
            (5, mask(0, true, 1.0)),
            (7, mask(1, false, 0.0)),
            (8, mask(0, true, 0.0)),
        ] {
            object.frames.insert(FrameIndex(frame), m);
        }
        let lane = Lane::new(&object);
        assert_eq!(lane.spans, [(0, 2), (7, 7)]);
        assert_eq!(lane.gone, [(3, 3)]);
        assert_eq!(lane.absent, [(4, 5), (8, 8)]);
        assert_eq!(lane.anchors, [0]);
        assert_eq!(lane.drift, [(1, 2)]);
        assert_eq!(
            [0, 1, 2, 3].map(|f| lane.is_marked(f)),
            [false, true, true, false]
        );
        // The line lay flat at the top, which is where the presence is.
        assert_eq!(lane.scores, [(0, 0.5), (1, 0.5), (2, 0.5), (7, 0.5)]);
        assert_eq!(lane.runs, [(0, 3), (3, 4)]);
    }
}
