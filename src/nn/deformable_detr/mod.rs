//! The class-agnostic proposer: Deformable-DETR (Zhu et al. 2021), two-stage with box refinement, on SAM2's feature maps;
//! released as `ddetr_sam2` (module `ddetr_transformer` and `input_proj`).
//!
//! Maps are `(b, c, h, w)`, tokens `(b, n, d)`, boxes fractions of the image. Attention masks do not exist here: every
//! cell of every map is valid. The image encoder belongs to the caller ([`crate::nn::sam2`], its own copy or shared).
//!
//! Two things are as released and not as in the paper: all decoder layers look around the *first* references, because
//! the released decoder never updates them; and the box of layer l adds its step to the box *recorded* by layer l − 1,
//! which itself stands on the first reference.

mod attention;
mod layers;
mod position;
pub(crate) mod two_stage;

use candle_core::{D, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder, ops::sigmoid};

use self::{
    attention::{Reference, Sizes, offset_bias},
    layers::{DecoderLayer, EncoderLayer, NORM_EPS},
    position::{centres, inverse_sigmoid},
    two_stage::{Anchors, best_cells, descending, distinct_cells, proposal_code, rows},
};
pub(crate) use position::sine_of_cells;

use super::{
    config::ProposerConfig,
    layers::{Conv2d, LayerNorm, LayerNorm2d, Linear, Mlp},
};

/// Most maps that come from the image encoder; further levels are made from the last of them.
const ENCODER_MAPS: usize = 3;

/// The network.
#[derive(Clone, Debug)]
pub struct Proposer {
    config: ProposerConfig,
    input_proj: Vec<(Conv2d, LayerNorm2d)>,
    level_embed: Tensor,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    query_position_embeddings: Tensor,
    enc_output: Linear,
    enc_output_norm: LayerNorm,
    pos_trans: Linear,
    pos_trans_norm: LayerNorm,
    class_embed_enc: Linear,
    class_embed_coco: Vec<Linear>,
    class_embed_sa1b: Vec<Linear>,
    bbox_embed: Vec<Mlp>,
}

/// What the network gives for `b` images, `q` queries, `l` decoder layers and `s` cells.
#[derive(Clone, Debug)]
pub struct ProposerOutput {
    /// `(b, l, q, 4)`: cx, cy, w, h as fractions; the last layer's are the proposals.
    pub boxes_per_layer: Tensor,
    /// `(b, l, q)`: logits of the head trained on annotated objects.
    pub logits_coco: Tensor,
    /// `(b, l, q)`: logits of the head trained on segments of anything.
    pub logits_sa1b: Tensor,
    /// `(b, q, d)`: the last decoder state.
    pub features: Tensor,
    /// `(b, s)`: class logits of the first stage.
    pub encoder_logits: Tensor,
    /// `(b, s, 4)`: boxes of the first stage, cx, cy, w, h; (1, 1, 1, 1) in invalid cells.
    pub encoder_boxes: Tensor,
    /// Rows and columns of each level, whose cells follow one another.
    pub shapes: Vec<(usize, usize)>,
}

/// Proposals of one image, best first.
#[derive(Clone, Debug)]
pub struct Proposals {
    /// `(k, 4)`: x1, y1, x2, y2 as fractions, not clamped to the image.
    pub boxes: Tensor,
    /// `(k)`: objectness 0..1.
    pub scores: Tensor,
    /// `(k, d)`.
    pub features: Tensor,
    /// The queries that made them.
    pub indices: Vec<u32>,
    /// `(k, 1, h, w)`: logits of what SAM2 paints in each box, for a filtration head that reads them; the proposer itself has
    /// none.
    pub masks: Option<Tensor>,
    /// `(k, 3, s, s)`: pixels in each box as SAM2 is given them, likewise.
    pub crops: Option<Tensor>,
    /// Natural logarithm of the picture's width over its height, which are equal where the boxes are fractions: 0 of a square
    /// picture, and until somebody says more.
    pub aspect: f32,
}

impl Proposals {
    /// [`Proposals::aspect`] of a picture of so many pixels.
    pub fn aspect_of(width: usize, height: usize) -> f32 {
        (width.max(1) as f32 / height.max(1) as f32).ln()
    }
}

