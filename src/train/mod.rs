//! Synthetic clips, loaders, losses, optimiser, schedule, checkpoints. Leaves the networks to [`crate::nn`].
//!
//! A stage is a function of [`Job`]: it makes a [`Params`], builds its networks from `params.var_builder()`, and loops
//! over [`Budget::next_step`]: batch → loss → `backward` → [`AdamW::step`] → [`Log::line`] → [`checkpoint::save`].
//! Every tensor has the name that the released files give it, so stages that run one after another, and the program
//! itself, meet in one flat name space. What only training needs lives under `aux.` and never leaves a checkpoint.

mod attributes;
mod boxes;
pub mod checkpoint;
pub mod denormals;
mod export;
mod fused;
mod job;
pub mod language;
mod log;
pub mod losses;
mod optim;
mod params;
pub mod parity;
pub mod pictures;
pub mod segmenter;
pub mod synth;
pub mod towers;
pub mod whole;

pub use export::{Exported, Recipe, export};
pub use job::{Budget, Job};
pub use log::Log;
pub use optim::{AdamConfig, AdamW, Group, Schedule, StepReport};
pub use params::Params;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file could not be written or read.
    #[error("{what}: {reason} ({path})")]
    File {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
        /// Which file.
        path: std::path::PathBuf,
    },
    /// A file was read and holds something else than it should.
    #[error("{0}")]
    Content(String),
    /// Stopped on request; what was reached is in the checkpoints.
    #[error("stopped")]
    Stopped,
    /// The loss is not a number; the last checkpoint is the last good state.
    #[error(
        "the loss of step {step} is not a number; continue from the last checkpoint with a lower learning rate"
    )]
    Diverged {
        /// Step.
        step: u64,
    },
}

impl TrainError {
    /// A failed file operation.
    pub(crate) fn file(
        what: &'static str,
        path: &std::path::Path,
        reason: impl std::fmt::Display,
    ) -> Self {
        Self::File {
            what,
            reason: reason.to_string(),
            path: path.to_owned(),
        }
    }
}

/// Result of training code.
pub type TrainResult<T> = Result<T, TrainError>;
