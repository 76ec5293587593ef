//! Semi-supervised segmentation from prompts, and what a correction brings. Leaves how sequences are gone through to
//! [`super::runners`] and what marks are worth to [`super::marks`].

use std::{collections::BTreeSet, ops::Range};

use super::{
    dataset::{Sequence, Truths},
    error::EvalError,
    innermost::innermost,
    marks::{FrameScore, Marks, means, strongest},
    measure::{Tolerance, boundary, region},
    report::{Baselines, MaskReport, SequenceScore, mean},
    run::{CorrectAt, Given},
    runners::{PROMPTED, box_of, each, inner, mask_report, open},
    subject::{Answer, Subject, Track},
};
use crate::{
    project::{Bitmap, BoxPx, Emission, FrameIndex, FrameMask, Rle, worth_a_look},
    task::{Mode, Progress, Prompt},
};

/// What [`MaskReport::frames_scored`] says of prompts.
const INNER_FRAMES: &str = "annotated frames but the clip's first and last, as DAVIS does; all in clips of fewer than three";

/// Semi-supervised segmentation from prompts: each object of the first frame is given by its true box or by a click, and its
/// mask is carried through the clip. As in the DAVIS protocol, the first and the last frame are not scored (in clips of fewer
/// than three frames, all are) and void counts as background; unlike there, each object's mask is scored by itself, overlaps
/// included, not as part of one label map a frame. Also measured is what filling boxes would reach, what the marks of drift
/// are worth, and, with `correct`, what it brings to give the true box on one more frame of each object and carry on from both.
/// A clip without any annotated frame that is scored counts as failed.
///
/// # Errors
/// [`EvalError::Cancelled`] if nothing was finished.
pub fn vos(
    subject: &mut dyn Subject,
    sequences: &[Sequence],
    (given, mode, correct): (Given, Mode, Option<CorrectAt>),
    progress: &mut Progress<'_>,
) -> Result<MaskReport, EvalError> {
    let run = each(sequences, progress, |truths, progress| {
        let (opened, first) = open(subject, truths)?;
        let n = opened.frames;
        let scored = if n < 3 { 0..n } else { 1..n - 1 };
        if !any_annotated(truths, scored.clone())? {
            return Err(EvalError::Unusable(
                "none of the frames that are scored is annotated".to_owned(),
            ));
        }
        let mut here = Vec::new();
        for label in first.objects() {
            let true_mask = first.mask(&[label]);
            let Some((true_box, prompt)) = prompt(&true_mask, given) else {
                continue;
            };
            let mask = subject.segment(PROMPTED, &prompt, &mut inner(progress))?;
            let prediction = mask.rle.to_bitmap();
            let answer = box_answer(mask);
            let mut tracks = subject.carry(PROMPTED, &answer, mode, &mut inner(progress))?;
            let track = tracks.pop().unwrap_or_default();
            let what = (truths, label, scored.clone());
            let by_frame = by_frame(what.clone(), &track)?;
            let corrected = match correct {
                Some(at) => {
                    let prompted = &answer.masks[0];
                    let before = (prompted, &by_frame[..], &track);
                    Some(after_correction(subject, what, at, before, progress)?)
                }
                None => None,
            };
            let (j, f) = means(&by_frame);
            let (j_corrected, corrected_frame, by_frame_corrected) = match corrected {
                Some(c) => (Some(means(&c.by_frame).0), c.at, c.by_frame),
                None => (None, None, Vec::new()),
            };
            let score = SequenceScore {
                name: truths.sequence.name.clone(),
                phrase: String::new(),
                kind: String::new(),
                object: Some(label),
                j,
                f,
                j_prompted: region(&true_mask, &prediction, None),
                right_object: None,
                right_box: None,
                answered: None,
                set_iou: None,
                j_corrected,
                corrected_frame,
                by_frame_corrected,
                frames: by_frame.len(),
                by_frame,
                confidence: None,
            };
            let fill = fill_boxes(truths, label, true_box, scored.clone())?;
            here.push((score, fill));
        }
        Ok(here)
    })?;
    let mut report = mask_report("vos", subject.name(), INNER_FRAMES, &run);
    let (scores, fills): (Vec<_>, Vec<_>) = run.measured.into_iter().flatten().unzip();
    report.sum_up(scores);
    report.marks = Marks::of(report.sequences.iter().map(|s| &s.by_frame[..]));
    let corrected = report.sequences.iter().filter_map(|s| s.j_corrected);
    report.j_corrected = correct.map(|_| mean(corrected));
    report.corrected_at = correct;
    report.baselines = (!fills.is_empty()).then(|| Baselines {
        fill_box_j_prompted: mean(fills.iter().map(|b| b.fill_box_j_prompted)),
        fill_each_box_j: mean(fills.iter().map(|b| b.fill_each_box_j)),
        still_box_j: mean(fills.iter().map(|b| b.still_box_j)),
    });
    Ok(report)
}

/// An object of a clip and the frames of it that are scored.
type What<'a> = (&'a Truths<'a>, u8, Range<u32>);

