//! The runners: a model, a dataset, a report. A sequence that fails is listed and the rest goes on; only a request to stop
//! ends a run early.

use std::{collections::BTreeMap, rc::Rc, time::Instant};

use super::{
    dataset::{Query, Sequence, Truth, Truths},
    error::EvalError,
    innermost::innermost,
    measure::region,
    report::{
        Ablation, Baselines, Failure, KindScore, MaskReport, NoMatch, ProposalReport,
        SequenceScore, mean,
    },
    run::Given,
    sequence::PerFrame,
    subject::{Answer, Ask, Opened, Subject, Track},
};
use crate::{
    project::{
        Bitmap, BoxPx, Choosing, DriftSignal, Emission, FrameIndex, FrameMask, Proposal,
        Provenance, Rle, Size,
    },
    task::{Mode, Progress, Prompt},
};

/// The frame that prompts speak of.
const PROMPTED: FrameIndex = FrameIndex(0);

/// Proposals are measured on the first frame and every so many after it.
const PROPOSAL_STEP: usize = 10;

/// A progress sink that says nothing and stops when the outer one does.
fn inner<'a>(progress: &Progress<'_>) -> Progress<'a> {
    Progress::new(progress.cancel.clone(), |_, _, _| {})
}

/// Opens a sequence and checks that truth and images are of one size and length.
fn open(subject: &mut dyn Subject, truths: &Truths<'_>) -> Result<(Opened, Rc<Truth>), EvalError> {
    let sequence = truths.sequence;
    if let Some(why) = &sequence.unusable {
        return Err(EvalError::Unusable(why.clone()));
    }
    let opened = subject.open(&sequence.images)?;
    let Some(first) = truths.at(PROMPTED.0)? else {
        return Err(EvalError::Unusable(
            "its first frame is not annotated".to_owned(),
        ));
    };
    if opened.size != first.size {
        return Err(EvalError::Unusable(format!(
            "its images are {}×{} pixels, its masks {}×{}",
            opened.size.width, opened.size.height, first.size.width, first.size.height
        )));
    }
    if opened.frames != sequence.frames {
        return Err(EvalError::Unusable(format!(
            "it has {} images for {} frames",
            opened.frames, sequence.frames
        )));
    }
    Ok((opened, first))
}

/// Runs `one` on every sequence; a sequence is measured whole or counts as failed, a stop ends it all.
fn each<T>(
    sequences: &[Sequence],
    progress: &mut Progress<'_>,
    mut one: impl FnMut(&Truths<'_>, &mut Progress<'_>) -> Result<T, EvalError>,
) -> Result<(Vec<T>, Vec<Failure>), EvalError> {
    let (mut measured, mut failed) = (Vec::new(), Vec::new());
    for (done, sequence) in sequences.iter().enumerate() {
        progress.step(done as u64, sequences.len() as u64, &sequence.name)?;
        match one(&Truths::new(sequence), progress) {
            Ok(found) => measured.push(found),
            Err(EvalError::Cancelled(stop)) => return Err(stop.into()),
            Err(error) => failed.push(Failure {
                name: sequence.name.clone(),
                error: error.to_string(),
            }),
        }
    }
    Ok((measured, failed))
}

fn union(size: Size, masks: impl IntoIterator<Item = Bitmap>) -> Bitmap {
    let mut out = Bitmap::new(size);
    for mask in masks.into_iter().filter(|m| m.size == size) {
        for (value, set) in out.data.iter_mut().zip(mask.data) {
            *value |= set;
        }
    }
    out
}

/// The union of all tracks on a frame.
fn predicted(size: Size, tracks: &[Track], frame: u32) -> Bitmap {
    let masks = tracks.iter().filter_map(|t| t.get(&frame));
    union(size, masks.map(Rle::to_bitmap))
}

/// What void pixels of the truth count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Void {
    /// As nothing: they are left out.
    LeftOut,
    /// As background, as in DAVIS' scorer of semi-supervised results.
    Background,
}

/// J and F on every annotated frame of `frames`.
fn measure(
    truths: &Truths<'_>,
    labels: &[u8],
    tracks: &[Track],
    (frames, void): (impl Iterator<Item = u32>, Void),
) -> Result<PerFrame, EvalError> {
    let mut out = PerFrame::default();
    for frame in frames {
        let Some(truth) = truths.at(frame)? else {
            continue;
        };
        let prediction = predicted(truth.size, tracks, frame);
        let void = (void == Void::LeftOut).then(|| truth.void()).flatten();
        let void: Vec<Bitmap> = void.into_iter().collect();
        let one = PerFrame::of(&[truth.mask(labels)], &[prediction], &void);
        out.j.extend(one.j);
        out.f.extend(one.f);
    }
    Ok(out)
}

