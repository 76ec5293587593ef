//! What training knows about every token of a grid: which object it lies on and what that object is called. Used by heads
//! that are dropped after training. Leaves the networks' features to the stages.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{
    TrainResult,
    synth::{Clip, Colour, Motion, ObjectInfo, Shape, Texture},
};
use crate::nn::layers::{LayerNorm, Linear};

/// Least part of a token that one object must cover to own it.
const LEAST_COVER: f32 = 0.3;
/// Weight of a token that nobody owns: they are many and say little.
const BACKGROUND: f32 = 0.08;

/// Word classes that dense heads read.
pub(super) const CLASSES: [usize; 4] = [
    Colour::ALL.len(),
    Shape::ALL.len(),
    Texture::ALL.len(),
    Motion::ALL.len(),
];

/// Owner of each of `side × side` tokens of a frame, row by row: an object's id, or 0.
pub(super) fn owners(clip: &Clip, frame: usize, side: usize) -> Vec<u8> {
    let ids = &clip.ids[frame];
    let edge = |i: usize, n: usize| i * n / side;
    let mut out = Vec::with_capacity(side * side);
    for y in 0..side {
        let rows = edge(y, clip.height)..edge(y + 1, clip.height);
        for x in 0..side {
            let mut counts = [0_u32; 16];
            for row in rows.clone() {
                let line = &ids[row * clip.width..][edge(x, clip.width)..edge(x + 1, clip.width)];
                for &id in line {
                    counts[usize::from(id) & 15] += 1;
                }
            }
            let total: u32 = counts.iter().sum();
            let best = (1..16).max_by_key(|&i| counts[i]).unwrap_or(0);
            let enough = counts[best] as f32 >= LEAST_COVER * total.max(1) as f32;
            out.push(if enough && counts[best] > 0 {
                best as u8
            } else {
                0
            });
        }
    }
    out
}

/// Box of an object on a frame as centre and size in fractions of the frame; `None` where it is not visible.
pub(super) fn centre_box(clip: &Clip, object: &ObjectInfo, frame: usize) -> Option<[f32; 4]> {
    let [x1, y1, x2, y2] = object.boxes.get(frame).copied().flatten()?;
    let (w, h) = (clip.width as f32, clip.height as f32);
    Some([
        (x1 + x2) / (2.0 * w),
        (y1 + y2) / (2.0 * h),
        (x2 - x1) / w,
        (y2 - y1) / h,
    ])
}

/// Targets of a run of tokens.
#[derive(Default)]
pub(super) struct Targets {
    /// Class per word class and token; the last class is background.
    classes: [Vec<u32>; 4],
    weights: Vec<f32>,
    /// `frames × 4` numbers per token, and 1 where they count.
    boxes: Vec<f32>,
    counts: Vec<f32>,
}

impl Targets {
    /// Adds all of `other`.
    pub(super) fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.extend(theirs);
        }
        self.weights.extend(&other.weights);
        self.boxes.extend(&other.boxes);
        self.counts.extend(&other.counts);
    }

    /// Adds the tokens of a frame; `frames` are those whose boxes the tokens must tell.
    pub(super) fn add(&mut self, clip: &Clip, owners: &[u8], frames: &[usize]) {
        for &owner in owners {
            let object = clip.object(owner);
            let class = |i: usize, get: fn(&ObjectInfo) -> usize| {
                object.map_or(CLASSES[i] as u32, |o| get(o) as u32)
            };
            self.classes[0].push(class(0, |o| o.colour.index()));
            self.classes[1].push(class(1, |o| o.shape.index()));
            self.classes[2].push(class(2, |o| o.texture.index()));
            self.classes[3].push(class(3, |o| o.motion.index()));
            self.weights
                .push(if object.is_some() { 1.0 } else { BACKGROUND });
            for &frame in frames {
                let found = object.and_then(|o| centre_box(clip, o, frame));
                self.boxes.extend(found.unwrap_or_default());
                self.counts
                    .extend([f32::from(u8::from(found.is_some())); 4]);
            }
        }
    }
}

/// Mean cross-entropy of logits `(n, c)`, weighted per row.
pub(super) fn weighted_cross_entropy(
    logits: &Tensor,
    targets: &[u32],
    weights: &[f32],
) -> TrainResult<Tensor> {
    let device = logits.device();
    let n = targets.len();
    let logp = candle_nn::ops::log_softmax(logits, candle_core::D::Minus1)?;
    let picked = logp.gather(&Tensor::from_slice(targets, (n, 1), device)?, 1)?;
    let total: f32 = weights.iter().sum();
    let weights = Tensor::from_slice(weights, (n, 1), device)?;
    Ok(((picked * weights)?.sum_all()? / -f64::from(total.max(1e-6)))?)
}

