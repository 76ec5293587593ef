//! What the networks see of a frame: pixels as each model wants them, image features kept per frame and made ahead, and a frame in
//! the light of what is remembered of an object. What is made of it is left to [`super::masks`] and [`super::propagate`].

use std::sync::Arc;

use candle_core::Tensor;

use crate::{
    nn::sam2::{ImageFeatures, bank::FrameInfo},
    project::{FrameIndex, Rle, Size},
    video::{Frame, RgbFrame, to_rgb, to_rgb_scaled},
};

use super::{
    appearance::Canvas, clip::Clip, engine::Engine, error::InferResult, model::Pixels,
    preprocess::sam_input, released,
};

/// A frame as the decoder is given it.
pub(super) struct Sight<'a> {
    pub(super) features: &'a ImageFeatures,
    /// Their embedding in the light of what is remembered of an object, if anything is.
    pub(super) embed: Tensor,
}

/// Images that are encoded together on a GPU. Features of so many fit into what a clip keeps several times over.
const AT_ONCE: usize = 4;

/// Bytes of an image's features.
fn bytes(features: &ImageFeatures) -> usize {
    features
        .high_res
        .iter()
        .chain([&features.embed])
        .chain(&features.fpn)
        .map(|t| t.elem_count() * t.dtype().size_in_bytes())
        .sum()
}

impl Engine {
    /// Image features of a frame, from the clip's cache if they are there.
    pub(super) fn features(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
    ) -> InferResult<Arc<ImageFeatures>> {
        if let Some(features) = clip.features.get(&frame) {
            return Ok(features);
        }
        let features = self.encode(&self.image(clip, frame)?)?;
        clip.features
            .put(frame, Arc::clone(&features), bytes(&features));
        Ok(features)
    }

    /// Makes the features of the next of `frames` in one go, if those of the first are not there: most layers of a GPU wait for more
    /// than one image. Nothing on a CPU, of which one image keeps every core busy. What cannot be read is left to its own turn.
    pub(super) fn look_ahead(
        &self,
        clip: &mut Clip,
        frames: impl Iterator<Item = u32>,
    ) -> InferResult<()> {
        let at_once = if self.model().device.is_cpu() {
            1
        } else {
            AT_ONCE
        };
        let at_once = at_once.min(clip.at_once);
        self.look_at(clip, frames.take(at_once))
    }

    /// [`Engine::look_ahead`] at all of `frames`.
    pub(super) fn look_at(
        &self,
        clip: &mut Clip,
        frames: impl Iterator<Item = u32>,
    ) -> InferResult<()> {
        let mut missing: Vec<FrameIndex> = Vec::new();
        for frame in frames.map(FrameIndex) {
            if clip.features.get(&frame).is_none() {
                if !missing.contains(&frame) {
                    missing.push(frame);
                }
            } else if missing.is_empty() {
                return Ok(());
            }
        }
        if missing.len() < 2 {
            // Its own turn makes the same input again.
            return Ok(());
        }
        let mut images = Vec::with_capacity(missing.len());
        for frame in &missing {
            match self.image(clip, *frame) {
                Ok(image) => images.push(image),
                Err(_) => break,
            }
        }
        if images.len() < 2 {
            return Ok(());
        }
        let all = self.encode(&Tensor::cat(&images, 0)?)?;
        for (i, frame) in missing.into_iter().take(images.len()).enumerate() {
            let features = Arc::new(all.row(i)?.on_its_own()?);
            let bytes = bytes(&features);
            clip.features.put(frame, features, bytes);
        }
        Ok(())
    }

    /// A frame as the networks are shown it, stretched to a square of `side` pixels, from the clip's cache if it is there.
    fn shown(&self, clip: &mut Clip, frame: FrameIndex, side: usize) -> InferResult<Arc<RgbFrame>> {
        if let Some(shown) = clip.small.get(&(frame, side)) {
            return Ok(shown);
        }
        let small = to_rgb_scaled(&*clip.frame(frame)?, Size::new(side as u32, side as u32));
        let shown = Arc::new(self.model().info.preprocess.lit(&small).into_owned());
        clip.small
            .put((frame, side), Arc::clone(&shown), shown.data.len());
        Ok(shown)
    }

    /// A frame as SAM2's input `(1, 3, s, s)`.
    pub(super) fn image(&self, clip: &mut Clip, frame: FrameIndex) -> InferResult<Tensor> {
        let side = self.config().sam2.image_size;
        let model = self.model();
        if model.info.preprocess.pixels == Pixels::Released {
            return self.image_of(&*clip.frame(frame)?);
        }
        let shown = self.shown(clip, frame, side)?;
        let norm = &model.info.preprocess.sam;
        Ok(sam_input(&shown, side, norm, &model.device)?)
    }

    /// [`Engine::image`] of a decoded frame, past what a clip keeps.
    pub(super) fn image_of(&self, frame: &Frame) -> InferResult<Tensor> {
        let side = self.config().sam2.image_size;
        let model = self.model();
        let norm = &model.info.preprocess.sam;
        Ok(match model.info.preprocess.pixels {
            Pixels::Released => released::sam_input(&to_rgb(frame), side, norm, &model.device)?,
            Pixels::Stretched => {
                let small = to_rgb_scaled(frame, Size::new(side as u32, side as u32));
                let shown = model.info.preprocess.lit(&small);
                sam_input(&shown, side, norm, &model.device)?
            }
        })
    }

