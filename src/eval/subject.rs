//! What is evaluated, as the runners see it: six questions. [`super::engine`] answers them with the real model; tests
//! answer them with an oracle.

use std::{collections::BTreeMap, path::Path};

use super::error::EvalError;
use crate::{
    project::{BoxPx, Emission, FrameIndex, FrameMask, Proposal, Size},
    task::{Mode, Progress, Prompt},
};

/// The clip that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Frame size.
    pub size: Size,
    /// Number of frames.
    pub frames: u32,
}

/// The answer to a phrase.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was said and offered.
    pub emission: Emission,
    /// One mask per referent on the frame asked about; empty if nothing matches.
    pub masks: Vec<FrameMask>,
}

/// How a phrase is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// Masks from `[SEG]` alone: no box guides them.
    pub text_alone: bool,
    /// Frames and boxes that a person gave for the thing meant.
    pub anchors: Vec<(FrameIndex, BoxPx)>,
}

/// Masks of one object by frame, each with its signs of drift.
pub type Track = BTreeMap<u32, FrameMask>;

/// A model under test.
pub trait Subject {
    /// Its name, for the report.
    fn name(&self) -> String;

    /// Opens a folder of images; later questions speak of it.
    ///
    /// # Errors
    /// [`EvalError`] if it cannot be read.
    fn open(&mut self, images: &Path) -> Result<Opened, EvalError>;

    /// Proposals and masks for a phrase on a frame.
    ///
    /// # Errors
    /// [`EvalError`] if the model fails or was stopped.
    fn ground(
        &mut self,
        frame: FrameIndex,
        phrase: &str,
        ask: &Ask,
        progress: &mut Progress<'_>,
    ) -> Result<Answer, EvalError>;

    /// The mask for a person's prompt, as they would have it: an anchor, unless the model made nothing of it.
    ///
    /// # Errors
    /// [`EvalError`] if the model fails or was stopped.
    fn segment(
        &mut self,
        frame: FrameIndex,
        prompt: &Prompt,
        progress: &mut Progress<'_>,
    ) -> Result<FrameMask, EvalError>;

    /// Carries the masks of one frame through the clip: a track for each, the given frame included.
    ///
    /// # Errors
    /// [`EvalError`] if the model fails or was stopped.
    fn carry(
        &mut self,
        frame: FrameIndex,
        answer: &Answer,
        mode: Mode,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Track>, EvalError>;

    /// Carries one object from masks of it on several frames, all of them a person's, through the clip; they are part of
    /// the track.
    ///
    /// # Errors
    /// [`EvalError`] if the model fails or was stopped.
    fn carry_between(
        &mut self,
        anchors: &BTreeMap<FrameIndex, FrameMask>,
        progress: &mut Progress<'_>,
    ) -> Result<Track, EvalError>;

    /// What the proposer offers on a frame, without any phrase.
    ///
    /// # Errors
    /// [`EvalError`] if the model fails or was stopped.
    fn propose(
        &mut self,
        frame: FrameIndex,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Proposal>, EvalError>;
}
