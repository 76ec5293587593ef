//! The feature pyramid over the trunk: every level to the same width, one step of top-down mixing.
//!
//! Released module `sam2/modeling/backbones/image_encoder.py`; `convs.0` belongs to the coarsest level.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::nn::{config::Sam2Config, layers::Conv2d, ops};

/// The neck.
#[derive(Clone, Debug)]
pub struct Neck {
    /// Finest level first.
    laterals: Vec<Conv2d>,
}

impl Neck {
    /// Names below `vb`: `convs.{i}.conv`, coarse to fine.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let levels = cfg.stages.len();
        if levels < 3 {
            candle_core::bail!("the neck needs at least three stages, not {levels}");
        }
        let laterals = (0..levels)
            .map(|level| {
                let vb = vb.pp("convs").pp(levels - 1 - level).pp("conv");
                Conv2d::new(cfg.embed_dim << level, cfg.d_model, 1, 1, 0, vb)
            })
            .collect::<Result<_>>()?;
        Ok(Self { laterals })
    }

    /// The trunk's stages, fine to coarse → as many maps `(b, d, h, w)` less the coarsest.
    pub fn forward(&self, stages: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut levels = stages
            .iter()
            .zip(&self.laterals)
            .map(|(stage, lateral)| lateral.forward(stage))
            .collect::<Result<Vec<_>>>()?;
        // Only the two coarsest levels mix; the coarsest then has done its part.
        if let Some(coarsest) = levels.pop()
            && let Some(next) = levels.pop()
        {
            let (_, _, h, w) = next.dims4()?;
            levels.push((next + ops::resize_nearest(&coarsest, (h, w))?)?);
        }
        Ok(levels)
    }
}
