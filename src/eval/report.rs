//! What an evaluation writes: JSON for scripts, a few lines for people. Fields are added, never changed. All measures
//! are in the 0–1 range.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    marks::{FrameScore, Marks},
    run::CorrectAt,
};
use crate::project::counted;

/// A sequence (and phrase, or object) that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequenceScore {
    /// Name of the sequence.
    pub name: String,
    /// The phrase; empty where the task has none.
    pub phrase: String,
    /// What the phrase hinges on; empty where the task has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Label of the object; none where a phrase decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<u8>,
    /// Region similarity, mean over frames.
    pub j: f64,
    /// Boundary accuracy, mean over frames.
    pub f: f64,
    /// Region similarity on the prompted frame.
    pub j_prompted: f64,
    /// The prediction meets the right object best; none where the task has no choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_object: Option<bool>,
    /// The best kept proposal meets a right object best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_box: Option<bool>,
    /// Something was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// Overlap of the set of objects that the prediction mostly covers with the set meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_iou: Option<f64>,
    /// Region similarity after the correction, mean over the same frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub j_corrected: Option<f64>,
    /// The frame that was corrected; none where no mark led to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected_frame: Option<u32>,
    /// Each frame that was scored, with the signs of drift of its mask; empty where masks were made from phrases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_frame: Vec<FrameScore>,
    /// The scored frames after the correction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_frame_corrected: Vec<FrameScore>,
    /// Frames that `j` and `f` are means over.
    pub frames: usize,
    /// The best confidence of what was offered; none where the task asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
}

/// A phrase that matches nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoMatchPhrase {
    /// Name of the sequence.
    pub name: String,
    /// The phrase.
    pub phrase: String,
    /// What the phrase hinges on.
    pub kind: String,
    /// Something was found, which is wrong.
    pub answered: bool,
    /// The best confidence of what was offered.
    pub confidence: Option<f32>,
}

/// What could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Sequence.
    pub name: String,
    /// One sentence.
    pub error: String,
}

/// Phrases of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct KindScore {
    /// Number of phrases.
    pub phrases: usize,
    /// Region similarity.
    pub j: f64,
    /// Boundary accuracy.
    pub f: f64,
    /// Their mean.
    pub jf: f64,
    /// Region similarity on the prompted frame.
    pub j_prompted: f64,
    /// Part of the phrases whose prediction meets the right objects best.
    pub right_object: f64,
    /// Part of the phrases whose best kept proposal meets a right object best; none where no proposal was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_box: Option<f64>,
    /// Part of the phrases that got an answer.
    pub answered: f64,
    /// Part of the phrases whose set of objects is met with an overlap of at least one half.
    pub set_50: f64,
}

/// What a part of the model is worth: the same phrases without it, or with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablation {
    /// What was changed.
    pub change: String,
    /// All phrases that match something.
    pub all: KindScore,
    /// Their J&F less that of the run as it is.
    pub gain: f64,
    /// By kind of phrase, those that match something.
    pub kinds: BTreeMap<String, KindScore>,
    /// Phrases that match nothing; none where the change does not reach them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_match: Option<NoMatch>,
}

/// Phrases that match nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct NoMatch {
    /// Number of such phrases.
    pub phrases: usize,
    /// Part of them that got no mask, as is right.
    pub accuracy: f64,
}

/// What costs nothing, to compare with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Baselines {
    /// J of the prompted frame's box, filled, on that frame.
    pub fill_box_j_prompted: f64,
    /// J of each frame's own true box, filled.
    pub fill_each_box_j: f64,
    /// J of the prompted frame's box, filled, left where it is on every frame.
    pub still_box_j: f64,
}

