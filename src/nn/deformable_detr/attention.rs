//! The detector's two attentions: deformable attention over feature maps and ordinary attention among queries.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use crate::nn::{layers::Linear, ops};

/// Widths of one attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) d: usize,
    pub(super) heads: usize,
    pub(super) levels: usize,
    pub(super) points: usize,
}

/// Where a query looks: one reference per query, the same for all levels (every map is valid over its whole extent).
#[derive(Clone, Debug)]
pub(super) enum Reference {
    /// `(b or 1, q, 2)`: centres; offsets are in cells.
    Points(Tensor),
    /// `(b, q, 4)` as cx, cy, w, h: offsets are in half boxes per point.
    Boxes(Tensor),
}

/// Multi-scale deformable attention (Deformable-DETR, section 4.1).
#[derive(Clone, Debug)]
pub(super) struct DeformableAttention {
    sampling_offsets: Linear,
    attention_weights: Linear,
    value_proj: Linear,
    output_proj: Linear,
    sizes: Sizes,
}

impl DeformableAttention {
    pub(super) fn new(sizes: Sizes, vb: VarBuilder<'_>) -> Result<Self> {
        let Sizes {
            d,
            heads,
            levels,
            points,
        } = sizes;
        let samples = heads * levels * points;
        // Training starts with even weights at fixed offsets.
        let zero = |out: usize, name: &str| -> Result<Linear> {
            let vb = vb.pp(name);
            let weight = vb.get_with_hints((out, d), "weight", Init::Const(0.0))?;
            let bias = vb.get_with_hints((out,), "bias", Init::Const(0.0))?;
            Ok(Linear::from_parts(weight, Some(bias)))
        };
        Ok(Self {
            sampling_offsets: zero(samples * 2, "sampling_offsets")?,
            attention_weights: zero(samples, "attention_weights")?,
            value_proj: Linear::new(d, d, vb.pp("value_proj"))?,
            output_proj: Linear::new(d, d, vb.pp("output_proj"))?,
            sizes,
        })
    }

    /// `queries` and `position` `(b, q, d)`, `memory` `(b, Σ h·w, d)` of maps `shapes` → `(b, q, d)`. The position
    /// decides where to look and never what is read.
    pub(super) fn forward(
        &self,
        queries: &Tensor,
        position: &Tensor,
        reference: &Reference,
        memory: &Tensor,
        shapes: &[(usize, usize)],
    ) -> Result<Tensor> {
        let Sizes {
            d,
            heads,
            levels,
            points,
        } = self.sizes;
        let (b, q, _) = queries.dims3()?;
        let cells = memory.dim(1)?;
        let asked = queries.broadcast_add(position)?;
        let offsets = self
            .sampling_offsets
            .forward(&asked)?
            .reshape((b, q, heads, levels, points, 2))?;
        let weights =
            self.attention_weights
                .forward(&asked)?
                .reshape((b, q, heads, levels * points))?;
        let weights = ops::softmax_last(&weights)?.reshape((b, q, heads, levels, points))?;
        let value = self
            .value_proj
            .forward(memory)?
            .reshape((b, cells, heads, d / heads))?;
        let spread = |t: &Tensor| -> Result<Tensor> {
            let (b, q, n) = t.dims3()?;
            t.reshape((b, q, 1, 1, 1, n))
        };
        let locations = match reference {
            Reference::Points(centres) => {
                let sizes: Vec<f32> = shapes
                    .iter()
                    .flat_map(|&(h, w)| [w as f32, h as f32])
                    .collect();
                let sizes = Tensor::from_vec(sizes, (1, 1, 1, levels, 1, 2), queries.device())?
                    .to_dtype(queries.dtype())?;
                offsets
                    .broadcast_div(&sizes)?
                    .broadcast_add(&spread(centres)?)?
            }
            Reference::Boxes(boxes) => {
                let half = (boxes.narrow(2, 2, 2)? * (0.5 / points as f64))?;
                offsets
                    .broadcast_mul(&spread(&half)?)?
                    .broadcast_add(&spread(&boxes.narrow(2, 0, 2)?)?)?
            }
        };
        let read = ops::deformable_sampling(&value, shapes, &locations, &weights)?;
        self.output_proj.forward(&read)
    }
}

/// The starting bias of `sampling_offsets`: each head looks its own way, each point one step further.
pub(super) fn offset_bias(sizes: Sizes) -> Result<Tensor> {
    let Sizes {
        heads,
        levels,
        points,
        ..
    } = sizes;
    let mut data = Vec::with_capacity(heads * levels * points * 2);
    for head in 0..heads {
        let angle = head as f64 * std::f64::consts::TAU / heads as f64;
        let (y, x) = angle.sin_cos();
        let largest = x.abs().max(y.abs());
        for _ in 0..levels {
            for point in 1..=points {
                let step = point as f64 / largest;
                data.extend([(x * step) as f32, (y * step) as f32]);
            }
        }
    }
    Tensor::from_vec(data, heads * levels * points * 2, &Device::Cpu)
}

/// Attention among the queries of an image.
#[derive(Clone, Debug)]
pub(super) struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl SelfAttention {
    pub(super) fn new(d: usize, heads: usize, vb: VarBuilder<'_>) -> Result<Self> {
        if heads == 0 || !d.is_multiple_of(heads) {
            bail!("{d} channels cannot be split into {heads} heads");
        }
        let linear = |name: &str| Linear::new(d, d, vb.pp(name));
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            out_proj: linear("out_proj")?,
            heads,
        })
    }

    /// `(b, q, d)` → `(b, q, d)`; the position steers queries and keys, values are plain.
    pub(super) fn forward(&self, x: &Tensor, position: &Tensor) -> Result<Tensor> {
        let (b, n, d) = x.dims3()?;
        let split = |t: Tensor| -> Result<Tensor> {
            t.reshape((b, n, self.heads, d / self.heads))?
                .transpose(1, 2)
        };
        let placed = x.broadcast_add(position)?;
        let q = split(self.q_proj.forward(&placed)?)?;
        let k = split(self.k_proj.forward(&placed)?)?;
        let v = split(self.v_proj.forward(x)?)?;
        let scale = ((d / self.heads) as f64).powf(-0.5);
        let out = ops::attention(&q, &k, &v, scale, None)?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((b, n, d))?;
        self.out_proj.forward(&out)
    }
}
