//! From a clip and a phrase to the model's words and the embeddings of its `[SEG]` and `[BOX]`.
//!
//! The visual part of the prompt is run once per set of encoder frames and its keys and values are kept, so that another
//! phrase costs only its own tokens. Decoding is greedy. The embedding of a token is made from the state that predicted
//! it. What the embeddings prompt is left to [`super::ground`].

use std::{slice, sync::Arc};

use candle_core::{D, DType, Tensor};

use crate::{
    nn::{
        multimodal::{self, TsfTokens},
        phi3::{self, KvCache},
    },
    project::{BoxPx, FrameIndex, Size},
    task::Progress,
    video::{to_rgb, to_rgb_scaled},
};

use super::{
    clip::{Clip, Prefix},
    engine::Engine,
    error::{InferError, InferResult},
    model::Pixels,
    preprocess::{crop_input, spread_frames_from, tower_input},
    released,
    words::Phrase,
};

/// Whether the answer may be that there is no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The model decides.
    Free,
    /// It is taken for granted, so that there is something to score proposals with.
    Presupposed,
}

/// What the model said.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) text: String,
    /// Each token with its probability.
    pub(super) tokens: Vec<(String, f32)>,
    /// Prompt embeddings of the `[SEG]`s, `(1, d)` each.
    pub(super) seg: Vec<Tensor>,
    /// Prompt embeddings of the `[BOX]`es, `(1, d)` each.
    pub(super) boxes: Vec<Tensor>,
    /// Target-specific tokens that were in the prompt.
    pub(super) tsf_tokens: u32,
    /// Probability that there is such a thing, by the answer's first word.
    pub(super) presence: f32,
}

impl Spoken {
    /// Nothing yet, after a prompt with so many target-specific tokens.
    pub(super) fn nothing(tsf_tokens: u32) -> Self {
        Self {
            text: String::new(),
            tokens: Vec::new(),
            seg: Vec::new(),
            boxes: Vec::new(),
            tsf_tokens,
            presence: 1.0,
        }
    }
}

impl Engine {
    /// The frames that the towers see when the model is asked about `frame`.
    pub fn encoder_frames(&self, clip: &Clip, frame: FrameIndex) -> Vec<FrameIndex> {
        if self.model().info.preprocess.pixels == Pixels::Released {
            let (info, n) = (clip.info(), self.config().visual.num_frames);
            return released::encoder_frames(info.frames, info.fps, frame, n);
        }
        spread_frames_from(clip.frames(), self.config().visual.num_frames, frame)
    }

    /// Runs both towers and the visual part of the prompt, unless that was done before.
    pub(super) fn prefix(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        progress: &mut Progress<'_>,
    ) -> InferResult<Arc<Prefix>> {
        let frames = self.encoder_frames(clip, frame);
        if let Some(prefix) = clip.prefixes.get(&frames) {
            return Ok(prefix);
        }
        let images = self.images(clip.frames());
        let block = if images == 1 {
            progress.step(0, 1, "reading the picture")?;
            self.picture_block(clip, frame)?
        } else {
            let (spatial, temporal) = self.tower_inputs(clip, &frames, progress)?;
            self.visual_block(&spatial, &temporal)?
        };
        progress.cancel.check()?;
        clip.prefixes.make_room(self.prefix_bytes());
        let prefix = Arc::new(self.run_prefix_of(&block, images)?);
        let bytes = prefix.state.bytes();
        clip.prefixes.put(frames, Arc::clone(&prefix), bytes);
        Ok(prefix)
    }