/// An evaluation of masks over time. In `vos`, each object's mask is scored by itself, where it overlaps another's too;
/// the official protocol scores one label map a frame, in which a pixel belongs to one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskReport {
    /// Version of this layout.
    pub schema: u32,
    /// `rvos` or `vos`.
    pub task: String,
    /// The model.
    pub model: String,
    /// Region similarity, mean over `sequences`.
    pub j: f64,
    /// Boundary accuracy, mean over `sequences`.
    pub f: f64,
    /// Their mean.
    pub jf: f64,
    /// Region similarity on the prompted frames.
    pub j_prompted: f64,
    /// Each sequence and phrase that matches something, or object.
    pub sequences: Vec<SequenceScore>,
    /// Each phrase that matches nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_match_phrases: Vec<NoMatchPhrase>,
    /// Which frames `j` and `f` are means over.
    pub frames_scored: &'static str,
    /// By kind of phrase, those that match something.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, KindScore>,
    /// All phrases that match something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_kinds: Option<KindScore>,
    /// Phrases that match nothing; they are not in `j` and `f`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_match: Option<NoMatch>,
    /// What parts of the model are worth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ablations: Vec<Ablation>,
    /// Region similarity after a correction by a box on one frame of each object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub j_corrected: Option<f64>,
    /// On which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected_at: Option<CorrectAt>,
    /// What the marks of drift are worth; none where masks were made from phrases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
    /// What filling boxes would reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baselines: Option<Baselines>,
    /// What could not be measured.
    pub failed: Vec<Failure>,
    /// It was stopped: what was finished by then is measured.
    pub partial: bool,
    /// Sequences that were looked at, failed ones among them, of `sequences_asked`.
    pub sequences_done: usize,
    /// Sequences that were to be looked at.
    pub sequences_asked: usize,
    /// Seconds of work in all.
    pub secs: f64,
}

/// An evaluation of proposals. One proposal may meet several true boxes; COCO's recall matches one to one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProposalReport {
    /// Version of this layout.
    pub schema: u32,
    /// `proposals`.
    pub task: String,
    /// The model.
    pub model: String,
    /// Frames looked at.
    pub frames: usize,
    /// True boxes on them.
    pub boxes: usize,
    /// Proposals per frame, mean.
    pub proposals_per_frame: f64,
    /// Part of the true boxes that a proposal meets with IoU ≥ 0.5.
    pub recall_50: f64,
    /// The same at IoU ≥ 0.75.
    pub recall_75: f64,
    /// Mean over IoU 0.5, 0.55, … 0.95.
    pub average_recall: f64,
    /// Recall at IoU ≥ 0.5 of the best 1, 10 and 100 proposals by objectness.
    pub recall_50_at: BTreeMap<u32, f64>,
    /// Recall at IoU ≥ 0.5 by sequence.
    pub sequences: BTreeMap<String, f64>,
    /// What could not be measured.
    pub failed: Vec<Failure>,
    /// It was stopped: what was finished by then is measured.
    pub partial: bool,
    /// Sequences that were looked at, failed ones among them, of `sequences_asked`.
    pub sequences_done: usize,
    /// Sequences that were to be looked at.
    pub sequences_asked: usize,
    /// Seconds of work in all.
    pub secs: f64,
}

pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0_u32);
    for value in values {
        sum += value;
        n += 1;
    }
    if n == 0 { 0.0 } else { sum / f64::from(n) }
}

impl KindScore {
    /// Sums up phrases; nothing for none.
    pub fn of(scores: &[&SequenceScore]) -> Option<Self> {
        if scores.is_empty() {
            return None;
        }
        let part = |pick: fn(&SequenceScore) -> Option<bool>| {
            mean(scores.iter().filter_map(|s| pick(s)).map(f64::from))
        };
        let boxes = scores.iter().any(|s| s.right_box.is_some());
        let (j, f) = (
            mean(scores.iter().map(|s| s.j)),
            mean(scores.iter().map(|s| s.f)),
        );
        Some(Self {
            phrases: scores.len(),
            j,
            f,
            jf: f64::midpoint(j, f),
            j_prompted: mean(scores.iter().map(|s| s.j_prompted)),
            right_object: part(|s| s.right_object),
            right_box: boxes.then(|| part(|s| s.right_box)),
            answered: part(|s| s.answered),
            set_50: part(|s| s.set_iou.map(|iou| iou >= 0.5)),
        })
    }

    /// Sums up phrases by their kind.
    pub fn by_kind(scores: &[SequenceScore]) -> BTreeMap<String, Self> {
        let mut by_kind: BTreeMap<&str, Vec<&SequenceScore>> = BTreeMap::new();
        for score in scores {
            by_kind.entry(&score.kind).or_default().push(score);
        }
        by_kind
            .into_iter()
            .filter_map(|(kind, scores)| Some((kind.to_owned(), Self::of(&scores)?)))
            .collect()
    }