    /// What crops of proposals are cut from: SAM2's input, if the model looks at pixels.
    pub(super) fn crops_from(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
    ) -> InferResult<Option<Tensor>> {
        match self.config().filtration.crop_side() {
            Some(_) => self.image(clip, frame).map(Some),
            None => Ok(None),
        }
    }

    /// A frame as masks are divided on; `None` if the model's masks are not.
    pub(super) fn canvas(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
    ) -> InferResult<Option<Arc<Canvas>>> {
        let Some(config) = self.model().info.appearance else {
            return Ok(None);
        };
        if let Some(canvas) = clip.canvases.get(&frame) {
            return Ok(Some(canvas));
        }
        let shown = self.shown(clip, frame, config.grid)?;
        let canvas = Arc::new(Canvas::new(&shown, config.grid));
        let bytes = canvas.bytes();
        clip.canvases.put(frame, Arc::clone(&canvas), bytes);
        Ok(Some(canvas))
    }

    /// SAM2's input → features.
    pub(super) fn encode(&self, image: &Tensor) -> InferResult<Arc<ImageFeatures>> {
        let features = self.model().networks.sam2.encode_image(image)?;
        // Only a proposer with several levels reads the raw pyramid again.
        Ok(Arc::new(if self.config().proposer.num_feature_levels > 1 {
            features
        } else {
            features.without_pyramid()
        }))
    }

    /// A frame by itself.
    pub(super) fn sight<'a>(&self, features: &'a ImageFeatures) -> InferResult<Sight<'a>> {
        let embed = self.model().networks.sam2.add_no_mem(&features.embed)?;
        Ok(Sight { features, embed })
    }

    /// A frame in the light of an object's masks on others, if there are any: so does SAM2 look at a frame that it has carried a mask
    /// to and that is corrected (`track_step` with `is_init_cond_frame` false), and here at every frame of an object that is known
    /// elsewhere. A decoder that was not trained on corrections is left
    /// with the frame by itself: for nano it made no difference either way.
    pub(super) fn sight_after<'a>(
        &self,
        clip: &mut Clip,
        features: &'a ImageFeatures,
        (frame, known): (FrameIndex, &[(FrameIndex, Rle)]),
    ) -> InferResult<Sight<'a>> {
        if !self.model().info.mask_prompts {
            return self.sight(features);
        }
        // Nearest first.
        let bank = self.remember_known(clip, frame, known)?;
        let here = frame.0 as usize;
        let info = FrameInfo {
            frame: here,
            num_frames: clip.frames() as usize,
            reverse: bank.first().is_some_and(|nearest| nearest.frame > here),
            max_conditioning: None,
        };
        let embed = self
            .model()
            .networks
            .sam2
            .condition(features, &bank, info)?;
        Ok(Sight { features, embed })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use candle_core::Device;

    use super::*;
    use crate::{
        infer::{LoadedModel, clip::tests::counting, model::ModelInfo},
        project::VideoInfo,
        video::{self, FrameSource, SyntheticSource, VideoError},
    };

    /// A clip at a fifth of its light.
    struct Night(SyntheticSource);

    impl FrameSource for Night {
        fn info(&self) -> &VideoInfo {
            self.0.info()
        }

        fn frame(&mut self, frame: FrameIndex) -> Result<Frame, VideoError> {
            let mut frame = self.0.frame(frame)?;
            if let video::Pixels::Rgb(rgb) = &mut frame.pixels {
                rgb.iter_mut().for_each(|v| *v /= 5);
            }
            Ok(frame)
        }

        fn pts_secs(&self, frame: FrameIndex) -> Option<f64> {
            self.0.pts_secs(frame)
        }
    }

    #[test]
    fn each_model_is_shown_a_dark_frame_in_its_own_light() {
        let engine = |lifts_dark: bool| {
            let mut info = ModelInfo::by_id("nano").unwrap();
            info.preprocess.lifts_dark = lifts_dark;
            Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap())
        };
        let source = SyntheticSource::new(Size::new(64, 48), 1, 25.0);
        let mut clip = Clip::new(Box::new(Night(source)));
        let mut shown = |engine: &Engine| {
            engine.claim(&mut clip);
            let shown = engine.shown(&mut clip, FrameIndex(0), 32).unwrap();
            let again = engine.shown(&mut clip, FrameIndex(0), 32).unwrap();
            assert!(Arc::ptr_eq(&shown, &again), "it is lit once");
            shown.data.iter().copied().max()
        };
        assert!(shown(&engine(true)) > Some(200));
        assert!(shown(&engine(false)) < Some(50));
        assert!(shown(&engine(true)) > Some(200));
    }

    /// Its own turn makes the same input: made here, it would be made twice.
    #[test]
    fn a_frame_that_is_alone_is_not_prepared_ahead() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let (mut clip, decoded) = counting(Size::new(64, 48), 4);
        engine.claim(&mut clip);
        engine.look_ahead(&mut clip, 0..4).unwrap();
        engine.look_at(&mut clip, 2..3).unwrap();
        assert_eq!(decoded.load(Ordering::Relaxed), 0);
    }
}
