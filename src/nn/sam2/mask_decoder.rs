//! Image embedding and prompt tokens become mask logits, predicted IoUs and an object score.
//!
//! Released module `sam2/modeling/sam/mask_decoder.py`. Token order: object score, IoU, mask tokens, prompt tokens. Mask 0
//! answers a clear prompt, masks 1 to 3 are alternatives for an ambiguous one.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    position::{expand_rows, to_map, to_tokens},
    two_way::TwoWayTransformer,
};
use crate::nn::{
    config::Sam2Config,
    layers::{Conv2d, LayerNorm2d, Mlp},
    ops,
};

/// Mask tokens: one for clear prompts, three for ambiguous ones.
const MASKS: usize = 4;

/// How a prompt is decoded.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// Masks 1 to 3 instead of mask 0.
    pub multimask: bool,
    /// No stability fallback.
    pub train: bool,
    /// Side in pixels of the image in which points and boxes are given.
    pub image_size: usize,
}

/// What the decoder says; `m` masks per prompt.
#[derive(Clone, Debug)]
pub struct MaskOutput {
    /// `(k, m, h, w)` logits at a quarter of the image.
    pub low_res: Tensor,
    /// `(k, m)`, 0–1.
    pub ious: Tensor,
    /// `(k, m, d)`: what object pointers are made of.
    pub tokens: Tensor,
    /// `(k, 1)` logit that the object is there.
    pub object_score: Tensor,
}

/// Everything before a choice among the masks.
#[derive(Clone, Debug)]
pub struct AllMasks {
    /// `(k, n, h, w)` logits of the masks asked for.
    pub masks: Tensor,
    /// `(k, 4)`.
    pub ious: Tensor,
    /// `(k, 4, d)`.
    pub tokens: Tensor,
    /// `(k, 1)`.
    pub object_score: Tensor,
    /// The transformer's tokens `(k, n, d)`.
    pub transformed_tokens: Tensor,
    /// The transformer's image `(k, h·w, d)`.
    pub transformed_image: Tensor,
}

/// When mask 0 gives way to the best of the others.
#[derive(Clone, Copy, Debug)]
pub struct Stability {
    /// Logit offset.
    pub delta: f32,
    /// Scores below this fall back.
    pub threshold: f32,
}

impl Stability {
    /// `|{m > δ}| / |{m > −δ}|` over the last two axes, 1 where nothing is above −δ: `(…, h, w)` → `(…)`.
    pub fn score(&self, masks: &Tensor) -> Result<Tensor> {
        let area = |over: f64| {
            masks
                .gt(over)?
                .to_dtype(DType::F32)?
                .flatten_from(masks.rank() - 2)?
                .sum(masks.rank() - 2)
        };
        let inner = area(f64::from(self.delta))?;
        let outer = area(-f64::from(self.delta))?;
        let none = outer.eq(0.0)?.to_dtype(DType::F32)?;
        // An empty mask counts as stable: (0 + 1) / (0 + 1).
        (inner + &none)? / (outer + none)?
    }
}

/// The mask decoder.
#[derive(Clone, Debug)]
pub struct MaskDecoder {
    /// Object score, IoU and mask tokens, each `(…, d)`.
    own_tokens: [Tensor; 3],
    transformer: TwoWayTransformer,
    upscale0: UpConv,
    upscale_norm: LayerNorm2d,
    upscale1: UpConv,
    hypernetworks: Vec<Mlp>,
    iou_head: Mlp,
    object_head: Mlp,
    /// `None` where the model never falls back.
    pub(super) stability: Option<Stability>,
}