    /// Inputs of the spatial tower `(n, 3, s, s)` and of the temporal one `(chunks, t, 3, s, s)`.
    pub(super) fn tower_inputs(
        &self,
        clip: &mut Clip,
        frames: &[FrameIndex],
        progress: &mut Progress<'_>,
    ) -> InferResult<(Tensor, Tensor)> {
        let (config, norms) = (self.config(), &self.model().info.preprocess);
        let (a, b) = (config.clip.image_size, config.internvideo2.img_size);
        let square = |side: usize| Size::new(side as u32, side as u32);
        let device = &self.model().device;
        let (mut spatial, mut temporal) = (Vec::new(), Vec::new());
        for (i, &frame) in frames.iter().enumerate() {
            progress.step(i as u64, frames.len() as u64, "reading the clip")?;
            let decoded = clip.frame(frame)?;
            if norms.pixels == Pixels::Released {
                let rgb = to_rgb(&decoded);
                spatial.push(released::spatial_input(&rgb, a, &norms.clip, device)?);
                let input = released::temporal_input(&rgb, b, &norms.internvideo2, device)?;
                temporal.push(input);
                continue;
            }
            let small = to_rgb_scaled(&decoded, square(a));
            let shown = norms.lit(&small);
            spatial.push(tower_input(&shown, a, &norms.clip, device)?);
            let other;
            let shown = if a == b {
                shown
            } else {
                other = to_rgb_scaled(&decoded, square(b));
                norms.lit(&other)
            };
            temporal.push(tower_input(&shown, b, &norms.internvideo2, device)?);
        }
        let t = config.internvideo2.num_frames;
        let temporal = Tensor::cat(&temporal, 0)?;
        if !frames.len().is_multiple_of(t) {
            return Err(InferError::Network(format!(
                "{} encoder frames do not divide into chunks of {t}",
                frames.len()
            )));
        }
        Ok((
            Tensor::cat(&spatial, 0)?,
            temporal.reshape((frames.len() / t, t, 3, b, b))?,
        ))
    }

    /// Tower inputs → the visual block of the prompt `(tokens, h)`.
    pub(super) fn visual_block(&self, spatial: &Tensor, temporal: &Tensor) -> InferResult<Tensor> {
        Ok(self.model().networks.encode_clip(spatial, temporal)?)
    }

    /// Images in a prompt about a clip of so many frames. A released model was taught pictures apart from videos: one image, all of
    /// its tokens.
    pub(super) fn images(&self, frames: u32) -> usize {
        if frames == 1 && self.model().info.preprocess.pixels == Pixels::Released {
            return 1;
        }
        self.config().visual.num_frames
    }

    /// The visual block of a single picture `(tokens, h)`.
    fn picture_block(&self, clip: &mut Clip, frame: FrameIndex) -> InferResult<Tensor> {
        let (side, model) = (self.config().clip.image_size, self.model());
        let norm = &model.info.preprocess.clip;
        let input = released::spatial_input(&clip.rgb(frame)?, side, norm, &model.device)?;
        Ok(model.networks.encode_picture(&input)?)
    }

    /// The prompt up to the visual block of a clip, run and frozen.
    pub(super) fn run_prefix(&self, block: &Tensor) -> InferResult<Prefix> {
        self.run_prefix_of(block, self.config().visual.num_frames)
    }

    fn run_prefix_of(&self, block: &Tensor, images: usize) -> InferResult<Prefix> {
        let prompt = self.prompt(&Phrase::default(), images, 0)?;
        let n = &self.model().networks;
        let spliced = multimodal::splice(
            &prompt.ids[..prompt.prefix],
            None,
            Some(block),
            &TsfTokens::Zeros(0),
            self.prompt_tokens(),
            |ids| n.language.embed(ids),
        )?;
        let mut state = KvCache::new();
        n.language
            .forward_prefix(&spliced.embeds.unsqueeze(0)?, &mut state)?;
        Ok(Prefix { state, images })
    }

    /// Bytes of keys and values that [`Engine::run_prefix`] leaves, but for the few words before the frames.
    fn prefix_bytes(&self) -> usize {
        let (model, config) = (self.model(), self.config());
        let gpu = !model.device.is_cpu();
        phi3::prefix_bytes(&config.phi3, config.visual_tokens(), model.precision, gpu)
    }

