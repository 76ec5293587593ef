//! Signs that a carried mask may have drifted, and where to look next. Pure functions of masks and scores; leaves
//! running the model to the inference room.
//!
//! Each sign is a ramp between a value that is normal (0) and one that is clearly odd (1). How sure a model is of its outlines
//! differs from clip to clip, so that of a carried mask only a fall says something:
//!
//! | sign | measured | 0 | 1 |
//! |---|---|---|---|
//! | object score | fall from a frame beside it that no person made | 0.1 | 0.5 |
//! | | or: how low it is while a mask is drawn | 0.8 | 0.3 |
//! | predicted IoU | of an emitted mask its value | 0.8 | 0.4 |
//! | | of a carried one how far it lies below the median of those carried before it | 0.1 | 0.3 |
//! | area jump | larger area / smaller area, on a log scale | 1.2 | 2.5 |
//! | | or: the mask appeared or vanished | – | always |
//! | centroid jump | distance / square root of the mean area | 0.25 | 1.0 |
//! | box against mask | IoU of the mask's tight box and the given box | 0.8 | 0.4 |
//! | split | share of a part that is not the largest, | 0.05 | 0.15 |
//! | | and its distance from that in sizes of it; both have to be odd, and odder than in any mask that was given | 0.25 | 0.75 |
//! | left out | how much more of what lies right around it has the object's colours than where it was given | 0.1 | 0.3 |
//! | on another | IoU with another object's mask of the frame, unless the two lay on each other where they were given | 0.3 | 0.7 |

use std::{cmp::Ordering, fmt};

use super::{
    document::{DriftSignal, FrameIndex, FrameMask, Object, Provenance},
    geometry::{BoxPx, PointPx},
};

/// A frame whose strongest sign reaches this is worth a look.
const WORTH_A_LOOK: f32 = 0.5;
/// Larger area / smaller area: normal, and clearly odd.
const LEAST_AREA: f32 = 1.2;
const MOST_AREA: f32 = 2.5;
/// Way of the centroid in sizes of the object: normal, and clearly odd.
const LEAST_MOVE: f32 = 0.25;
const MOST_MOVE: f32 = 1.0;

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
/// if it was drawn in them); each sign is the strongest that any neighbour gives. Of a carried mask, [`Usual::measure`] knows
/// more.
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
            (true, true) => ramp((a.max(b) / a.min(b)).ln(), LEAST_AREA.ln(), MOST_AREA.ln()),
            (false, false) => 0.0,
            _ => 1.0,
        };
        let centroid = match (beside.centroid, here.centroid) {
            (Some(p), Some(q)) => {
                let distance = (p.x - q.x).hypot(p.y - q.y);
                ramp(distance / (0.5 * (a + b)).sqrt(), LEAST_MOVE, MOST_MOVE)
            }
            _ => 0.0,
        };
        out.object_score = out.object_score.max(fall);
        out.area_jump = out.area_jump.max(area);
        out.centroid_jump = out.centroid_jump.max(centroid);
    }
    out
}

/// From so many carried masks on it is known what is usual of their predicted IoU.
const ENOUGH: usize = 8;

/// How much a mask is in parts that are far from each other, 0..=1.
fn apart(mask: &FrameMask) -> f32 {
    let parts = mask.rle.parts();
    let Some((largest, others)) = parts.split_first() else {
        return 0.0;
    };
    let (all, size) = (mask.rle.area() as f32, (largest.area as f32).sqrt());
    others
        .iter()
        .map(|part| {
            let share = ramp(part.area as f32 / all, 0.05, 0.15);
            share.min(ramp(part.gap(largest) / size, 0.25, 0.75))
        })
        .fold(0.0, f32::max)
}

/// What is usual of an object while its masks are carried: of a clip whose outlines the model is never sure of, that it is
/// not sure here says nothing, and an object that was given in two parts has not split.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    /// Predicted IoU of the masks that were carried so far, in ascending order.
    ious: Vec<f32>,
    /// The most that any mask that was given is in parts far from each other.
    apart: f32,
}

