//! Prompts on one frame become masks: boxes, masks and text into SAM2's decoder, logits into run lengths. What the decoder sees of
//! the frame is [`super::sight`]'s; clicks are left to [`super::clicked`], dividing masks by colour to [`super::appearance`].

use candle_core::{DType, Device, Tensor};

use crate::{
    nn::sam2::{DecodeOptions, MaskOutput, Prompts},
    project::{DriftSignal, FrameIndex, FrameMask, Provenance, Rle, Size},
    task::{Progress, Prompt},
};

use super::{
    appearance::{self, AppearanceConfig, Asked, Canvas, Colours, Known},
    clicked,
    clip::Clip,
    engine::Engine,
    error::{InferError, InferResult},
    heed::heeding,
    leash::{self, LeashConfig},
    preprocess::{box_to_model, mask_cells, mask_from_logits, taps},
    sight::Sight,
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
    /// Whether a person drew the boxes.
    pub(super) met: bool,
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

impl Engine {
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
        sight: &Sight<'_>,
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
        let out = sam2.decode(
            &sight.embed,
            &sight.features.high_res,
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
        let sight = self.sight_after(clip, &features, (frame, &prompt.known))?;
        progress.step(1, 2, "decoding the mask")?;
        if prompt.box_px.is_none() && prompt.mask.is_none() {
            let seen = (&sight, canvas.as_deref());
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
        let by = ByColour {
            canvas: canvas.as_deref(),
            known: known.as_ref(),
            carried: carried.as_deref(),
            met: true,
        };
        // SAM2's own decoder is shown what it corrects beside the corners of the box.
        let shown;
        let prompt = match &prompt.carried {
            // Where nothing is, nothing is refined.
            Some(carried) if info.mask_prompts && prompt.mask.is_none() && !carried.is_empty() => {
                shown = Prompt {
                    mask: Some(carried.clone()),
                    ..prompt.clone()
                };
                &shown
            }
            _ => prompt,
        };
        let low_res = if prompt.points.is_empty() && prompt.mask.is_none() {
            let side = self.config().sam2.image_size;
            let boxes: Vec<_> = prompt
                .box_px
                .map(|b| box_to_model(b.clamped(size), size, side))
                .into_iter()
                .collect();
            self.decode_boxes(&sight, by, &boxes, None)?
        } else {
            self.decode_clicks((&sight, by), prompt, size)?
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
                met: by.met,
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
    use super::*;
    use crate::{
        infer::{LoadedModel, model::ModelInfo},
        project::{Bitmap, BoxPx},
        video::SyntheticSource,
    };

    /// What a decoder that was trained on corrections makes of a box depends on what it is shown beside it.
    #[test]
    fn a_correction_is_decoded_with_what_is_remembered_and_with_what_it_corrects() {
        let engine = |mask_prompts: bool| {
            let mut info = ModelInfo::by_id("nano").unwrap();
            (info.mask_prompts, info.appearance, info.leash) = (mask_prompts, None, None);
            Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap())
        };
        let size = Size::new(64, 48);
        let rle = |b: [f32; 4]| Rle::from_bitmap(&Bitmap::from_box(size, BoxPx::from_array(b)));
        let alone = Prompt {
            box_px: Some(BoxPx::from_array([20.0, 8.0, 44.0, 40.0])),
            ..Prompt::default()
        };
        let known = Prompt {
            known: vec![(FrameIndex(0), rle([10.0, 10.0, 30.0, 30.0]))],
            ..alone.clone()
        };
        let here = Prompt {
            known: vec![(FrameIndex(2), rle([10.0, 10.0, 30.0, 30.0]))],
            ..alone.clone()
        };
        let gone = Prompt {
            known: vec![(FrameIndex(0), Rle::empty(size))],
            ..alone.clone()
        };
        let carried = Prompt {
            carried: Some(rle([18.0, 6.0, 30.0, 40.0])),
            ..alone.clone()
        };
        let answers = |engine: &Engine, prompts: [&Prompt; 4]| {
            let mut clip = Clip::new(Box::new(SyntheticSource::new(size, 4, 25.0)));
            prompts.map(|prompt| {
                let progress = &mut Progress::silent();
                engine
                    .segment(&mut clip, FrameIndex(2), prompt, progress)
                    .unwrap()
                    .iou
            })
        };
        let [by_itself, remembered, corrected, other] =
            answers(&engine(true), [&alone, &known, &carried, &here]);
        assert!(remembered != by_itself && corrected != by_itself && remembered != corrected);
        assert_eq!(other, by_itself, "a frame is no memory of itself");
        let [by_itself, remembered, corrected, other] =
            answers(&engine(false), [&alone, &known, &carried, &gone]);
        assert!([remembered, corrected, other] == [by_itself; 3]);
        let [by_itself, gone, ..] = answers(&engine(true), [&alone, &gone, &gone, &gone]);
        assert_eq!(gone, by_itself, "where it was not, nothing is remembered");
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
}
