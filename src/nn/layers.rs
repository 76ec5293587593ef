//! Layers with parameters: what several networks share. A layer owns its tensors and calls [`super::ops`].
//!
//! Names are those of the released files (`weight`, `bias`), so a layer's path is its checkpoint key.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, quantized::QTensor};
use candle_nn::{Init, VarBuilder};

use super::{
    ops,
    precision::{Precision, Role, Stored, came, place},
    weights::blocks::Blocks,
};

/// A fully connected layer: `(…, i)` → `(…, o)`. The weight may be stored narrower than the values that pass.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

/// A weight `(o, i)` as it is stored.
#[derive(Clone, Debug)]
enum Weight {
    /// In the type of the arithmetic.
    Full(Tensor),
    /// In 16 bits.
    Narrow(Tensor),
    /// In blocks of small integers.
    Blocks(Arc<QTensor>),
}

/// On the CPU, a product of more rows than this with a weight in blocks makes floats of the weight first.
const BLOCK_ROWS: usize = 16;

impl Weight {
    fn stored(weight: Tensor, stored: Stored, role: Role) -> Result<Self> {
        let shape = weight.dims2()?;
        let (stored, bytes) = match stored {
            Stored::Float(dtype @ (DType::F16 | DType::BF16)) => {
                let narrow = weight.to_dtype(dtype)?;
                let bytes = narrow.elem_count() * dtype.size_in_bytes();
                (Self::Narrow(narrow), bytes)
            }
            Stored::Float(_) => {
                let bytes = weight.elem_count() * weight.dtype().size_in_bytes();
                (Self::Full(weight), bytes)
            }
            Stored::Blocks(kind) => {
                let device = weight.device().clone();
                let on_host = weight.to_device(&Device::Cpu)?;
                let blocks = QTensor::quantize_onto(&on_host, kind, &device)?;
                let bytes = blocks.storage_size_in_bytes();
                (Self::Blocks(Arc::new(blocks)), bytes)
            }
        };
        place(role, shape, bytes);
        Ok(stored)
    }

    /// A weight that a file holds in the very blocks that are wanted: taken as it is, since blocks made of blocks are worse.
    fn as_it_came(i: usize, o: usize, stored: Stored, vb: &VarBuilder<'_>) -> Result<Option<Self>> {
        let Stored::Blocks(kind) = stored else {
            return Ok(None);
        };
        let Some(blocks) = Blocks::of(kind) else {
            return Ok(None);
        };
        let name = blocks.tagged("weight");
        if !vb.contains_tensor(&name) {
            return Ok(None);
        }
        let bytes = vb.get_unchecked_dtype(&name, DType::U8)?.to_vec1::<u8>()?;
        let weight = blocks.unpack(&bytes, &[o, i], vb.device())?;
        came(o * i);
        place(Role::Language, (o, i), weight.storage_size_in_bytes());
        Ok(Some(Self::Blocks(Arc::new(weight))))
    }

    /// In f32, if a product of so many rows had better be made so.
    fn for_many_rows(&self, rows: usize, device: &Device) -> Result<Option<Tensor>> {
        match self {
            Self::Full(weight) => Ok(Some(weight.clone())),
            Self::Narrow(weight) if ops::kernels_serve(device) && ops::widens_whole(rows) => {
                ops::widened(weight).map(Some)
            }
            Self::Blocks(weight) if ops::kernels_serve(device) && rows > BLOCK_ROWS => {
                weight.dequantize(device).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Full(weight) => ops::linear(x, weight, bias),
            Self::Narrow(weight) => ops::linear_narrow(x, weight, bias),
            Self::Blocks(weight) => {
                let y = x.contiguous()?.apply_op1_no_bwd(weight.as_ref())?;
                match bias {
                    Some(bias) => y.broadcast_add(bias),
                    None => Ok(y),
                }
            }
        }
    }
}

fn kaiming(i: usize, o: usize, vb: &VarBuilder<'_>) -> Result<Tensor> {
    vb.get_with_hints((o, i), "weight", candle_nn::init::DEFAULT_KAIMING_UNIFORM)
}

impl Linear {
    /// `weight (o, i)` and `bias (o)`.
    pub fn new(i: usize, o: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let bound = 1.0 / (i as f64).sqrt();
        let stored = Stored::Float(vb.dtype());
        Ok(Self {
            weight: Weight::stored(kaiming(i, o, &vb)?, stored, Role::Matrix)?,
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
        let stored = Stored::Float(vb.dtype());
        Ok(Self {
            weight: Weight::stored(kaiming(i, o, &vb)?, stored, Role::Matrix)?,
            bias: None,
        })
    }

    /// `weight (o, i)` alone, of a language model, stored as a precision says.
    pub(super) fn language(
        i: usize,
        o: usize,
        precision: Precision,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        // A builder of full width has tensors of its own type, which training and tests rely on.
        let stored = match precision {
            Precision::F32 => Stored::Float(vb.dtype()),
            narrow => narrow.language(i),
        };
        let weight = match Weight::as_it_came(i, o, stored, &vb)? {
            Some(weight) => weight,
            None => Weight::stored(kaiming(i, o, &vb)?, stored, Role::Language)?,
        };
        Ok(Self { weight, bias: None })
    }

    /// From tensors at hand: weight `(o, i)`, bias `(o)`.
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight: Weight::Full(weight),
            bias,
        }
    }

