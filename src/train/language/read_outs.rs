//! What only training needs, under `aux.language.`: layers that read from `[BOX]` and `[SEG]` which words a phrase named, and from
//! the visual tokens what lies on them and where a phrase points. Reading is learnt by them from nothing.
//!
//! Finished weights come without, and go on better without than with some drawn anew. Leaves what the program itself
//! makes of the embeddings, masks and choices, to [`super::model`].

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

use super::{
    model::{Said, rate, weighted_bce},
    scene::Scene,
};
use crate::{
    nn::layers::Linear,
    train::{
        TrainResult,
        attributes::{DenseHead, DenseLoss, DenseWeights, Targets, hits, weighted_cross_entropy},
        synth::{Colour, Motion, Shape, Slots, Superlative, Texture},
    },
};

/// Weights of the losses.
const SLOT_WEIGHT: f64 = 0.3;
const DENSE_WEIGHT: f64 = 0.25;
const POINT_WEIGHT: f64 = 1.0;
const DENSE: DenseWeights = DenseWeights {
    classes: [1.0, 1.0, 0.0, 0.0],
    boxes: 2.0,
    travel: 0.0,
};
/// Weight of a token that is pointed at against one that is not.
const POINTED: f32 = 5.0;

/// Word classes that a phrase can name, in the order of [`slot_classes`].
const SLOTS: [usize; 5] = [
    Colour::ALL.len(),
    Shape::ALL.len(),
    Superlative::ALL.len(),
    Motion::ALL.len(),
    Texture::ALL.len(),
];

/// Class of each slot; the last one stands for "not said".
fn slot_classes(slots: &Slots) -> [u32; 5] {
    let class = |i: usize, said: Option<usize>| said.unwrap_or(SLOTS[i]) as u32;
    [
        class(0, slots.colour.map(Colour::index)),
        class(1, slots.shape.map(Shape::index)),
        class(2, slots.superlative.map(Superlative::index)),
        class(3, slots.motion.map(Motion::index)),
        class(4, slots.texture.map(Texture::index)),
    ]
}

/// Sums of a few steps, or of a validation.
#[derive(Default)]
pub(super) struct ReadTally {
    steps: f64,
    parts: [f64; 3],
    slots: [(f64, f64); 5],
    dense: [(f64, f64); 4],
    pointed: (f64, f64),
}

impl ReadTally {
    pub(super) fn is_finite(&self) -> bool {
        self.parts.iter().all(|p| p.is_finite())
    }

    /// Fields of a line of the log; none where nothing was read.
    pub(super) fn fields(&self) -> Vec<(&'static str, f64)> {
        if self.steps == 0.0 {
            return vec![];
        }
        vec![
            ("slot", self.parts[0] / self.steps),
            ("dense", self.parts[1] / self.steps),
            ("point", self.parts[2] / self.steps),
            ("read_colour", rate(self.slots[0])),
            ("read_shape", rate(self.slots[1])),
            ("read_sup", rate(self.slots[2])),
            ("token_colour", rate(self.dense[0])),
            ("token_shape", rate(self.dense[1])),
            ("pointed", rate(self.pointed)),
        ]
    }
}

/// What is read, of a batch of clips.
pub(super) struct Shown<'a> {
    /// `[BOX]` and `[SEG]` of each phrase, `(said, d)` each.
    pub(super) embeddings: [&'a Tensor; 2],
    /// States of every visual token, clip by clip.
    pub(super) tokens: &'a Tensor,
    /// Those of the first frames.
    pub(super) first: &'a Tensor,
}

/// The layers.
pub(super) struct ReadOuts {
    slots: [Vec<Linear>; 2],
    dense: DenseHead,
    keys: Linear,
}

