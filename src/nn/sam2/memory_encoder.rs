//! A frame and an object's mask on it become a spatial memory.
//!
//! Released module `sam2/modeling/memory_encoder.py`. The mask comes as logits at a quarter of the image; scaling, the
//! embedding for absent objects and storage belong to the callers in this folder.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::nn::{
    config::Sam2Config,
    layers::{Conv2d, LayerNorm2d, Linear},
    ops,
};

const NORM_EPS: f64 = 1e-6;

/// The memory encoder.
#[derive(Clone, Debug)]
pub struct MemoryEncoder {
    downsampler: MaskDownsampler,
    pix_feat_proj: Conv2d,
    fuser: Vec<ConvNextBlock>,
    out_proj: Conv2d,
}

impl MemoryEncoder {
    /// Names below `vb` are those of `memory_encoder`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        let layers = vb.pp("fuser").pp("layers");
        Ok(Self {
            downsampler: MaskDownsampler::new(
                cfg.mask_downsampler_stride,
                d,
                vb.pp("mask_downsampler"),
            )?,
            pix_feat_proj: Conv2d::new(d, d, 1, 1, 0, vb.pp("pix_feat_proj"))?,
            fuser: (0..2)
                .map(|i| ConvNextBlock::new(d, layers.pp(i)))
                .collect::<Result<_>>()?,
            out_proj: Conv2d::new(d, cfg.mem_dim, 1, 1, 0, vb.pp("out_proj"))?,
        })
    }

    /// The mask, already in the range −10 to 10, brought down to the embedding's grid `(h, w)`: `(k, 1, …)` →
    /// `(k, d, h, w)`. A mask of another size than grid times stride is an error.
    pub fn downsample(&self, mask: &Tensor) -> Result<Tensor> {
        self.downsampler.forward(mask)
    }

    /// Rows and columns of mask that one cell of the embedding takes.
    pub fn mask_stride(&self) -> usize {
        self.downsampler.stride
    }

    /// Embedding `(1 or k, d, h, w)` as the neck gives it, mask as for [`MemoryEncoder::downsample`] →
    /// `(k, mem_dim, h, w)`.
    pub fn forward(&self, embed: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mask = self.downsample(mask)?;
        let seen = self.pix_feat_proj.forward(embed)?;
        let (_, _, h, w) = seen.dims4()?;
        let mut x = ops::nchw_to_tokens(&ops::add(&mask, &seen)?)?;
        for block in &self.fuser {
            x = block.forward(&x, (h, w))?;
        }
        self.out_proj.forward(&ops::tokens_to_nchw(&x, (h, w))?)
    }
}

/// Halves the mask until the stride is reached, four times the channels at each step, then one convolution to `d`.
#[derive(Clone, Debug)]
struct MaskDownsampler {
    steps: Vec<(Conv2d, LayerNorm2d)>,
    last: Conv2d,
    stride: usize,
}

impl MaskDownsampler {
    fn new(stride: usize, d: usize, vb: VarBuilder<'_>) -> Result<Self> {
        if !stride.is_power_of_two() {
            candle_core::bail!("the mask down-sampler's stride {stride} is not a power of 2");
        }
        let vb = vb.pp("encoder");
        let mut channels = 1;
        let mut steps = Vec::new();
        for step in 0..stride.trailing_zeros() as usize {
            // Every third name is the activation, which has no weights.
            let conv = Conv2d::new(channels, 4 * channels, 3, 2, 1, vb.pp(3 * step))?;
            channels *= 4;
            let norm = LayerNorm2d::new(channels, NORM_EPS, vb.pp(3 * step + 1))?;
            steps.push((conv, norm));
        }
        let last = Conv2d::new(channels, d, 1, 1, 0, vb.pp(3 * steps.len()))?;
        Ok(Self {
            steps,
            last,
            stride,
        })
    }

    fn forward(&self, mask: &Tensor) -> Result<Tensor> {
        let mut x = mask.clone();
        for (conv, norm) in &self.steps {
            x = norm.gelu(&conv.forward(&x)?)?;
        }
        self.last.forward(&x)
    }
}

/// A `ConvNeXt` block: depthwise 7×7, then an MLP per pixel, scaled per channel.
#[derive(Clone, Debug)]
struct ConvNextBlock {
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm: LayerNorm2d,
    pwconv1: Linear,
    pwconv2: Linear,
    scale: Tensor,
}

impl ConvNextBlock {
    fn new(d: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let conv = vb.pp("dwconv");
        // SAM2's own files call the layer scale `gamma`, and single files may; of released folders the loader has made it `weight`.
        // Its start of 1e-6 in the paper would keep a small model from learning the block at all.
        let scale = if vb.contains_tensor("gamma") {
            "gamma"
        } else {
            "weight"
        };
        Ok(Self {
            depthwise: conv.get_with_hints(
                (d, 1, 7, 7),
                "weight",
                candle_nn::init::DEFAULT_KAIMING_UNIFORM,
            )?,
            depthwise_bias: conv.get_with_hints((d,), "bias", Init::Const(0.0))?,
            norm: LayerNorm2d::new(d, NORM_EPS, vb.pp("norm"))?,
            pwconv1: Linear::new(d, 4 * d, vb.pp("pwconv1"))?,
            pwconv2: Linear::new(4 * d, d, vb.pp("pwconv2"))?,
            scale: vb.get_with_hints((d,), scale, Init::Const(1.0))?,
        })
    }

    /// `(k, h·w, d)`, which all but the first layer reads as it lies.
    fn forward(&self, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        let map = ops::tokens_to_nchw(x, size)?;
        let y = ops::depthwise_conv2d(&map, &self.depthwise, Some(&self.depthwise_bias), 3)?;
        let y = self.norm.channels_last(&ops::nchw_to_tokens(&y)?)?;
        let scale = Some(&self.scale);
        self.pwconv1
            .perceptron(&y, ops::Activation::Gelu, &self.pwconv2, scale, x)
    }
}
