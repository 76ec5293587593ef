//! Memory of an object over time: making it, naming it, and looking at it from another frame.
//!
//! The pieces that a tracker or a trainer unrolls frame by frame, batched over objects. All are differentiable; what the
//! released code decides by a threshold (binarised masks, presence) passes no gradient.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    DecodeOptions, ImageFeatures, Prompts, Sam2,
    bank::{self, FrameInfo, Remembered},
    mask_decoder::index_of_largest,
    memory_attention::{MemoryAttention, MemoryTokens},
    memory_encoder::MemoryEncoder,
    position::{GridCache, expand_rows, sine_1d, sine_2d, to_map, to_tokens},
};
use crate::nn::{
    config::Sam2Config,
    layers::{Conv2d, Linear, Mlp},
    ops,
};

/// Logit of every pixel where an object is absent.
pub const ABSENT: f64 = -1024.0;
/// Masks enter memory as `SCALE · σ(logit) + SHIFT`.
const SCALE: f64 = 20.0;
const SHIFT: f64 = -10.0;

/// A spatial memory of `k` objects on one frame.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `(k, mem_dim, h, w)`.
    pub features: Tensor,
}

/// What is remembered of `k` objects on one frame.
#[derive(Clone, Debug)]
pub struct BankEntry {
    /// Frame index.
    pub frame: usize,
    /// A person (or the prompt) made this frame's mask.
    pub conditioning: bool,
    /// Spatial memory.
    pub memory: Memory,
    /// Object pointers `(k, d)`.
    pub pointer: Tensor,
}

/// What the heads say of `k` prompts on one frame, one mask each.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// `(k, 1, h, w)` logits, [`ABSENT`] where the object is not there.
    pub low_res: Tensor,
    /// `(k, 1)`.
    pub iou: Tensor,
    /// `(k, 1)` logit.
    pub object_score: Tensor,
    /// `(k, d)`.
    pub pointer: Tensor,
}

/// The parameters that images alone do not need.
#[derive(Clone, Debug)]
pub(super) struct MemoryParts {
    pub(super) encoder: MemoryEncoder,
    pub(super) attention: MemoryAttention,
    time_slots: Tensor,
    no_obj_ptr: Tensor,
    no_obj_embed_spatial: Option<Tensor>,
    obj_ptr_proj: Mlp,
    obj_ptr_tpos_proj: Option<Linear>,
    mask_downsample: Conv2d,
    sine: GridCache,
}

impl MemoryParts {
    pub(super) fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let (d, mem) = (cfg.d_model, cfg.mem_dim);
        if mem == 0 || !d.is_multiple_of(mem) {
            candle_core::bail!("pointers of {d} features cannot be cut into tokens of {mem}");
        }
        let small = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        let flags = cfg.flags;
        if vb.contains_tensor("no_mem_pos_enc") {
            // In every file, in use by none of the released models.
            vb.get((1, 1, d), "no_mem_pos_enc")?;
        }
        Ok(Self {
            encoder: MemoryEncoder::new(cfg, vb.pp("memory_encoder"))?,
            attention: MemoryAttention::new(cfg, vb.pp("memory_attention"))?,
            time_slots: vb.get_with_hints(
                (cfg.num_maskmem, 1, 1, mem),
                "maskmem_tpos_enc",
                small,
            )?,
            no_obj_ptr: vb.get_with_hints((1, d), "no_obj_ptr", small)?,
            no_obj_embed_spatial: if flags.no_obj_embed_spatial {
                Some(vb.get_with_hints((1, mem), "no_obj_embed_spatial", small)?)
            } else {
                None
            },
            obj_ptr_proj: Mlp::new(d, d, d, 3, vb.pp("obj_ptr_proj"))?,
            obj_ptr_tpos_proj: if flags.add_tpos_enc_to_obj_ptrs && flags.proj_tpos_enc_in_obj_ptrs
            {
                Some(Linear::new(d, mem, vb.pp("obj_ptr_tpos_proj"))?)
            } else {
                None
            },
            mask_downsample: mask_downsample(vb.pp("mask_downsample"))?,
            sine: GridCache::default(),
        })
    }

    /// Position code of a memory, `(1, mem_dim, h, w)`.
    pub(super) fn memory_pos(&self, grid: (usize, usize), like: &Tensor) -> Result<Tensor> {
        let mem = self.time_slots.dim(3)?;
        self.sine.get(grid, || sine_2d(mem, grid, like.device()))
    }
}

/// The convolution that turns a person's mask into a mask prompt. Fresh, it is the mean of each 4×4 tile scaled to ±10, so
/// that it works before it has learnt.
fn mask_downsample(vb: VarBuilder<'_>) -> Result<Conv2d> {
    vb.get_with_hints((1, 1, 4, 4), "weight", Init::Const(SCALE / 16.0))?;
    vb.get_with_hints((1,), "bias", Init::Const(SHIFT))?;
    Conv2d::new(1, 1, 4, 4, 0, vb)
}

/// 1 where `x > 0`, else 0, in x's type; no gradient passes.
fn positive(x: &Tensor) -> Result<Tensor> {
    x.gt(0.0)?.to_dtype(x.dtype())
}

