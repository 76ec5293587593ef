//! Signs that a carried mask may have drifted, and where to look next. Pure functions of masks and scores; leaves
//! running the model to the inference room.
//!
//! Each sign is a ramp between a value that is normal (0) and one that is clearly odd (1):
//!
//! | sign | measured | 0 | 1 |
//! |---|---|---|---|
//! | object score | fall from a frame beside it that no person made | 0.1 | 0.5 |
//! | | or: how low it is while a mask is drawn | 0.8 | 0.3 |
//! | predicted IoU | its value, while a mask is drawn | 0.8 | 0.4 |
//! | area jump | larger area / smaller area, on a log scale | 1.2 | 2.5 |
//! | | or: the mask appeared or vanished | – | always |
//! | centroid jump | distance / square root of the mean area | 0.25 | 1.0 |
//! | box against mask | IoU of the mask's tight box and the given box | 0.8 | 0.4 |

use super::{
    document::{DriftSignal, FrameMask, Provenance},
    geometry::{BoxPx, PointPx},
};

/// A frame whose strongest sign reaches this is worth a look.
const WORTH_A_LOOK: f32 = 0.5;

/// 0 at `normal` (and beyond), 1 at `odd` (and beyond); either may be the larger. Not a number is odd.
fn ramp(value: f32, normal: f32, odd: f32) -> f32 {
    let t = (value - normal) / (odd - normal);
    if t.is_nan() { 1.0 } else { t.clamp(0.0, 1.0) }
}

/// What a mask leaves for its neighbours to be compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trace {
    /// Object score, 0..=1; `None` of a person's mask, whose 1 is no measurement.
    score: Option<f32>,
    /// Pixels.
    area: f32,
    /// Pixels; `None` where nothing is drawn.
    centroid: Option<PointPx>,
}

impl Trace {
    /// The trace of a mask.
    pub fn of(mask: &FrameMask) -> Self {
        Self {
            score: (mask.provenance != Provenance::Human).then_some(mask.score),
            area: mask.rle.area() as f32,
            centroid: mask.rle.centroid(),
        }
    }
}

/// The signs of one mask beside those of the frames next to it, and in the box that should hold it (the kept proposals',
/// if it was drawn in them); each sign is the strongest that any neighbour gives.
pub fn measure(
    neighbours: impl IntoIterator<Item = Trace>,
    now: &FrameMask,
    expected: Option<BoxPx>,
) -> DriftSignal {
    let drawn = !now.rle.is_empty();
    let mut out = DriftSignal::default();
    if drawn {
        out.object_score = ramp(now.score, 0.8, 0.3);
        out.predicted_iou = ramp(now.iou, 0.8, 0.4);
        if let (Some(b), Some(e)) = (now.rle.bounding_box(), expected) {
            out.box_mask = ramp(b.iou(e), 0.8, 0.4);
        }
    }
    let here = Trace::of(now);
    for beside in neighbours {
        let fall = beside
            .score
            .map_or(0.0, |score| ramp(score - now.score, 0.1, 0.5));
        let (a, b) = (beside.area, here.area);
        let area = match (a > 0.0, b > 0.0) {
            (true, true) => ramp((a.max(b) / a.min(b)).ln(), 1.2_f32.ln(), 2.5_f32.ln()),
            (false, false) => 0.0,
            _ => 1.0,
        };
        let centroid = match (beside.centroid, here.centroid) {
            (Some(p), Some(q)) => {
                let distance = (p.x - q.x).hypot(p.y - q.y);
                ramp(distance / (0.5 * (a + b)).sqrt(), 0.25, 1.0)
            }
            _ => 0.0,
        };
        out.object_score = out.object_score.max(fall);
        out.area_jump = out.area_jump.max(area);
        out.centroid_jump = out.centroid_jump.max(centroid);
    }
    out
}

impl FrameMask {
    /// Whether its recorded signs reach the threshold and no person has made or accepted it yet.
    pub fn is_worth_a_look(&self) -> bool {
        !self.anchor && self.drift.total() >= WORTH_A_LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Bitmap, FrameIndex, Object, ObjectId, Provenance, Rle, Size};

    const S: Size = Size {
        width: 100,
        height: 100,
    };

    fn mask(b: [f32; 4], score: f32, iou: f32) -> FrameMask {
        FrameMask {
            rle: Rle::from_bitmap(&Bitmap::from_box(S, BoxPx::from_array(b))),
            score,
            iou,
            provenance: Provenance::Propagated,
            anchor: false,
            drift: DriftSignal::default(),
        }
    }