    fn line(&self, name: &str) -> String {
        let right_box = match self.right_box {
            Some(part) => format!("  right box {part:.3}"),
            None => String::new(),
        };
        format!(
            "{name:>12}: right object {:.3}{right_box}  set {:.3}  J&F {:.3}  J prompted {:.3}  answered {:.3}  ({})",
            self.right_object,
            self.set_50,
            self.jf,
            self.j_prompted,
            self.answered,
            counted(self.phrases, "phrase")
        )
    }
}

impl NoMatch {
    /// Sums up phrases by whether they got no mask; nothing for none.
    pub fn of(silent: impl IntoIterator<Item = bool>) -> Option<Self> {
        let silent: Vec<bool> = silent.into_iter().collect();
        (!silent.is_empty()).then(|| Self {
            phrases: silent.len(),
            accuracy: mean(silent.iter().map(|&right| f64::from(right))),
        })
    }

    fn line(&self) -> String {
        format!(
            "    no match: accuracy {:.3}  ({})",
            self.accuracy,
            counted(self.phrases, "phrase")
        )
    }
}

impl MaskReport {
    /// Lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![format!(
            "{} with {}: J {:.3}  F {:.3}  J&F {:.3}  (J on prompted frames {:.3}; {} measured, {:.1} s)",
            self.task,
            self.model,
            self.j,
            self.f,
            self.jf,
            self.j_prompted,
            self.sequences.len(),
            self.secs
        )];
        if let Some(b) = &self.baselines {
            out.push(format!(
                "filling boxes instead: J {:.3} on prompted frames, {:.3} with each frame's true box, {:.3} left still",
                b.fill_box_j_prompted, b.fill_each_box_j, b.still_box_j
            ));
        }
        let all = self.all_kinds.iter().map(|k| ("all", k));
        let kinds = self.kinds.iter().map(|(name, k)| (name.as_str(), k));
        for (name, k) in kinds.chain(all) {
            out.push(k.line(name));
        }
        out.extend(self.no_match.iter().map(NoMatch::line));
        out.extend(self.marks.iter().map(Marks::line));
        if let (Some(j), Some(at)) = (self.j_corrected, self.corrected_at) {
            let at = match at {
                CorrectAt::Worst => "on the worst frame",
                CorrectAt::Marked => "where the strongest mark is",
            };
            out.push(format!(
                "after one correction by a box {at}: J {j:.3} ({:+.3})",
                j - self.j
            ));
        }
        for a in &self.ablations {
            out.push(format!(
                "{}: J&F {:.3} ({:+.3})  right object {:.3}  J prompted {:.3}",
                a.change, a.all.jf, a.gain, a.all.right_object, a.all.j_prompted
            ));
            out.extend(a.kinds.iter().map(|(name, k)| k.line(name)));
            out.extend(a.no_match.iter().map(NoMatch::line));
        }
        out.extend(failures(&self.failed));
        out
    }
}

impl ProposalReport {
    /// Lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![format!(
            "proposals with {}: recall {:.3} at IoU 0.5, {:.3} at 0.75, average {:.3}  ({} on {}, {:.1} proposals each, {:.1} s)",
            self.model,
            self.recall_50,
            self.recall_75,
            self.average_recall,
            counted_boxes(self.boxes),
            counted(self.frames, "frame"),
            self.proposals_per_frame,
            self.secs
        )];
        let at = self.recall_50_at.iter();
        let at: Vec<String> = at.map(|(n, r)| format!("{r:.3} of the best {n}")).collect();
        out.push(format!("recall at IoU 0.5: {}", at.join(", ")));
        out.extend(failures(&self.failed));
        out
    }
}

fn counted_boxes(n: usize) -> String {
    format!("{n} box{}", if n == 1 { "" } else { "es" })
}

fn failures(failed: &[Failure]) -> impl Iterator<Item = String> + '_ {
    failed
        .iter()
        .map(|f| format!("not measured: {}: {}", f.name, f.error))
}