    fn prompt(
        &self,
        phrase: &Phrase,
        images: usize,
        tsf: usize,
    ) -> InferResult<super::words::PromptIds> {
        let model = self.model();
        Ok(model
            .words
            .prompt(&model.info.prompt.template, phrase, images, tsf)?)
    }

    pub(super) fn prompt_tokens(&self) -> multimodal::PromptIds {
        // The vocabulary was checked for both when it was made.
        let id = |token: &str| self.model().words.id(token).unwrap_or_default();
        multimodal::PromptIds {
            seg: id("[SEG]"),
            boxes: id("[BOX]"),
        }
    }

    /// Target-specific tokens of crops, `(m, h)`, in a prompt about `frame`; `None` without crops, or in a model that takes none.
    pub(super) fn tsf_tokens(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        crops: &[(FrameIndex, BoxPx)],
        progress: &mut Progress<'_>,
    ) -> InferResult<Option<Tensor>> {
        // Of an object that is not on its frame there is nothing to cut out.
        let there = crops.iter().filter(|(_, b)| b.area() > 0.0);
        let crops: Vec<_> = there.copied().collect();
        if crops.is_empty() || self.config().visual.tsf_k == 0 {
            return Ok(None);
        }
        let mut crops = thinned(&crops, frame);
        let of_picture = clip.frames() == 1 && self.images(1) == 1;
        if of_picture {
            // Every frame of a list of boxes is the one that there is.
            crops.dedup();
        }
        let (config, model) = (self.config(), self.model());
        let side = config.clip.image_size;
        let norm = &model.info.preprocess.clip;
        let mut inputs = Vec::with_capacity(crops.len());
        for (i, &(frame, box_px)) in crops.iter().enumerate() {
            progress.step(i as u64, crops.len() as u64, "looking at the anchors")?;
            let rgb = clip.rgb(frame)?;
            inputs.push(match model.info.preprocess.pixels {
                Pixels::Released => released::crop_input(&rgb, box_px, side, norm, &model.device)?,
                Pixels::Stretched => {
                    let shown = model.info.preprocess.lit(&rgb);
                    crop_input(&shown, box_px, side, norm, &model.device)?
                }
            });
        }
        let (chosen, _, _) = model.networks.crop_tokens(&Tensor::cat(&inputs, 0)?)?;
        // A released model was taught one place for them in a prompt about a picture.
        let chosen = if of_picture {
            chosen.narrow(0, 0, 1)?
        } else {
            chosen
        };
        Ok(Some(chosen))
    }

    /// Continues after the visual prefix with the phrase and takes down the answer.
    pub(super) fn speak(
        &self,
        prefix: &Prefix,
        phrase: &Phrase,
        tsf: Option<&Tensor>,
        opening: Opening,
        progress: &mut Progress<'_>,
    ) -> InferResult<Spoken> {
        let (n, words) = (&self.model().networks, &self.model().words);
        let places = tsf.map_or(Ok(0), |t| t.dim(0))?;
        let prompt = self.prompt(phrase, prefix.images, places)?;
        let tokens = self.prompt_tokens();
        let tsf_tokens = match tsf {
            Some(t) => TsfTokens::Selected(t),
            None => TsfTokens::Zeros(0),
        };
        let rest = multimodal::splice(
            &prompt.ids[prompt.prefix..],
            None,
            None,
            &tsf_tokens,
            tokens,
            |ids| n.language.embed(ids),
        )?;
        let mut state = prefix.state.clone();
        let mut embeds = rest.embeds;
        let mut ids = Vec::new();
        let mut spoken = Spoken::nothing(places as u32);
        let at_most = self.model().info.prompt.max_new_tokens;
        while ids.len() < at_most {
            progress.cancel.check()?;
            let hidden = n.language.forward(&embeds.unsqueeze(0)?, &mut state)?;
            let last = hidden.dim(1)? - 1;
            let hidden = hidden.narrow(1, last, 1)?.squeeze(0)?;
            let probabilities = self.probabilities(&hidden)?;
            let id = match ids.len() {
                0 => {
                    let (id, presence) = self.opening(&probabilities, opening);
                    spoken.presence = presence;
                    id
                }
                _ => best(&probabilities, |_| true),
            };
            if self.take_down(&mut spoken, id, &probabilities, &hidden)? {
                break;
            }
            embeds = n.language.embed(slice::from_ref(&id))?;
            ids.push(id);
        }
        spoken.text = words.decode(&ids);
        Ok(spoken)
    }