/// Whether the objects that `prediction` meets best, by IoU, are exactly the referents.
fn right_object(truth: &Truth, prediction: &Bitmap, referents: &[u8]) -> bool {
    let mut ranked: Vec<(f64, u8)> = truth
        .objects()
        .into_iter()
        .map(|label| (region(&truth.mask(&[label]), prediction, None), label))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut best: Vec<u8> = ranked
        .iter()
        .filter(|(iou, _)| *iou > 0.0)
        .take(referents.len())
        .map(|(_, label)| *label)
        .collect();
    best.sort_unstable();
    !referents.is_empty() && best == referents
}

fn box_of(mask: &Bitmap) -> Option<BoxPx> {
    Rle::from_bitmap(mask).bounding_box()
}

/// Whether the best kept proposal lies on a referent rather than on another object.
fn right_box(truth: &Truth, proposals: &[Proposal], referents: &[u8]) -> bool {
    let kept = proposals.iter().filter(|p| p.selected);
    let Some(best) = kept.max_by(|a, b| a.confidence.total_cmp(&b.confidence)) else {
        return false;
    };
    let boxes = truth.objects().into_iter().filter_map(|label| {
        let b = box_of(&truth.mask(&[label]))?;
        Some((b.iou(best.box_px), label))
    });
    boxes
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .is_some_and(|(iou, label)| iou > 0.0 && referents.contains(&label))
}

/// Changes of an ablation, in the order of [`asks`].
const CHANGES: [&str; 2] = [
    "without [BOX], [SEG] alone prompts the masks",
    "with target-specific tokens of anchors on other frames",
];

/// Frames besides the prompted one on which anchors are given, as fractions of the clip.
const ANCHORS: [(u32, u32); 2] = [(1, 3), (2, 3)];

/// How else a phrase is asked.
fn asks(truths: &Truths<'_>, query: &Query, frames: u32) -> Result<[Ask; 2], EvalError> {
    let mut anchors = Vec::new();
    for (part, of) in ANCHORS {
        let frame = frames * part / of;
        let Some(truth) = truths.at(frame)? else {
            continue;
        };
        let boxes = query
            .referents
            .iter()
            .filter_map(|&l| box_of(&truth.mask(&[l])));
        anchors.extend(boxes.map(|b| (FrameIndex(frame), b)));
    }
    Ok([
        Ask {
            text_alone: true,
            anchors: Vec::new(),
        },
        Ask {
            text_alone: false,
            anchors,
        },
    ])
}

/// Overlap of the objects that `prediction` covers for the greater part with those that are meant.
fn set_iou(truth: &Truth, prediction: &Bitmap, referents: &[u8]) -> f64 {
    let mut pixels: BTreeMap<u8, (usize, usize)> = BTreeMap::new();
    for (&label, &on) in truth.labels.iter().zip(&prediction.data) {
        let counts = pixels.entry(label).or_default();
        counts.0 += usize::from(on != 0);
        counts.1 += 1;
    }
    let objects = truth.objects();
    let covered = objects.iter().filter(|label| {
        let counts = pixels.get(label);
        counts.is_some_and(|(on, all)| 2 * on > *all)
    });
    let covered: Vec<&u8> = covered.collect();
    let common = covered.iter().filter(|l| referents.contains(l)).count();
    let either = covered.len() + referents.len() - common;
    common as f64 / either.max(1) as f64
}

/// What the phrases of one sequence gave.
#[derive(Default)]
struct Asked {
    scores: Vec<SequenceScore>,
    /// The same phrases with each of [`CHANGES`].
    changed: [Vec<SequenceScore>; 2],
    /// Phrases that match nothing: whether nothing was found.
    none: Vec<bool>,
}