impl Sam2 {
    /// Embedding `(1 or k, d, h, w)` as the neck gives it, logits `(k, 1, …)` of any size, object score `(k, 1)`. The
    /// released code binarises on frames that a prompt made, and keeps the sigmoid on tracked ones.
    pub fn encode_memory(
        &self,
        embed: &Tensor,
        mask_logits: &Tensor,
        object_score: &Tensor,
        binarize: bool,
    ) -> Result<Memory> {
        let (_, _, h, w) = embed.dims4()?;
        let parts = &self.memory;
        let stride = parts.encoder.mask_stride();
        let logits = ops::resize_bilinear(mask_logits, (h * stride, w * stride))?;
        let mask = if binarize {
            positive(&logits)?
        } else {
            candle_nn::ops::sigmoid(&logits)?
        };
        let features = parts.encoder.forward(embed, &mask.affine(SCALE, SHIFT)?)?;
        let features = match &parts.no_obj_embed_spatial {
            None => features,
            Some(absent) => {
                let (k, _) = object_score.dims2()?;
                let weight = (1.0 - positive(object_score)?)?.reshape((k, 1, 1, 1))?;
                let absent = absent.reshape((1, (), 1, 1))?;
                features.broadcast_add(&weight.broadcast_mul(&absent)?)?
            }
        };
        Ok(Memory { features })
    }

    /// Mask token `(k, d)` and object score `(k, 1)` → pointer `(k, d)`; an absent object gets the learned vector.
    pub fn object_pointer(&self, token: &Tensor, object_score: &Tensor) -> Result<Tensor> {
        let pointer = self.memory.obj_ptr_proj.forward(token)?;
        self.present_or_absent(&pointer, object_score)
    }

    /// Pointers `(k, d)` as they are remembered, by object scores `(k, 1)`: the learned vector for each object that is absent.
    pub fn present_or_absent(&self, pointer: &Tensor, object_score: &Tensor) -> Result<Tensor> {
        let there = positive(object_score)?;
        let absent = (1.0 - &there)?.broadcast_mul(&self.memory.no_obj_ptr)?;
        pointer.broadcast_mul(&there)? + absent
    }

    /// The pointer of an object that is nowhere: `(k, d)`.
    pub fn absent_pointer(&self, k: usize) -> Result<Tensor> {
        expand_rows(&self.memory.no_obj_ptr, k)
    }

    /// The frame's embedding `(k, d, h, w)` in the light of what the bank holds (entries of `k` objects each); an empty
    /// bank gives [`Sam2::add_no_mem`].
    pub fn condition(
        &self,
        feats: &ImageFeatures,
        bank: &[BankEntry],
        info: FrameInfo,
    ) -> Result<Tensor> {
        let remembered: Vec<_> = bank
            .iter()
            .map(|e| Remembered {
                frame: e.frame,
                conditioning: e.conditioning,
            })
            .collect();
        let slots = self.slots(&remembered, info);
        let memories: Vec<_> = slots
            .spatial
            .iter()
            .map(|(i, slot)| (&bank[*i].memory.features, *slot))
            .collect();
        let pointers: Vec<_> = slots
            .pointers
            .iter()
            .map(|(i, distance)| (&bank[*i].pointer, *distance))
            .collect();
        self.look_at(feats, &memories, &pointers, slots.max_pointers)
    }

    /// Which of the bank's entries the frame looks at.
    pub fn slots(&self, bank: &[Remembered], info: FrameInfo) -> bank::Slots {
        let cfg = self.config();
        bank::select(bank, info, cfg.num_maskmem, cfg.max_obj_ptrs_in_encoder)
    }

    /// [`Sam2::condition`] with the choice made: memories `(k, mem_dim, h, w)` with their time slots, pointers `(k, d)`
    /// with their distances in frames.
    pub fn look_at(
        &self,
        feats: &ImageFeatures,
        memories: &[(&Tensor, usize)],
        pointers: &[(&Tensor, i64)],
        max_pointers: usize,
    ) -> Result<Tensor> {
        if memories.is_empty() {
            return self.add_no_mem(&feats.embed);
        }
        let grid = feats.grid()?;
        let parts = &self.memory;
        let (slots, _, _, _) = parts.time_slots.dims4()?;
        let code = to_tokens(&parts.memory_pos(grid, &feats.embed)?)?;
        let dtype = feats.embed.dtype();
        let mut spatial = Vec::with_capacity(memories.len());
        let mut spatial_pos = Vec::with_capacity(memories.len());
        for (features, slot) in memories {
            // Stored memories may be bf16; they are looked at in the frame's own type.
            spatial.push(to_tokens(&features.to_dtype(dtype)?)?);
            let time = parts
                .time_slots
                .narrow(0, slots - 1 - slot, 1)?
                .squeeze(0)?;
            spatial_pos.push(code.broadcast_add(&time)?);
        }
        let tokens = MemoryTokens {
            spatial: Tensor::cat(&spatial, 1)?,
            spatial_pos: Tensor::cat(&spatial_pos, 1)?,
            pointers: self.pointer_tokens(pointers, max_pointers)?,
        };
        let y = parts.attention.forward(
            &to_tokens(&feats.embed)?,
            &to_tokens(&feats.pos)?,
            grid,
            &tokens,
        )?;
        to_map(&y, grid)
    }