    /// Notes a token, and what it prompts with, made from the state `(1, h)` that predicted it; whether it ends the answer.
    pub(super) fn take_down(
        &self,
        spoken: &mut Spoken,
        id: u32,
        probabilities: &[f32],
        hidden: &Tensor,
    ) -> InferResult<bool> {
        let (words, tokens) = (&self.model().words, self.prompt_tokens());
        spoken.tokens.push((
            words.token(id).to_owned(),
            probabilities.get(id as usize).copied().unwrap_or(0.0),
        ));
        if words.is_end(id) {
            return Ok(true);
        }
        let multimodal = &self.model().networks.multimodal;
        if id == tokens.seg {
            spoken.seg.push(multimodal.to_vision(hidden)?);
        } else if id == tokens.boxes {
            spoken.boxes.push(multimodal.to_vision(hidden)?);
        }
        Ok(false)
    }

    /// Probabilities of the next token after a state `(1, h)`.
    ///
    /// # Errors
    /// [`InferError::Network`] if one is not a number.
    pub(super) fn probabilities(&self, hidden: &Tensor) -> InferResult<Vec<f32>> {
        let logits = self.model().networks.language.logits(hidden)?;
        // Rows past the vocabulary were never trained.
        let logits = logits.narrow(D::Minus1, 0, self.model().words.len())?;
        let p = candle_nn::ops::softmax(&logits.to_dtype(DType::F32)?, D::Minus1)?;
        let p: Vec<f32> = p.flatten_all()?.to_vec1()?;
        // A single overflow spoils them all, and the first word there is would win.
        if p.iter().any(|p| !p.is_finite()) {
            return Err(InferError::Network(
                "its language model counts past what its numbers can hold: load it with --precision bf16 or f32"
                    .into(),
            ));
        }
        Ok(p)
    }

    /// The first token of the answer, where it is decided whether there is such a thing: the answer's "none" begins with
    /// a word of its own, and its probability is compared with the model's threshold. Also the probability that there is.
    fn opening(&self, probabilities: &[f32], opening: Opening) -> (u32, f32) {
        if self.is_released() {
            return (best(probabilities, |_| true), 1.0);
        }
        let model = self.model();
        let none = model.words.first_of(&model.info.prompt.answer_none);
        let Some(none) = none else {
            return (best(probabilities, |_| true), 1.0);
        };
        let absent = probabilities.get(none as usize).copied().unwrap_or(0.0);
        let id = if opening == Opening::Presupposed || 1.0 - absent >= model.thresholds.presence {
            best(probabilities, |id| id != none)
        } else {
            none
        };
        (id, 1.0 - absent)
    }
}

/// Crops that target-specific tokens are chosen from at most, as many as in the reference: each costs a decoded frame and the
/// spatial tower's work.
const CROPS: usize = 16;

/// No more than [`CROPS`] of the crops, in their order and evenly spread over it, which is an object's in time; the one nearest to
/// `frame` is always among them.
fn thinned(crops: &[(FrameIndex, BoxPx)], frame: FrameIndex) -> Vec<(FrameIndex, BoxPx)> {
    if crops.len() <= CROPS {
        return crops.to_vec();
    }
    let mut kept: [usize; CROPS] = std::array::from_fn(|i| i * (crops.len() - 1) / (CROPS - 1));
    let nearest = (0..crops.len()).min_by_key(|&i| crops[i].0.0.abs_diff(frame.0));
    if let Some(nearest) = nearest
        && let Some(beside) = kept.iter_mut().min_by_key(|i| i.abs_diff(nearest))
    {
        *beside = nearest;
    }
    kept.map(|i| crops[i]).to_vec()
}