/// Referring segmentation: each phrase is asked on the first frame and its masks are carried through the clip. With
/// `ablate`, every phrase that matches something is asked again without boxes, and with anchors of what it means.
///
/// # Errors
/// [`EvalError::NoPhrases`] if the dataset has none; [`EvalError::Cancelled`].
pub fn rvos(
    subject: &mut dyn Subject,
    sequences: &[Sequence],
    (mode, ablate): (Mode, bool),
    progress: &mut Progress<'_>,
) -> Result<MaskReport, EvalError> {
    let started = Instant::now();
    if sequences.iter().all(|s| s.queries.is_empty()) {
        return Err(EvalError::NoPhrases);
    }
    let (measured, failed) = each(sequences, progress, |truths, progress| {
        let sequence = truths.sequence;
        let (opened, first) = open(subject, truths)?;
        let mut here = Asked::default();
        for query in &sequence.queries {
            let phrase = &query.phrase;
            if query.referents.is_empty() {
                let how = Ask::default();
                let answer = subject.ground(PROMPTED, phrase, &how, &mut inner(progress))?;
                here.none.push(painted(first.size, &answer).area() == 0);
                continue;
            }
            let mut score = |how: &Ask| -> Result<SequenceScore, EvalError> {
                let answer = subject.ground(PROMPTED, phrase, how, &mut inner(progress))?;
                let found = answer.masks.iter().any(|m| !m.rle.is_empty());
                let tracks = if found {
                    subject.carry(PROMPTED, &answer, mode, &mut inner(progress))?
                } else {
                    Vec::new()
                };
                let frames = (0..opened.frames, Void::LeftOut);
                let frames = measure(truths, &query.referents, &tracks, frames)?;
                Ok(phrase_score(sequence, query, &first, &answer, &frames))
            };
            here.scores.push(score(&Ask::default())?);
            if ablate {
                let other = asks(truths, query, opened.frames)?;
                for (scores, how) in here.changed.iter_mut().zip(&other) {
                    scores.push(score(how)?);
                }
            }
        }
        Ok(here)
    })?;
    let (mut scores, mut none) = (Vec::new(), Vec::new());
    let mut changed: [Vec<SequenceScore>; 2] = Default::default();
    for here in measured {
        scores.extend(here.scores);
        none.extend(here.none);
        for (all, here) in changed.iter_mut().zip(here.changed) {
            all.extend(here);
        }
    }
    let mut by_kind: BTreeMap<&str, Vec<&SequenceScore>> = BTreeMap::new();
    for score in &scores {
        by_kind.entry(&score.kind).or_default().push(score);
    }
    let kinds = by_kind
        .into_iter()
        .filter_map(|(kind, scores)| Some((kind.to_owned(), KindScore::of(&scores)?)))
        .collect();
    let all: Vec<&SequenceScore> = scores.iter().collect();
    let mut report = mask_report("rvos", subject.name(), &scores, failed, started);
    report.kinds = kinds;
    report.all_kinds = KindScore::of(&all);
    report.ablations = CHANGES
        .iter()
        .zip(&changed)
        .filter_map(|(change, scores)| {
            let all = KindScore::of(&scores.iter().collect::<Vec<_>>())?;
            Some(Ablation {
                change: (*change).to_owned(),
                all,
                gain: all.jf - report.jf,
            })
        })
        .collect();
    report.no_match = (!none.is_empty()).then(|| NoMatch {
        phrases: none.len(),
        accuracy: mean(none.iter().map(|&right| f64::from(right))),
    });
    Ok(report)
}

/// The union of an answer's masks.
fn painted(size: Size, answer: &Answer) -> Bitmap {
    union(size, answer.masks.iter().map(|m| m.rle.to_bitmap()))
}

fn phrase_score(
    sequence: &Sequence,
    query: &Query,
    first: &Truth,
    answer: &Answer,
    frames: &PerFrame,
) -> SequenceScore {
    let prediction = painted(first.size, answer);
    let void = first.void();
    SequenceScore {
        name: sequence.name.clone(),
        phrase: query.phrase.clone(),
        kind: query.kind.clone(),
        object: None,
        j: mean(frames.j.iter().copied()),
        f: mean(frames.f.iter().copied()),
        j_prompted: region(&first.mask(&query.referents), &prediction, void.as_ref()),
        right_object: Some(right_object(first, &prediction, &query.referents)),
        right_box: Some(right_box(
            first,
            &answer.emission.proposals,
            &query.referents,
        )),
        answered: Some(prediction.area() > 0),
        set_iou: Some(set_iou(first, &prediction, &query.referents)),
        j_corrected: None,
    }
}

