//! The networks of this stage and what one batch costs them. Leaves targets to [`super::batch`].
//!
//! A batch of one frame per clip is image mode: every object is prompted. More frames are video mode: frame 0 is prompted,
//! the rest is found from memory, and the gradient runs back through it.

use candle_core::{DType, Device, Result, Tensor};

use super::{
    batch::{Batch, POINTS, Prompt, Prompted, Truth},
    heads::AuxHeads,
    looks::{Look, Sight},
    proposals,
};
use crate::{
    nn::{
        config::SparrowConfig,
        deformable_detr::Proposer,
        filtration::{RegionCode, roi::rois, tighten::tighten},
        ops::{self, Roi},
        sam2::{BankEntry, DecodeOptions, FrameInfo, ImageFeatures, Prompts, Sam2},
    },
    train::{
        Params,
        fused::{mask_loss, weighted_bce},
    },
};

/// Weights of the loss terms.
const MASK_BCE: f32 = 5.0;
const MASK_DICE: f32 = 1.5;
const PRESENCE: f64 = 0.3;
const IOU: f64 = 0.5;
const DENSE: f64 = 0.5;
const ATTRIBUTES: f64 = 0.3;
const QUERY_ATTRIBUTES: f64 = 0.5;
const PROPOSER: f64 = 0.35;

/// Where SAM2 and the proposer sit in the composite's name space.
pub(super) const SAM_PREFIX: &str = "model.visual_model";
pub(super) const PROPOSER_PREFIX: &str = "detector";
const REGION_PREFIX: &str = "model.proposal_selector.region_code";

/// SAM2, the proposer on its features, and training-only heads.
pub(super) struct Nets {
    pub(super) sam: Sam2,
    pub(super) proposer: Proposer,
    pub(super) heads: AuxHeads,
    pub(super) region_code: Option<RegionCode>,
    /// Side of the crops that it looks at, if it does.
    crop_side: Option<usize>,
    /// How far around themselves regions are drawn tight, if they are.
    tight: Option<f32>,
    /// Whether regions come with what is painted in them.
    reads_masks: bool,
}

/// What a stage trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All networks, on masks, proposals, cells and attributes.
    Everything,
    /// What remembers, on masks; images are encoded without a gradient.
    Memory,
    /// The proposer, on boxes and the words of what is in them; images are encoded without a gradient.
    Proposer,
    /// Region codes, on the words of what they lie on; images are encoded without a gradient.
    Regions,
}