/// J and F of an object's masks on every annotated frame that is scored, with what is marked there; void pixels count as
/// background, as in DAVIS' scorer of semi-supervised results.
fn by_frame(
    (truths, label, scored): What<'_>,
    track: &Track,
) -> Result<Vec<FrameScore>, EvalError> {
    let mut out = Vec::new();
    let masks = track.iter().map(|(frame, mask)| (FrameIndex(*frame), mask));
    let looks: BTreeSet<u32> = worth_a_look(masks).iter().map(|look| look.0.0).collect();
    for frame in scored {
        let Some(truth) = truths.at(frame)? else {
            continue;
        };
        let mask = track.get(&frame);
        let found = mask.filter(|m| m.rle.size == truth.size);
        let found = found.map_or_else(|| Bitmap::new(truth.size), |m| m.rle.to_bitmap());
        let wanted = truth.mask(&[label]);
        let j = region(&wanted, &found, None);
        let f = boundary(&wanted, &found, None, Tolerance::default());
        out.push(FrameScore::new(frame, (j, f), mask, looks.contains(&frame)));
    }
    Ok(out)
}

/// Whether any of the frames is annotated.
fn any_annotated(truths: &Truths<'_>, frames: Range<u32>) -> Result<bool, EvalError> {
    for frame in frames {
        if truths.at(frame)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The box of a mask that is not empty, and what a person gives for it.
fn prompt(mask: &Bitmap, given: Given) -> Option<(BoxPx, Prompt)> {
    let around = box_of(mask)?;
    let prompt = match given {
        Given::Box => Prompt {
            box_px: Some(around),
            ..Prompt::default()
        },
        Given::Click => Prompt {
            points: vec![(innermost(mask)?, true)],
            ..Prompt::default()
        },
    };
    Some((around, prompt))
}

/// An object after a correction.
struct Corrected {
    /// On which frame; none if nothing led to one.
    at: Option<u32>,
    by_frame: Vec<FrameScore>,
}

/// A person corrects one frame: they give the object's true box there, or say that it is not to be seen. Where nothing leads to a
/// frame, nothing is corrected.
fn after_correction(
    subject: &mut dyn Subject,
    (truths, label, scored): What<'_>,
    at: CorrectAt,
    (prompted, before, carried): (&FrameMask, &[FrameScore], &Track),
    progress: &mut Progress<'_>,
) -> Result<Corrected, EvalError> {
    let frame = match at {
        CorrectAt::Worst => worst((truths, label), before)?,
        CorrectAt::Marked => strongest(before),
    };
    let Some(frame) = frame else {
        return Ok(Corrected {
            at: None,
            by_frame: before.to_vec(),
        });
    };
    let truth = truths.at(frame)?;
    let wanted = truth.as_ref().and_then(|t| box_of(&t.mask(&[label])));
    let mask = match wanted {
        Some(wanted) => {
            let prompt = Prompt {
                box_px: Some(wanted),
                known: vec![(PROMPTED, prompted.rle.clone())],
                carried: carried.get(&frame).map(|m| m.rle.clone()),
                ..Prompt::default()
            };
            subject.segment(FrameIndex(frame), &prompt, &mut inner(progress))?
        }
        None => FrameMask::by_hand(Rle::empty(prompted.rle.size)),
    };
    let anchors = [(PROMPTED, prompted.clone()), (FrameIndex(frame), mask)];
    let track = subject.carry_between(&anchors.into(), &mut inner(progress))?;
    Ok(Corrected {
        at: Some(frame),
        by_frame: by_frame((truths, label, scored), &track)?,
    })
}

/// The frame with the worst mask of those on which the object is to be seen.
fn worst(
    (truths, label): (&Truths<'_>, u8),
    frames: &[FrameScore],
) -> Result<Option<u32>, EvalError> {
    let mut worst: Option<&FrameScore> = None;
    for score in frames {
        let seen = truths
            .at(score.frame)?
            .is_some_and(|t| t.mask(&[label]).area() > 0);
        if seen && worst.is_none_or(|w| score.j < w.j) {
            worst = Some(score);
        }
    }
    Ok(worst.map(|w| w.frame))
}

/// What filling boxes reaches for one object.
fn fill_boxes(
    truths: &Truths<'_>,
    label: u8,
    prompt: BoxPx,
    scored: Range<u32>,
) -> Result<Baselines, EvalError> {
    let (mut each, mut still, mut prompted) = (Vec::new(), Vec::new(), 0.0);
    for frame in std::iter::once(PROMPTED.0).chain(scored.clone()) {
        let Some(truth) = truths.at(frame)? else {
            continue;
        };
        let mask = truth.mask(&[label]);
        let j = |b: Option<BoxPx>| {
            let filled = b.map_or_else(
                || Bitmap::new(truth.size),
                |b| Bitmap::from_box(truth.size, b),
            );
            region(&mask, &filled, None)
        };
        if frame == PROMPTED.0 {
            prompted = j(Some(prompt));
        }
        if scored.contains(&frame) && (frame != PROMPTED.0 || each.is_empty()) {
            each.push(j(box_of(&mask)));
            still.push(j(Some(prompt)));
        }
    }
    Ok(Baselines {
        fill_box_j_prompted: prompted,
        fill_each_box_j: mean(each),
        still_box_j: mean(still),
    })
}

/// A mask from a person's prompt as an answer that can be carried.
fn box_answer(mask: FrameMask) -> Answer {
    Answer {
        emission: Emission::new(PROMPTED, ""),
        masks: vec![mask],
    }
}
