//! The runners of phrases and of proposals, and how any of them goes through a dataset: a model, sequences, a report. Leaves
//! prompts to [`super::vos`]. A sequence that fails is listed and the rest goes on; only a request to stop
//! ends a run early, and then what is finished is the report.

use std::{collections::BTreeMap, rc::Rc, time::Instant};

use super::{
    dataset::{Query, Sequence, Truth, Truths},
    error::EvalError,
    measure::region,
    report::{
        Ablation, Failure, KindScore, MaskReport, NoMatch, NoMatchPhrase, ProposalReport,
        SequenceScore, mean,
    },
    sequence::PerFrame,
    subject::{Answer, Ask, Opened, Subject, Track},
};
use crate::{
    project::{Bitmap, BoxPx, FrameIndex, Proposal, Rle, Size},
    task::{Mode, Progress},
};

/// The frame that prompts speak of.
pub(super) const PROMPTED: FrameIndex = FrameIndex(0);

/// Proposals are measured on the first frame and every so many after it.
const PROPOSAL_STEP: usize = 10;

/// A progress sink that says nothing and stops when the outer one does.
pub(super) fn inner<'a>(progress: &Progress<'_>) -> Progress<'a> {
    Progress::new(progress.cancel.clone(), |_, _, _| {})
}

/// Opens a sequence and checks that truth and images are of one size and length.
pub(super) fn open(
    subject: &mut dyn Subject,
    truths: &Truths<'_>,
) -> Result<(Opened, Rc<Truth>), EvalError> {
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

/// What became of the sequences.
pub(super) struct Run<T> {
    pub(super) measured: Vec<T>,
    failed: Vec<Failure>,
    asked: usize,
    started: Instant,
}

impl<T> Run<T> {
    /// Sequences that were looked at to the end.
    fn done(&self) -> usize {
        self.measured.len() + self.failed.len()
    }

    /// A stop ended it before the last one.
    fn stopped(&self) -> bool {
        self.done() < self.asked
    }
}

/// Runs `one` on every sequence; a sequence is measured whole or counts as failed. A stop ends it after what is finished.
///
/// # Errors
/// [`EvalError::Cancelled`] if nothing was finished when it was stopped.
pub(super) fn each<T>(
    sequences: &[Sequence],
    progress: &mut Progress<'_>,
    mut one: impl FnMut(&Truths<'_>, &mut Progress<'_>) -> Result<T, EvalError>,
) -> Result<Run<T>, EvalError> {
    let mut run = Run {
        measured: Vec::new(),
        failed: Vec::new(),
        asked: sequences.len(),
        started: Instant::now(),
    };
    let total = sequences.len() as u64;
    for (done, sequence) in sequences.iter().enumerate() {
        let going = progress.step(done as u64, total, &sequence.name);
        let found = match going {
            Ok(()) => one(&Truths::new(sequence), progress),
            Err(stop) => Err(stop.into()),
        };
        match found {
            Ok(found) => run.measured.push(found),
            Err(EvalError::Cancelled(stop)) if run.done() == 0 => return Err(stop.into()),
            Err(EvalError::Cancelled(_)) => return Ok(run),
            Err(error) => run.failed.push(Failure {
                name: sequence.name.clone(),
                error: error.to_string(),
            }),
        }
    }
    progress.tell(total, total, "measured");
    Ok(run)
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
    union(size, masks.map(|m| m.rle.to_bitmap()))
}

/// J and F of phrases on every annotated frame of a clip; void pixels are left out.
fn measure(
    truths: &Truths<'_>,
    labels: &[u8],
    tracks: &[Track],
    frames: u32,
) -> Result<PerFrame, EvalError> {
    let mut out = PerFrame::default();
    for frame in 0..frames {
        let Some(truth) = truths.at(frame)? else {
            continue;
        };
        let prediction = predicted(truth.size, tracks, frame);
        let void: Vec<Bitmap> = truth.void().into_iter().collect();
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

pub(super) fn box_of(mask: &Bitmap) -> Option<BoxPx> {
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
    /// Phrases that match nothing.
    none: Vec<NoMatchPhrase>,
    /// Of the same phrases, asked without boxes: whether nothing was found.
    silent: Vec<bool>,
}

/// Referring segmentation: each phrase is asked on the first frame and its masks are carried through the clip. With
/// `ablate`, every phrase is asked again without boxes, and with anchors of what it means if it matches something.
///
/// # Errors
/// [`EvalError::NoPhrases`] if the dataset has none; [`EvalError::Cancelled`] if nothing was finished.
pub fn rvos(
    subject: &mut dyn Subject,
    sequences: &[Sequence],
    (mode, ablate): (Mode, bool),
    progress: &mut Progress<'_>,
) -> Result<MaskReport, EvalError> {
    // What cannot be read fails below, by name.
    let readable = sequences.iter().any(|s| s.unusable.is_none());
    if readable && sequences.iter().all(|s| s.queries.is_empty()) {
        return Err(EvalError::NoPhrases);
    }
    let run = each(sequences, progress, |truths, progress| {
        asked(subject, truths, (mode, ablate), progress)
    })?;
    let (mut scores, mut none, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    let mut changed: [Vec<SequenceScore>; 2] = Default::default();
    let mut report = mask_report("rvos", subject.name(), ALL_FRAMES, &run);
    for here in run.measured {
        scores.extend(here.scores);
        none.extend(here.none);
        silent.extend(here.silent);
        for (all, here) in changed.iter_mut().zip(here.changed) {
            all.extend(here);
        }
    }
    report.sum_up(scores);
    report.kinds = KindScore::by_kind(&report.sequences);
    report.all_kinds = KindScore::of(&report.sequences.iter().collect::<Vec<_>>());
    // Of what is not there, there are no anchors.
    report.ablations = CHANGES
        .iter()
        .zip(&changed)
        .zip([NoMatch::of(silent), None])
        .filter_map(|((change, scores), no_match)| {
            let all = KindScore::of(&scores.iter().collect::<Vec<_>>())?;
            Some(Ablation {
                change: (*change).to_owned(),
                all,
                gain: all.jf - report.jf,
                kinds: KindScore::by_kind(scores),
                no_match,
            })
        })
        .collect();
    report.no_match = NoMatch::of(none.iter().map(|n| !n.answered));
    report.no_match_phrases = none;
    Ok(report)
}

/// Asks the phrases of one sequence.
fn asked(
    subject: &mut dyn Subject,
    truths: &Truths<'_>,
    (mode, ablate): (Mode, bool),
    progress: &mut Progress<'_>,
) -> Result<Asked, EvalError> {
    let sequence = truths.sequence;
    let (opened, first) = open(subject, truths)?;
    let mut here = Asked::default();
    for query in &sequence.queries {
        let phrase = &query.phrase;
        if query.referents.is_empty() {
            let mut say = |how: &Ask| -> Result<NoMatchPhrase, EvalError> {
                let answer = subject.ground(PROMPTED, phrase, how, &mut inner(progress))?;
                Ok(NoMatchPhrase {
                    name: sequence.name.clone(),
                    phrase: phrase.clone(),
                    kind: query.kind.clone(),
                    answered: painted(first.size, &answer).area() > 0,
                    confidence: best_confidence(&answer),
                })
            };
            here.none.push(say(&Ask::default())?);
            if ablate {
                let how = Ask {
                    text_alone: true,
                    anchors: Vec::new(),
                };
                here.silent.push(!say(&how)?.answered);
            }
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
            let frames = measure(truths, &query.referents, &tracks, opened.frames)?;
            let mut score = phrase_score(sequence, query, &first, &answer, &frames);
            if how.text_alone {
                // What was kept prompted nothing.
                score.right_box = None;
            }
            Ok(score)
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
}

/// The best confidence of what was offered.
fn best_confidence(answer: &Answer) -> Option<f32> {
    let all = answer.emission.proposals.iter().map(|p| p.confidence);
    all.filter(|c| !c.is_nan()).max_by(f32::total_cmp)
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
        corrected_frame: None,
        by_frame: Vec::new(),
        by_frame_corrected: Vec::new(),
        frames: frames.j.len(),
        confidence: best_confidence(answer),
    }
}

/// What [`MaskReport::frames_scored`] says of phrases.
const ALL_FRAMES: &str = "every annotated frame";
/// A report without scores.
pub(super) fn mask_report<T>(
    task: &str,
    model: String,
    frames_scored: &'static str,
    run: &Run<T>,
) -> MaskReport {
    MaskReport {
        schema: 1,
        task: task.to_owned(),
        model,
        j: 0.0,
        f: 0.0,
        jf: 0.0,
        j_prompted: 0.0,
        sequences: Vec::new(),
        no_match_phrases: Vec::new(),
        frames_scored,
        kinds: BTreeMap::new(),
        all_kinds: None,
        no_match: None,
        ablations: Vec::new(),
        j_corrected: None,
        corrected_at: None,
        marks: None,
        baselines: None,
        failed: run.failed.clone(),
        partial: run.stopped(),
        sequences_done: run.done(),
        sequences_asked: run.asked,
        secs: run.started.elapsed().as_secs_f64(),
    }
}

impl MaskReport {
    /// Takes the scores, and their means.
    pub(super) fn sum_up(&mut self, scores: Vec<SequenceScore>) {
        self.j = mean(scores.iter().map(|s| s.j));
        self.f = mean(scores.iter().map(|s| s.f));
        self.jf = f64::midpoint(self.j, self.f);
        self.j_prompted = mean(scores.iter().map(|s| s.j_prompted));
        self.sequences = scores;
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
/// [`EvalError::Cancelled`] if nothing was finished.
pub fn proposals(
    subject: &mut dyn Subject,
    sequences: &[Sequence],
    progress: &mut Progress<'_>,
) -> Result<ProposalReport, EvalError> {
    let run = each(sequences, progress, |truths, progress| {
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
    let (sequences_done, started) = (run.done(), run.started);
    for (name, mut here, looked_at, given) in run.measured {
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
        failed: run.failed,
        partial: sequences_done < run.asked,
        sequences_done,
        sequences_asked: run.asked,
        secs: started.elapsed().as_secs_f64(),
    })
}