/// A named term of the loss.
pub(super) type Term = (&'static str, f64);

/// What one frame's decoding gives for `k` objects.
struct Frame {
    /// `(k, 1, px/4, px/4)`.
    low_res: Tensor,
    ious: Tensor,
    object_score: Tensor,
    token: Tensor,
}

impl Frame {
    /// One that no gradient goes back through.
    fn still(self) -> Self {
        Self {
            low_res: self.low_res.detach(),
            ious: self.ious.detach(),
            object_score: self.object_score.detach(),
            token: self.token.detach(),
        }
    }
}

fn rows_of(x: &Tensor, rows: &Tensor) -> Result<Tensor> {
    x.index_select(rows, 0)
}

/// The features of some images of a batch, in any order and number.
pub(super) fn pick(features: &ImageFeatures, rows: &Tensor) -> Result<ImageFeatures> {
    Ok(ImageFeatures {
        high_res: [
            rows_of(&features.high_res[0], rows)?,
            rows_of(&features.high_res[1], rows)?,
        ],
        embed: rows_of(&features.embed, rows)?,
        pos: features.pos.clone(),
        fpn: Vec::new(),
    })
}

/// Prompts by box and prompts by points of objects that are sorted that way; either may be absent.
pub(super) fn prompts(objects: &[Prompted], device: &Device) -> Result<[Option<Prompts>; 2]> {
    let (mut boxes, mut points, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        match object.prompt {
            Prompt::Box(b) => boxes.extend(b),
            Prompt::Points(list) => {
                for (at, label) in list {
                    points.extend(at);
                    labels.push(label);
                }
            }
        }
    }
    let n = boxes.len() / 4;
    let by_box = (n > 0)
        .then(|| {
            Ok::<_, candle_core::Error>(Prompts {
                boxes: Some(Tensor::from_vec(boxes, (n, 4), device)?),
                ..Prompts::default()
            })
        })
        .transpose()?;
    let n = labels.len() / POINTS;
    let by_points = (n > 0)
        .then(|| {
            Ok::<_, candle_core::Error>(Prompts {
                points: Some((
                    Tensor::from_vec(points, (n, POINTS, 2), device)?,
                    Tensor::from_vec(labels, (n, POINTS), device)?,
                )),
                ..Prompts::default()
            })
        })
        .transpose()?;
    Ok([by_box, by_points])
}

impl Nets {
    /// Builds or finds every tensor of the stage in `params`.
    pub(super) fn new(config: &SparrowConfig, params: &Params) -> Result<Self> {
        let vb = params.var_builder();
        Ok(Self {
            sam: Sam2::new(&config.sam2, vb.pp(SAM_PREFIX))?,
            proposer: Proposer::new(&config.proposer, vb.pp(PROPOSER_PREFIX))?,
            heads: AuxHeads::new(
                config.sam2.d_model,
                config
                    .filtration
                    .region_code
                    .filter(|r| r.names.is_none())
                    .map(|r| r.width),
                &vb,
            )?,
            region_code: RegionCode::new(&config.filtration, &vb.pp(REGION_PREFIX))?,
            crop_side: config.filtration.crop_side(),
            tight: config.filtration.tight,
            reads_masks: config.filtration.reads_masks(),
        })
    }

    /// Decodes `features` (one row per object) under `prompts`, part by part.
    fn decode(
        &self,
        embed: &Tensor,
        features: &ImageFeatures,
        prompts: &[Option<Prompts>],
        px: usize,
    ) -> Result<Frame> {
        let options = DecodeOptions {
            multimask: false,
            train: true,
            image_size: px,
        };
        let mut outputs = Vec::new();
        let mut from = 0;
        for prompts in prompts.iter().flatten() {
            let k = prompts.rows()?;
            let cut = |t: &Tensor| t.narrow(0, from, k)?.contiguous();
            let high = [cut(&features.high_res[0])?, cut(&features.high_res[1])?];
            outputs.push(self.sam.decode(&cut(embed)?, &high, prompts, options)?);
            from += k;
        }
        let join = |f: &dyn Fn(usize) -> Tensor| {
            Tensor::cat(&(0..outputs.len()).map(f).collect::<Vec<_>>(), 0)
        };
        Ok(Frame {
            low_res: join(&|i| outputs[i].low_res.clone())?,
            ious: join(&|i| outputs[i].ious.clone())?,
            object_score: join(&|i| outputs[i].object_score.clone())?,
            token: join(&|i| outputs[i].tokens.clone())?.squeeze(1)?,
        })
    }

    /// What `scope` sees of a batch of a trunk that is held still.
    pub(super) fn look_alone(
        &self,
        batch: &Batch,
        scope: Scope,
        device: &Device,
    ) -> Result<Option<Look>> {
        let n = batch.clips * batch.frames;
        let images = Tensor::from_slice(&batch.images, (n, 3, batch.px, batch.px), device)?;
        let features = still(self.sam.encode_image(&images)?);
        Ok(match scope {
            Scope::Proposer => Some(Look::Whole(Sight {
                map: features.fpn[2].clone(),
                truths: batch.truths.clone(),
            })),
            _ => self.show(&images, &features, batch)?.map(Look::Regions),
        })
    }

    /// Loss of a look and its terms by name; of regions in a mirror, if asked.
    pub(super) fn look_loss(&self, look: &Look, mirror: bool) -> Result<(Tensor, Vec<Term>)> {
        let mut terms = Vec::new();
        let loss = match look {
            Look::Whole(sight) => {
                let truths: Vec<&[Truth]> = sight.truths.iter().map(Vec::as_slice).collect();
                self.proposer_loss(&sight.map, &truths, &mut terms)?
            }
            Look::Regions(seen) if mirror => self.region_loss(&seen.mirrored()?, &mut terms)?,
            Look::Regions(seen) => self.region_loss(seen, &mut terms)?,
        };
        Ok((loss, terms))
    }

    /// Loss of a batch and its terms by name; what stands on a trunk that is held still learns by [`Nets::look_loss`].
    pub(super) fn loss(
        &self,
        batch: &Batch,
        scope: Scope,
        device: &Device,
    ) -> Result<(Tensor, Vec<Term>)> {
        if matches!(scope, Scope::Regions | Scope::Proposer) {
            candle_core::bail!("what stands on a trunk that is held still learns from looks");
        }
        let n = batch.clips * batch.frames;
        let images = Tensor::from_slice(&batch.images, (n, 3, batch.px, batch.px), device)?;
        let mut features = self.sam.encode_image(&images)?;
        if scope != Scope::Everything {
            features = still(features);
        }
        let mut terms = Vec::new();
        if scope == Scope::Memory {
            let loss = match batch.objects.is_empty() {
                true => Tensor::zeros((), DType::F32, device)?,
                false => self.mask_losses(&features, batch, scope, &mut terms)?,
            };
            return Ok((loss, terms));
        }
        let mut total = self.dense_loss(&features, batch, &mut terms)?;
        total = (total + self.proposal_loss(&features, batch, &mut terms)?)?;
        if let Some(look) = self.show(&images, &features, batch)? {
            total = (total + self.region_loss(&look, &mut terms)?)?;
        }
        if !batch.objects.is_empty() {
            total = (total + self.mask_losses(&features, batch, scope, &mut terms)?)?;
        }
        Ok((total, terms))
    }

    fn dense_loss(
        &self,
        features: &ImageFeatures,
        batch: &Batch,
        terms: &mut Vec<Term>,
    ) -> Result<Tensor> {
        let (mut dense, mut attributes): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
        for (level, targets) in batch.levels.iter().enumerate() {
            let loss = self.heads.level(level, &features.fpn[level], targets)?;
            dense.push(loss.dense);
            attributes.extend(loss.attributes);
        }
        let dense = (Tensor::stack(&dense, 0)?.sum_all()? * DENSE)?;
        terms.push(("dense", scalar(&dense)?));
        if attributes.is_empty() {
            return Ok(dense);
        }
        let attributes = (Tensor::stack(&attributes, 0)?.sum_all()? * ATTRIBUTES)?;
        terms.push(("attr", scalar(&attributes)?));
        dense + attributes
    }

    /// The proposer sees the first and the last frame of each clip.
    fn proposal_loss(
        &self,
        features: &ImageFeatures,
        batch: &Batch,
        terms: &mut Vec<Term>,
    ) -> Result<Tensor> {
        let map = &features.fpn[2];
        let images: Vec<u32> = (0..batch.clips)
            .flat_map(|c| {
                let first = (c * batch.frames) as u32;
                let last = first + batch.frames as u32 - 1;
                if first == last {
                    vec![first]
                } else {
                    vec![first, last]
                }
            })
            .collect();
        let truths: Vec<_> = images
            .iter()
            .map(|&i| batch.truths[i as usize].as_slice())
            .collect();
        let n = images.len();
        let map = rows_of(map, &Tensor::from_vec(images, n, map.device())?)?;
        self.proposer_loss(&map, &truths, terms)
    }

    /// [`Nets::proposal_loss`] of `map (n, c, h, w)`, on whose images `truths` lie.
    fn proposer_loss(
        &self,
        map: &Tensor,
        truths: &[&[Truth]],
        terms: &mut Vec<Term>,
    ) -> Result<Tensor> {
        let out = self.proposer.forward(std::slice::from_ref(map))?;
        let (found, matched) = proposals::loss(&out, truths)?;
        let found = (found * PROPOSER)?;
        terms.push(("prop", scalar(&found)?));
        if matched.rows.is_empty() {
            return Ok(found);
        }
        let k = matched.rows.len();
        let flat = out.features.flatten_to(1)?;
        let picked = rows_of(&flat, &Tensor::from_vec(matched.rows, k, flat.device())?)?;
        let attributes = (self
            .heads
            .queries(&picked, matched.colours, matched.shapes)?
            * QUERY_ATTRIBUTES)?;
        terms.push(("qattr", scalar(&attributes)?));
        found + attributes
    }

    /// What the decoder paints in regions of `images`, which come image by image, and their pixels, if region codes read that; the
    /// regions are drawn tight first, if the model's proposals are.
    pub(super) fn cut_out(
        &self,
        features: &ImageFeatures,
        images: &Tensor,
        regions: &mut [Roi],
        px: usize,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let masks = self.painted(features, regions, px)?;
        if let (Some(reach), Some(masks)) = (self.tight, &masks) {
            let corners: Vec<f32> = regions.iter().flat_map(|r| r.bounds).collect();
            let boxes = Tensor::from_vec(corners, (regions.len(), 4), masks.device())?;
            let boxes = tighten(&(boxes / px as f64)?, masks, reach, 0)?;
            for (region, tight) in regions.iter_mut().zip(rois(&boxes, (px, px))?) {
                region.bounds = tight.bounds;
            }
        }
        let crops = match self.crop_side {
            Some(side) => Some(ops::roi_align(images, regions, 1.0, side)?),
            None => None,
        };
        Ok((masks, crops))
    }

    pub(super) fn painted(
        &self,
        features: &ImageFeatures,
        regions: &[Roi],
        px: usize,
    ) -> Result<Option<Tensor>> {
        if !self.reads_masks {
            return Ok(None);
        }
        let mut masks = Vec::new();
        for same in regions.chunk_by(|a, b| a.image == b.image) {
            let row = |t: &Tensor| t.narrow(0, same[0].image, 1);
            let [high0, high1] = &features.high_res;
            let embed = self.sam.add_no_mem(&row(&features.embed)?)?;
            let corners: Vec<f32> = same.iter().flat_map(|r| r.bounds).collect();
            let boxes = Tensor::from_vec(corners, (same.len(), 4), embed.device())?;
            let boxes = (boxes / px as f64)?;
            masks.push(self.sam.paint(&[row(high0)?, row(high1)?, embed], &boxes)?);
        }
        Tensor::cat(&masks, 0).map(Some)
    }

    fn mask_losses(
        &self,
        features: &ImageFeatures,
        batch: &Batch,
        scope: Scope,
        terms: &mut Vec<Term>,
    ) -> Result<Tensor> {
        let device = features.embed.device();
        let k = batch.objects.len();
        let counted = batch.counts.iter().flatten().filter(|c| **c).count().max(1) as f32;
        let half = batch.px / 2;
        let (mut masks, mut presence, mut quality): (Vec<Tensor>, Vec<Tensor>, Vec<Tensor>) =
            (Vec::new(), Vec::new(), Vec::new());
        let mut bank: Vec<BankEntry> = Vec::new();
        let mut iou_sum = 0.0;
        for t in 0..batch.frames {
            let rows: Vec<u32> = batch
                .objects
                .iter()
                .map(|o| o.clip * batch.frames as u32 + t as u32)
                .collect();
            let here = pick(features, &Tensor::from_vec(rows, k, device)?)?;
            let frame = if t == 0 {
                let embed = self.sam.add_no_mem(&here.embed)?;
                let frame =
                    self.decode(&embed, &here, &prompts(&batch.objects, device)?, batch.px)?;
                // What is prompted depends on nothing that memory learns.
                match scope {
                    Scope::Memory => frame.still(),
                    _ => frame,
                }
            } else {
                let embed =
                    self.sam
                        .condition(&here, &bank, FrameInfo::forward(t, batch.frames))?;
                self.decode(
                    &embed,
                    &here,
                    &[Some(Prompts::nothing(k, &here.embed)?)],
                    batch.px,
                )?
            };
            let logits = ops::resize_bilinear(&frame.low_res, (half, half))?;
            let weight = |on: &bool| if *on { 1.0 / counted } else { 0.0 };
            let weights: Vec<f32> = batch.counts[t].iter().map(weight).collect();
            masks.push(mask_loss(
                &logits,
                batch.masks[t].clone(),
                weights.clone(),
                (MASK_BCE, MASK_DICE),
            )?);
            let ious = host_ious(&logits, &batch.masks[t], k)?;
            iou_sum += ious
                .iter()
                .zip(&weights)
                .map(|(i, w)| f64::from(i * w))
                .sum::<f64>();
            let target = Tensor::from_vec(ious, (k, 1), device)?;
            let w = Tensor::from_vec(weights, (k, 1), device)?;
            quality.push(((frame.ious.narrow(1, 0, 1)? - target)?.sqr()? * w)?.sum_all()?);
            let visible: Vec<f32> = batch.visible[t]
                .iter()
                .map(|v| f32::from(u8::from(*v)))
                .collect();
            let share = 1.0 / (k * batch.frames) as f32;
            presence.push(weighted_bce(
                &frame.object_score,
                visible.clone(),
                vec![share; k],
            )?);
            if t + 1 < batch.frames {
                // The true presence stands in for the predicted one, which is a coin toss at first.
                let there = (Tensor::from_vec(visible, (k, 1), device)?.affine(2.0, -1.0))?;
                let memory = self
                    .sam
                    .encode_memory(&here.embed, &frame.low_res, &there, t == 0)?;
                bank.push(BankEntry {
                    frame: t,
                    conditioning: t == 0,
                    memory,
                    pointer: self.sam.object_pointer(&frame.token, &there)?,
                });
            }
        }
        let sum = |parts: &[Tensor], weight: f64| Tensor::stack(parts, 0)?.sum_all()? * weight;
        let (masks, presence, quality) = (
            sum(&masks, 1.0)?,
            sum(&presence, PRESENCE)?,
            sum(&quality, IOU)?,
        );
        terms.push(("mask", scalar(&masks)?));
        terms.push(("pres", scalar(&presence)?));
        terms.push(("iou", iou_sum));
        (masks + presence)? + quality
    }
}

/// Features that no gradient goes back through.
fn still(features: ImageFeatures) -> ImageFeatures {
    ImageFeatures {
        high_res: features.high_res.map(|m| m.detach()),
        embed: features.embed.detach(),
        pos: features.pos,
        fpn: features.fpn.iter().map(Tensor::detach).collect(),
    }
}

pub(super) fn scalar(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.to_scalar::<f32>()?))
}

/// Intersection over union of `logits > 0` with `targets ≥ ½`, for `k` masks of equal size.
fn host_ious(logits: &Tensor, targets: &[f32], k: usize) -> Result<Vec<f32>> {
    let values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
    let n = values.len() / k.max(1);
    Ok(values
        .chunks_exact(n)
        .zip(targets.chunks_exact(n))
        .map(|(x, t)| {
            let (mut both, mut either) = (0_u32, 0_u32);
            for (x, t) in x.iter().zip(t) {
                let (a, b) = (*x > 0.0, *t >= 0.5);
                both += u32::from(a && b);
                either += u32::from(a || b);
            }
            if either == 0 {
                1.0
            } else {
                both as f32 / either as f32
            }
        })
        .collect())
}