impl Usual {
    /// What is known of an object by the masks that stand by themselves.
    pub fn of<'a>(given: impl IntoIterator<Item = &'a FrameMask>) -> Self {
        Self {
            ious: Vec::new(),
            apart: given.into_iter().map(apart).fold(0.0, f32::max),
        }
    }

    /// [`measure`] of a mask that was carried, which from now on is part of what is usual. Beside the box that should hold it is
    /// told how much more of what lies right around it has the object's colours than where it was given, 0..=1.
    pub fn measure(
        &mut self,
        neighbours: impl IntoIterator<Item = Trace>,
        now: &FrameMask,
        (expected, left_out): (Option<BoxPx>, f32),
    ) -> DriftSignal {
        let mut out = measure(neighbours, now, expected);
        // That it is gone is another sign's.
        if now.rle.is_empty() {
            return out;
        }
        let median = self.ious.get(self.ious.len() / 2).copied();
        let usual = median.filter(|_| self.ious.len() >= ENOUGH);
        out.predicted_iou = usual.map_or(0.0, |usual| ramp(usual - now.iou, 0.1, 0.3));
        out.split = (apart(now) - self.apart).max(0.0);
        out.left_out = ramp(left_out, 0.1, 0.3);
        if now.iou.is_finite() {
            let at = self.ious.partition_point(|iou| *iou < now.iou);
            self.ious.insert(at, now.iou);
        }
        out
    }
}

/// IoU from which two masks lie on each other.
const SAME_PLACE: f64 = 0.5;

/// How much a mask that `object` was given by a model on `frame` lies on the mask of `other` there, 0..=1. Two that lay on
/// each other where they were given may do so here: on the nearest frame, before or after, on which neither was carried and
/// both are to be seen.
pub fn lies_on(now: &FrameMask, object: &Object, frame: FrameIndex, other: &Object) -> f32 {
    let Some(under) = other.frames.get(&frame) else {
        return 0.0;
    };
    if object.id == other.id || now.rle.is_empty() || under.rle.is_empty() {
        return 0.0;
    }
    // Masks of two sizes cannot be compared, and no document holds both.
    let sign = |iou: f64| ramp(iou as f32, 0.3, 0.7);
    let found = now.rle.iou(&under.rle).map_or(0.0, sign);
    if found <= 0.0 {
        return 0.0;
    }
    // Two that are not there agree, but lie nowhere.
    let shows = |m: &FrameMask| m.is_given() && !m.rle.is_empty();
    let given = object
        .frames
        .iter()
        .filter(|(at, m)| **at != frame && shows(m));
    let both = given.filter_map(|(at, m)| {
        let beside = other.frames.get(at).filter(|o| shows(o))?;
        Some((at.0.abs_diff(frame.0), &m.rle, &beside.rle))
    });
    let nearest = both.min_by_key(|(distance, ..)| *distance);
    match nearest.and_then(|(_, a, b)| a.iou(b).ok()) {
        Some(iou) if iou >= SAME_PLACE => 0.0,
        _ => found,
    }
}

/// Marks every carried mask that [`lies_on`] another object's, once all masks of a clip are there.
pub fn mark_lying(objects: &mut [Object]) {
    let mut signs = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        let carried = object.frames.iter().filter(|(_, m)| !m.is_given());
        for (frame, mask) in carried {
            let under = objects
                .iter()
                .map(|other| lies_on(mask, object, *frame, other));
            signs.push((at, *frame, under.fold(0.0, f32::max)));
        }
    }
    for (at, frame, sign) in signs {
        if let Some(mask) = objects[at].frames.get_mut(&frame) {
            mask.drift.on_other = sign;
        }
    }
}