    /// Pointers cut into tokens of a memory's width, and their positions.
    fn pointer_tokens(
        &self,
        pointers: &[(&Tensor, i64)],
        max_pointers: usize,
    ) -> Result<Option<(Tensor, Tensor)>> {
        let Some((first, _)) = pointers.first() else {
            return Ok(None);
        };
        let cfg = self.config();
        let (k, d) = first.dims2()?;
        let pieces = d / cfg.mem_dim;
        let tokens = pointers
            .iter()
            .map(|(p, _)| p.reshape((k, pieces, cfg.mem_dim)))
            .collect::<Result<Vec<_>>>()?;
        let tokens = Tensor::cat(&tokens, 1)?;
        let n = pointers.len();
        let pos = if cfg.flags.add_tpos_enc_to_obj_ptrs {
            let span = max_pointers.saturating_sub(1).max(1) as f64;
            let signed = cfg.flags.use_signed_tpos_enc_to_obj_ptrs;
            let distances: Vec<f64> = pointers
                .iter()
                .map(|(_, distance)| if signed { *distance } else { distance.abs() })
                .map(|distance| distance as f64 / span)
                .collect();
            let code = match &self.memory.obj_ptr_tpos_proj {
                Some(proj) => proj.forward(&sine_1d(&distances, d, first.device())?)?,
                None => sine_1d(&distances, cfg.mem_dim, first.device())?,
            };
            code.unsqueeze(1)?
                .broadcast_as((n, pieces, cfg.mem_dim))?
                .contiguous()?
                .reshape((1, n * pieces, cfg.mem_dim))?
        } else {
            tokens.narrow(0, 0, 1)?.zeros_like()?
        };
        Ok(Some((tokens, pos)))
    }

    /// Decodes prompts on a conditioned embedding of 1 or `k` rows, as a tracker wants it: one mask each (with several,
    /// the one of the largest predicted IoU), absent objects emptied, pointers made.
    pub fn decode_object(
        &self,
        image_embed: &Tensor,
        high_res: &[Tensor; 2],
        prompts: &Prompts,
        options: DecodeOptions,
    ) -> Result<Decoded> {
        let out = self.decode(image_embed, high_res, prompts, options)?;
        let (k, m, h, w) = out.low_res.dims4()?;
        let d = out.tokens.dim(2)?;
        let (low_res, iou, token) = if m == 1 {
            (out.low_res, out.ious, out.tokens.squeeze(1)?)
        } else {
            let best: Vec<u32> = out
                .ious
                .to_vec2::<f32>()?
                .iter()
                .enumerate()
                .map(|(row, ious)| (row * m + index_of_largest(ious)) as u32)
                .collect();
            let best = Tensor::from_vec(best, k, image_embed.device())?;
            let pick = |t: Tensor| t.index_select(&best, 0);
            (
                pick(out.low_res.reshape((k * m, 1, h, w))?)?,
                pick(out.ious.reshape((k * m, 1))?)?,
                pick(out.tokens.reshape((k * m, d))?)?,
            )
        };
        let there = out.object_score.gt(0.0)?;
        let absent = Tensor::full(ABSENT as f32, low_res.shape(), low_res.device())?
            .to_dtype(low_res.dtype())?;
        let low_res = there
            .reshape((k, 1, 1, 1))?
            .broadcast_as(low_res.shape())?
            .where_cond(&low_res, &absent)?;
        Ok(Decoded {
            pointer: self.object_pointer(&token, &out.object_score)?,
            low_res,
            iou,
            object_score: out.object_score,
        })
    }

    /// Takes a person's mask as the answer: logits `(k, 1, …)` of any size on one frame. The pointer is what the decoder
    /// makes of the mask.
    pub fn decode_mask(&self, feats: &ImageFeatures, mask_logits: &Tensor) -> Result<Decoded> {
        let (h, w) = feats.grid()?;
        let (k, _, _, _) = mask_logits.dims4()?;
        let image = (16 * h, 16 * w);
        let inside = positive(&ops::resize_bilinear(mask_logits, image)?)?;
        let prompts = Prompts {
            mask: Some(self.memory.mask_downsample.forward(&inside)?),
            ..Prompts::nothing(k, mask_logits)?
        };
        let options = DecodeOptions {
            multimask: false,
            train: false,
            image_size: image.0,
        };
        let seen = self.decode_object(&feats.embed, &feats.high_res, &prompts, options)?;
        let there = positive(&inside.flatten_from(1)?.max_keepdim(1)?)?;
        let object_score = there.affine(SCALE, SHIFT)?;
        Ok(Decoded {
            pointer: self.present_or_absent(&seen.pointer, &object_score)?,
            // The mean of each 4×4 tile, between −10 and 10.
            low_res: inside.avg_pool2d(4)?.affine(SCALE, SHIFT)?,
            iou: object_score.ones_like()?,
            object_score,
        })
    }
}