impl ReadOuts {
    /// For states of width `h` and embeddings of width `d`.
    pub(super) fn new(h: usize, d: usize, vb: &VarBuilder<'_>) -> TrainResult<Self> {
        let slots = |vb: VarBuilder<'_>| -> TrainResult<Vec<Linear>> {
            SLOTS
                .iter()
                .enumerate()
                .map(|(i, n)| Ok(Linear::new(d, n + 1, vb.pp(i))?))
                .collect()
        };
        Ok(Self {
            slots: [slots(vb.pp("box"))?, slots(vb.pp("seg"))?],
            dense: DenseHead::new(h, 1, &vb.pp("dense"))?,
            keys: Linear::new(h, d, vb.pp("keys"))?,
        })
    }

    /// Their losses, weighted and summed.
    pub(super) fn loss(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        said: &[Said],
        shown: &Shown<'_>,
        tally: &mut ReadTally,
    ) -> TrainResult<Tensor> {
        let slots = self.slot_loss(batch, said, shown.embeddings, tally)?;
        let mut targets = Targets::default();
        batch.iter().for_each(|(s, _)| targets.extend(&s.dense));
        let DenseLoss { loss, hits, .. } = self.dense.loss(shown.tokens, &targets, DENSE)?;
        for (sum, hit) in tally.dense.iter_mut().zip(hits) {
            *sum = (sum.0 + hit.0, sum.1 + hit.1);
        }
        let keys = self.keys.forward(shown.first)?;
        let keys = keys.reshape((batch.len(), keys.dim(0)? / batch.len(), ()))?;
        let point = point_loss(batch, said, (shown.embeddings[0], &keys), tally)?;
        tally.steps += 1.0;
        let parts = [
            (slots, SLOT_WEIGHT),
            (loss, DENSE_WEIGHT),
            (point, POINT_WEIGHT),
        ];
        let mut total = keys.zeros_like()?.sum_all()?;
        for ((loss, weight), sum) in parts.into_iter().zip(&mut tally.parts) {
            *sum += f64::from(loss.to_scalar::<f32>()?);
            total = (total + (loss * weight)?)?;
        }
        Ok(total)
    }

    fn slot_loss(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        said: &[Said],
        embeddings: [&Tensor; 2],
        tally: &mut ReadTally,
    ) -> TrainResult<Tensor> {
        let classes: Vec<[u32; 5]> = said
            .iter()
            .map(|s| slot_classes(&batch[s.row].0.phrases[s.phrase].phrase.slots))
            .collect();
        let weights = vec![1.0; said.len()];
        let mut total = Tensor::zeros((), DType::F32, embeddings[0].device())?;
        for (which, (heads, x)) in self.slots.iter().zip(embeddings).enumerate() {
            for (i, head) in heads.iter().enumerate() {
                let targets: Vec<u32> = classes.iter().map(|c| c[i]).collect();
                let logits = head.forward(x)?;
                let loss = weighted_cross_entropy(&logits, &targets, &weights)?;
                total = (total + loss)?;
                if which == 0 {
                    // Only what was said counts: "not said" is the easy answer.
                    let counted: Vec<f32> = targets
                        .iter()
                        .map(|&t| f32::from(u8::from((t as usize) < SLOTS[i])))
                        .collect();
                    let hit = hits(&logits.detach(), &targets, &counted)?;
                    tally.slots[i] = (tally.slots[i].0 + hit.0, tally.slots[i].1 + hit.1);
                }
            }
        }
        Ok(total)
    }
}

/// `[BOX]` against the first frame's tokens: which of them lie on what is meant.
fn point_loss(
    batch: &[(&Scene, Vec<usize>)],
    said: &[Said],
    (boxes, keys): (&Tensor, &Tensor),
    tally: &mut ReadTally,
) -> TrainResult<Tensor> {
    let scale = 1.0 / (boxes.dim(1)? as f64).sqrt();
    let device = boxes.device();
    let mut total = Tensor::zeros((), DType::F32, device)?;
    let mut at = 0;
    for (row, (scene, _)) in batch.iter().enumerate() {
        let mine: Vec<&Said> = said.iter().filter(|s| s.row == row).collect();
        if mine.is_empty() {
            continue;
        }
        let logits = boxes
            .narrow(0, at, mine.len())?
            .matmul(&keys.get(row)?.t()?.contiguous()?)?;
        let logits = (logits * scale)?;
        at += mine.len();
        let (mut targets, mut weights) = (vec![], vec![]);
        for s in &mine {
            let phrase = &scene.phrases[s.phrase].phrase;
            for owner in &scene.owners {
                let on = phrase.referents.contains(owner);
                targets.push(f32::from(u8::from(on)));
                weights.push(if on { POINTED } else { 1.0 });
            }
        }
        count_pointing(scene, &mine, &logits.detach(), tally)?;
        let shape = logits.dims2()?;
        let targets = Tensor::from_vec(targets, shape, device)?;
        let weights = Tensor::from_vec(weights, shape, device)?;
        total = (total + weighted_bce(&logits, &targets, &weights)?)?;
    }
    Ok((total / batch.len() as f64)?)
}

fn count_pointing(
    scene: &Scene,
    mine: &[&Said],
    logits: &Tensor,
    tally: &mut ReadTally,
) -> TrainResult<()> {
    let best: Vec<u32> = logits.argmax(1)?.to_vec1()?;
    for (s, &best) in mine.iter().zip(&best) {
        let ids = &scene.phrases[s.phrase].phrase.referents;
        if ids.len() == 1 && scene.objects.len() > 1 {
            tally.pointed.1 += 1.0;
            let hit = ids.contains(&scene.owners[best as usize]);
            tally.pointed.0 += f64::from(u8::from(hit));
        }
    }
    Ok(())
}
