//! Layers with parameters: what several networks share. A layer owns its tensors and calls [`super::ops`].
//!
//! Names are those of the released files (`weight`, `bias`), so a layer's path is its checkpoint key.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::ops;

/// A fully connected layer: `(…, i)` → `(…, o)`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight (o, i)` and `bias (o)`.
    pub fn new(i: usize, o: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let bound = 1.0 / (i as f64).sqrt();
        Ok(Self {
            weight: vb.get_with_hints(
                (o, i),
                "weight",
                candle_nn::init::DEFAULT_KAIMING_UNIFORM,
            )?,
            bias: Some(vb.get_with_hints(
                (o,),
                "bias",
                Init::Uniform {
                    lo: -bound,
                    up: bound,
                },
            )?),
        })
    }

    /// `weight (o, i)` alone.
    pub fn no_bias(i: usize, o: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints(
                (o, i),
                "weight",
                candle_nn::init::DEFAULT_KAIMING_UNIFORM,
            )?,
            bias: None,
        })
    }

    /// From tensors at hand: weight `(o, i)`, bias `(o)`.
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// The weight `(o, i)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `(…, i)` → `(…, o)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }
}

/// Layer norm over the last axis.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `weight (d)` and `bias (d)`.
    pub fn new(d: usize, eps: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints((d,), "weight", Init::Const(1.0))?,
            bias: vb.get_with_hints((d,), "bias", Init::Const(0.0))?,
            eps,
        })
    }

    /// `(…, d)` → `(…, d)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// Layer norm over the channels of an NCHW map.
#[derive(Clone, Debug)]
pub struct LayerNorm2d {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm2d {
    /// `weight (c)` and `bias (c)`.
    pub fn new(c: usize, eps: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints((c,), "weight", Init::Const(1.0))?,
            bias: vb.get_with_hints((c,), "bias", Init::Const(0.0))?,
            eps,
        })
    }

    /// `(b, c, h, w)` → `(b, c, h, w)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_2d(x, &self.weight, &self.bias, self.eps)
    }
}

/// RMS norm over the last axis.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// `weight (d)`.
    pub fn new(d: usize, eps: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Self::with_gain(d, eps, 1.0, vb)
    }

    /// `weight (d)`, which starts at `gain` where it is trained from nothing.
    pub fn with_gain(d: usize, eps: f64, gain: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints((d,), "weight", Init::Const(gain))?,
            eps,
        })
    }

    /// `(…, d)` → `(…, d)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &self.weight, self.eps)
    }
}

/// A dense convolution on NCHW maps.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// `weight (o, i, k, k)` and `bias (o)`.
    pub fn new(
        i: usize,
        o: usize,
        k: usize,
        stride: usize,
        padding: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let bound = 1.0 / ((i * k * k) as f64).sqrt();
        Ok(Self {
            weight: vb.get_with_hints(
                (o, i, k, k),
                "weight",
                candle_nn::init::DEFAULT_KAIMING_UNIFORM,
            )?,
            bias: Some(vb.get_with_hints(
                (o,),
                "bias",
                Init::Uniform {
                    lo: -bound,
                    up: bound,
                },
            )?),
            stride,
            padding,
        })
    }

    /// `weight (o, i, k, k)` alone.
    pub fn no_bias(
        i: usize,
        o: usize,
        k: usize,
        stride: usize,
        padding: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints(
                (o, i, k, k),
                "weight",
                candle_nn::init::DEFAULT_KAIMING_UNIFORM,
            )?,
            bias: None,
            stride,
            padding,
        })
    }

    /// `(b, i, h, w)` → `(b, o, h', w')`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(
            x,
            &self.weight,
            self.bias.as_ref(),
            self.stride,
            self.padding,
        )
    }
}

/// Linear layers with ReLU between them, none after the last (`layers.0`, `layers.1`, …).
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Widths `i → hidden → … → o`, `depth` layers in all.
    pub fn new(
        i: usize,
        hidden: usize,
        o: usize,
        depth: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let vb = vb.pp("layers");
        let layers = (0..depth)
            .map(|l| {
                let from = if l == 0 { i } else { hidden };
                let to = if l + 1 == depth { o } else { hidden };
                Linear::new(from, to, vb.pp(l))
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// `(…, i)` → `(…, o)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (l, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x)?;
            if l + 1 < self.layers.len() {
                x = x.relu()?;
            }
        }
        Ok(x)
    }
}