    /// `(…, i)` → `(…, o)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.full(x)? {
            Some(weight) => ops::linear(x, &weight, self.bias.as_ref()),
            None => self.weight.forward(x, self.bias.as_ref()),
        }
    }

    /// The weight in f32 for a product with x, if it is stored or had better be made so.
    fn full(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let last = x.dims().last().copied().unwrap_or(1);
        let rows = x.elem_count() / last.max(1);
        self.weight.for_many_rows(rows, x.device())
    }

    /// The layer and an activation.
    pub fn activated(&self, x: &Tensor, act: ops::Activation) -> Result<Tensor> {
        match self.full(x)? {
            Some(weight) => ops::linear_activated(x, &weight, self.bias.as_ref(), act),
            None => act.apply(&self.weight.forward(x, self.bias.as_ref())?),
        }
    }

    /// `rest + layer(x) · scale`: a residual, with or without a layer scale `(o)`.
    pub fn added(&self, x: &Tensor, scale: Option<&Tensor>, rest: &Tensor) -> Result<Tensor> {
        if let Some(weight) = self.full(x)? {
            return ops::linear_added(x, &weight, self.bias.as_ref(), scale, rest);
        }
        let y = self.weight.forward(x, self.bias.as_ref())?;
        match scale {
            Some(scale) => rest + y.broadcast_mul(scale)?,
            None => rest + y,
        }
    }

    /// `rest + down(act(self(x))) · scale`: a transformer's perceptron.
    pub fn perceptron(
        &self,
        x: &Tensor,
        act: ops::Activation,
        down: &Self,
        scale: Option<&Tensor>,
        rest: &Tensor,
    ) -> Result<Tensor> {
        match (self.full(x)?, down.full(x)?) {
            (Some(up), Some(lower)) => ops::mlp(
                x,
                (&up, self.bias.as_ref()),
                act,
                (&lower, down.bias.as_ref()),
                scale,
                rest,
            ),
            _ => down.added(&self.activated(x, act)?, scale, rest),
        }
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

    /// [`LayerNorm2d::forward`], and its GELU.
    pub fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_2d_gelu(x, &self.weight, &self.bias, self.eps)
    }

    /// The same for a map whose channels are last, `(…, c)`.
    pub fn channels_last(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
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
        let up = 1.0 / ((i * k * k) as f64).sqrt();
        let bias = Init::Uniform { lo: -up, up };
        let begin = (candle_nn::init::DEFAULT_KAIMING_UNIFORM, Some(bias));
        Self::begun((i, o, k), (stride, padding), begin, &vb)
    }

    /// As [`Conv2d::new`], with nothing but zeros to begin training with.
    pub fn from_zero(
        i: usize,
        o: usize,
        k: usize,
        stride: usize,
        padding: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let begin = (Init::Const(0.0), Some(Init::Const(0.0)));
        Self::begun((i, o, k), (stride, padding), begin, &vb)
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
        let begin = (candle_nn::init::DEFAULT_KAIMING_UNIFORM, None);
        Self::begun((i, o, k), (stride, padding), begin, &vb)
    }

    /// With what weight and bias begin training as; without the second there is no bias.
    fn begun(
        (i, o, k): (usize, usize, usize),
        (stride, padding): (usize, usize),
        (weight, bias): (Init, Option<Init>),
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let bias = bias.map(|begin| vb.get_with_hints((o,), "bias", begin));
        Ok(Self {
            weight: vb.get_with_hints((o, i, k, k), "weight", weight)?,
            bias: bias.transpose()?,
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
            x = if l + 1 < self.layers.len() {
                layer.activated(&x, ops::Activation::Relu)?
            } else {
                layer.forward(&x)?
            };
        }
        Ok(x)
    }
}
