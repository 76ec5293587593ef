//! What can go wrong between a request and its masks. Every message is one sentence for the user.

use crate::{task::Cancelled, video::VideoError};

use super::{
    model::ModelError,
    words::{PhraseError, WordsError},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// Stopped on request.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The video.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The phrase.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's own words.
    #[error("the model's description is damaged: {0}")]
    Words(#[from] WordsError),
    /// A prompt that says nothing or lies outside the frame.
    #[error("{0}")]
    Prompt(String),
    /// A network refused its input, or the device ran out of memory.
    #[error("the model failed: {0}")]
    Network(String),
}

impl From<candle_core::Error> for InferError {
    fn from(e: candle_core::Error) -> Self {
        // A backtrace helps nobody who reads a status line.
        Self::Network(e.to_string().lines().next().unwrap_or_default().to_owned())
    }
}

/// Result of inference.
pub type InferResult<T> = Result<T, InferError>;