/// How often the largest logit is right, over rows of weight 1: `(right, counted)`.
pub(super) fn hits(logits: &Tensor, targets: &[u32], weights: &[f32]) -> TrainResult<(f64, f64)> {
    let best: Vec<u32> = logits.argmax(1)?.to_dtype(DType::U32)?.to_vec1()?;
    let mut found = (0.0, 0.0);
    for ((b, t), w) in best.iter().zip(targets).zip(weights) {
        if *w == 1.0 {
            found.1 += 1.0;
            found.0 += f64::from(u8::from(b == t));
        }
    }
    Ok(found)
}

/// Weights of the parts of [`DenseHead::loss`].
#[derive(Clone, Copy)]
pub(super) struct DenseWeights {
    /// Colour, shape, texture, motion; 0 leaves the class out.
    pub(super) classes: [f64; 4],
    /// L1 of the boxes.
    pub(super) boxes: f64,
    /// L1 of the travel of the box's centre from the first to the last frame.
    pub(super) travel: f64,
}

/// What a dense head made of a batch.
pub(super) struct DenseLoss {
    /// Weighted sum.
    pub(super) loss: Tensor,
    /// Right and counted tokens per word class.
    pub(super) hits: [(f64, f64); 4],
    /// Mean L1 of a box coordinate.
    pub(super) box_error: f64,
}

/// Reads word classes and boxes from tokens.
pub(super) struct DenseHead {
    norm: LayerNorm,
    classes: Vec<Linear>,
    boxes: Linear,
    frames: usize,
}

impl DenseHead {
    /// For tokens of width `d` that tell the owner's box on `frames` frames.
    pub(super) fn new(d: usize, frames: usize, vb: &VarBuilder<'_>) -> TrainResult<Self> {
        Ok(Self {
            norm: LayerNorm::new(d, 1e-5, vb.pp("norm"))?,
            classes: CLASSES
                .iter()
                .enumerate()
                .map(|(i, n)| Linear::new(d, n + 1, vb.pp(format!("class{i}"))))
                .collect::<Result<_, _>>()?,
            boxes: Linear::new(d, 4 * frames, vb.pp("boxes"))?,
            frames,
        })
    }

    /// Loss of tokens `(n, d)`.
    pub(super) fn loss(
        &self,
        tokens: &Tensor,
        targets: &Targets,
        weights: DenseWeights,
    ) -> TrainResult<DenseLoss> {
        let device: &Device = tokens.device();
        let x = self.norm.forward(tokens)?;
        let n = targets.weights.len();
        let mut loss = Tensor::zeros((), DType::F32, device)?;
        let mut found = [(0.0, 0.0); 4];
        for (i, head) in self.classes.iter().enumerate() {
            if weights.classes[i] == 0.0 {
                continue;
            }
            let logits = head.forward(&x)?;
            let ce = weighted_cross_entropy(&logits, &targets.classes[i], &targets.weights)?;
            loss = (loss + (ce * weights.classes[i])?)?;
            found[i] = hits(&logits.detach(), &targets.classes[i], &targets.weights)?;
        }
        let width = 4 * self.frames;
        let boxes = candle_nn::ops::sigmoid(&self.boxes.forward(&x)?)?;
        let want = Tensor::from_slice(&targets.boxes, (n, width), device)?;
        let counts = Tensor::from_slice(&targets.counts, (n, width), device)?;
        let total = f64::from(targets.counts.iter().sum::<f32>()).max(1.0);
        let off = (&boxes - &want)?;
        let l1 = ((off.abs()? * &counts)?.sum_all()? / total)?;
        let box_error = f64::from(l1.to_scalar::<f32>()?);
        loss = (loss + (&l1 * weights.boxes)?)?;
        if weights.travel > 0.0 && self.frames > 1 {
            // The error of a difference is the difference of the errors.
            let last = 4 * (self.frames - 1);
            let both = (counts.narrow(1, 0, 2)? * counts.narrow(1, last, 2)?)?;
            let travel = (off.narrow(1, last, 2)? - off.narrow(1, 0, 2)?)?;
            let total = f64::from(both.sum_all()?.to_scalar::<f32>()?).max(1.0);
            let l1 = ((travel.abs()? * both)?.sum_all()? / total)?;
            loss = (loss + (l1 * weights.travel)?)?;
        }
        Ok(DenseLoss {
            loss,
            hits: found,
            box_error,
        })
    }
}
