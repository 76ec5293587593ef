//! What the marks of drift are worth: whether they lead a person to the frames whose masks are wrong, and to few others.
//! Leaves the signs themselves to [`crate::project`] and the masks to [`super::vos`].

use serde::Serialize;

use super::report::mean;
use crate::project::{DriftSignal, FrameMask, counted};

/// A mask whose region similarity is below this is wrong: less than half of it and of the truth is common.
const WRONG: f64 = 0.5;
/// Who looks at a marked frame sees what is wrong so many frames before or after it.
const NEAR: u32 = 2;

/// A frame of an object: how good its mask is, and what signs of drift it has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrameScore {
    /// The frame.
    pub frame: u32,
    /// Region similarity.
    pub j: f64,
    /// Boundary accuracy.
    pub f: f64,
    /// The window marks it as worth a look.
    pub marked: bool,
    /// Its signs, 0..=1 each.
    pub drift: DriftSignal,
}

impl FrameScore {
    /// Of a mask, if there is one.
    pub(super) fn new(
        frame: u32,
        (j, f): (f64, f64),
        mask: Option<&FrameMask>,
        marked: bool,
    ) -> Self {
        Self {
            frame,
            j,
            f,
            marked,
            drift: mask.map(|m| m.drift).unwrap_or_default(),
        }
    }

    fn is_wrong(&self) -> bool {
        self.j < WRONG
    }
}

/// The marks of all objects together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Marks {
    /// Frames of objects that were scored.
    pub frames: usize,
    /// Those whose mask is wrong (J below 0.5).
    pub wrong: usize,
    /// Those that are marked.
    pub marked: usize,
    /// Part of the marked ones that lie at most two frames from a wrong one; none without any mark.
    pub right: Option<f64>,
    /// Stretches of wrong frames of one object.
    pub stretches: usize,
    /// Part of the stretches that have a mark, or one at most two frames away; none without any stretch.
    pub found: Option<f64>,
    /// How probable it is that of a wrong and of a right frame the wrong one has the stronger sign (½ where they are equal); none
    /// without either.
    pub auc: Option<f64>,
}

impl Marks {
    /// Sums up objects, each the frames that were scored in ascending order; nothing for no frames.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a [FrameScore]>) -> Option<Self> {
        let mut out = Self::default();
        let (mut right, mut found, mut signs) = (0, 0, Vec::new());
        for frames in objects {
            out.frames += frames.len();
            let near = |a: &FrameScore, b: &FrameScore| a.frame.abs_diff(b.frame) <= NEAR;
            for frame in frames {
                signs.push((frame.drift.total(), frame.is_wrong()));
                out.wrong += usize::from(frame.is_wrong());
                if frame.marked {
                    out.marked += 1;
                    let leads = frames.iter().any(|o| o.is_wrong() && near(o, frame));
                    right += usize::from(leads);
                }
            }
            for stretch in frames.chunk_by(|a, b| a.is_wrong() == b.is_wrong()) {
                if !stretch.first().is_some_and(FrameScore::is_wrong) {
                    continue;
                }
                out.stretches += 1;
                let told =
                    |frame: &FrameScore| frame.marked && stretch.iter().any(|s| near(s, frame));
                found += usize::from(frames.iter().any(told));
            }
        }
        let part = |of: usize, all: usize| (all > 0).then(|| of as f64 / all as f64);
        (out.right, out.found) = (part(right, out.marked), part(found, out.stretches));
        out.auc = auc(&mut signs);
        (out.frames > 0).then_some(out)
    }

    /// A line for a person.
    pub(super) fn line(&self) -> String {
        let wrong = format!(
            "{} of {} wrong (J below {WRONG}), in {}",
            self.wrong,
            counted(self.frames, "mask"),
            stretches(self.stretches)
        );
        let found = self.found.map_or(String::new(), |f| {
            format!(", {f:.3} of these told by a mark")
        });
        let right = self.right.map_or(String::new(), |r| {
            format!(", {r:.3} of them at what is wrong")
        });
        let auc = self
            .auc
            .map_or(String::new(), |a| format!("; AUC of the signs {a:.3}"));
        let marked = counted(self.marked, "mark");
        format!("marks: {wrong}{found}; {marked}{right}{auc}")
    }
}

fn stretches(n: usize) -> String {
    format!("{n} stretch{}", if n == 1 { "" } else { "es" })
}

