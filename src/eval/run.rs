//! The one entry for faces: a task by name, a dataset, a subject, a report.

use std::{path::PathBuf, str::FromStr};

use super::{
    dataset,
    error::EvalError,
    report::{Failure, MaskReport, ProposalReport},
    runners::{proposals, rvos},
    subject::Subject,
    vos::vos,
};
use crate::task::{Mode, Progress};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Referring video object segmentation: phrases.
    Rvos,
    /// Video object segmentation from a box or a click per object on the first frame.
    Vos,
    /// Class-agnostic proposals.
    Proposals,
}

/// How a person says which object is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The true mask's bounding box.
    Box,
    /// One click on the pixel that lies deepest in the true mask.
    Click,
}

/// Where a person corrects an object once it was carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CorrectAt {
    /// On the frame whose mask is worst, of those on which it is to be seen: what one correction can bring.
    Worst,
    /// On the frame whose mark is strongest, and nowhere if there is none: what it brings to who goes by the marks.
    Marked,
}

impl FromStr for Task {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        match name {
            "rvos" => Ok(Self::Rvos),
            "vos" => Ok(Self::Vos),
            "proposals" => Ok(Self::Proposals),
            other => Err(EvalError::Unusable(format!(
                "there is no evaluation task {other:?}; there are rvos, vos, proposals"
            ))),
        }
    }
}

/// What to evaluate on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is measured.
    pub task: Task,
    /// The dataset's folder.
    pub data: PathBuf,
    /// Its layout: `davis` or `synth`.
    pub format: String,
    /// Only sequences of this split (`davis`: `ImageSets/*/NAME.txt`).
    pub split: Option<String>,
    /// At most this many sequences, in name order.
    pub limit: Option<usize>,
    /// How masks get from frame to frame.
    pub mode: Mode,
    /// Also ask every phrase without boxes and with anchors ([`Task::Rvos`]).
    pub ablate: bool,
    /// What prompts the first frame ([`Task::Vos`]).
    pub given: Given,
    /// Where each object is corrected once after the first pass, if at all ([`Task::Vos`]).
    pub correct: Option<CorrectAt>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Masks over time.
    Masks(Box<MaskReport>),
    /// Proposals.
    Proposals(Box<ProposalReport>),
}

impl Report {
    /// Lines for a person.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Masks(report) => report.lines(),
            Self::Proposals(report) => report.lines(),
        }
    }

    /// Sequences that were looked at of those that were to be, if it was stopped before the last.
    pub fn stopped_after(&self) -> Option<(usize, usize)> {
        let (partial, done, asked) = match self {
            Self::Masks(r) => (r.partial, r.sequences_done, r.sequences_asked),
            Self::Proposals(r) => (r.partial, r.sequences_done, r.sequences_asked),
        };
        partial.then_some((done, asked))
    }

    /// Sequences that could not be measured; not empty means a partial failure.
    pub fn failed(&self) -> &[Failure] {
        match self {
            Self::Masks(report) => &report.failed,
            Self::Proposals(report) => &report.failed,
        }
    }
}

/// Runs an evaluation. The report is plain data (`serde`), with [`Report::lines`] for people.
///
/// # Errors
/// [`EvalError`] if the dataset cannot be read, has nothing to ask, or the run was stopped before its first sequence was
/// finished; later, the report is of what was finished. A sequence that fails is listed in the report instead.
pub fn run(
    request: &Request,
    subject: &mut dyn Subject,
    progress: &mut Progress<'_>,
) -> Result<Report, EvalError> {
    let split = request.split.as_deref();
    let sequences = dataset::open(&request.data, &request.format, split, request.limit)?;
    Ok(match request.task {
        Task::Rvos => {
            let how = (request.mode, request.ablate);
            Report::Masks(Box::new(rvos(subject, &sequences, how, progress)?))
        }
        Task::Vos => {
            let how = (request.given, request.mode, request.correct);
            Report::Masks(Box::new(vos(subject, &sequences, how, progress)?))
        }
        Task::Proposals => Report::Proposals(Box::new(proposals(subject, &sequences, progress)?)),
    })
}
