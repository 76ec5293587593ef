//! Patch embedding of the vision transformers: a convolution whose stride equals its kernel, done as one matrix product.
//!
//! CLIP stores a 2-D kernel `(o, c, p, p)`, InternVideo2 a 3-D one `(o, c, 1, p, p)` of depth one: the same numbers.

use candle_core::{Result, Shape, Tensor};
use candle_nn::{Init, VarBuilder};

use super::ops;

/// Square, non-overlapping patches to tokens.
#[derive(Clone, Debug)]
pub(super) struct Patches {
    weight: Tensor,
    bias: Option<Tensor>,
    side: usize,
}

impl Patches {
    /// `weight` of the given shape (its last axes are `side × side`, three input channels) and, if asked for, `bias`.
    pub(super) fn new(
        shape: impl Into<Shape>,
        side: usize,
        with_bias: bool,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let shape = shape.into();
        let out = shape.dims()[0];
        let weight =
            vb.get_with_hints(shape, "weight", candle_nn::init::DEFAULT_KAIMING_UNIFORM)?;
        let bias = if with_bias {
            Some(vb.get_with_hints((out,), "bias", Init::Const(0.0))?)
        } else {
            None
        };
        Ok(Self { weight, bias, side })
    }

    /// `(n, 3, h, w)` → `(n, h/p · w/p, o)`, row by row.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, c, h, w) = x.dims4()?;
        let p = self.side;
        if h % p != 0 || w % p != 0 {
            candle_core::bail!("an image of {w}×{h} pixels does not divide into patches of {p}");
        }
        let (gh, gw) = (h / p, w / p);
        let x = x
            .reshape((n, c, gh, p, gw * p))?
            .reshape(vec![n, c, gh, p, gw, p])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .contiguous()?
            .reshape((n * gh * gw, c * p * p))?;
        let out = self.weight.dim(0)?;
        let weight = self.weight.reshape((out, c * p * p))?;
        let y = ops::linear(&x, &weight, self.bias.as_ref())?;
        y.reshape((n, gh * gw, out))
    }
}