fn mask_report(
    task: &str,
    model: String,
    scores: &[SequenceScore],
    failed: Vec<Failure>,
    started: Instant,
) -> MaskReport {
    let (j, f) = (
        mean(scores.iter().map(|s| s.j)),
        mean(scores.iter().map(|s| s.f)),
    );
    MaskReport {
        schema: 1,
        task: task.to_owned(),
        model,
        j,
        f,
        jf: f64::midpoint(j, f),
        j_prompted: mean(scores.iter().map(|s| s.j_prompted)),
        sequences: scores.to_vec(),
        kinds: BTreeMap::new(),
        all_kinds: None,
        no_match: None,
        ablations: Vec::new(),
        j_corrected: None,
        baselines: None,
        failed,
        secs: started.elapsed().as_secs_f64(),
    }
}

/// Semi-supervised segmentation from prompts: each object of the first frame is given by its true box or by a click, and its
/// mask is carried through the clip. As in the DAVIS protocol, the first and the last frame are not scored (in clips of fewer
/// than three frames, all are) and void counts as background; unlike there, each object's mask is scored by itself, overlaps
/// included, not as part of one label map a frame. Also measured is what filling boxes would reach, and, with `correct`, what
/// it brings to give the true box of the object's worst frame and carry on from both. A clip without any annotated frame
/// that is scored counts as failed.
///
/// # Errors
/// [`EvalError::Cancelled`].
pub fn vos(
    subject: &mut dyn Subject,
    sequences: &[Sequence],
    (given, mode, correct): (Given, Mode, bool),
    progress: &mut Progress<'_>,
) -> Result<MaskReport, EvalError> {
    let started = Instant::now();
    let (measured, failed) = each(sequences, progress, |truths, progress| {
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
            let prompted = &answer.masks[0];
            let tracks = subject.carry(PROMPTED, &answer, mode, &mut inner(progress))?;
            let frames = (scored.clone(), Void::Background);
            let frames = measure(truths, &[label], &tracks, frames)?;
            let corrected = if correct {
                let track = tracks.first().cloned().unwrap_or_default();
                let parts = (truths, label, scored.clone());
                Some(after_correction(
                    subject,
                    parts,
                    (prompted, track),
                    progress,
                )?)
            } else {
                None
            };
            let score = SequenceScore {
                name: truths.sequence.name.clone(),
                phrase: String::new(),
                kind: String::new(),
                object: Some(label),
                j: mean(frames.j.iter().copied()),
                f: mean(frames.f.iter().copied()),
                j_prompted: region(&true_mask, &prediction, None),
                right_object: None,
                right_box: None,
                answered: None,
                set_iou: None,
                j_corrected: corrected,
            };
            let fill = fill_boxes(truths, label, true_box, scored.clone())?;
            here.push((score, fill));
        }
        Ok(here)
    })?;
    let (scores, fills): (Vec<_>, Vec<_>) = measured.into_iter().flatten().unzip();
    let mut report = mask_report("vos", subject.name(), &scores, failed, started);
    report.j_corrected = correct.then(|| mean(scores.iter().filter_map(|s| s.j_corrected)));
    report.baselines = (!fills.is_empty()).then(|| Baselines {
        fill_box_j_prompted: mean(fills.iter().map(|b| b.fill_box_j_prompted)),
        fill_each_box_j: mean(fills.iter().map(|b| b.fill_each_box_j)),
        still_box_j: mean(fills.iter().map(|b| b.still_box_j)),
    });
    Ok(report)
}

