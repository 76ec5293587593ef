//! Prompts on one frame become masks: image features (kept per frame), boxes, masks and text into SAM2's decoder, logits into
//! run lengths. Clicks are left to [`super::clicked`], dividing masks by colour to [`super::appearance`].

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::{
    nn::sam2::{DecodeOptions, ImageFeatures, MaskOutput, Prompts},
    project::{DriftSignal, FrameIndex, FrameMask, Provenance, Rle, Size},
    task::{Progress, Prompt},
    video::{Frame, RgbFrame, to_rgb, to_rgb_scaled},
};

use super::{
    appearance::{self, AppearanceConfig, Asked, Canvas, Colours, Known},
    clicked,
    clip::Clip,
    engine::Engine,
    error::{InferError, InferResult},
    heed::heeding,
    leash::{self, LeashConfig},
    model::Pixels,
    preprocess::{box_to_model, mask_cells, mask_from_logits, sam_input, taps},
    released,
};

/// Logit of a pixel that a person's mask covers; its negative outside.
pub(super) const CERTAIN: f32 = 10.0;

/// Logit of a cell of a mask that was divided by colour.
pub(super) const DIVIDED: f32 = 6.0;

/// What masks of boxes are divided by, if the model's are.
#[derive(Clone, Copy, Default)]
pub(super) struct ByColour<'a> {
    /// The frame, as [`Engine::canvas`] gives it; without it nothing is divided.
    pub(super) canvas: Option<&'a Canvas>,
    /// What the object looks like on other frames.
    pub(super) known: Option<&'a Colours>,
    /// The mask that a box corrects, on the canvas's grid.
    pub(super) carried: Option<&'a [bool]>,
}

impl<'a> ByColour<'a> {
    /// By the frame's own colours alone.
    pub(super) fn of(canvas: Option<&'a Canvas>) -> Self {
        Self {
            canvas,
            ..Self::default()
        }
    }
}

/// Low-resolution logits of one mask with what the decoder says of it.
#[derive(Clone, Debug)]
pub(super) struct LowRes {
    pub(super) logits: Vec<f32>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Presence, 0..=1.
    pub(super) score: f32,
    /// Predicted IoU, 0..=1.
    pub(super) iou: f32,
}

/// What a person's prompt has led to, as an anchor. Where the model has painted nothing, it is none: that would be a person's word
/// that the object is not there.
pub(super) fn prompted(mask: FrameMask) -> FrameMask {
    FrameMask {
        anchor: !mask.rle.is_empty(),
        ..mask
    }
}

impl LowRes {
    /// The mask at the video's size.
    pub(super) fn to_mask(&self, size: Size, provenance: Provenance) -> FrameMask {
        FrameMask {
            rle: mask_from_logits(&self.logits, self.rows, self.columns, size),
            score: self.score,
            iou: self.iou,
            provenance,
            anchor: false,
            drift: DriftSignal::default(),
        }
    }

    /// The mask at the video's size, as a person's.
    pub(super) fn to_anchor(&self, size: Size) -> FrameMask {
        prompted(self.to_mask(size, Provenance::Human))
    }

    /// A mask of a finer grid of `side × side`, with the same scores.
    pub(super) fn divided(&self, mask: &[bool], side: usize) -> Self {
        Self {
            logits: logits_of(mask, DIVIDED).collect(),
            rows: side,
            columns: side,
            ..*self
        }
    }

    /// The same mask on `side × side` cells, bilinear.
    pub(super) fn enlarged(&self, side: usize) -> Self {
        Self {
            logits: self.spread(side),
            rows: side,
            columns: side,
            ..*self
        }
    }

    /// Its logits on `side × side` cells, bilinear.
    pub(super) fn spread(&self, side: usize) -> Vec<f32> {
        let (across, down) = (taps(self.columns, side), taps(self.rows, side));
        let mut out = Vec::with_capacity(side * side);
        for (top, bottom, v) in down {
            for &(left, right, u) in &across {
                let row = |r: usize| {
                    let row = &self.logits[r * self.columns..];
                    row[left] * (1.0 - u) + row[right] * u
                };
                out.push(row(top) * (1.0 - v) + row(bottom) * v);
            }
        }
        out
    }

