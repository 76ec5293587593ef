//! The engine: a loaded model and what it can be asked. Blocking functions; whoever calls them brings the clip (with its
//! caches), a progress sink and a cancel token. The parts are in [`super::language`] (clip and phrase → embeddings),
//! [`super::ground`] (embeddings → proposals, boxes, masks), [`super::masks`] (prompts → masks) and [`super::propagate`]
//! (masks through time).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::nn::config::SparrowConfig;

use super::clip::Clip;

pub use super::{
    bench::StageTime,
    ground::Grounded,
    networks::LoadedModel,
    propagate::{CarriedMask, PropagateOptions, Propagation},
    timing::Timing,
};

/// Numbers engines, so that a clip knows whose results it keeps.
static ENGINES: AtomicU64 = AtomicU64::new(1);

/// A loaded model at work.
pub struct Engine {
    model: LoadedModel,
    number: u64,
    as_released: bool,
}

impl Engine {
    /// Takes the model.
    pub fn new(model: LoadedModel) -> Self {
        Self {
            model,
            number: ENGINES.fetch_add(1, Ordering::Relaxed),
            as_released: false,
        }
    }

    /// The same by the released rules of choice.
    pub(super) fn released(self) -> Self {
        Self {
            as_released: true,
            ..self
        }
    }

    /// Whether the released rules of choice hold.
    pub(super) fn is_released(&self) -> bool {
        self.as_released
    }

    /// The model.
    pub fn model(&self) -> &LoadedModel {
        &self.model
    }

    pub(super) fn config(&self) -> &SparrowConfig {
        &self.model.info.config
    }

    /// Makes sure that what the clip keeps was made by this engine.
    pub(super) fn claim(&self, clip: &mut Clip) {
        if clip.engine != Some(self.number) {
            clip.forget();
            clip.engine = Some(self.number);
        }
    }
}
