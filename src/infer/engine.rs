//! The engine: a loaded model and what it can be asked. Blocking functions; whoever calls them brings the clip (with its
//! caches), a progress sink and a cancel token. The parts are in [`super::language`] (clip and phrase → embeddings),
//! [`super::ground`] (embeddings → proposals, boxes, masks), [`super::masks`] (prompts → masks) and [`super::propagate`]
//! (masks through time).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::nn::config::SparrowConfig;

use super::{
    clip::Clip,
    error::{InferError, InferResult},
};

pub use super::{
    bench::StageTime,
    ground::Grounded,
    networks::LoadedModel,
    propagate::{CarriedMask, PropagateOptions, Propagation},
    timing::{DECODING, Timing},
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

    /// Works on a clip; if memory runs out, once more with every cache emptied, which is worth less than an answer.
    ///
    /// # Errors
    /// Those of the work; [`InferError::Memory`] if there was not enough the second time either.
    pub fn sparing<T>(
        clip: &mut Clip,
        mut work: impl FnMut(&mut Clip) -> InferResult<T>,
    ) -> InferResult<T> {
        match work(clip) {
            Err(InferError::Memory(_)) => {
                clip.keep_less();
                work(clip)
            }
            done => done,
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        infer::model::ModelInfo,
        project::{BoxPx, FrameIndex, Size},
        video::SyntheticSource,
    };

    /// Image features that are made together are those that are made one by one, each in memory of its own, and not made twice.
    #[test]
    fn frames_that_are_encoded_together_are_the_same() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let clip = || Clip::new(Box::new(SyntheticSource::new(Size::new(64, 48), 6, 8.0)));
        let (mut alone, mut together) = (clip(), clip());
        engine.claim(&mut alone);
        engine.claim(&mut together);
        engine.look_ahead(&mut alone, 0..6).unwrap();
        let none = alone.features.get(&FrameIndex(0)).is_none();
        assert!(none, "a CPU does not look ahead");
        let kept = engine.features(&mut together, FrameIndex(1)).unwrap();
        engine.look_at(&mut together, 1..3).unwrap();
        let none = together.features.get(&FrameIndex(2)).is_none();
        assert!(none, "only once the first is missing");
        // Behind the last frame there is nothing to be read, which is no failure of those before it.
        engine
            .look_at(&mut together, [0, 1, 2, 2, 9, 3].into_iter())
            .unwrap();
        assert!(together.features.get(&FrameIndex(3)).is_none());
        for frame in [0, 1, 2].map(FrameIndex) {
            let made = together.features.get(&frame).expect("looked at");
            let want = engine.features(&mut alone, frame).unwrap();
            let parts = made.high_res.iter().chain([&made.embed]);
            for (a, b) in parts.zip(want.high_res.iter().chain([&want.embed])) {
                let all = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>();
                let (x, y) = (all(a).unwrap(), all(b).unwrap());
                let off = x.iter().zip(&y).map(|(x, y)| (x - y).abs());
                assert!(off.fold(0.0, f32::max) < 1e-4, "{frame:?}");
                assert_eq!(held(a), x.len(), "{frame:?} holds no other's numbers");
            }
        }
        let again = engine.features(&mut together, FrameIndex(1)).unwrap();
        let same = std::sync::Arc::ptr_eq(&kept, &again);
        assert!(same, "what is known is not made again");
        // Once memory has run out, the limit stays, whoever comes next.
        together.keep_less();
        engine.claim(&mut together);
        assert_eq!(together.at_once, 1);
    }

    /// "Out of memory" in the words that drivers use for it.
    #[test]
    fn work_without_memory_is_tried_again_with_less() {
        let mut clip = Clip::new(Box::new(SyntheticSource::new(Size::new(64, 48), 2, 8.0)));
        let full = || candle_core::Error::Msg("CUBLAS_STATUS_ALLOC_FAILED".into());
        let mut tries = 0;
        let done = Engine::sparing(&mut clip, |clip| {
            tries += 1;
            if clip.at_once > 1 {
                return Err(full().into());
            }
            Ok(tries)
        });
        assert_eq!(done.unwrap(), 2);
        let never = Engine::sparing(&mut clip, |_| -> InferResult<()> { Err(full().into()) });
        let text = never.unwrap_err().to_string();
        assert!(
            text.contains("not enough memory") && text.contains("--precision"),
            "{text}"
        );
        let other = || candle_core::Error::Msg("shape mismatch".into());
        let mut tries = 0;
        let refused = Engine::sparing(&mut clip, |_| -> InferResult<()> {
            tries += 1;
            Err(other().into())
        });
        assert!(refused.unwrap_err().to_string().contains("shape mismatch") && tries == 1);
    }

    /// Proposals are drawn tight, boxes that a person drew are not.
    #[test]
    fn a_drawn_box_is_offered_as_it_was_drawn() {
        let info = ModelInfo::by_id("nano").unwrap();
        assert!(info.config.filtration.tight.is_some());
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let mut clip = Clip::new(Box::new(SyntheticSource::new(Size::new(64, 48), 2, 8.0)));
        engine.claim(&mut clip);
        let drawn = BoxPx {
            x1: 3.0,
            y1: 4.0,
            x2: 50.0,
            y2: 40.0,
        };
        let frame = FrameIndex(0);
        let features = engine.features(&mut clip, frame).unwrap();
        let offered = engine
            .offered(&mut clip, frame, &features, &[drawn])
            .unwrap();
        let boxes = offered.all.boxes.to_vec2::<f32>().unwrap();
        let want = [3.0 / 64.0, 4.0 / 48.0, 50.0 / 64.0, 40.0 / 48.0];
        let last = boxes.last().unwrap();
        assert!(
            last.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5),
            "{last:?}"
        );
    }

    /// Numbers in the memory behind a tensor.
    fn held(t: &candle_core::Tensor) -> usize {
        match &*t.storage_and_layout().0 {
            candle_core::Storage::Cpu(candle_core::CpuStorage::F32(values)) => values.len(),
            other => panic!("{:?}", other.device()),
        }
    }
}