    /// Its logits on no more cells than it has: the mean of each.
    pub(super) fn shrunk(&self, rows: usize, columns: usize) -> Vec<f32> {
        let mut sums = vec![(0.0_f32, 0.0_f32); rows * columns];
        for (i, v) in self.logits.iter().enumerate() {
            let (x, y) = (i % self.columns, i / self.columns);
            let cell = &mut sums[y * rows / self.rows * columns + x * columns / self.columns];
            *cell = (cell.0 + v, cell.1 + 1.0);
        }
        sums.iter().map(|(sum, n)| sum / n.max(1.0)).collect()
    }
}

/// A mask as logits: `sure` inside, as much against it outside.
pub(super) fn logits_of(mask: &[bool], sure: f32) -> impl Iterator<Item = f32> {
    mask.iter().map(move |m| if *m { sure } else { -sure })
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// All values of a tensor in f32.
pub(super) fn values(t: &Tensor) -> candle_core::Result<Vec<f32>> {
    t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// Rows of numbers as a tensor `(k, n)`.
pub(super) fn rows_tensor<const N: usize>(
    rows: &[[f32; N]],
    device: &Device,
) -> candle_core::Result<Tensor> {
    Tensor::from_vec(rows.concat(), (rows.len(), N), device)
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

    /// Masks of one object as its colours are learnt from them, in the order given.
    pub(super) fn known_masks<'m>(
        &self,
        clip: &mut Clip,
        masks: impl Iterator<Item = (FrameIndex, &'m Rle)>,
        config: &AppearanceConfig,
    ) -> InferResult<Vec<Known>> {
        let mut known = Vec::new();
        for (frame, mask) in masks {
            if let Some(canvas) = self.canvas(clip, frame)? {
                known.push((canvas, mask_cells(mask, config.grid)));
            }
        }
        Ok(known)
    }

    /// What an object looks like on frames where its mask is known; `None` if that is not asked for, or there is nothing to
    /// learn from.
    fn colours(
        &self,
        clip: &mut Clip,
        known: &[(FrameIndex, Rle)],
    ) -> InferResult<Option<Colours>> {
        let Some(config) = self.model().info.appearance else {
            return Ok(None);
        };
        // Where it is not there is nothing to be seen of it.
        let there = known.iter().filter(|(_, mask)| !mask.is_empty());
        let masks = there.map(|(frame, mask)| (*frame, mask));
        let known = self.known_masks(clip, masks, &config)?;
        Ok(Colours::learn(&known, &config))
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

    pub(super) fn decode_options(&self, multimask: bool) -> DecodeOptions {
        DecodeOptions {
            multimask,
            train: false,
            image_size: self.config().sam2.image_size,
        }
    }

    /// One mask from boxes (corners in pixels of the model image) and a text embedding `(1, d)`: each box is decoded with
    /// the text, the logits are joined by their maximum. Without boxes, the text alone.
    pub(super) fn decode_boxes(
        &self,
        features: &ImageFeatures,
        by: ByColour<'_>,
        boxes: &[[f32; 4]],
        text: Option<&Tensor>,
    ) -> InferResult<LowRes> {
        let sam2 = &self.model().networks.sam2;
        let k = boxes.len().max(1);
        let embedding = match text {
            None => None,
            Some(t) => {
                let d = t.dim(1)?;
                Some(t.unsqueeze(1)?.broadcast_as((k, 1, d))?.contiguous()?)
            }
        };
        let prompts = Prompts {
            boxes: match boxes {
                [] => None,
                boxes => Some(rows_tensor(boxes, &self.model().device)?),
            },
            text: embedding,
            ..Prompts::default()
        };
        let embed = sam2.add_no_mem(&features.embed)?;
        let out = sam2.decode(
            &embed,
            &features.high_res,
            &prompts,
            self.decode_options(false),
        )?;
        let side = self.config().sam2.image_size as f32;
        let bounds: Vec<[f32; 4]> = boxes.iter().map(|b| b.map(|v| v / side)).collect();
        let info = &self.model().info;
        let appearance = if text.is_some() {
            info.appearance
        } else {
            info.appearance.map(AppearanceConfig::tight)
        };
        merged(&out, &bounds, (info.leash, appearance.as_ref(), by))
    }

    /// The mask of one object from a person's prompt. A mask without a box or clicks is taken as it is; with them it is
    /// refined.
    ///
    /// # Errors
    /// [`InferError`] if the prompt is empty or outside the frame, or something fails; also when cancelled.
    pub fn segment(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        prompt: &Prompt,
        progress: &mut Progress<'_>,
    ) -> InferResult<FrameMask> {
        let cancel = progress.cancel.clone();
        heeding(&cancel, || self.segmented(clip, frame, prompt, progress))
    }

    fn segmented(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        prompt: &Prompt,
        progress: &mut Progress<'_>,
    ) -> InferResult<FrameMask> {
        self.claim(clip);
        let size = clip.size();
        check_prompt(prompt, size)?;
        if let (Some(mask), None, true) = (&prompt.mask, prompt.box_px, prompt.points.is_empty()) {
            return Ok(FrameMask::by_hand(mask.clone()));
        }
        progress.step(0, 2, "encoding the frame")?;
        let (canvas, info) = (self.canvas(clip, frame)?, &self.model().info);
        if let (Some(before), None, Some(canvas), Some(config), false) = (
            &prompt.mask,
            prompt.box_px,
            &canvas,
            &info.appearance,
            info.mask_prompts,
        ) {
            // The decoder could only be shown the mask's box; the picture itself says more.
            let clicks = clicked::places(prompt, size);
            let mended = clicked::mended(canvas, before, &clicks, config);
            return Ok(prompted(FrameMask::by_hand(mended)));
        }
        let features = self.features(clip, frame)?;
        progress.step(1, 2, "decoding the mask")?;
        if prompt.box_px.is_none() && prompt.mask.is_none() {
            let seen = (&*features, canvas.as_deref());
            return self.segment_clicks(clip, frame, seen, prompt, progress);
        }
        let known = match prompt.box_px {
            Some(_) => self.colours(clip, &prompt.known)?,
            // Without a box nothing is divided.
            None => None,
        };
        let carried = match (&prompt.carried, &info.appearance) {
            (Some(mask), Some(config)) if prompt.box_px.is_some() => {
                Some(mask_cells(mask, config.grid))
            }
            _ => None,
        };
        let (canvas, known) = (canvas.as_deref(), known.as_ref());
        let low_res = if prompt.points.is_empty() && prompt.mask.is_none() {
            let side = self.config().sam2.image_size;
            let boxes: Vec<_> = prompt
                .box_px
                .map(|b| box_to_model(b.clamped(size), size, side))
                .into_iter()
                .collect();
            let by = ByColour {
                canvas,
                known,
                carried: carried.as_deref(),
            };
            self.decode_boxes(&features, by, &boxes, None)?
        } else {
            self.decode_clicks((&features, canvas, known), prompt, size)?
        };
        Ok(low_res.to_anchor(size))
    }

    /// Masks as logits `(k, 1, side, side)`: certain inside, certain outside.
    pub(super) fn mask_logits(&self, masks: &[&Rle], side: usize) -> InferResult<Tensor> {
        let mut all = Vec::with_capacity(masks.len() * side * side);
        for mask in masks {
            all.extend(logits_of(&mask_cells(mask, side), CERTAIN));
        }
        let shape = (masks.len(), 1, side, side);
        Ok(Tensor::from_vec(all, shape, &self.model().device)?)
    }
}

/// Joins the masks of `k` boxes (corners in parts of the image; none where text alone prompted) by the maximum of their
/// logits, each kept to its box if there is a leash, and divided by colour if that is asked for.
fn merged(
    out: &MaskOutput,
    boxes: &[[f32; 4]],
    (leash, appearance, by): (Option<LeashConfig>, Option<&AppearanceConfig>, ByColour<'_>),
) -> InferResult<LowRes> {
    let (k, m, rows, columns) = out.low_res.dims4()?;
    let all = values(&out.low_res.narrow(1, 0, 1)?.contiguous()?)?;
    let ious = values(&out.ious)?;
    let largest = |v: &[f32]| v.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first_of_each: Vec<f32> = (0..k).map(|i| ious[i * m]).collect();
    let mut joined = LowRes {
        logits: vec![f32::NEG_INFINITY; rows * columns],
        rows,
        columns,
        score: sigmoid(largest(&values(&out.object_score)?)),
        iou: largest(&first_of_each).clamp(0.0, 1.0),
    };
    let mut parts = Vec::with_capacity(k);
    for (i, logits) in all.chunks_exact(rows * columns).enumerate() {
        let mut one = LowRes {
            logits: logits.to_vec(),
            iou: first_of_each[i].clamp(0.0, 1.0),
            ..joined
        };
        if let (Some(leash), Some(&bounds)) = (leash, boxes.get(i)) {
            leash::within_box(&mut one, bounds, leash);
        }
        if let (Some(config), Some(canvas), Some(&bounds)) = (appearance, by.canvas, boxes.get(i)) {
            let asked = Asked {
                bounds,
                clicks: &[],
                known: by.known,
                carried: by.carried,
            };
            one = appearance::in_box(canvas, &one, asked, config)
                .map_or_else(|| one.enlarged(config.grid), |d| d.mask);
        }
        parts.push(one);
    }
    if let Some(first) = parts.first() {
        joined.logits = vec![f32::NEG_INFINITY; first.logits.len()];
        (joined.rows, joined.columns) = (first.rows, first.columns);
    }
    for one in &parts {
        for (a, &b) in joined.logits.iter_mut().zip(&one.logits) {
            *a = a.max(b);
        }
    }
    Ok(joined)
}

fn check_prompt(prompt: &Prompt, size: Size) -> InferResult<()> {
    if prompt.box_px.is_none() && prompt.points.is_empty() && prompt.mask.is_none() {
        return Err(InferError::Prompt(
            "the prompt is empty: draw a box, click on the object, or paint it".into(),
        ));
    }
    if let Some(b) = prompt.box_px
        && b.clamped(size).area() <= 0.0
    {
        return Err(InferError::Prompt(
            "the box is empty or lies outside the frame: draw it over the object".into(),
        ));
    }
    let (w, h) = (size.width as f32, size.height as f32);
    let outside = |x: f32, y: f32| !((0.0..=w).contains(&x) && (0.0..=h).contains(&y));
    if prompt.points.iter().any(|(p, _)| outside(p.x, p.y)) {
        return Err(InferError::Prompt(
            "a click lies outside the frame: click inside it".into(),
        ));
    }
    let known = prompt.known.iter().map(|k| &k.1);
    let mut given = prompt.mask.iter().chain(&prompt.carried).chain(known);
    if let Some(mask) = given.find(|m| m.size != size) {
        return Err(InferError::Prompt(format!(
            "the mask is {}×{} pixels, the video {}×{}",
            mask.size.width, mask.size.height, size.width, size.height
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

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

    #[test]
    fn a_prompt_that_the_model_makes_nothing_of_is_no_word_that_the_object_is_gone() {
        let size = Size::new(64, 48);
        let low_res = |logit: f32| LowRes {
            logits: vec![logit; 4],
            rows: 2,
            columns: 2,
            score: 0.9,
            iou: 0.9,
        };
        let nothing = low_res(-9.0).to_anchor(size);
        assert!(nothing.rle.is_empty() && !nothing.says_absent());
        assert!(nothing.is_given(), "it is carried from all the same");
        let by_hand = prompted(FrameMask::by_hand(Rle::empty(size)));
        assert!(!by_hand.says_absent());
        assert!(low_res(9.0).to_anchor(size).anchor);
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