/// The encoder's tokens with everything that belongs to their places.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// `(b, s, d)`.
    pub(crate) tokens: Tensor,
    pub(crate) shapes: Vec<(usize, usize)>,
}

/// The first stage's result.
#[derive(Clone, Debug)]
pub(crate) struct FirstStage {
    /// `(b, s, d)`: features that the heads read.
    pub(crate) object_queries: Tensor,
    /// `(b, s)`.
    pub(crate) logits: Tensor,
    /// `(b, s, 4)`: infinite in invalid cells.
    pub(crate) box_logits: Tensor,
    pub(crate) anchors: Anchors,
}

/// What the decoder starts from.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// `(b, q)` u32: chosen cells.
    pub(crate) chosen: Tensor,
    /// `(b, q, 4)`: first references.
    pub(crate) references: Tensor,
    /// `(b, q, 2d)`: their sine code.
    pub(crate) code: Tensor,
    /// `(b, q, 2d)`: projected; the first half is the queries' position.
    pub(crate) placed: Tensor,
}

/// The released file holds the heads twice, inside and outside the decoder; either name will do.
fn head<'a>(vb: &VarBuilder<'a>, name: &str, index: Option<usize>, probe: &str) -> VarBuilder<'a> {
    let under = |vb: VarBuilder<'a>| match index {
        Some(i) => vb.pp(name).pp(i),
        None => vb.pp(name),
    };
    let inner = under(vb.pp("decoder"));
    let outer = under(vb.clone());
    if !outer.contains_tensor(probe) && inner.contains_tensor(probe) {
        inner
    } else {
        outer
    }
}

/// Whether a tensor is the second copy of a head, which a complete file may hold without anybody asking for it.
pub fn is_alias(name: &str) -> bool {
    name.contains("ddetr_transformer.decoder.bbox_embed.")
        || name.contains("ddetr_transformer.decoder.class_embed_")
}

/// Starting values that a layer's kind does not tell, by name under the proposer's prefix: fixed sampling directions,
/// heads that start from the reference (box steps zero) and from the objectness `prior`.
///
/// # Errors
/// If the sizes are not usable.
pub fn initial_values(config: &ProposerConfig, prior: f32) -> Result<Vec<(String, Tensor)>> {
    let device = candle_core::Device::Cpu;
    let mut values = Vec::new();
    let mut put =
        |name: String, value: Tensor| values.push((format!("ddetr_transformer.{name}"), value));
    let (encoder, decoder) = sizes(config)?;
    for l in 0..config.encoder_layers {
        put(
            format!("encoder.layers.{l}.self_attn.sampling_offsets.bias"),
            offset_bias(encoder)?,
        );
    }
    for l in 0..config.decoder_layers {
        put(
            format!("decoder.layers.{l}.encoder_attn.sampling_offsets.bias"),
            offset_bias(decoder)?,
        );
    }
    let prior = prior.clamp(1e-4, 1.0 - 1e-4);
    let bias = Tensor::new(&[(prior / (1.0 - prior)).ln()], &device)?;
    put("class_embed_enc.bias".into(), bias.clone());
    for l in 0..config.decoder_layers {
        put(format!("class_embed_coco.{l}.bias"), bias.clone());
        put(format!("class_embed_sa1b.{l}.bias"), bias.clone());
    }
    let hidden = config.box_mlp_hidden.unwrap_or(config.d_model);
    for l in 0..=config.decoder_layers {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &device);
        put(
            format!("bbox_embed.{l}.layers.2.weight"),
            zeros(&[4, hidden])?,
        );
        put(format!("bbox_embed.{l}.layers.2.bias"), zeros(&[4])?);
    }
    Ok(values)
}

fn sizes(c: &ProposerConfig) -> Result<(Sizes, Sizes)> {
    let part = |heads: usize, points: usize| -> Result<Sizes> {
        if heads == 0 || points == 0 || !c.d_model.is_multiple_of(heads) {
            bail!(
                "{} channels, {heads} heads and {points} points do not fit together",
                c.d_model
            );
        }
        Ok(Sizes {
            d: c.d_model,
            heads,
            levels: c.num_feature_levels,
            points,
        })
    };
    if c.num_feature_levels == 0 || c.decoder_layers == 0 || c.num_queries == 0 {
        bail!("a proposer needs at least one level, one decoder layer and one query");
    }
    Ok((
        part(c.encoder_attention_heads, c.encoder_n_points)?,
        part(c.decoder_attention_heads, c.decoder_n_points)?,
    ))
}