/// Area under the curve of `(sign, wrong)`, by ranks; those that are equal share theirs.
fn auc(signs: &mut [(f32, bool)]) -> Option<f64> {
    signs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wrong = signs.iter().filter(|s| s.1).count() as f64;
    let right = signs.len() as f64 - wrong;
    if wrong == 0.0 || right == 0.0 {
        return None;
    }
    let (mut below, mut sum) = (0.0, 0.0);
    for equal in signs.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let bad = equal.iter().filter(|s| s.1).count() as f64;
        let good = equal.len() as f64 - bad;
        sum += bad * (below + good / 2.0);
        below += good;
    }
    Some(sum / (wrong * right))
}

/// The frame that the marks lead to first: the one with the strongest signs; none if nothing is marked.
pub(super) fn strongest(frames: &[FrameScore]) -> Option<u32> {
    let marked = frames.iter().filter(|f| f.marked);
    // Of equals the first: what is wrong later may come of it.
    let best = marked.rev().max_by(|a, b| a.drift.cmp_severity(&b.drift));
    best.map(|f| f.frame)
}

/// Region similarity and boundary accuracy over frames.
pub(super) fn means(frames: &[FrameScore]) -> (f64, f64) {
    (
        mean(frames.iter().map(|f| f.j)),
        mean(frames.iter().map(|f| f.f)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(of: &[(f64, f32)]) -> Vec<FrameScore> {
        let one = |(frame, &(j, sign)): (u32, &(f64, f32))| FrameScore {
            frame,
            j,
            f: j,
            marked: sign >= 0.5,
            drift: DriftSignal {
                area_jump: sign,
                ..DriftSignal::default()
            },
        };
        (0..).zip(of).map(one).collect()
    }

    #[test]
    fn marks_count_by_what_they_lead_to() {
        let told = frames(&[(0.9, 0.0), (0.9, 0.6), (0.9, 0.0), (0.2, 0.0), (0.9, 0.0)]);
        let untold = frames(&[(0.1, 0.0), (0.9, 0.0), (0.9, 0.0), (0.9, 0.0), (0.9, 0.8)]);
        let marks = Marks::of([&told[..], &untold[..]]).unwrap();
        assert_eq!((marks.frames, marks.wrong, marks.marked), (10, 2, 2));
        assert_eq!((marks.stretches, marks.found), (2, Some(0.5)));
        assert_eq!(marks.right, Some(0.5));
        let line = marks.line();
        assert!(line.contains("2 of 10 masks wrong"), "{line}");
        assert!(line.contains("in 2 stretches, 0.500 of these"), "{line}");
        assert!(line.contains("2 marks, 0.500 of them"), "{line}");
        // Nothing to find, nothing marked.
        let fine = frames(&[(0.9, 0.0), (0.8, 0.1)]);
        let marks = Marks::of([&fine[..]]).unwrap();
        assert_eq!((marks.found, marks.right, marks.auc), (None, None, None));
        assert!(marks.line().ends_with("in 0 stretches; 0 marks"));
        assert_eq!(Marks::of([]), None);
    }

    #[test]
    fn signs_that_order_frames_by_their_fault_have_an_auc_of_one() {
        let of = |pairs: &[(f64, f32)]| Marks::of([&frames(pairs)[..]]).unwrap().auc.unwrap();
        assert_eq!(of(&[(0.9, 0.1), (0.1, 0.4), (0.9, 0.3)]), 1.0);
        assert_eq!(of(&[(0.9, 0.4), (0.1, 0.1), (0.9, 0.3)]), 0.0);
        assert_eq!(of(&[(0.9, 0.2), (0.1, 0.2)]), 0.5);
        assert_eq!(of(&[(0.9, 0.0), (0.1, 0.2), (0.1, 0.0), (0.9, 0.0)]), 0.75);
    }

    #[test]
    fn the_strongest_mark_leads_first_and_of_equals_the_first() {
        let lead = |signs: &[f32]| {
            let all: Vec<(f64, f32)> = signs.iter().map(|s| (0.9, *s)).collect();
            strongest(&frames(&all))
        };
        assert_eq!(lead(&[0.0, 0.6, 0.9, 0.7]), Some(2));
        assert_eq!(lead(&[0.0, 0.7, 0.6, 0.7]), Some(1));
        assert_eq!(lead(&[0.4, 0.0]), None);
    }
}
