//! The Hiera trunk: windowed and global attention over four stages, each at half the resolution of the one before.
//!
//! Paper: Ryali et al. 2023, "Hiera"; released module `sam2/modeling/backbones/hieradet.py`. Tokens stay NHWC throughout;
//! the stage outputs leave as NCHW. The neck is next door.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::position::GridCache;
use crate::nn::{
    config::Sam2Config,
    layers::{Conv2d, LayerNorm, Linear},
    ops, stop,
};

const NORM_EPS: f64 = 1e-6;

/// The trunk.
#[derive(Clone, Debug)]
pub struct Trunk {
    patch_embed: Conv2d,
    pos_embed: Tensor,
    pos_embed_window: Tensor,
    constant_positions: bool,
    positions: GridCache,
    blocks: Vec<Block>,
    stage_ends: Vec<usize>,
}

/// Where a traced value was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkPoint {
    /// After the patch embedding, `(b, h, w, c)`.
    PatchEmbed,
    /// The position table, `(1, h, w, c)`.
    Positions,
    /// After a block, `(b, h, w, c)`.
    Block(usize),
}

impl Trunk {
    /// Names below `vb`: `patch_embed.proj`, `pos_embed`, `pos_embed_window`, `blocks.*`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        if cfg.window_spec.len() != cfg.stages.len() || cfg.stages.contains(&0) {
            candle_core::bail!("the trunk needs one window per stage and no empty stage");
        }
        let small = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        let [rows, columns] = cfg.window_pos_embed_bkg_spatial_size;
        let window = cfg.window_spec[0];
        let c = cfg.embed_dim;
        let pos_embed = vb.get_with_hints((1, c, rows, columns), "pos_embed", small)?;
        let pos_embed_window =
            vb.get_with_hints((1, c, window, window), "pos_embed_window", small)?;

        let mut blocks = Vec::new();
        let mut stage_ends = Vec::new();
        let (mut dim, mut heads) = (c, cfg.num_heads);
        for (stage, &depth) in cfg.stages.iter().enumerate() {
            for within in 0..depth {
                let index = blocks.len();
                let pools = stage > 0 && within == 0;
                // The first block of a stage still works in the windows of the stage before.
                let window = cfg.window_spec[if pools { stage - 1 } else { stage }];
                let global = cfg.global_att_blocks.contains(&index);
                if pools && (global || !window.is_multiple_of(2)) {
                    candle_core::bail!(
                        "block {index} pools its queries, so it needs an even window and cannot be global"
                    );
                }
                let out = if pools { dim * 2 } else { dim };
                if pools {
                    heads *= 2;
                }
                let shape = BlockShape {
                    from: dim,
                    to: out,
                    heads,
                    window: if global { 0 } else { window },
                };
                blocks.push(Block::new(shape, vb.pp("blocks").pp(index))?);
                dim = out;
            }
            stage_ends.push(blocks.len() - 1);
        }
        Ok(Self {
            patch_embed: Conv2d::new(3, c, 7, 4, 3, vb.pp("patch_embed").pp("proj"))?,
            constant_positions: !pos_embed.is_variable() && !pos_embed_window.is_variable(),
            pos_embed,
            pos_embed_window,
            positions: GridCache::default(),
            blocks,
            stage_ends,
        })
    }

    /// `(b, 3, h, w)` normalised → one NCHW map per stage, strides 4, 8, 16, 32.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.forward_traced(x, &mut |_, _| Ok(()))
    }

    /// [`Trunk::forward`], showing values on the way.
    pub fn forward_traced(
        &self,
        x: &Tensor,
        trace: &mut dyn FnMut(TrunkPoint, &Tensor) -> Result<()>,
    ) -> Result<Vec<Tensor>> {
        let x = self.patch_embed.forward(x)?;
        let (b, c, h, w) = x.dims4()?;
        let x = ops::nchw_to_tokens(&x)?.reshape((b, h, w, c))?;
        trace(TrunkPoint::PatchEmbed, &x)?;
        let positions = self.positions((h, w))?;
        trace(TrunkPoint::Positions, &positions)?;
        let mut x = x.broadcast_add(&positions)?;
        let mut stages = Vec::with_capacity(self.stage_ends.len());
        for (index, block) in self.blocks.iter().enumerate() {
            stop::check()?;
            x = block.forward(&x)?;
            trace(TrunkPoint::Block(index), &x)?;
            if self.stage_ends.contains(&index) {
                let (b, h, w, c) = x.dims4()?;
                let tokens = x.reshape((b, h * w, c))?;
                stages.push(ops::tokens_to_nchw(&tokens, (h, w))?);
            }
        }
        Ok(stages)
    }

    /// Background table stretched over the grid plus window table tiled over it: `(1, h, w, c)`.
    fn positions(&self, (h, w): (usize, usize)) -> Result<Tensor> {
        let side = self.pos_embed_window.dim(2)?;
        if !h.is_multiple_of(side) || !w.is_multiple_of(side) {
            candle_core::bail!(
                "the image must be a multiple of {} pixels high and wide",
                4 * side
            );
        }
        let make = || {
            let tiled = self.pos_embed_window.repeat((1, 1, h / side, w / side))?;
            (ops::resize_bicubic(&self.pos_embed, (h, w))? + tiled)?
                .permute((0, 2, 3, 1))?
                .contiguous()
        };
        // Tables that learn change between calls.
        if self.constant_positions {
            self.positions.get((h, w), make)
        } else {
            make()
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct BlockShape {
    from: usize,
    to: usize,
    heads: usize,
    /// 0 = global.
    window: usize,
}

impl BlockShape {
    fn pools(&self) -> bool {
        self.from != self.to
    }
}

#[derive(Clone, Debug)]
struct Block {
    shape: BlockShape,
    norm1: LayerNorm,
    qkv: Linear,
    attn_proj: Linear,
    /// Shortcut of a block that changes width.
    proj: Option<Linear>,
    norm2: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
}

impl Block {
    fn new(shape: BlockShape, vb: VarBuilder<'_>) -> Result<Self> {
        let BlockShape { from, to, .. } = shape;
        let mlp = vb.pp("mlp").pp("layers");
        Ok(Self {
            norm1: LayerNorm::new(from, NORM_EPS, vb.pp("norm1"))?,
            qkv: Linear::new(from, 3 * to, vb.pp("attn").pp("qkv"))?,
            attn_proj: Linear::new(to, to, vb.pp("attn").pp("proj"))?,
            proj: if shape.pools() {
                Some(Linear::new(from, to, vb.pp("proj"))?)
            } else {
                None
            },
            norm2: LayerNorm::new(to, NORM_EPS, vb.pp("norm2"))?,
            mlp_in: Linear::new(to, 4 * to, mlp.pp(0))?,
            mlp_out: Linear::new(4 * to, to, mlp.pp(1))?,
            shape,
        })
    }

    /// `(b, h, w, from)` → `(b, h, w, to)`, or half of `h` and `w` where the block pools.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, h, w, _) = x.dims4()?;
        if self.shape.pools() && !(h.is_multiple_of(2) && w.is_multiple_of(2)) {
            candle_core::bail!("a map of {h}×{w} tokens cannot be halved");
        }
        let normed = self.norm1.forward(x)?;
        let shortcut = match &self.proj {
            Some(proj) => pool_2x2(&proj.forward(&normed)?)?,
            None => x.clone(),
        };
        let x = (shortcut + self.attend(&normed)?)?;
        let y = self.norm2.forward(&x)?;
        self.mlp_in
            .perceptron(&y, ops::Activation::Gelu, &self.mlp_out, None, &x)
    }

    fn attend(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, _) = x.dims4()?;
        let window = self.shape.window;
        let halves = if self.shape.pools() { 2 } else { 1 };
        let out_grid = (h / halves, w / halves);
        let windows = if window == 0 {
            x.clone()
        } else {
            partition(x, window)?
        };
        let (n, rows, columns, _) = windows.dims4()?;
        let heads = self.shape.heads;
        let head = self.shape.to / heads;
        let qkv = self
            .qkv
            .forward(&windows)?
            .reshape((n, rows * columns, 3, heads, head))?;
        let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2);
        let mut q = part(0)?;
        if halves == 2 {
            let map = q.contiguous()?.reshape((n, rows, columns, heads * head))?;
            q = pool_2x2(&map)?.reshape((n, rows * columns / 4, heads, head))?;
        }
        let by_head = |t: Tensor| t.transpose(1, 2);
        let y = ops::attention(
            &by_head(q)?,
            &by_head(part(1)?)?,
            &by_head(part(2)?)?,
            1.0 / (head as f64).sqrt(),
            None,
        )?;
        let y =
            ops::merge_heads(&y)?.reshape((n, rows / halves, columns / halves, heads * head))?;
        let y = self.attn_proj.forward(&y)?;
        if window == 0 {
            return Ok(y);
        }
        unpartition(&y, window / halves, b, out_grid)
    }
}

