//! Prompts become tokens: points, boxes, a text embedding; a mask becomes a dense map.
//!
//! Released module `sam2/modeling/sam/prompt_encoder.py` with the text embedding that VideoGLaMM added. Sparse tokens are
//! `(k, n, d)` in the order points, padding point, box corners, text.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::position::{FourierCode, expand_rows};
use crate::nn::{
    config::Sam2Config,
    layers::{Conv2d, LayerNorm2d},
    ops,
};

/// What points at an object; `k` prompts at once, absent parts are `None`.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// `(k, n, 2)` as (x, y) in pixels of the model image, and `(k, n)` labels: 1 on the object, 0 off it, 2 and 3 the
    /// corners of a box, −1 nothing.
    pub points: Option<(Tensor, Tensor)>,
    /// `(k, 4)` as x1, y1, x2, y2 in pixels of the model image.
    pub boxes: Option<Tensor>,
    /// `(k, 1, 4g, 4g)` logits over a grid of `g` tokens per side.
    pub mask: Option<Tensor>,
    /// `(k, 1, d)`.
    pub text: Option<Tensor>,
}

impl Prompts {
    /// One point per prompt that says nothing, `k` prompts: what a tracked frame is decoded with.
    pub fn nothing(k: usize, like: &Tensor) -> Result<Self> {
        let device = like.device();
        Ok(Self {
            points: Some((
                Tensor::zeros((k, 1, 2), DType::F32, device)?,
                Tensor::full(-1_f32, (k, 1), device)?,
            )),
            ..Self::default()
        })
    }

    /// Number of prompts, from the first part that is there.
    ///
    /// # Errors
    /// If nothing is there.
    pub fn rows(&self) -> Result<usize> {
        let rows = [
            self.points.as_ref().map(|(xy, _)| xy),
            self.boxes.as_ref(),
            self.mask.as_ref(),
            self.text.as_ref(),
        ];
        match rows.into_iter().flatten().next() {
            Some(t) => t.dim(0),
            None => candle_core::bail!("a prompt needs a point, a box, a mask or a text"),
        }
    }
}

/// The prompt encoder.
#[derive(Clone, Debug)]
pub struct PromptEncoder {
    code: FourierCode,
    /// Embeddings of labels 0 to 3, `(1, d)` each.
    point_embeddings: Vec<Tensor>,
    not_a_point: Tensor,
    no_mask: Tensor,
    mask_stem: MaskStem,
    d: usize,
}

impl PromptEncoder {
    /// Names below `vb` are those of `sam_prompt_encoder`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        let embedding = |vb: VarBuilder<'_>| {
            let hint = Init::Randn {
                mean: 0.0,
                stdev: 1.0,
            };
            vb.get_with_hints((1, d), "weight", hint)
        };
        Ok(Self {
            code: FourierCode::new(d, vb.pp("pe_layer"))?,
            point_embeddings: (0..4)
                .map(|i| embedding(vb.pp("point_embeddings").pp(i)))
                .collect::<Result<_>>()?,
            not_a_point: embedding(vb.pp("not_a_point_embed"))?,
            no_mask: embedding(vb.pp("no_mask_embed"))?,
            mask_stem: MaskStem::new(cfg.mask_in_chans, d, vb.pp("mask_downscaling"))?,
            d,
        })
    }

    /// Sparse tokens `(k, n, d)`, `None` where there are none; `image_size` is the side of the image in which points and
    /// boxes are pixels.
    pub fn sparse(&self, prompts: &Prompts, image_size: usize) -> Result<Option<Tensor>> {
        let k = prompts.rows()?;
        let mut tokens = Vec::new();
        if let Some((xy, labels)) = &prompts.points {
            tokens.push(self.points(xy, labels, image_size)?);
            if prompts.boxes.is_none() {
                // The released encoder ends a list of points with one that says nothing.
                tokens.push(expand_rows(&self.not_a_point.unsqueeze(0)?, k)?);
            }
        }
        if let Some(boxes) = &prompts.boxes {
            let corners = self.code_pixels(&boxes.reshape(((), 2, 2))?, image_size)?;
            let kinds = Tensor::cat(&self.point_embeddings[2..4], 0)?;
            tokens.push(corners.broadcast_add(&kinds)?);
        }
        if let Some(text) = &prompts.text {
            tokens.push(expand_rows(text, k)?);
        }
        match tokens.len() {
            0 => Ok(None),
            1 => Ok(tokens.pop()),
            _ => Ok(Some(Tensor::cat(&tokens, 1)?)),
        }
    }

    /// Dense map that is added to the image embedding: `(k, d, h, w)` for a mask, else `(1, d, 1, 1)`.
    pub fn dense(&self, mask: Option<&Tensor>, (h, w): (usize, usize)) -> Result<Tensor> {
        match mask {
            Some(mask) => self
                .mask_stem
                .forward(&ops::resize_bilinear(mask, (4 * h, 4 * w))?),
            None => self.no_mask.reshape((1, self.d, 1, 1)),
        }
    }

    /// Codes of all cells of the embedding, `(1, d, h, w)`.
    pub fn dense_code(&self, grid: (usize, usize)) -> Result<Tensor> {
        self.code.dense(grid)
    }

    /// `(…, 2)` pixels → `(…, d)`.
    fn code_pixels(&self, xy: &Tensor, image_size: usize) -> Result<Tensor> {
        let xy = xy.to_dtype(DType::F32)?;
        self.code.code(&((xy + 0.5)? / image_size as f64)?)
    }

    fn points(&self, xy: &Tensor, labels: &Tensor, image_size: usize) -> Result<Tensor> {
        let code = self.code_pixels(xy, image_size)?;
        let labels = labels.to_dtype(DType::F32)?.unsqueeze(2)?;
        let is = |label: f64| labels.eq(label)?.to_dtype(code.dtype());
        // Label −1 has no place: its token is the learned vector alone.
        let mut tokens = code
            .broadcast_mul(&labels.ne(-1.0)?.to_dtype(code.dtype())?)?
            .broadcast_add(&is(-1.0)?.broadcast_mul(&self.not_a_point.unsqueeze(0)?)?)?;
        for (label, embedding) in self.point_embeddings.iter().enumerate() {
            let part = is(label as f64)?.broadcast_mul(&embedding.unsqueeze(0)?)?;
            tokens = (tokens + part)?;
        }
        Ok(tokens)
    }
}

/// `(k, 1, 4h, 4w)` logits → `(k, d, h, w)`.
#[derive(Clone, Debug)]
struct MaskStem {
    conv0: Conv2d,
    norm1: LayerNorm2d,
    conv3: Conv2d,
    norm4: LayerNorm2d,
    conv6: Conv2d,
}

impl MaskStem {
    fn new(channels: usize, d: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let narrow = channels / 4;
        Ok(Self {
            conv0: Conv2d::new(1, narrow, 2, 2, 0, vb.pp(0))?,
            norm1: LayerNorm2d::new(narrow, 1e-6, vb.pp(1))?,
            conv3: Conv2d::new(narrow, channels, 2, 2, 0, vb.pp(3))?,
            norm4: LayerNorm2d::new(channels, 1e-6, vb.pp(4))?,
            conv6: Conv2d::new(channels, d, 1, 1, 0, vb.pp(6))?,
        })
    }

    fn forward(&self, mask: &Tensor) -> Result<Tensor> {
        let x = ops::gelu(&self.norm1.forward(&self.conv0.forward(mask)?)?)?;
        let x = ops::gelu(&self.norm4.forward(&self.conv3.forward(&x)?)?)?;
        self.conv6.forward(&x)
    }
}