    #[test]
    fn steady_motion_is_no_sign() {
        let a = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let b = mask([13.0, 10.0, 34.0, 30.0], 0.97, 0.9);
        assert_eq!(measure([Trace::of(&a)], &b, None).total(), 0.0);
        let same = b.rle.bounding_box();
        assert_eq!(measure([Trace::of(&a)], &b, same).total(), 0.0);
    }

    #[test]
    fn each_sign_answers_to_its_own_cause() {
        let a = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let grown = mask([6.0, 6.0, 34.0, 34.0], 0.98, 0.9);
        let s = measure([Trace::of(&a)], &grown, None);
        assert!(s.area_jump > 0.6 && s.area_jump < 0.7, "{s:?}");
        assert_eq!((s.centroid_jump, s.object_score), (0.0, 0.0));

        let jumped = mask([40.0, 10.0, 60.0, 30.0], 0.98, 0.9);
        let s = measure([Trace::of(&a)], &jumped, None);
        assert_eq!((s.area_jump, s.centroid_jump), (0.0, 1.0));

        let unsure = mask([10.0, 10.0, 30.0, 30.0], 0.68, 0.6);
        let s = measure([Trace::of(&a)], &unsure, None);
        assert!((s.object_score - 0.5).abs() < 1e-5, "{s:?}");
        assert!((s.predicted_iou - 0.5).abs() < 1e-5, "{s:?}");

        let elsewhere = BoxPx::from_array([60.0, 60.0, 80.0, 80.0]);
        assert_eq!(measure([], &a, Some(elsewhere)).box_mask, 1.0);
    }

    #[test]
    fn vanishing_is_a_sign_and_staying_away_is_none() {
        let a = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let gone = mask([0.0; 4], 0.01, 0.1);
        let s = measure([Trace::of(&a)], &gone, None);
        assert_eq!((s.area_jump, s.object_score), (1.0, 1.0));
        assert_eq!(measure([Trace::of(&gone)], &gone, None).total(), 0.0);
        assert_eq!(measure([Trace::of(&gone)], &a, None).area_jump, 1.0);
        let broken = mask([10.0, 10.0, 30.0, 30.0], f32::NAN, 0.9);
        assert_eq!(measure([], &broken, None).object_score, 1.0);
    }

    /// Where two runs meet, and where one ends at an anchor, a jump shows although neither run has jumped.
    #[test]
    fn the_frames_on_both_sides_count_and_a_persons_score_does_not() {
        let a = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let b = mask([13.0, 10.0, 33.0, 30.0], 0.6, 0.9);
        let far = mask([60.0, 10.0, 80.0, 30.0], 0.98, 0.9);
        let beside = [Trace::of(&a), Trace::of(&far)];
        assert_eq!(measure(beside, &a, None).centroid_jump, 1.0);
        let fall = |of: &FrameMask| measure([Trace::of(of)], &b, None).object_score;
        assert!(fall(&a) > 0.6, "{}", fall(&a));
        let mut drawn = a.clone();
        (drawn.score, drawn.provenance) = (1.0, Provenance::Human);
        assert!((fall(&drawn) - 0.4).abs() < 1e-5, "{}", fall(&drawn));
    }

    #[test]
    fn the_next_look_skips_anchors_and_never_goes_back() {
        let mut object = Object {
            id: ObjectId(1),
            name: String::new(),
            phrase: String::new(),
            colour: 0,
            visible: true,
            locked: false,
            frames: std::collections::BTreeMap::new(),
        };
        let a = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let far = mask([60.0, 10.0, 80.0, 30.0], 0.98, 0.9);
        for (f, m) in [(0, &a), (1, &a), (2, &far), (3, &a), (7, &far)] {
            object.frames.insert(FrameIndex(f), m.clone());
        }
        let mut before: Option<(u32, Trace)> = None;
        for (f, m) in &mut object.frames {
            let beside = before.filter(|(b, _)| b + 1 == f.0).map(|(_, trace)| trace);
            m.drift = measure(beside, m, None);
            before = Some((f.0, Trace::of(m)));
        }
        let next = |o: &Object, f: u32| {
            let mut after = o.frames.iter().filter(|(at, _)| at.0 > f);
            after.find(|(_, m)| m.is_worth_a_look()).map(|(at, _)| at.0)
        };
        assert_eq!(next(&object, 0), Some(2));
        assert_eq!(next(&object, 2), Some(3));
        // Frame 7 stands across a gap.
        assert_eq!(next(&object, 3), None);
        object.frames.get_mut(&FrameIndex(2)).unwrap().anchor = true;
        assert_eq!(next(&object, 0), Some(3));
        assert_eq!(next(&object, u32::MAX), None);
    }
}
