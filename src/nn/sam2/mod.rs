//! SAM2: segment anything in images and videos (2.0 and 2.1), with text prompts.
//!
//! Paper: Ravi et al. 2024; released package `sam2` with VideoGLaMM's text embedding. Images are `(b, 3, s, s)` normalised;
//! `s` is read from the tensor, so the same weights run at any multiple of 32 pixels. Everything is differentiable. Each
//! file holds one part under its released name.

pub mod bank;
pub mod mask_decoder;
pub mod memory;
pub mod memory_attention;
pub mod memory_encoder;
pub mod neck;
pub mod position;
pub mod prompt_encoder;
pub mod trunk;
pub mod two_way;
pub mod video;

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};

pub use bank::FrameInfo;
pub use mask_decoder::{DecodeOptions, MaskOutput};
pub use memory::{BankEntry, Decoded, Memory};
pub use prompt_encoder::Prompts;

use self::{
    mask_decoder::{HighRes, MaskDecoder},
    memory::MemoryParts,
    neck::Neck,
    position::GridCache,
    prompt_encoder::PromptEncoder,
    trunk::Trunk,
};
use super::config::Sam2Config;

/// What the image encoder gives for `b` images of side `s`.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// `(b, d/8, s/4, s/4)` and `(b, d/4, s/8, s/8)`: what the mask decoder adds while it upscales.
    pub high_res: [Tensor; 2],
    /// `(b, d, s/16, s/16)`, as the neck gives it.
    pub embed: Tensor,
    /// `(1, d, s/16, s/16)`: its sine position code.
    pub pos: Tensor,
    /// The neck's maps `(b, d, …)` of strides 4, 8, 16; empty after [`ImageFeatures::without_pyramid`].
    pub fpn: Vec<Tensor>,
}

impl ImageFeatures {
    /// One image of the batch.
    pub fn row(&self, i: usize) -> Result<Self> {
        self.rows(i..i + 1)
    }

    /// Some images of the batch.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self> {
        let pick = |t: &Tensor| t.narrow(0, rows.start, rows.len());
        Ok(Self {
            high_res: [pick(&self.high_res[0])?, pick(&self.high_res[1])?],
            embed: pick(&self.embed)?,
            pos: self.pos.clone(),
            fpn: self.fpn.iter().map(pick).collect::<Result<_>>()?,
        })
    }

    /// The same in memory of its own, where it was cut out of a batch: else each part would hold the whole.
    pub fn on_its_own(&self) -> Result<Self> {
        let own = Tensor::force_contiguous;
        Ok(Self {
            high_res: [own(&self.high_res[0])?, own(&self.high_res[1])?],
            embed: own(&self.embed)?,
            pos: self.pos.clone(),
            fpn: self.fpn.iter().map(own).collect::<Result<_>>()?,
        })
    }

    /// Lets go of the raw pyramid, which is most of the memory and needed by no decoder: what caches keep.
    pub fn without_pyramid(self) -> Self {
        Self {
            fpn: Vec::new(),
            ..self
        }
    }

    /// Rows and columns of `embed`.
    pub fn grid(&self) -> Result<(usize, usize)> {
        let (_, _, h, w) = self.embed.dims4()?;
        Ok((h, w))
    }
}

/// The whole network.
#[derive(Clone, Debug)]
pub struct Sam2 {
    /// Trunk.
    pub trunk: Trunk,
    /// Pyramid.
    pub neck: Neck,
    /// Prompt encoder.
    pub prompt_encoder: PromptEncoder,
    /// Mask decoder.
    pub mask_decoder: MaskDecoder,
    high_res: HighRes,
    no_mem_embed: Tensor,
    memory: MemoryParts,
    sine: GridCache,
    cfg: Sam2Config,
}

impl Sam2 {
    /// Names below `vb` are those of a SAM2 file.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        let small = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        let encoder = vb.pp("image_encoder");
        Ok(Self {
            trunk: Trunk::new(cfg, encoder.pp("trunk"))?,
            neck: Neck::new(cfg, encoder.pp("neck"))?,
            prompt_encoder: PromptEncoder::new(cfg, vb.pp("sam_prompt_encoder"))?,
            mask_decoder: MaskDecoder::new(cfg, vb.pp("sam_mask_decoder"))?,
            high_res: HighRes::new(cfg, vb.pp("sam_mask_decoder"))?,
            no_mem_embed: vb.get_with_hints((1, 1, d), "no_mem_embed", small)?,
            memory: MemoryParts::new(cfg, vb)?,
            sine: GridCache::default(),
            cfg: cfg.clone(),
        })
    }

    /// The sizes it was built with.
    pub fn config(&self) -> &Sam2Config {
        &self.cfg
    }

    /// `(b, 3, s, s)` normalised → features.
    pub fn encode_image(&self, x: &Tensor) -> Result<ImageFeatures> {
        let fpn = self.neck.forward(&self.trunk.forward(x)?)?;
        let [level0, level1, level2] = fpn.as_slice() else {
            candle_core::bail!("the pyramid has {} levels, not 3", fpn.len());
        };
        let (_, d, h, w) = level2.dims4()?;
        let pos = self
            .sine
            .get((h, w), || position::sine_2d(d, (h, w), x.device()))?;
        Ok(ImageFeatures {
            high_res: self.high_res.forward(level0, level1)?,
            embed: level2.clone(),
            pos,
            fpn,
        })
    }

    /// The embedding that is decoded where no memory is: `(b, d, h, w)` → the same shape.
    pub fn add_no_mem(&self, embed: &Tensor) -> Result<Tensor> {
        embed.broadcast_add(&self.no_mem_embed.reshape((1, (), 1, 1))?)
    }

    /// What is painted in each of `k` boxes, corners as fractions of the image: logits `(k, 1, h, w)` of mask 0 at a quarter of
    /// the image, without a gradient. `maps` are the two high-resolution maps and the embedding that is decoded.
    pub fn paint(&self, maps: &[Tensor; 3], boxes: &Tensor) -> Result<Tensor> {
        let [high0, high1, embed] = maps;
        let (_, _, h, w) = high0.dims4()?;
        let k = boxes.dim(0)?;
        if k == 0 {
            return Tensor::zeros((0, 1, h, w), high0.dtype(), high0.device());
        }
        let image_size = 4 * h;
        let corners = (boxes.detach().to_dtype(DType::F32)? * image_size as f64)?;
        let prompts = Prompts {
            boxes: Some(corners),
            ..Prompts::default()
        };
        let options = DecodeOptions {
            multimask: false,
            train: true,
            image_size,
        };
        let [high0, high1, embed] = [high0, high1, embed].map(Tensor::detach);
        let out = self.decode(&embed, &[high0, high1], &prompts, options)?;
        Ok(out.low_res.narrow(1, 0, 1)?.contiguous()?.detach())
    }

    /// Decodes `k` prompts on an image embedding of one row, which then serves all prompts, or of `k` rows.
    pub fn decode(
        &self,
        image_embed: &Tensor,
        high_res: &[Tensor; 2],
        prompts: &Prompts,
        options: DecodeOptions,
    ) -> Result<MaskOutput> {
        let (_, _, h, w) = image_embed.dims4()?;
        let k = prompts.rows()?;
        let sparse = self.prompt_encoder.sparse(prompts, options.image_size)?;
        let dense = self.prompt_encoder.dense(prompts.mask.as_ref(), (h, w))?;
        let code = self.prompt_encoder.dense_code((h, w))?;
        self.mask_decoder.forward(
            image_embed,
            high_res,
            (sparse.as_ref(), &dense, &code),
            options,
            k,
        )
    }
}