/// One sign of drift, to be said in words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The mask vanished beside one that was there.
    Vanished,
    /// Larger area / smaller area, at most 2.5; as much also where the mask appeared.
    Area(f32),
    /// Distance in sizes of the object, at most 1.
    Moved(f32),
    /// The object score is low or fell.
    Unsure,
    /// The predicted IoU is low, or fell.
    UnsureOutline,
    /// The mask does not fill the box that it was made from.
    Box,
    /// The mask lies on that of another object.
    OnOther,
    /// The mask is in parts far from each other.
    Split,
    /// What lies right around the mask has the object's colours.
    LeftOut,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanished => f.write_str("the mask vanished"),
            Self::Area(ratio) if *ratio >= MOST_AREA => {
                write!(
                    f,
                    "the area jumped ×{MOST_AREA} or more, or the mask appeared"
                )
            }
            Self::Area(ratio) => write!(f, "the area jumped ×{ratio:.1}"),
            Self::Moved(sizes) if *sizes >= 1.0 => f.write_str("it moved by its size or more"),
            Self::Moved(sizes) => write!(f, "it moved by {:.0} % of its size", sizes * 100.0),
            Self::Unsure => f.write_str("the model is unsure that it is there"),
            Self::UnsureOutline => f.write_str("the model is unsure of the outline"),
            Self::Box => f.write_str("mask and box disagree"),
            Self::OnOther => f.write_str("it lies on another object"),
            Self::Split => f.write_str("it has split into parts that are far from each other"),
            Self::LeftOut => f.write_str("what lies around the mask looks like it"),
        }
    }
}

impl DriftSignal {
    /// Which is worse: the one with the stronger strongest sign, of equals the one with more of them all together.
    pub fn cmp_severity(&self, other: &Self) -> Ordering {
        let all = |d: &Self| d.signs().iter().sum::<f32>();
        let strongest = self.total().total_cmp(&other.total());
        strongest.then(all(self).total_cmp(&all(other)))
    }
}

impl FrameMask {
    /// Its recorded signs that by themselves are worth a look, the strongest first.
    pub fn reasons(&self) -> Vec<Reason> {
        let d = &self.drift;
        let area = if self.rle.is_empty() {
            Reason::Vanished
        } else {
            let (low, high) = (LEAST_AREA.ln(), MOST_AREA.ln());
            let ratio = if d.area_jump < 1.0 {
                (low + d.area_jump * (high - low)).exp()
            } else {
                MOST_AREA
            };
            Reason::Area(ratio)
        };
        let moved = Reason::Moved(LEAST_MOVE + d.centroid_jump * (MOST_MOVE - LEAST_MOVE));
        let mut signs = [
            (d.area_jump, area),
            (d.centroid_jump, moved),
            (d.on_other, Reason::OnOther),
            (d.split, Reason::Split),
            (d.left_out, Reason::LeftOut),
            (d.box_mask, Reason::Box),
            (d.object_score, Reason::Unsure),
            (d.predicted_iou, Reason::UnsureOutline),
        ];
        signs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let strong = signs.into_iter().filter(|(sign, _)| *sign >= WORTH_A_LOOK);
        strong.map(|(_, reason)| reason).collect()
    }

    /// Whether its recorded signs reach the threshold and no person has made or accepted it yet.
    pub fn is_worth_a_look(&self) -> bool {
        !self.anchor && self.drift.total() >= WORTH_A_LOOK
    }
}

/// What lies between a mask and the one that it was carried from.
#[derive(Clone, Copy, Default)]
struct Way {
    /// The mask that stands by itself.
    given: Option<FrameIndex>,
    /// The first mask behind that whose own signs are strong.
    marked: Option<FrameIndex>,
}