impl Proposer {
    /// Reads `input_proj.*` and `ddetr_transformer.*`.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape, or sizes do not fit together.
    pub fn new(config: &ProposerConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let c = config;
        let (encoder, decoder) = sizes(c)?;
        let d = c.d_model;
        let base = c.num_feature_levels.min(ENCODER_MAPS);
        let input_proj = (0..c.num_feature_levels)
            .map(|l| {
                let vb = vb.pp("input_proj").pp(l);
                let conv = if l < base {
                    Conv2d::new(c.in_channels.unwrap_or(d), d, 1, 1, 0, vb.pp(0))?
                } else {
                    Conv2d::new(d, d, 3, 2, 1, vb.pp(0))?
                };
                Ok((conv, LayerNorm2d::new(d, 1e-6, vb.pp(1))?))
            })
            .collect::<Result<_>>()?;
        let vb = vb.pp("ddetr_transformer");
        let unit = Init::Randn {
            mean: 0.0,
            stdev: 1.0,
        };
        let class = |name: &str, l: Option<usize>| Linear::new(d, 1, head(&vb, name, l, "weight"));
        let classes = |name: &str| -> Result<Vec<Linear>> {
            (0..c.decoder_layers)
                .map(|l| class(name, Some(l)))
                .collect()
        };
        let hidden = c.box_mlp_hidden.unwrap_or(d);
        let layer = |part: &str, l: usize| vb.pp(part).pp("layers").pp(l);
        Ok(Self {
            input_proj,
            level_embed: vb.get_with_hints((c.num_feature_levels, d), "level_embed", unit)?,
            encoder: (0..c.encoder_layers)
                .map(|l| EncoderLayer::new(encoder, c.encoder_ffn_dim, layer("encoder", l)))
                .collect::<Result<_>>()?,
            decoder: (0..c.decoder_layers)
                .map(|l| DecoderLayer::new(decoder, c.decoder_ffn_dim, layer("decoder", l)))
                .collect::<Result<_>>()?,
            query_position_embeddings: vb.get_with_hints(
                (c.num_queries, d),
                "query_position_embeddings.weight",
                unit,
            )?,
            enc_output: Linear::new(d, d, vb.pp("enc_output"))?,
            enc_output_norm: LayerNorm::new(d, NORM_EPS, vb.pp("enc_output_norm"))?,
            pos_trans: Linear::new(2 * d, 2 * d, vb.pp("pos_trans"))?,
            pos_trans_norm: LayerNorm::new(2 * d, NORM_EPS, vb.pp("pos_trans_norm"))?,
            class_embed_enc: class("class_embed_enc", None)?,
            class_embed_coco: classes("class_embed_coco")?,
            class_embed_sa1b: classes("class_embed_sa1b")?,
            bbox_embed: (0..=c.decoder_layers)
                .map(|l| {
                    let vb = head(&vb, "bbox_embed", Some(l), "layers.0.weight");
                    Mlp::new(d, hidden, 4, 3, vb)
                })
                .collect::<Result<_>>()?,
            config: c.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &ProposerConfig {
        &self.config
    }

    /// `levels`: the image encoder's maps `(b, c, h, w)`, finest first; the last ones that the configuration asks for
    /// are used. An image with fewer cells than queries gives as many proposals as cells.
    ///
    /// # Errors
    /// If there are too few maps or their channels are wrong.
    pub fn forward(&self, levels: &[Tensor]) -> Result<ProposerOutput> {
        self.transform(&self.project(levels)?)
    }

    /// [`Proposer::forward`], and what the decoder makes of boxes that somebody else offers: `drawn (m, 4)`, x1, y1, x2,
    /// y2 as fractions → features `(m, d)`. The proposals are those of [`Proposer::forward`] to the bit.
    ///
    /// # Errors
    /// As [`Proposer::forward`]; also if there are several images.
    pub fn forward_with_drawn(
        &self,
        levels: &[Tensor],
        drawn: &Tensor,
    ) -> Result<(ProposerOutput, Tensor)> {
        let memory = &self.encode(&self.project(levels)?, |_, _| ())?;
        let first = self.first_stage(memory)?;
        let start = self.start(&first)?;
        let features = self.describe(memory, &start, drawn)?;
        Ok((self.output(memory, first, &start)?, features))
    }

    /// Everything after the input projection.
    pub(crate) fn transform(&self, maps: &[Tensor]) -> Result<ProposerOutput> {
        let memory = &self.encode(maps, |_, _| ())?;
        let first = self.first_stage(memory)?;
        let start = self.start(&first)?;
        self.output(memory, first, &start)
    }

    /// The last decoder state of queries that start at `drawn (m, 4)` beside the image's own `start` → `(m, d)`.
    ///
    /// The own queries are decoded along, because every layer's queries look at each other; their states here are dropped,
    /// since boxes that a person draws must not change what the model offers.
    fn describe(&self, memory: &Memory, start: &Start, drawn: &Tensor) -> Result<Tensor> {
        let (b, own, _) = start.references.dims3()?;
        if b != 1 {
            bail!("drawn boxes belong to one image, not to {b}");
        }
        let m = drawn.dim(0)?;
        let low = drawn.narrow(1, 0, 2)?;
        let high = drawn.narrow(1, 2, 2)?;
        let centred = Tensor::cat(&[((&low + &high)? * 0.5)?, (high - low)?], 1)?;
        // What lies on the border is at infinity as a logit.
        let centred = centred.clamp(1e-4, 1.0 - 1e-4)?.unsqueeze(0)?;
        let centred = centred.to_dtype(start.references.dtype())?;
        let (code, placed) = self.place(&inverse_sigmoid(&centred)?)?;
        let both = Start {
            chosen: start.chosen.clone(),
            references: Tensor::cat(&[&start.references, &centred], 1)?,
            code: Tensor::cat(&[&start.code, &code], 1)?,
            placed: Tensor::cat(&[&start.placed, &placed], 1)?,
        };
        let Some(last) = self.decode(memory, &both, |_, _| ())?.pop() else {
            bail!("a proposer needs at least one decoder layer");
        };
        last.narrow(1, own, m)?.squeeze(0)
    }

    fn output(&self, memory: &Memory, first: FirstStage, start: &Start) -> Result<ProposerOutput> {
        let states = self.decode(memory, start, |_, _| ())?;
        let (boxes_per_layer, _) = self.boxes(&states, start)?;
        let logits = |heads: &[Linear]| -> Result<Tensor> {
            let layers = states.iter().zip(heads);
            let all: Vec<Tensor> = layers
                .map(|(x, head)| head.forward(x))
                .collect::<Result<_>>()?;
            Tensor::cat(&all, 2)?.transpose(1, 2)
        };
        let Some(features) = states.last().cloned() else {
            bail!("a proposer needs at least one decoder layer");
        };
        Ok(ProposerOutput {
            boxes_per_layer,
            logits_coco: logits(&self.class_embed_coco)?,
            logits_sa1b: logits(&self.class_embed_sa1b)?,
            features,
            encoder_logits: first.logits,
            encoder_boxes: sigmoid(&first.box_logits)?,
            shapes: memory.shapes.clone(),
        })
    }

    /// The encoder's maps in the transformer's width, one per level.
    pub(crate) fn project(&self, levels: &[Tensor]) -> Result<Vec<Tensor>> {
        let base = self.config.num_feature_levels.min(ENCODER_MAPS);
        let Some(skip) = levels.len().checked_sub(base) else {
            bail!("{} feature maps, the proposer needs {base}", levels.len());
        };
        let mut maps: Vec<Tensor> = Vec::with_capacity(self.input_proj.len());
        for (l, (conv, norm)) in self.input_proj.iter().enumerate() {
            let from = if l < base {
                &levels[skip + l]
            } else {
                &maps[l - 1]
            };
            let map = norm.forward(&conv.forward(from)?)?;
            maps.push(map);
        }
        Ok(maps)
    }

    /// `seen` gets each layer's output and its attention's.
    pub(crate) fn encode(
        &self,
        maps: &[Tensor],
        mut seen: impl FnMut(&Tensor, &Tensor),
    ) -> Result<Memory> {
        let mut shapes = Vec::with_capacity(maps.len());
        let mut tokens = Vec::with_capacity(maps.len());
        let mut position = Vec::with_capacity(maps.len());
        for (l, map) in maps.iter().enumerate() {
            let (_, d, h, w) = map.dims4()?;
            shapes.push((h, w));
            tokens.push(map.flatten_from(2)?.transpose(1, 2)?);
            let code = sine_of_cells(d, (h, w), map.device())?.to_dtype(map.dtype())?;
            position.push(code.broadcast_add(&self.level_embed.get(l)?)?);
        }
        let mut x = Tensor::cat(&tokens, 1)?.contiguous()?;
        let position = Tensor::cat(&position, 1)?;
        let reference = Reference::Points(centres(&shapes, x.device())?.to_dtype(x.dtype())?);
        for layer in &self.encoder {
            let (y, read) = layer.forward(&x, &position, &reference, &shapes)?;
            seen(&y, &read);
            x = y;
        }
        Ok(Memory { tokens: x, shapes })
    }

    pub(crate) fn first_stage(&self, memory: &Memory) -> Result<FirstStage> {
        let tokens = &memory.tokens;
        let anchors = Anchors::new(&memory.shapes, self.config.anchor_size, tokens.device())?;
        let masked = tokens.broadcast_mul(&anchors.valid.to_dtype(tokens.dtype())?)?;
        let object_queries = self
            .enc_output_norm
            .forward(&self.enc_output.forward(&masked)?)?;
        let steps = self.bbox_embed[self.config.decoder_layers].forward(&object_queries)?;
        Ok(FirstStage {
            logits: self.class_embed_enc.forward(&object_queries)?.squeeze(2)?,
            box_logits: steps.broadcast_add(&anchors.logits.to_dtype(tokens.dtype())?)?,
            object_queries,
            anchors,
        })
    }

    /// The best cells become the decoder's references; no gradient flows back through the choice.
    pub(crate) fn start(&self, first: &FirstStage) -> Result<Start> {
        let cells = first.logits.dim(1)?;
        let k = self.config.num_queries.min(cells);
        let (scores, all) = (first.logits.detach(), first.box_logits.detach());
        let chosen = match self.config.distinct {
            Some(limit) => distinct_cells(&scores, &corners(&sigmoid(&all)?)?, k, limit)?,
            None => best_cells(&scores, k)?,
        };
        let box_logits = rows(&all, &chosen)?;
        let (code, placed) = self.place(&box_logits)?;
        Ok(Start {
            chosen,
            references: sigmoid(&box_logits)?,
            code,
            placed,
        })
    }

    /// Where queries with these box logits `(b, q, 4)` are, as a sine code and projected.
    fn place(&self, box_logits: &Tensor) -> Result<(Tensor, Tensor)> {
        let code = proposal_code(box_logits, self.config.d_model)?;
        let placed = self
            .pos_trans_norm
            .forward(&self.pos_trans.forward(&code)?)?;
        Ok((code, placed))
    }

    /// The state after each layer `(b, q, d)`; `seen` gets each layer's output and its deformable attention's.
    pub(crate) fn decode(
        &self,
        memory: &Memory,
        start: &Start,
        mut seen: impl FnMut(&Tensor, &Tensor),
    ) -> Result<Vec<Tensor>> {
        let (b, q, d2) = start.placed.dims3()?;
        let own = start.chosen.dim(1)? as u32;
        let position = start.placed.narrow(2, 0, d2 / 2)?.contiguous()?;
        // Queries are ranked; one beyond the last rank, which somebody vouched for, starts as the best does.
        let ranks = self.config.num_queries as u32;
        let ranks: Vec<u32> = (0..q as u32)
            .map(|i| if i < own { i.min(ranks - 1) } else { 0 })
            .collect();
        let ranks = Tensor::new(ranks, start.placed.device())?;
        let mut x = self
            .query_position_embeddings
            .index_select(&ranks, 0)?
            .unsqueeze(0)?
            .broadcast_as((b, q, d2 / 2))?
            .contiguous()?;
        let reference = Reference::Boxes(start.references.clone());
        let mut states = Vec::with_capacity(self.decoder.len());
        for layer in &self.decoder {
            let (y, read) =
                layer.forward(&x, &position, &reference, &memory.tokens, &memory.shapes)?;
            seen(&y, &read);
            states.push(y.clone());
            x = y;
        }
        Ok(states)
    }

    /// Reported and recorded boxes of all layers, each `(b, l, q, 4)`.
    pub(crate) fn boxes(&self, states: &[Tensor], start: &Start) -> Result<(Tensor, Tensor)> {
        let origin = inverse_sigmoid(&start.references)?;
        let mut reported = Vec::with_capacity(states.len());
        let mut recorded: Vec<Tensor> = Vec::with_capacity(states.len());
        for (state, head) in states.iter().zip(&self.bbox_embed) {
            let step = head.forward(state)?;
            let around_first = sigmoid(&(&step + &origin)?)?;
            reported.push(match recorded.last() {
                None => around_first.clone(),
                // Gradients flow into the layer before, too: the released line that would stop them is commented out.
                Some(before) => sigmoid(&(&step + inverse_sigmoid(before)?)?)?,
            });
            recorded.push(around_first);
        }
        Ok((Tensor::stack(&reported, 1)?, Tensor::stack(&recorded, 1)?))
    }
}

impl ProposerOutput {
    /// Objectness of the last layer `(b, q)`: `σ(coco)^a · σ(sa1b)^b`.
    pub fn objectness(&self, [a, b]: [f32; 2]) -> Result<Tensor> {
        let last = self.logits_coco.dim(1)? - 1;
        let part = |logits: &Tensor, power: f32| -> Result<Tensor> {
            sigmoid(&logits.narrow(1, last, 1)?.squeeze(1)?.contiguous()?)?.powf(f64::from(power))
        };
        part(&self.logits_coco, a)? * part(&self.logits_sa1b, b)?
    }

    /// Boxes of the last layer `(b, q, 4)` as x1, y1, x2, y2, not clamped.
    pub fn corners(&self) -> Result<Tensor> {
        let last = self.boxes_per_layer.dim(1)? - 1;
        corners(&self.boxes_per_layer.narrow(1, last, 1)?.squeeze(1)?)
    }

    /// The `topk` best queries of one image, best first; no threshold, no suppression. Carries no gradient.
    ///
    /// # Errors
    /// If there is no such image.
    pub fn proposals(&self, image: usize, topk: usize, score_power: [f32; 2]) -> Result<Proposals> {
        let scores = self.objectness(score_power)?.detach().get(image)?;
        let mut indices = descending(&scores.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?);
        indices.truncate(topk);
        let pick = Tensor::new(indices.as_slice(), scores.device())?;
        Ok(Proposals {
            boxes: self
                .corners()?
                .detach()
                .get(image)?
                .index_select(&pick, 0)?,
            scores: scores.index_select(&pick, 0)?,
            features: self.features.detach().get(image)?.index_select(&pick, 0)?,
            indices,
            masks: None,
            crops: None,
            aspect: 0.0,
        })
    }
}

/// cx, cy, w, h → x1, y1, x2, y2 on the last axis.
pub fn corners(boxes: &Tensor) -> Result<Tensor> {
    let centre = boxes.narrow(D::Minus1, 0, 2)?;
    let half = (boxes.narrow(D::Minus1, 2, 2)? * 0.5)?;
    Tensor::cat(&[(&centre - &half)?, (centre + half)?], D::Minus1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use candle_core::{DType, Device, Var};
    use candle_nn::VarMap;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::nn::{ops::check::noise, random_weights::RandomWeights, weights::WeightStore};

    fn config() -> ProposerConfig {
        let sizes = serde_json::json!({
            "d_model": 8, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 4, "encoder_n_points": 2, "decoder_n_points": 1, "encoder_ffn_dim": 12,
            "decoder_ffn_dim": 10, "num_feature_levels": 4, "num_queries": 5, "box_mlp_hidden": 6,
        });
        serde_json::from_value(sizes).expect("the fields are the configuration's")
    }

    fn levels(b: usize, (h, w): (usize, usize)) -> Result<Vec<Tensor>> {
        let map = |s: usize| Ok(noise((b, 8, h * s, w * s)));
        [4, 2, 1].into_iter().map(map).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "every number that was drawn is set anew"
    )]
    fn trainable() -> Result<(VarMap, Proposer)> {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let proposer = Proposer::new(&config(), vb)?;
        let same = RandomWeights::new(1).var_builder(&Device::Cpu);
        Proposer::new(&config(), same.clone())?;
        for (name, var) in sorted(&vars) {
            var.set(&same.get(var.shape(), &name)?)?;
        }
        Ok((vars, proposer))
    }

    fn sorted(vars: &VarMap) -> BTreeMap<String, Var> {
        let data = vars
            .data()
            .lock()
            .expect("nothing panicked while holding it");
        data.iter()
            .map(|(name, var)| (name.clone(), var.clone()))
            .collect()
    }

    #[test]
    fn every_weight_learns_from_both_stages() -> Result<()> {
        let (vars, proposer) = trainable()?;
        let vars = sorted(&vars);
        // Always the same numbers, and biases that open the rectifiers: of freely drawn ones, a whole layer of so few
        // units is silent now and then.
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        let mut drawn = |shape: &[usize], spread: f32| {
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count)
                .map(|_| spread * (rng.random::<f32>() * 2.0 - 1.0))
                .collect();
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        // What starts at zero would hide the gradients behind it.
        for (name, var) in &vars {
            let open = name.contains("bbox_embed") && name.ends_with("bias");
            let value = (drawn(var.dims(), 0.7)? + if open { 1.0 } else { 0.0 })?;
            var.set(&value)?;
        }
        let levels = [4, 2, 1].map(|s| drawn(&[2, 8, 3 * s, 4 * s], 1.7));
        let levels: Vec<Tensor> = levels.into_iter().collect::<Result<_>>()?;
        let out = proposer.forward(&levels)?;
        let parts = [
            &out.boxes_per_layer,
            &out.logits_coco,
            &out.logits_sa1b,
            &out.features,
            &out.encoder_logits,
            &out.encoder_boxes,
        ];
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for part in parts {
            loss = (loss + part.sin()?.sum_all()?)?;
        }
        let grads = loss.backward()?;
        for (name, var) in vars.iter() {
            let Some(grad) = grads.get(var) else {
                panic!("{name} has no gradient");
            };
            let sum = grad.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert!(sum.is_finite(), "{name}");
            // A constant added to all keys of a query changes nothing.
            assert!(sum > 0.0 || name.ends_with("attn.k_proj.bias"), "{name}");
        }
        Ok(())
    }

    #[test]
    fn starting_values_name_tensors_that_exist_with_their_shapes() -> Result<()> {
        let (vars, _) = trainable()?;
        let vars = sorted(&vars);
        for (name, value) in initial_values(&config(), 0.01)? {
            let var = vars
                .get(&name)
                .unwrap_or_else(|| panic!("there is no {name}"));
            assert_eq!(var.shape(), value.shape(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn either_name_of_a_head_is_accepted_and_both_give_the_same() -> Result<()> {
        let (vars, proposer) = trainable()?;
        let levels = levels(1, (2, 3))?;
        let want = proposer
            .forward(&levels)?
            .boxes_per_layer
            .flatten_all()?
            .to_vec1::<f32>()?;
        let renamed: HashMap<String, Tensor> = sorted(&vars)
            .into_iter()
            .map(|(name, var)| {
                let inner = "ddetr_transformer.decoder.";
                let name = name
                    .replace(
                        "ddetr_transformer.bbox_embed",
                        &format!("{inner}bbox_embed"),
                    )
                    .replace(
                        "ddetr_transformer.class_embed",
                        &format!("{inner}class_embed"),
                    );
                (name, var.as_tensor().clone())
            })
            .collect();
        assert!(renamed.keys().any(|k| is_alias(k)));
        let store = WeightStore::from_tensors(renamed, &Device::Cpu);
        let proposer = Proposer::new(&config(), store.var_builder())?;
        let got = proposer
            .forward(&levels)?
            .boxes_per_layer
            .flatten_all()?
            .to_vec1::<f32>()?;
        assert_eq!(got, want);
        store
            .check_all_used(|_| false)
            .expect("every tensor is asked for");
        Ok(())
    }

    #[test]
    fn a_drawn_box_is_described_by_its_own_place_and_changes_no_proposal() -> Result<()> {
        let (vars, proposer) = trainable()?;
        for var in sorted(&vars).values() {
            var.set(&(noise(var.shape()) * 0.4)?)?;
        }
        let levels = levels(1, (6, 6))?;
        let all = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        let alone = proposer.forward(&levels)?;
        let boxes = Tensor::new(
            &[[0.0_f32, 0.0, 0.4, 0.4], [0.5, 0.6, 1.0, 0.9]],
            &Device::Cpu,
        )?;
        let (beside, described) = proposer.forward_with_drawn(&levels, &boxes)?;
        assert_eq!(all(&alone.boxes_per_layer)?, all(&beside.boxes_per_layer)?);
        assert_eq!(all(&alone.features)?, all(&beside.features)?);
        assert_eq!(described.dims(), [2, 8]);
        assert!(all(&described)?.iter().all(|v| v.is_finite()));
        let swapped = boxes.index_select(&Tensor::new(&[1_u32, 0], &Device::Cpu)?, 0)?;
        let (_, swapped) = proposer.forward_with_drawn(&levels, &swapped)?;
        let (a, b) = (described.to_vec2::<f32>()?, swapped.to_vec2::<f32>()?);
        let far = |x: &[f32], y: &[f32]| {
            x.iter()
                .zip(y)
                .map(|(x, y)| (x - y).abs())
                .fold(0.0, f32::max)
        };
        assert!(far(&a[0], &b[1]) < 1e-4 && far(&a[1], &b[0]) < 1e-4);
        assert!(far(&a[0], &a[1]) > 1e-3, "two places, two descriptions");
        Ok(())
    }

    #[test]
    fn queries_go_to_different_things_where_that_is_asked() -> Result<()> {
        let (_, mut proposer) = trainable()?;
        // Two things, each proposed by several cells, and three that are proposed once: cx, cy, w, h.
        let boxes = [
            [0.2_f32, 0.2, 0.2, 0.2],
            [0.21, 0.2, 0.2, 0.2],
            [0.2, 0.21, 0.2, 0.2],
            [0.7, 0.3, 0.3, 0.2],
            [0.7, 0.3, 0.3, 0.22],
            [0.2, 0.8, 0.1, 0.1],
            [0.5, 0.6, 0.2, 0.1],
            [0.8, 0.8, 0.3, 0.3],
        ];
        let boxes = Tensor::new(&[boxes], &Device::Cpu)?;
        let first = FirstStage {
            object_queries: Tensor::zeros((1, 8, 8), DType::F32, &Device::Cpu)?,
            anchors: Anchors::new(&[(1, 8)], 0.1, &Device::Cpu)?,
            logits: Tensor::new(&[[8_f32, 7., 6., 5., 4., 3., 2., 1.]], &Device::Cpu)?,
            box_logits: (&boxes / (1.0 - &boxes)?)?.log()?,
        };
        let mut chosen = |distinct: Option<f32>| -> Result<Vec<u32>> {
            proposer.config.distinct = distinct;
            proposer.start(&first)?.chosen.get(0)?.to_vec1()
        };
        assert_eq!(chosen(None)?, [0, 1, 2, 3, 4]);
        assert_eq!(chosen(Some(0.7))?, [0, 3, 5, 6, 7]);
        Ok(())
    }

    #[test]
    fn fewer_cells_than_queries_give_as_many_proposals_as_cells() -> Result<()> {
        let mut config = config();
        config.num_feature_levels = 1;
        let vb = RandomWeights::new(1).var_builder(&Device::Cpu);
        let proposer = Proposer::new(&config, vb)?;
        let out = proposer.forward(&levels(1, (1, 2))?)?;
        let proposals = out.proposals(0, 100, config.score_power)?;
        assert_eq!(proposals.boxes.dims(), [2, 4]);
        let scores = proposals.scores.to_vec1::<f32>()?;
        assert!(scores[0] >= scores[1]);
        assert!(out.proposals(1, 100, config.score_power).is_err());
        assert!(proposer.forward(&[]).is_err());
        Ok(())
    }
}
