//! Clicks on one frame become a mask: with a box, on a mask, or alone, where the box that they mean is looked for among the
//! proposals. Leaves prompts without clicks to [`super::masks`], dividing by colour to [`super::appearance`].

use candle_core::Tensor;
use rayon::prelude::*;

use crate::{
    nn::sam2::{MaskOutput, Prompts},
    project::{FrameIndex, FrameMask, Rle, Size},
    task::{Progress, Prompt},
};

use super::{
    appearance::{self, AppearanceConfig, Asked, Canvas, Click, Divided},
    clip::Clip,
    engine::Engine,
    error::InferResult,
    leash,
    masks::{ByColour, DIVIDED, LowRes, logits_of, prompted, rows_tensor, sigmoid, values},
    preprocess::{
        Bounds, box_from_norm, box_to_model, box_to_norm, mask_cells, mask_from_logits,
        point_to_model,
    },
    sight::Sight,
};

/// Boxes that are tried for a click alone. Each costs a division.
const TRIED: usize = 6;
/// Proposals less likely than this to be anything are not tried.
const LEAST: f32 = 0.02;
/// The box of what the decoder makes of the clicks counts as a proposal of this objectness.
const GUESS: f32 = 0.5;
/// What a natural logarithm of the objectness weighs against the weakness of a border, 0 … 1. With 0, the border alone, masks
/// of drawn and of real clips were worse by 0.02 to 0.04 (the card says on which; `sparrow eval vos --prompt click`).
const OBJECTNESS: f32 = 0.03;
/// What lying elsewhere than the decoder's guess weighs, 0 … 1 as boxes overlap. Chosen on 30 clips of a seed of their own and
/// on 20 that look like footage (models/README.md, "A click alone"); with 0, a wrong box too often has the better border.
const ELSEWHERE: f32 = 0.3;

impl Engine {
    /// Clicks and a box (whose corners are then points of labels 2 and 3), or clicks and a mask to refine.
    pub(super) fn decode_clicks(
        &self,
        (sight, by): (&Sight<'_>, ByColour<'_>),
        prompt: &Prompt,
        size: Size,
    ) -> InferResult<LowRes> {
        let mask = self.clicked(sight, prompt, size)?;
        let Some(b) = prompt.box_px else {
            return Ok(mask);
        };
        let bounds = box_to_norm(b.clamped(size), size);
        let clicks = places(prompt, size);
        // A click may take a side of the box away, or stretch it.
        let met = clicks.iter().all(|([x, y], on)| {
            *on && (bounds[0]..=bounds[2]).contains(x) && (bounds[1]..=bounds[3]).contains(y)
        });
        let by = ByColour {
            met: by.met && met,
            ..by
        };
        let (mask, divided) = self.in_bounds(by, mask, bounds, &clicks);
        Ok(divided.map_or(mask, |d| d.mask))
    }

