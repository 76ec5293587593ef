//! The current frame looks at what is remembered of an object: spatial memories of other frames, and object pointers.
//!
//! Released modules `sam2/modeling/memory_attention.py` and `RoPEAttention` of `sam/transformer.py`. Norms stand before
//! their sub-layers; tokens are `(k, n, d)`, memories `(k, n, mem_dim)`. One head, as in every released size.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::position::{AxialRope, expand_rows};
use crate::nn::{
    config::Sam2Config,
    layers::{LayerNorm, Linear},
    ops,
};

const NORM_EPS: f64 = 1e-5;
const ROPE_THETA: f64 = 10_000.0;

/// What is looked at; `m` spatial memories of the grid's size, `p` pointer tokens.
#[derive(Clone, Debug)]
pub struct MemoryTokens {
    /// `(k, m·h·w, mem_dim)`.
    pub spatial: Tensor,
    /// `(1, m·h·w, mem_dim)`.
    pub spatial_pos: Tensor,
    /// `(k, p, mem_dim)` and their positions `(1, p, mem_dim)`; not rotated.
    pub pointers: Option<(Tensor, Tensor)>,
}

/// Memory attention.
#[derive(Clone, Debug)]
pub struct MemoryAttention {
    layers: Vec<Layer>,
    norm: LayerNorm,
    d: usize,
    ropes: RopeCache,
}

impl MemoryAttention {
    /// Names below `vb` are those of `memory_attention`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            layers: (0..cfg.memory_attention_layers)
                .map(|i| Layer::new(cfg, vb.pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(cfg.d_model, NORM_EPS, vb.pp("norm"))?,
            d: cfg.d_model,
            ropes: RopeCache::default(),
        })
    }

    /// Frame `(1 or k, h·w, d)` and its position code `(1, h·w, d)` → `(k, h·w, d)`.
    pub fn forward(
        &self,
        frame: &Tensor,
        frame_pos: &Tensor,
        grid: (usize, usize),
        memory: &MemoryTokens,
    ) -> Result<Tensor> {
        self.forward_traced(frame, frame_pos, grid, memory, &mut |_, _| Ok(()))
    }

    /// [`MemoryAttention::forward`], showing each layer's output.
    pub fn forward_traced(
        &self,
        frame: &Tensor,
        frame_pos: &Tensor,
        grid: (usize, usize),
        memory: &MemoryTokens,
        trace: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let rope = self.ropes.get(self.d, grid, frame.device())?;
        let mut x = ops::add(frame, &(frame_pos * 0.1)?)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, memory, &rope)?;
            trace(i, &x)?;
        }
        self.norm.forward(&x)
    }
}

#[derive(Clone, Debug)]
struct Projections {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Projections {
    fn new(d: usize, kv: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            q: Linear::new(d, d, vb.pp("q_proj"))?,
            k: Linear::new(kv, d, vb.pp("k_proj"))?,
            v: Linear::new(kv, d, vb.pp("v_proj"))?,
            out: Linear::new(d, d, vb.pp("out_proj"))?,
        })
    }

    /// Projected and rotated q `(k, n, d)`, keys and values `(k, m, d)`, added to `rest` → `(k, n, d)`.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, rest: &Tensor) -> Result<Tensor> {
        let scale = 1.0 / (q.dim(2)? as f64).sqrt();
        let one_head = |x: &Tensor| x.unsqueeze(1);
        let y = ops::attention(&one_head(q)?, &one_head(k)?, &one_head(v)?, scale, None)?;
        self.out.added(&y.squeeze(1)?, None, rest)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    norm1: LayerNorm,
    self_attn: Projections,
    norm2: LayerNorm,
    cross_attn: Projections,
    norm3: LayerNorm,
    linear1: Linear,
    linear2: Linear,
}

impl Layer {
    fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let (d, ff) = (cfg.d_model, cfg.memory_attention_ff);
        let norm = |name: &str| LayerNorm::new(d, NORM_EPS, vb.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            self_attn: Projections::new(d, d, vb.pp("self_attn"))?,
            norm2: norm("norm2")?,
            cross_attn: Projections::new(d, cfg.mem_dim, vb.pp("cross_attn_image"))?,
            norm3: norm("norm3")?,
            linear1: Linear::new(d, ff, vb.pp("linear1"))?,
            linear2: Linear::new(ff, d, vb.pp("linear2"))?,
        })
    }

    fn forward(&self, x: &Tensor, memory: &MemoryTokens, rope: &AxialRope) -> Result<Tensor> {
        let y = self.norm1.forward(x)?;
        let this = &self.self_attn;
        let q = rope.rotate(&this.q.forward(&y)?)?;
        let k = rope.rotate(&this.k.forward(&y)?)?;
        let x = this.attend(&q, &k, &this.v.forward(&y)?, x)?;

        // Objects differ from here on only: until then one row has served them all.
        let x = expand_rows(&x, memory.spatial.dim(0)?)?;
        let this = &self.cross_attn;
        let q = rope.rotate(&this.q.forward(&self.norm2.forward(&x)?)?)?;
        let placed = ops::add(&memory.spatial, &memory.spatial_pos)?;
        let mut k = rope.rotate(&this.k.forward(&placed)?)?;
        let mut v = this.v.forward(&memory.spatial)?;
        if let Some((pointers, pos)) = &memory.pointers {
            let placed = pointers.broadcast_add(pos)?;
            k = Tensor::cat(&[k, this.k.forward(&placed)?], 1)?;
            v = Tensor::cat(&[v, this.v.forward(pointers)?], 1)?;
        }
        let x = this.attend(&q, &k, &v, &x)?;

        let y = self.norm3.forward(&x)?;
        self.linear1
            .perceptron(&y, ops::Activation::Relu, &self.linear2, None, &x)
    }
}

/// Rotary tables per grid size.
#[derive(Clone, Debug, Default)]
struct RopeCache(Arc<Mutex<HashMap<(usize, usize), AxialRope>>>);

impl RopeCache {
    /// The tables of `grid` for heads of `d` features.
    fn get(&self, d: usize, grid: (usize, usize), device: &Device) -> Result<AxialRope> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rope) = kept.get(&grid) {
            return Ok(rope.clone());
        }
        let rope = AxialRope::new(d, grid, ROPE_THETA, device)?;
        kept.insert(grid, rope.clone());
        Ok(rope)
    }
}