/// The way to each of `frames`, which come in the order in which masks are carried.
fn ways<'a>(frames: impl Iterator<Item = (FrameIndex, &'a FrameMask)>) -> Vec<Way> {
    let mut way = Way::default();
    let each = frames.map(|(frame, mask)| {
        if mask.is_given() {
            way = Way {
                given: Some(frame),
                marked: None,
            };
        } else if way.marked.is_none() && mask.is_worth_a_look() {
            way.marked = Some(frame);
        }
        way
    });
    each.collect()
}

/// Which of an object's frames, in ascending order, are worth a look, each with the frame whose own signs say so: itself, or the first
/// such one on the way from the mask that it was carried from. What is carried on from a mask that went astray looks
/// steady and is as wrong, up to the next mask that stands by itself ([`FrameMask::is_given`]).
///
/// Which way a mask was carried is not recorded. Masks that are carried from both sides meet in the middle, so it is taken to be
/// from the nearest.
pub fn worth_a_look<'a>(
    frames: impl IntoIterator<Item = (FrameIndex, &'a FrameMask)>,
) -> Vec<(FrameIndex, FrameIndex)> {
    let frames: Vec<(FrameIndex, &FrameMask)> = frames.into_iter().collect();
    let forward = ways(frames.iter().copied());
    let mut backward = ways(frames.iter().rev().copied());
    backward.reverse();
    let looks = frames.iter().zip(forward.iter().zip(&backward));
    let looks = looks.filter_map(|(&(frame, mask), (before, behind))| {
        if mask.is_worth_a_look() {
            return Some((frame, frame));
        }
        // What is not drawn cannot be wrong unseen.
        if mask.is_given() || mask.rle.is_empty() {
            return None;
        }
        let far = |way: &Way| {
            way.given
                .map_or(u32::MAX, |given| given.0.abs_diff(frame.0))
        };
        let way = match far(behind) < far(before) {
            true => behind,
            false => before,
        };
        Some((frame, way.marked?))
    });
    looks.collect()
}

