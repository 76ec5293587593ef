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

/// Images that are encoded together where that is faster.
const AT_ONCE: usize = 4;

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
            // One image keeps every core of a CPU busy; most layers of a GPU wait for more.
            clip.at_once = if self.model.device.is_cpu() {
                1
            } else {
                AT_ONCE
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        infer::model::ModelInfo,
        project::{FrameIndex, Size},
        video::SyntheticSource,
    };

    /// Image features that are made together are those that are made one by one, and no more are made than are asked for.
    #[test]
    fn frames_that_are_encoded_together_are_the_same() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let clip = || Clip::new(Box::new(SyntheticSource::new(Size::new(64, 48), 6, 8.0)));
        let (mut alone, mut together) = (clip(), clip());
        engine.claim(&mut alone);
        engine.claim(&mut together);
        engine.look_ahead(&mut alone, 0..6).unwrap();
        assert!(
            alone.features.get(&FrameIndex(0)).is_none(),
            "a CPU does not look ahead"
        );
        together.at_once = 3;
        let kept = engine.features(&mut together, FrameIndex(1)).unwrap();
        engine.look_ahead(&mut together, 0..6).unwrap();
        assert!(together.features.get(&FrameIndex(3)).is_none());
        for frame in [0, 1, 2].map(FrameIndex) {
            let made = together.features.get(&frame).expect("looked at");
            let want = engine.features(&mut alone, frame).unwrap();
            let all = |t: &candle_core::Tensor| t.flatten_all()?.to_vec1::<f32>();
            for (a, b) in made
                .high_res
                .iter()
                .chain([&made.embed])
                .zip(want.high_res.iter().chain([&want.embed]))
            {
                let off = all(a)
                    .unwrap()
                    .into_iter()
                    .zip(all(b).unwrap())
                    .map(|(a, b)| (a - b).abs());
                assert!(off.fold(0.0, f32::max) < 1e-4, "{frame:?}");
            }
        }
        let again = engine.features(&mut together, FrameIndex(1)).unwrap();
        assert!(
            std::sync::Arc::ptr_eq(&kept, &again),
            "what is known is not made again"
        );
        together.keep_less();
        assert_eq!(together.at_once, 1);
    }
}