/// Maximum over 2×2 tiles of `(b, h, w, c)`; h and w are even.
fn pool_2x2(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    // Pairs of rows, then pairs of columns: each half is copied in runs, which is quicker than a strided maximum.
    let larger_half = |t: Tensor, run: usize| {
        let t = t.reshape(((), 2, run))?;
        t.narrow(1, 0, 1)?
            .contiguous()?
            .maximum(&t.narrow(1, 1, 1)?.contiguous()?)
    };
    let rows = larger_half(x.contiguous()?, w * c)?;
    larger_half(rows, c)?.reshape((b, h / 2, w / 2, c))
}

/// `(b, h, w, c)` → `(b·windows, side, side, c)`; zeros fill the bottom and the right.
fn partition(x: &Tensor, side: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let (rows, columns) = (h.div_ceil(side), w.div_ceil(side));
    x.pad_with_zeros(1, 0, rows * side - h)?
        .pad_with_zeros(2, 0, columns * side - w)?
        .reshape((b * rows, side, columns, side * c))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((b * rows * columns, side, side, c))
}

/// The inverse of [`partition`]: `(b·windows, side, side, c)` → `(b, h, w, c)`.
fn unpartition(windows: &Tensor, side: usize, b: usize, (h, w): (usize, usize)) -> Result<Tensor> {
    let c = windows.dim(3)?;
    let (rows, columns) = (h.div_ceil(side), w.div_ceil(side));
    windows
        .reshape((b * rows, columns, side, side * c))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((b, rows * side, columns * side, c))?
        .narrow(1, 0, h)?
        .narrow(2, 0, w)?
        .contiguous()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn ramp(shape: (usize, usize, usize, usize)) -> Tensor {
        let n = shape.0 * shape.1 * shape.2 * shape.3;
        Tensor::arange(0_f32, n as f32, &Device::Cpu)
            .and_then(|t| t.reshape(shape))
            .expect("shape is sound")
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
    }

    #[test]
    fn windows_come_back_where_they_were_even_with_padding() {
        let x = ramp((2, 5, 7, 3));
        let windows = partition(&x, 4).expect("any grid can be cut");
        assert_eq!(windows.dims(), &[8, 4, 4, 3]);
        let back = unpartition(&windows, 4, 2, (5, 7)).expect("same grid");
        assert_eq!(flat(&x), flat(&back));
    }

    #[test]
    fn pooling_takes_the_largest_of_each_tile() {
        let x = ramp((1, 4, 6, 2));
        let nchw = x.permute((0, 3, 1, 2)).and_then(|t| t.contiguous());
        let want = nchw
            .and_then(|t| ops::max_pool_2x2(&t))
            .and_then(|t| t.permute((0, 2, 3, 1)))
            .and_then(|t| t.contiguous())
            .expect("even map");
        assert_eq!(flat(&pool_2x2(&x).expect("even map")), flat(&want));
    }
}