impl Object {
    /// [`worth_a_look`] of its frames.
    pub fn worth_a_look(&self) -> Vec<(FrameIndex, FrameIndex)> {
        worth_a_look(self.frames.iter().map(|(frame, mask)| (*frame, mask)))
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

    fn object(id: u32, masks: &[(u32, [f32; 4], bool)]) -> Object {
        let frames = masks.iter().map(|(frame, area, given)| {
            let mut m = mask(*area, 0.98, 0.9);
            if *given {
                m.provenance = Provenance::Model;
            }
            (FrameIndex(*frame), m)
        });
        Object {
            id: ObjectId(id),
            name: String::new(),
            phrase: String::new(),
            colour: 0,
            visible: true,
            locked: false,
            frames: frames.collect(),
        }
    }

    #[test]
    fn a_mask_that_has_come_to_lie_on_another_objects_is_a_sign_on_every_frame() {
        let star = [10.0, 10.0, 30.0, 30.0];
        let ball = [60.0, 60.0, 80.0, 80.0];
        let beside = object(1, &[(0, star, true), (5, star, false), (6, star, false)]);
        let jumped = object(2, &[(0, ball, true), (5, star, false), (6, star, false)]);
        let at = |a: &Object, b: &Object, frame| {
            let frame = FrameIndex(frame);
            lies_on(&a.frames[&frame], a, frame, b)
        };
        for frame in [5, 6] {
            assert_eq!(at(&jumped, &beside, frame), 1.0);
            assert_eq!(at(&beside, &jumped, frame), 1.0);
        }
        assert_eq!(at(&jumped, &beside, 0), 0.0);
        assert_eq!(at(&jumped, &jumped, 5), 0.0);
        // IoU 0.5, where a look begins to be worth it.
        let half = object(3, &[(0, ball, true), (5, [10.0, 10.0, 30.0, 20.0], false)]);
        assert!((at(&half, &beside, 5) - 0.5).abs() < 1e-5);
        // What was given as one place may stay one.
        let twin = object(4, &[(0, star, true), (5, star, false)]);
        assert_eq!(at(&twin, &beside, 5), 0.0);
        // Never given on one frame: nothing speaks for it.
        let later = object(5, &[(9, ball, true), (5, star, false)]);
        assert_eq!(at(&later, &beside, 5), 1.0);
        let mut both = [beside, jumped];
        mark_lying(&mut both);
        for frames in both.iter().map(|o| &o.frames) {
            let signs = [0, 5, 6].map(|f| frames[&FrameIndex(f)].drift.on_other);
            assert_eq!(signs, [0.0, 1.0, 1.0]);
        }
    }

    /// Two that a person said are not on a frame vouched for masks on each other on the next.
    #[test]
    fn two_objects_that_are_not_there_agree_on_no_place() {
        let (star, ball) = ([10.0, 10.0, 30.0, 30.0], [60.0, 60.0, 80.0, 80.0]);
        let mut a = object(1, &[(0, star, true), (5, star, false)]);
        let mut b = object(2, &[(0, ball, true), (5, star, false)]);
        let frame = FrameIndex(5);
        for frames in [&mut a.frames, &mut b.frames] {
            frames.insert(FrameIndex(4), FrameMask::by_hand(Rle::empty(S)));
        }
        assert_eq!(lies_on(&b.frames[&frame], &b, frame, &a), 1.0);
    }

    #[test]
    fn signs_are_said_in_words_the_strongest_first() {
        let mut m = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        m.drift = DriftSignal {
            area_jump: 0.763,
            box_mask: 1.0,
            predicted_iou: 0.49,
            ..DriftSignal::default()
        };
        let said = |m: &FrameMask| {
            m.reasons()
                .iter()
                .map(Reason::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&m), ["mask and box disagree", "the area jumped ×2.1"]);
        m.drift = DriftSignal {
            centroid_jump: 0.6,
            ..DriftSignal::default()
        };
        assert_eq!(said(&m), ["it moved by 70 % of its size"]);
        let mut gone = mask([0.0; 4], 0.01, 0.1);
        gone.drift.area_jump = 1.0;
        assert_eq!(said(&gone), ["the mask vanished"]);
        assert!(said(&mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9)).is_empty());
    }