/// Whether any of the frames is annotated.
fn any_annotated(truths: &Truths<'_>, frames: std::ops::Range<u32>) -> Result<bool, EvalError> {
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

/// J over the scored frames after the true box of the worst of them was given as a correction.
fn after_correction(
    subject: &mut dyn Subject,
    (truths, label, scored): (&Truths<'_>, u8, std::ops::Range<u32>),
    (prompted, track): (&FrameMask, Track),
    progress: &mut Progress<'_>,
) -> Result<f64, EvalError> {
    let mut worst: Option<(f64, u32, BoxPx)> = None;
    for frame in scored.clone() {
        let Some(truth) = truths.at(frame)? else {
            continue;
        };
        let mask = truth.mask(&[label]);
        let Some(wanted) = box_of(&mask) else {
            continue;
        };
        let found = predicted(truth.size, std::slice::from_ref(&track), frame);
        let j = region(&mask, &found, None);
        if worst.is_none_or(|w| j < w.0) {
            worst = Some((j, frame, wanted));
        }
    }
    let mut anchors = BTreeMap::from([(PROMPTED, prompted.clone())]);
    if let Some((_, frame, wanted)) = worst {
        let prompt = Prompt {
            box_px: Some(wanted),
            known: vec![(PROMPTED, prompted.rle.clone())],
            ..Prompt::default()
        };
        let mask = subject.segment(FrameIndex(frame), &prompt, &mut inner(progress))?;
        anchors.insert(FrameIndex(frame), by_person(mask));
    }
    let track = subject.carry_between(&anchors, &mut inner(progress))?;
    let frames = measure(truths, &[label], &[track], (scored, Void::Background))?;
    Ok(mean(frames.j))
}

/// What filling boxes reaches for one object.
fn fill_boxes(
    truths: &Truths<'_>,
    label: u8,
    prompt: BoxPx,
    scored: std::ops::Range<u32>,
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

fn by_person(mut mask: FrameMask) -> FrameMask {
    mask.provenance = Provenance::Human;
    mask.anchor = true;
    mask.drift = DriftSignal::default();
    mask
}

/// A mask from a person's prompt as an answer that can be carried.
fn box_answer(mask: FrameMask) -> Answer {
    let mask = by_person(mask);
    Answer {
        emission: Emission {
            frame: PROMPTED,
            phrase: String::new(),
            text: String::new(),
            tokens: Vec::new(),
            unknown_words: Vec::new(),
            proposals: Vec::new(),
            objects: Vec::new(),
            tsf_tokens: 0,
            secs: 0.0,
            choosing: Choosing::default(),
        },
        masks: vec![mask],
    }
}

/// One true box: its best IoU with any proposal, and with the best 1, 10 and 100 by objectness.
struct Met {
    all: f64,
    top: [f64; 3],
}

const TOP: [u32; 3] = [1, 10, 100];

/// Class-agnostic proposals: how many of the true objects' boxes are met, on the first frame and every tenth. One proposal
/// may meet several of them, where COCO's recall matches one to one.
///
/// # Errors
/// [`EvalError::Cancelled`].
pub fn proposals(
    subject: &mut dyn Subject,
    sequences: &[Sequence],
    progress: &mut Progress<'_>,
) -> Result<ProposalReport, EvalError> {
    let started = Instant::now();
    let (measured, failed) = each(sequences, progress, |truths, progress| {
        open(subject, truths)?;
        let mut here = Vec::new();
        let (mut frames, mut offered) = (0, 0);
        for &frame in truths.sequence.masks.keys().step_by(PROPOSAL_STEP) {
            let Some(truth) = truths.at(frame)? else {
                continue;
            };
            let mut given = subject.propose(FrameIndex(frame), &mut inner(progress))?;
            given.sort_by(|a, b| b.objectness.total_cmp(&a.objectness));
            frames += 1;
            offered += given.len();
            for label in truth.objects() {
                let Some(wanted) = box_of(&truth.mask(&[label])) else {
                    continue;
                };
                let best = |n: usize| {
                    let ious = given
                        .iter()
                        .take(n)
                        .map(|p| f64::from(p.box_px.iou(wanted)));
                    ious.fold(0.0, f64::max)
                };
                here.push(Met {
                    all: best(usize::MAX),
                    top: TOP.map(|n| best(n as usize)),
                });
            }
        }
        Ok((truths.sequence.name.clone(), here, frames, offered))
    })?;
    let (mut met, mut by_sequence) = (Vec::new(), BTreeMap::new());
    let (mut frames, mut offered) = (0, 0);
    for (name, mut here, looked_at, given) in measured {
        let recall = mean(here.iter().map(|m: &Met| f64::from(m.all >= 0.5)));
        by_sequence.insert(name, recall);
        met.append(&mut here);
        frames += looked_at;
        offered += given;
    }
    let recall = |iou: f64| mean(met.iter().map(|m| f64::from(m.all >= iou)));
    let top = TOP.iter().enumerate();
    let at = top.map(|(i, &n)| (n, mean(met.iter().map(|m| f64::from(m.top[i] >= 0.5)))));
    Ok(ProposalReport {
        schema: 1,
        task: "proposals".to_owned(),
        model: subject.name(),
        frames,
        boxes: met.len(),
        proposals_per_frame: offered as f64 / (frames as f64).max(1.0),
        recall_50: recall(0.5),
        recall_75: recall(0.75),
        average_recall: mean((0..10).map(|i| recall(0.5 + 0.05 * f64::from(i)))),
        recall_50_at: at.collect(),
        sequences: by_sequence,
        failed,
        secs: started.elapsed().as_secs_f64(),
    })
}
