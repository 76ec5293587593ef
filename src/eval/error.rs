//! What can stop an evaluation.

use crate::{formats::FormatError, task::Cancelled};

/// Why an evaluation, or one sequence of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Stopped on request.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] FormatError),
    /// No reader has this name.
    #[error("there is no dataset format {0:?} to evaluate on; there are davis and synth")]
    UnknownFormat(String),
    /// The dataset has nothing to ask.
    #[error(
        "the dataset holds no referring phrases; evaluate boxes instead (vos), or use the synth format"
    )]
    NoPhrases,
    /// The task asks for something else than this sequence has.
    #[error("{0}")]
    Unusable(String),
    /// The model or the video failed; one sentence.
    #[error("{0}")]
    Model(String),
}