impl MaskDecoder {
    /// Names below `vb` are those of `sam_mask_decoder`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        let token = |name: &str, n: usize| {
            let hint = Init::Randn {
                mean: 0.0,
                stdev: 1.0,
            };
            vb.pp(name).get_with_hints((n, d), "weight", hint)
        };
        let upscaling = vb.pp("output_upscaling");
        let hyper = vb.pp("output_hypernetworks_mlps");
        Ok(Self {
            own_tokens: [
                token("obj_score_token", 1)?,
                token("iou_token", 1)?,
                token("mask_tokens", MASKS)?,
            ],
            transformer: TwoWayTransformer::new(cfg, vb.pp("transformer"))?,
            upscale0: UpConv::new(d, d / 4, upscaling.pp(0))?,
            upscale_norm: LayerNorm2d::new(d / 4, 1e-6, upscaling.pp(1))?,
            upscale1: UpConv::new(d / 4, d / 8, upscaling.pp(3))?,
            hypernetworks: (0..MASKS)
                .map(|i| Mlp::new(d, d, d / 8, 3, hyper.pp(i)))
                .collect::<Result<_>>()?,
            iou_head: Mlp::new(
                d,
                cfg.iou_head_hidden_dim,
                MASKS,
                3,
                vb.pp("iou_prediction_head"),
            )?,
            object_head: Mlp::new(d, d, 1, 3, vb.pp("pred_obj_score_head"))?,
            stability: cfg.dynamic_multimask_via_stability.then_some(Stability {
                delta: cfg.stability_delta,
                threshold: cfg.stability_thresh,
            }),
        })
    }

    /// Masks of the tokens `which`; image embedding `(1 or k, d, h, w)`, high-resolution maps of 1 or k rows, sparse
    /// tokens `(k, n, d)`, dense map and code as the prompt encoder gives them, `k` prompts.
    pub fn all_masks(
        &self,
        image_embed: &Tensor,
        high_res: &[Tensor; 2],
        (sparse, dense, code): (Option<&Tensor>, &Tensor, &Tensor),
        which: Range<usize>,
        k: usize,
    ) -> Result<AllMasks> {
        let (_, _, h, w) = image_embed.dims4()?;
        let own = Tensor::cat(&self.own_tokens, 0)?.unsqueeze(0)?;
        let own = expand_rows(&own, k)?;
        let tokens = match sparse {
            Some(sparse) => Tensor::cat(&[&own, sparse], 1)?,
            None => own,
        };
        let image = expand_rows(&image_embed.broadcast_add(dense)?, k)?;
        let (tokens, image) =
            self.transformer
                .forward(&tokens, &to_tokens(&image)?, &to_tokens(code)?)?;
        let token = |i: usize| tokens.narrow(1, i, 1)?.squeeze(1)?.contiguous();

        let up = self.upscale0.forward(&to_map(&image, (h, w))?)?;
        let up = self.upscale_norm.gelu(&ops::add(&up, &high_res[1])?)?;
        let up = ops::gelu(&ops::add(&self.upscale1.forward(&up)?, &high_res[0])?)?;
        let (_, c, up_h, up_w) = up.dims4()?;
        let weights = which
            .clone()
            .map(|i| self.hypernetworks[i].forward(&token(2 + i)?)?.unsqueeze(1))
            .collect::<Result<Vec<_>>>()?;
        let pixels = up.reshape((k, c, up_h * up_w))?;
        let masks = ops::matmul(&Tensor::cat(&weights, 1)?, &pixels)?.reshape((
            k,
            which.len(),
            up_h,
            up_w,
        ))?;
        Ok(AllMasks {
            masks,
            ious: candle_nn::ops::sigmoid(&self.iou_head.forward(&token(1)?)?)?,
            tokens: tokens.narrow(1, 2, MASKS)?.contiguous()?,
            object_score: self.object_head.forward(&token(0)?)?,
            transformed_tokens: tokens,
            transformed_image: image,
        })
    }

    /// [`MaskDecoder::all_masks`] and the choice among them.
    pub fn forward(
        &self,
        image_embed: &Tensor,
        high_res: &[Tensor; 2],
        prompt: (Option<&Tensor>, &Tensor, &Tensor),
        options: DecodeOptions,
        k: usize,
    ) -> Result<MaskOutput> {
        let fallback = if options.train { None } else { self.stability };
        let which = match (options.multimask, fallback) {
            (true, _) => 1..MASKS,
            (false, None) => 0..1,
            (false, Some(_)) => 0..MASKS,
        };
        let all = self.all_masks(image_embed, high_res, prompt, which.clone(), k)?;
        if let (false, Some(stability)) = (options.multimask, fallback) {
            return choose_stable(&all, stability);
        }
        Ok(MaskOutput {
            low_res: all.masks,
            ious: all.ious.narrow(1, which.start, which.len())?,
            tokens: all.tokens.narrow(1, which.start, which.len())?,
            object_score: all.object_score,
        })
    }
}