    /// All 288 carried frames of a clip were marked, and the key that goes to the next of them was of no use.
    #[test]
    fn a_predicted_iou_that_is_low_throughout_marks_nothing_and_a_fall_does() {
        let low = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.45);
        let mut usual = Usual::of([&mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.77)]);
        let mut sign = |iou| {
            let now = FrameMask { iou, ..low.clone() };
            usual
                .measure([Trace::of(&low)], &now, (None, 0.0))
                .predicted_iou
        };
        for k in 0..288 {
            // As unsteady as it is on a clip.
            assert_eq!(sign([0.45, 0.52, 0.41][k % 3]), 0.0, "{k}");
        }
        assert_eq!(sign(0.1), 1.0);
        assert!((sign(0.25) - 0.5).abs() < 1e-5);
        assert_eq!(sign(0.9), 0.0);
        assert_eq!(sign(f32::NAN), 1.0);
        // A mask that is gone has no outline.
        let gone = mask([0.0; 4], 0.01, 0.0);
        assert_eq!(usual.measure([], &gone, (None, 0.0)).predicted_iou, 0.0);
        // Nothing is usual yet.
        let mut first = Usual::of([]);
        assert_eq!(first.measure([], &low, (None, 0.0)).predicted_iou, 0.0);
        // Of a mask that nothing is known of, the value itself counts.
        assert!(measure([], &low, None).predicted_iou > 0.8);
    }

    /// Half of a second cup belonged to the mask of one cup, unmarked.
    #[test]
    fn a_mask_that_splits_into_parts_far_from_each_other_is_a_sign_unless_it_was_given_so() {
        let whole = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let with = |other: [f32; 4]| {
            let other = mask(other, 0.98, 0.9);
            let rle = whole.rle.union(&other.rle).unwrap();
            FrameMask {
                rle,
                ..whole.clone()
            }
        };
        let split = |given: &FrameMask, now: &FrameMask| {
            Usual::of([given]).measure([], now, (None, 0.0)).split
        };
        let cups = with([60.0, 10.0, 70.0, 30.0]);
        assert_eq!(split(&whole, &cups), 1.0);
        assert_eq!(split(&cups, &cups), 0.0);
        assert_eq!(split(&whole, &whole), 0.0);
        // Behind a pole, and a few stray pixels.
        assert_eq!(split(&whole, &with([33.0, 10.0, 45.0, 30.0])), 0.0);
        assert_eq!(split(&whole, &with([90.0, 90.0, 93.0, 93.0])), 0.0);
        // Half its size away.
        let near = split(&whole, &with([40.0, 10.0, 50.0, 30.0]));
        assert!((near - 0.5).abs() < 1e-5, "{near}");
        let mut marked = cups.clone();
        marked.drift.split = 1.0;
        assert_eq!(marked.reasons(), [Reason::Split]);
        assert!(marked.is_worth_a_look());
    }

    /// On footage a dog's mask fell to a J of 0.42, and no frame was marked.
    #[test]
    fn what_looks_like_the_object_right_around_its_mask_is_a_sign() {
        let whole = mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9);
        let mut usual = Usual::of([&whole]);
        let mut sign = |left_out| usual.measure([], &whole, (None, left_out)).left_out;
        assert_eq!((sign(0.0), sign(0.1), sign(0.5)), (0.0, 0.0, 1.0));
        assert!((sign(0.2) - 0.5).abs() < 1e-5);
        // Nothing is left out of what is gone.
        let gone = mask([0.0; 4], 0.01, 0.0);
        assert_eq!(usual.measure([], &gone, (None, 0.5)).left_out, 0.0);
        let mut marked = whole.clone();
        marked.drift.left_out = 0.6;
        assert_eq!(marked.reasons(), [Reason::LeftOut]);
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

    /// A mask that had jumped to the background lay there for two hundred frames, of which none was marked.
    #[test]
    fn what_is_carried_on_from_a_mask_that_is_worth_a_look_is_worth_one_until_somebody_vouches() {
        let carried = |sign: f32| FrameMask {
            provenance: Provenance::Propagated,
            drift: DriftSignal {
                area_jump: sign,
                ..DriftSignal::default()
            },
            ..mask([10.0, 10.0, 30.0, 30.0], 0.98, 0.9)
        };
        let given = || FrameMask {
            anchor: true,
            ..carried(0.0)
        };
        let gone = FrameMask {
            rle: Rle::empty(S),
            ..carried(0.0)
        };
        let looks = |masks: &[FrameMask]| -> Vec<(u32, u32)> {
            let frames = masks.iter().enumerate();
            let frames = frames.map(|(i, m)| (FrameIndex(i as u32), m));
            let looks = worth_a_look(frames).into_iter();
            looks.map(|(frame, because)| (frame.0, because.0)).collect()
        };
        let still = || carried(0.0);
        let jumped = || carried(0.9);
        assert_eq!(
            looks(&[given(), still(), jumped(), still(), gone, still()]),
            [(2, 2), (3, 2), (5, 2)]
        );
        // Accepted in between, and carried backward.
        assert_eq!(looks(&[given(), jumped(), given(), still()]), [(1, 1)]);
        assert_eq!(
            looks(&[still(), jumped(), still(), given()]),
            [(0, 1), (1, 1)]
        );
        // From both sides: each half by the anchor that is nearer.
        let (a, b) = (given(), given());
        assert_eq!(
            looks(&[a, jumped(), still(), still(), still(), b]),
            [(1, 1), (2, 1)]
        );
        assert!(looks(&[given(), still()]).is_empty() && looks(&[]).is_empty());
    }
}