/// The most likely allowed token; the first on ties.
pub(super) fn best(probabilities: &[f32], allowed: impl Fn(u32) -> bool) -> u32 {
    let mut best: Option<(u32, f32)> = None;
    for (id, &p) in probabilities.iter().enumerate() {
        let id = id as u32;
        if allowed(id) && best.is_none_or(|(_, old)| p > old) {
            best = Some((id, p));
        }
    }
    best.map_or(0, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use candle_core::Device;

    use super::*;
    use crate::{
        infer::{LoadedModel, clip::tests::counting, model::ModelInfo},
        task::GroundOptions,
        video::SyntheticSource,
    };

    /// What is not a number is nothing that the model said.
    #[test]
    fn a_language_model_that_overflows_is_an_error_and_no_answer() {
        let info = ModelInfo::by_id("nano").unwrap();
        let mut model = LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap();
        let language = &mut model.networks.language;
        let shape = (language.vocabulary(), language.width());
        let head = Tensor::full(f32::NAN, shape, &Device::Cpu).unwrap();
        *language = language.with_head(head);
        let engine = Engine::new(model);
        let source = SyntheticSource::new(Size::new(64, 48), 2, 8.0);
        let mut clip = Clip::new(Box::new(source));
        let options = GroundOptions {
            thresholds: engine.model().project_thresholds(),
            drawn_boxes: Vec::new(),
            tsf: Vec::new(),
        };
        let (frame, mut progress) = (FrameIndex(0), Progress::silent());
        let asked = engine.ground(&mut clip, frame, "the horse", &options, &mut progress);
        let error = asked.map(drop).unwrap_err().to_string();
        assert!(error.contains("--precision bf16 or f32"), "{error}");
    }

    #[test]
    fn a_model_that_keeps_no_crops_is_given_no_target_specific_tokens() {
        let mut info = ModelInfo::by_id("nano").unwrap();
        let mut places = |tsf_k: usize| {
            info.config.visual.tsf_k = tsf_k;
            let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
            let source = SyntheticSource::new(Size::new(64, 48), 2, 8.0);
            let (mut clip, mut progress) = (Clip::new(Box::new(source)), Progress::silent());
            let crop = (FrameIndex(0), BoxPx::from_array([4.0, 4.0, 30.0, 30.0]));
            let tokens = engine.tsf_tokens(&mut clip, crop.0, &[crop], &mut progress);
            tokens.unwrap().map_or(0, |t| t.dim(0).unwrap())
        };
        assert_eq!((places(0), places(1)), (0, 1));
    }

    #[test]
    fn a_box_of_nothing_gives_no_target_specific_token() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let tokens = |boxes: &[[f32; 4]]| {
            let source = SyntheticSource::new(Size::new(64, 48), 2, 8.0);
            let (mut clip, mut progress) = (Clip::new(Box::new(source)), Progress::silent());
            let crop = |b: &[f32; 4]| (FrameIndex(0), BoxPx::from_array(*b));
            let crops: Vec<_> = boxes.iter().map(crop).collect();
            let made = engine.tsf_tokens(&mut clip, FrameIndex(0), &crops, &mut progress);
            made.unwrap().map(|t| t.to_vec2::<f32>().unwrap())
        };
        let (nothing, thing) = ([0.0; 4], [4.0, 4.0, 30.0, 30.0]);
        assert_eq!(tokens(&[nothing]), None);
        let one = tokens(&[thing]);
        assert!(one.is_some());
        assert_eq!(tokens(&[nothing, thing, nothing]), one);
    }

    #[test]
    fn of_many_crops_sixteen_are_decoded_and_the_nearest_is_among_them() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let (mut clip, decoded) = counting(Size::new(64, 48), 90);
        let boxed = |f: u32| (FrameIndex(f), BoxPx::from_array([4.0, 4.0, 30.0, 30.0]));
        let all: Vec<_> = (0..90).map(boxed).collect();
        let tokens = |clip: &mut Clip, crops: &[_]| {
            let mut progress = Progress::silent();
            let made = engine.tsf_tokens(clip, FrameIndex(46), crops, &mut progress);
            made.unwrap().unwrap().to_vec2::<f32>().unwrap()
        };
        let found = tokens(&mut clip, &all);
        assert_eq!(decoded.load(Ordering::Relaxed), 16);
        let kept = thinned(&all, FrameIndex(46));
        let frames: Vec<u32> = kept.iter().map(|c| c.0.0).collect();
        let want = [0, 5, 11, 17, 23, 29, 35, 41, 46, 53, 59, 65, 71, 77, 83, 89];
        assert_eq!(frames, want);
        // So few are taken as they come.
        assert_eq!(tokens(&mut clip, &kept), found);
        assert_eq!(thinned(&all[..16], FrameIndex(46)), all[..16]);
        // Of two objects, one after the other, each keeps its share.
        let two: Vec<_> = (0..40).chain(0..40).map(boxed).collect();
        let kept = thinned(&two, FrameIndex(39));
        assert_eq!(kept.iter().filter(|c| c.0.0 == 39).count(), 2);
        assert!(kept[..8].is_sorted_by_key(|c| c.0) && kept[8..].is_sorted_by_key(|c| c.0));
    }

    #[test]
    fn a_released_model_is_given_one_target_specific_token_of_a_single_picture() {
        let mut info = ModelInfo::by_id("nano").unwrap();
        let mut tokens = |pixels: Pixels, frames: u32, copies: usize| {
            info.preprocess.pixels = pixels;
            let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
            let source = SyntheticSource::new(Size::new(64, 48), frames, 8.0);
            let (mut clip, mut progress) = (Clip::new(Box::new(source)), Progress::silent());
            let crop = (FrameIndex(0), BoxPx::from_array([4.0, 4.0, 30.0, 30.0]));
            let crops = vec![crop; copies];
            let made = engine.tsf_tokens(&mut clip, crop.0, &crops, &mut progress);
            made.unwrap().unwrap().to_vec2::<f32>().unwrap()
        };
        let one = tokens(Pixels::Released, 1, 1);
        assert_eq!(tokens(Pixels::Released, 1, 16), one);
        assert_eq!(one.len(), 1);
        assert_eq!(tokens(Pixels::Released, 2, 16).len(), 4);
        assert_eq!(tokens(Pixels::Stretched, 1, 16).len(), 4);
    }

    #[test]
    fn a_released_model_sees_a_single_picture_as_one_image() {
        let mut info = ModelInfo::by_id("nano").unwrap();
        info.preprocess.pixels = Pixels::Released;
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let prefix = |frames: u32| {
            let source = SyntheticSource::new(Size::new(64, 48), frames, 8.0);
            let mut clip = Clip::new(Box::new(source));
            let mut progress = Progress::silent();
            let prefix = engine.prefix(&mut clip, FrameIndex(0), &mut progress);
            prefix.unwrap()
        };
        let (config, words) = (&info.config, |images| {
            let ids = engine.prompt(&Phrase::default(), images, 0).unwrap();
            ids.prefix - images
        });
        let picture = prefix(1);
        let grid = config.clip.image_size / config.clip.patch_size;
        assert_eq!(picture.images, 1);
        assert_eq!(picture.state.len(), words(1) + grid * grid);
        let video = prefix(2);
        let frames = config.visual.num_frames;
        assert_eq!(video.images, frames);
        assert_eq!(video.state.len(), words(frames) + config.visual_tokens());
    }
}