/// Mask 0 where it is stable, else the alternative with the largest predicted IoU; all four masks are in `all`.
pub fn choose_stable(all: &AllMasks, stability: Stability) -> Result<MaskOutput> {
    let (k, _, h, w) = all.masks.dims4()?;
    let scores = stability
        .score(&all.masks.narrow(1, 0, 1)?)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let ious = all.ious.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let chosen: Vec<u32> = scores
        .iter()
        .zip(&ious)
        .enumerate()
        .map(|(row, (&score, ious))| {
            let mask = if score >= stability.threshold {
                0
            } else {
                1 + index_of_largest(&ious[1..])
            };
            (row * MASKS + mask) as u32
        })
        .collect();
    let chosen = Tensor::from_vec(chosen, k, all.masks.device())?;
    Ok(MaskOutput {
        low_res: all
            .masks
            .reshape((k * MASKS, h, w))?
            .index_select(&chosen, 0)?
            .unsqueeze(1)?,
        ious: all.ious.reshape((k * MASKS, 1))?.index_select(&chosen, 0)?,
        tokens: all.tokens.narrow(1, 0, 1)?,
        object_score: all.object_score.clone(),
    })
}

/// The first of the largest values; 0 for an empty list.
pub(super) fn index_of_largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// The neck's two finest levels as the decoder takes them. Their weights carry the decoder's name, but they run once per
/// image, with the encoder.
#[derive(Clone, Debug)]
pub struct HighRes {
    conv_s0: Conv2d,
    conv_s1: Conv2d,
}

impl HighRes {
    /// Names below `vb`, which is `sam_mask_decoder`: `conv_s0`, `conv_s1`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        Ok(Self {
            conv_s0: Conv2d::new(d, d / 8, 1, 1, 0, vb.pp("conv_s0"))?,
            conv_s1: Conv2d::new(d, d / 4, 1, 1, 0, vb.pp("conv_s1"))?,
        })
    }

    /// Levels 0 and 1, `(b, d, …)` → `(b, d/8, …)` and `(b, d/4, …)`.
    pub fn forward(&self, level0: &Tensor, level1: &Tensor) -> Result<[Tensor; 2]> {
        Ok([self.conv_s0.forward(level0)?, self.conv_s1.forward(level1)?])
    }
}

/// Transposed convolution, kernel 2, stride 2.
#[derive(Clone, Debug)]
struct UpConv {
    weight: Tensor,
    bias: Tensor,
}

impl UpConv {
    fn new(i: usize, o: usize, vb: VarBuilder<'_>) -> Result<Self> {
        // No two taps overlap, so each output pixel sums over `i` products.
        let bound = (3.0 / i as f64).sqrt();
        let uniform = |bound: f64| Init::Uniform {
            lo: -bound,
            up: bound,
        };
        Ok(Self {
            weight: vb.get_with_hints((i, o, 2, 2), "weight", uniform(bound))?,
            bias: vb.get_with_hints((o,), "bias", uniform(1.0 / (i as f64).sqrt()))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv_transpose_2x2(x, &self.weight, Some(&self.bias))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn an_empty_mask_is_stable() {
        let stability = Stability {
            delta: 0.05,
            threshold: 0.98,
        };
        let masks = Tensor::new(
            &[[[-1_f32, -2.0], [-3.0, -0.1]], [[0.0, 1.0], [-1.0, 0.2]]],
            &Device::Cpu,
        )
        .expect("a literal is a tensor");
        let scores = stability
            .score(&masks)
            .and_then(|t| t.to_vec1::<f32>())
            .expect("two masks");
        assert_eq!(scores, [1.0, 2.0 / 3.0]);
    }
}
