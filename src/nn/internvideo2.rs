//! InternVideo2's video encoder (Wang et al. 2024, stage 2), the temporal stream. Features are the raw residual stream
//! after the second last block, class token dropped: the last block, the pooling and the heads are neither loaded nor
//! run.
//!
//! Released module: `PretrainInternVideo2` (`vision_encoder.*`). Chunks `(b, t, 3, s, s)`, tokens `(b, t · g², d)`, time
//! first, then row by row. Cutting a clip into chunks, projection and pooling are left to others.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    config::InternVideo2Config,
    layers::{Linear, RmsNorm},
    ops,
    patch::Patches,
    stop,
};

const EPS: f64 = 1e-6;

/// Gain of the query norm when trained from nothing. At 1.0 a head's logits cannot leave ±√(head width), which over
/// hundreds of tokens is almost uniform attention.
const QUERY_GAIN: f64 = 2.2;

#[derive(Clone, Debug)]
struct Block {
    norm1: RmsNorm,
    qkv: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    proj: Linear,
    ls1: Tensor,
    norm2: RmsNorm,
    fc1: Linear,
    fc2: Linear,
    ls2: Tensor,
    heads: usize,
}

impl Block {
    fn new(cfg: &InternVideo2Config, hidden: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let d = cfg.dim;
        let attn = vb.pp("attn");
        // The released start of 1e-5 is meant for a tower a hundred times as large: a small one would hardly move.
        let full = Init::Const(1.0);
        Ok(Self {
            norm1: RmsNorm::new(d, EPS, vb.pp("norm1"))?,
            qkv: Linear::no_bias(d, 3 * d, attn.pp("qkv"))?,
            q_norm: RmsNorm::with_gain(d, EPS, QUERY_GAIN, attn.pp("q_norm"))?,
            k_norm: RmsNorm::new(d, EPS, attn.pp("k_norm"))?,
            proj: Linear::new(d, d, attn.pp("proj"))?,
            ls1: vb.get_with_hints((d,), "ls1.gamma", full)?,
            norm2: RmsNorm::new(d, EPS, vb.pp("norm2"))?,
            fc1: Linear::new(d, hidden, vb.pp("mlp.fc1"))?,
            fc2: Linear::new(hidden, d, vb.pp("mlp.fc2"))?,
            ls2: vb.get_with_hints((d,), "ls2.gamma", full)?,
            heads: cfg.heads,
        })
    }

    /// What the heads read, before the projection.
    fn read(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n, d) = x.dims3()?;
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let part = |i: usize| qkv.narrow(2, i * d, d)?.contiguous();
        // The norms of query and key span all heads together.
        let q = self.q_norm.forward(&part(0)?)?;
        let k = self.k_norm.forward(&part(1)?)?;
        let head = d / self.heads;
        let split = |t: &Tensor| t.reshape((b, n, self.heads, head))?.transpose(1, 2);
        let y = ops::attention(
            &split(&q)?,
            &split(&k)?,
            &split(&qkv.narrow(2, 2 * d, d)?)?,
            1.0 / (head as f64).sqrt(),
            None,
        )?;
        ops::merge_heads(&y)
    }

    fn attention(&self, x: &Tensor) -> Result<Tensor> {
        self.proj.forward(&self.read(x)?)
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.proj.added(&self.read(x)?, Some(&self.ls1), x)?;
        let y = self.norm2.forward(&x)?;
        let y = self.fc1.activated(&y, ops::Activation::Gelu)?;
        self.fc2.added(&y, Some(&self.ls2), &x)
    }
}

/// What the encoder went through, for comparison with the released module.
pub struct InternVideo2Trace {
    /// Patch tokens `(b, t, g², d)` before positions.
    pub patches: Tensor,
    /// First block's attention with its projection, before the layer scale.
    pub attention0: Tensor,
    /// The residual stream after each block, `(b, 1 + t · g², d)`.
    pub blocks: Vec<Tensor>,
}

/// The encoder.
#[derive(Clone, Debug)]
pub struct InternVideo2 {
    patches: Patches,
    class: Tensor,
    position: Tensor,
    image_position: Option<Tensor>,
    blocks: Vec<Block>,
    frames: usize,
}

impl InternVideo2 {
    /// `vb` stands at `….vision_encoder`.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen, or the sizes do not divide.
    pub fn new(cfg: &InternVideo2Config, vb: VarBuilder<'_>) -> Result<Self> {
        if cfg.heads == 0
            || !cfg.dim.is_multiple_of(cfg.heads)
            || cfg.patch_size == 0
            || cfg.depth == 0
        {
            candle_core::bail!(
                "InternVideo2 of width {} cannot have {} heads",
                cfg.dim,
                cfg.heads
            );
        }
        let hidden = cfg.mlp_hidden.unwrap_or(cfg.dim * 48 / 11);
        let side = cfg.img_size / cfg.patch_size;
        let small = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        let table = |frames: usize, name: &str| {
            vb.get_with_hints((1, frames * side * side + 1, cfg.dim), name, small)
        };
        let blocks = vb.pp("blocks");
        Ok(Self {
            patches: Patches::new(
                (cfg.dim, 3, 1, cfg.patch_size, cfg.patch_size),
                cfg.patch_size,
                true,
                &vb.pp("patch_embed.proj"),
            )?,
            class: vb.get_with_hints((1, 1, cfg.dim), "cls_token", small)?,
            position: table(cfg.num_frames, "pos_embed")?,
            // Only single frames need it, and clips never are.
            image_position: if vb.contains_tensor("img_pos_embed") {
                Some(table(1, "img_pos_embed")?)
            } else {
                None
            },
            blocks: (0..cfg.depth - 1)
                .map(|l| Block::new(cfg, hidden, &blocks.pp(l)))
                .collect::<Result<_>>()?,
            frames: cfg.num_frames,
        })
    }

    fn embed(&self, chunks: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, t, c, h, w) = chunks.dims5()?;
        let patches = self.patches.forward(&chunks.reshape((b * t, c, h, w))?)?;
        let (_, g, d) = patches.dims3()?;
        let table = match (&self.image_position, t == self.frames) {
            (_, true) => &self.position,
            (Some(table), false) if t == 1 => table,
            _ => candle_core::bail!("a chunk has {t} frames, the encoder takes {}", self.frames),
        };
        let class = self.class.broadcast_as((b, 1, d))?;
        let x = Tensor::cat(&[&class, &patches.reshape((b, t * g, d))?], 1)?;
        Ok((x.broadcast_add(table)?, patches.reshape((b, t, g, d))?))
    }

    /// Chunks `(b, t, 3, s, s)` → every intermediate state.
    ///
    /// # Errors
    /// If the chunks do not have the configured size.
    pub fn trace(&self, chunks: &Tensor) -> Result<InternVideo2Trace> {
        let (mut x, patches) = self.embed(chunks)?;
        let attention0 = match self.blocks.first() {
            Some(block) => block.attention(&x)?,
            None => x.clone(),
        };
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.forward(&x)?;
            blocks.push(x.clone());
        }
        Ok(InternVideo2Trace {
            patches,
            attention0,
            blocks,
        })
    }

    /// Chunks `(b, t, 3, s, s)`, normalised → features `(b, t · g², d)`.
    ///
    /// # Errors
    /// As [`InternVideo2::trace`].
    pub fn forward(&self, chunks: &Tensor) -> Result<Tensor> {
        let (mut x, _) = self.embed(chunks)?;
        for block in &self.blocks {
            stop::check()?;
            x = block.forward(&x)?;
        }
        x.narrow(1, 1, x.dim(1)? - 1)
    }
}
