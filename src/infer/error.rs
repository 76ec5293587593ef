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
    /// A network refused its input.
    #[error("the model failed: {0}")]
    Network(String),
    /// The device, or the machine, had no memory left.
    #[error(
        "there is not enough memory ({0}): load the model with a smaller --precision, or on another --device"
    )]
    Memory(String),
}

/// Whether words of a driver, a library or the system say that there was no memory left; they tell it in words alone.
pub(crate) fn memory_ran_out(words: &str) -> bool {
    let words = words.to_lowercase().replace('_', " ");
    let known = [
        "out of memory",
        "memory allocation",
        "insufficient memory",
        "not enough memory",
        "alloc failed",
    ];
    known.iter().any(|known| words.contains(known))
}

impl From<candle_core::Error> for InferError {
    fn from(e: candle_core::Error) -> Self {
        let words = e.to_string();
        // A backtrace helps nobody who reads a status line.
        let line = words.lines().next().unwrap_or_default().to_owned();
        if memory_ran_out(&line) {
            Self::Memory(line)
        } else {
            Self::Network(line)
        }
    }
}

/// Result of inference.
pub type InferResult<T> = Result<T, InferError>;