    /// Clicks and nothing else. What the first click on the object finds stays, and the others mend it: asked all at once, what
    /// one means could be lost to what another does.
    pub(super) fn segment_clicks(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        (sight, canvas): (&Sight<'_>, Option<&Canvas>),
        prompt: &Prompt,
        progress: &Progress<'_>,
    ) -> InferResult<FrameMask> {
        let size = clip.size();
        let first = prompt.points.iter().find(|(_, on)| *on);
        let (Some(canvas), Some(config), Some(first)) =
            (canvas, self.model().info.appearance, first)
        else {
            return Ok(self.clicked(sight, prompt, size)?.to_anchor(size));
        };
        let alone = Prompt {
            points: vec![*first],
            ..Prompt::default()
        };
        let at = (frame, first.0);
        let found = match clip.recall_click(at) {
            Some(found) => found.clone(),
            None => {
                let seen = (sight, canvas);
                let found = self.found_by_click(clip, frame, seen, &alone, progress)?;
                let found = found.to_anchor(size);
                clip.remember_click(at, found.clone());
                found
            }
        };
        if prompt.points.len() == 1 {
            return Ok(found);
        }
        let clicks = places(prompt, size);
        let mended = mended(canvas, &found.rle, &clicks, &config);
        Ok(prompted(FrameMask::by_hand(mended)))
    }

    /// What a click on an object means. What the decoder makes of it is often a part of the object, or what looks like it all
    /// over the frame; so boxes are tried that the click could mean, proposals and the decoder's guess, and the one is taken in
    /// which a mask's border follows the picture's edges best, likely objects before unlikely ones, and those near the guess before
    /// others.
    fn found_by_click(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        (sight, canvas): (&Sight<'_>, &Canvas),
        prompt: &Prompt,
        progress: &Progress<'_>,
    ) -> InferResult<LowRes> {
        let size = clip.size();
        let guess = self.clicked(sight, prompt, size)?;
        let clicks = places(prompt, size);
        let on: Vec<[f32; 2]> = clicks.iter().map(|c| c.0).collect();
        let box_of = |mask: &LowRes| mask.to_anchor(size).rle.bounding_box();
        let guessed = box_of(&guess);
        let mut boxes: Vec<(Bounds, f32)> = guessed
            .map(|b| (box_to_norm(b, size), GUESS))
            .into_iter()
            .collect();
        progress.cancel.check()?;
        let offered = self.offered(clip, frame, sight.features, &[])?.all;
        // Further clicks on the frame, and phrases about it, find it there.
        clip.offered = Some((frame, offered.clone()));
        let corners = offered.boxes.to_vec2::<f32>()?;
        for (b, objectness) in corners.iter().zip(values(&offered.scores)?) {
            let bounds = [b[0], b[1], b[2], b[3]].map(|v| v.clamp(0.0, 1.0));
            let holds = |[x, y]: &[f32; 2]| {
                (bounds[0]..=bounds[2]).contains(x) && (bounds[1]..=bounds[3]).contains(y)
            };
            if objectness >= LEAST && on.iter().all(holds) {
                boxes.push((bounds, objectness));
            }
        }
        boxes.truncate(TRIED);
        let cancel = progress.cancel.clone();
        let tried = boxes.par_iter().map(|&(bounds, objectness)| {
            cancel.check()?;
            let within = Prompt {
                box_px: Some(box_from_norm(bounds, size)),
                ..prompt.clone()
            };
            let decoded = self.clicked(sight, &within, size)?;
            let (mask, divided) =
                self.in_bounds(ByColour::of(Some(canvas)), decoded, bounds, &clicks);
            // A border that was not divided is taken for the weakest.
            let (mut mask, weakness) = divided.map_or((mask, 1.0), |d| (d.mask, d.weakness));
            // What looks like it elsewhere in the box is another thing until it is clicked on, too.
            leash::holding(&mut mask, &on);
            let near = match (guessed, box_of(&mask)) {
                (Some(guessed), Some(found)) => guessed.iou(found),
                _ => 0.0,
            };
            let cost = weakness - OBJECTNESS * objectness.ln() + ELSEWHERE * (1.0 - near);
            Ok((mask, cost))
        });
        let tried: Vec<(LowRes, f32)> = tried.collect::<InferResult<_>>()?;
        let best = tried.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        Ok(best.map_or(guess, |b| b.0))
    }

    /// What the decoder makes of a prompt with clicks.
    fn clicked(&self, sight: &Sight<'_>, prompt: &Prompt, size: Size) -> InferResult<LowRes> {
        let model = self.model();
        let config = &self.config().sam2;
        let side = config.image_size;
        let (mut xy, mut labels): (Vec<[f32; 2]>, Vec<f32>) = (Vec::new(), Vec::new());
        let mask = prompt.mask.as_ref();
        let takes_masks = model.info.mask_prompts;
        // A model that knows no mask prompts is shown the mask's box.
        let in_place_of_mask = mask.filter(|_| !takes_masks).and_then(Rle::bounding_box);
        if let Some(b) = prompt.box_px.or(in_place_of_mask) {
            let [x1, y1, x2, y2] = box_to_model(b.clamped(size), size, side);
            xy.extend([[x1, y1], [x2, y2]]);
            labels.extend([2.0, 3.0]);
        }
        for &(point, on) in &prompt.points {
            xy.push(point_to_model(point, size, side));
            labels.push(if on { 1.0 } else { 0.0 });
        }
        let ambiguous = labels.len() == 1 && mask.is_none();
        let points = match xy.as_slice() {
            [] => None,
            xy => Some((
                rows_tensor(xy, &model.device)?.unsqueeze(0)?,
                Tensor::new(labels.as_slice(), &model.device)?.unsqueeze(0)?,
            )),
        };
        let prompts = Prompts {
            points,
            mask: match mask.filter(|_| takes_masks) {
                None => None,
                Some(mask) => Some(self.mask_logits(&[mask], side / 4)?),
            },
            ..Prompts::default()
        };
        let sam2 = &model.networks.sam2;
        let options = self.decode_options(ambiguous && config.multimask_output_for_tracking);
        best(&sam2.decode(&sight.embed, &sight.features.high_res, &prompts, options)?)
    }

    /// A decoded mask kept to a box, and what comes of dividing it by colour, if the model's masks are divided and colours tell.
    fn in_bounds(
        &self,
        by: ByColour<'_>,
        mut mask: LowRes,
        mut bounds: Bounds,
        clicks: &[Click],
    ) -> (LowRes, Option<Divided>) {
        // A click that says "this, too" stretches the box.
        for ([x, y], _) in clicks.iter().filter(|(_, on)| *on) {
            bounds = [
                bounds[0].min(*x),
                bounds[1].min(*y),
                bounds[2].max(*x),
                bounds[3].max(*y),
            ];
        }
        let info = &self.model().info;
        if let Some(leash) = info.leash {
            leash::within_box(&mut mask, bounds, leash);
        }
        let (Some(config), Some(canvas)) = (info.appearance, by.canvas) else {
            return (mask, None);
        };
        let asked = Asked {
            bounds,
            clicks,
            known: by.known,
            carried: by.carried,
            met: by.met,
        };
        let divided = appearance::in_box(canvas, &mask, asked, &config.tight());
        (mask, divided)
    }
}

/// The prompt's clicks in parts of the image.
pub(super) fn places(prompt: &Prompt, size: Size) -> Vec<Click> {
    let (w, h) = (size.width.max(1) as f32, size.height.max(1) as f32);
    let points = prompt.points.iter();
    points.map(|(p, on)| ([p.x / w, p.y / h], *on)).collect()
}

/// A person's mask with clicks on it. It may be finer than the grid that is divided: only where cells have changed, and right
/// beside them, do its pixels become theirs.
pub(super) fn mended(
    canvas: &Canvas,
    before: &Rle,
    clicks: &[Click],
    config: &AppearanceConfig,
) -> Rle {
    let (size, side) = (before.size, config.grid);
    let was = mask_cells(before, side);
    let is = appearance::mended(canvas, &was, clicks, config);
    let mut beside = vec![false; side * side];
    for i in (0..is.len()).filter(|i| is[*i] != was[*i]) {
        let (x, y) = (i % side, i / side);
        for y in y.saturating_sub(1)..(y + 2).min(side) {
            beside[y * side + x.saturating_sub(1)..y * side + (x + 2).min(side)].fill(true);
        }
    }
    let logits: Vec<f32> = logits_of(&is, DIVIDED).collect();
    let after = mask_from_logits(&logits, side, side, size).to_bitmap();
    let mut pixels = before.to_bitmap();
    let columns = size.width.max(1) as usize;
    for (at, (now, new)) in pixels.data.iter_mut().zip(&after.data).enumerate() {
        let (x, y) = (at % columns, at / columns);
        let cell = y * side / size.height.max(1) as usize * side + x * side / columns;
        if beside[cell] {
            *now = *new;
        }
    }
    Rle::from_bitmap(&pixels)
}

/// Of several masks of one prompt, the one with the largest predicted IoU.
fn best(out: &MaskOutput) -> InferResult<LowRes> {
    let (_, _, rows, columns) = out.low_res.dims4()?;
    let ious = values(&out.ious)?;
    let mut at = 0;
    for (i, &iou) in ious.iter().enumerate() {
        if iou > ious[at] {
            at = i;
        }
    }
    let logits = values(&out.low_res.narrow(1, at, 1)?.contiguous()?)?;
    let score = values(&out.object_score)?.first().copied().unwrap_or(0.0);
    Ok(LowRes {
        logits,
        rows,
        columns,
        score: sigmoid(score),
        iou: ious.get(at).copied().unwrap_or(0.0).clamp(0.0, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        infer::{LoadedModel, model::ModelInfo},
        nn::ops::metered,
        project::{Bitmap, PointPx},
        video::{RgbFrame, SyntheticSource},
    };

    #[test]
    fn what_the_first_click_means_is_looked_for_once() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let frame = FrameIndex(0);
        let clip = || Clip::new(Box::new(SyntheticSource::new(Size::new(64, 48), 2, 8.0)));
        let click = |x: f32, y: f32, on: bool| (PointPx { x, y }, on);
        let asked = |clip: &mut Clip, points: &[_]| {
            let prompt = Prompt {
                points: points.to_vec(),
                ..Prompt::default()
            };
            let mut progress = Progress::silent();
            let (mask, work) =
                metered(|| engine.segment(clip, frame, &prompt, &mut progress).unwrap());
            (mask, work.flop)
        };
        let clicks = [click(20.0, 20.0, true), click(50.0, 40.0, false)];
        let (want, _) = asked(&mut clip(), &clicks);
        let mut kept = clip();
        let (first, _) = asked(&mut kept, &clicks[..1]);
        assert_eq!(asked(&mut kept, &clicks), (want, 0));
        // The second click taken back again.
        assert_eq!(asked(&mut kept, &clicks[..1]), (first, 0));
        let (_, other) = asked(&mut kept, &[click(30.0, 20.0, true)]);
        assert!(other > 0, "another click means another thing");
    }

    #[test]
    fn a_click_leaves_what_is_finer_than_the_grid_as_it_was_painted() {
        let config: AppearanceConfig = serde_json::from_value(serde_json::json!({
            "grid": 32, "colours": 3, "colour": 5.0, "decoder": 1.0, "place": 4.0, "border": 20.0,
            "reach": 0.12, "slack": 0.0, "trust": 0.9,
        }))
        .unwrap();
        // A white square on black, eight pixels to a cell; of the mask, a hair reaches far to the left.
        let size = Size::new(256, 256);
        let square = |x: usize, y: usize| (96..160).contains(&x) && (96..160).contains(&y);
        let small = |i: usize| square(i % 32 * 8, i / 32 * 8);
        let data = (0..32 * 32).flat_map(|i| [if small(i) { 240 } else { 10 }; 3]);
        let frame = RgbFrame {
            size: Size::new(32, 32),
            data: data.collect(),
        };
        let mut painted = Bitmap::new(size);
        for i in 0..256 * 256 {
            let (x, y) = (i % 256, i / 256);
            // The square lacks its right half.
            let hair = x < 96 && y == 130;
            painted.data[i] = u8::from((square(x, y) && x < 128) || hair);
        }
        let before = Rle::from_bitmap(&painted);
        let canvas = Canvas::new(&frame, 32);
        let click = ([144.0 / 256.0, 128.0 / 256.0], true);
        let after = mended(&canvas, &before, &[click], &config).to_bitmap();
        let at = |x: usize, y: usize| after.data[y * 256 + x] == 1;
        assert!((100..156).all(|x| at(x, 130)), "the square is whole");
        assert!(!at(170, 130) && !at(130, 80));
        assert!(
            (0..80).all(|x| at(x, 130) && !at(x, 129) && !at(x, 131)),
            "the hair is as thin as it was"
        );
        // Without clicks nothing changes at all.
        assert_eq!(mended(&canvas, &before, &[], &config), before);
    }
}
