//! The whole of SPARROW as released: encoder frames and a prompt to an answer, and the answer's `[BOX]` and `[SEG]` to
//! boxes and masks on every frame.
//!
//! Released module: `model/SPARROW.py` with `chat.py`. Work that the released code repeats is done once: towers and the
//! visual part of the prompt are run once per clip and their keys and values kept, so that another phrase costs only its
//! own tokens. Decoding is greedy. Pixels become tensors in [`super::pixels`]; tracking is left to [`super::sam2`].

mod decode;
mod ground;
mod spare;

pub use ground::Chosen;
pub use spare::is_spare;

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::{
    clip::Clip,
    config::{FiltrationConfig, SparrowConfig},
    deformable_detr::{Proposals, Proposer},
    filtration::{self, FiltrationHead, Pyramid, tighten::tighten},
    internvideo2::InternVideo2,
    multimodal::{self, Multimodal, PromptIds, TsfTokens, Widths},
    phi3::{KvCache, Phi3},
    precision::{Precision, stored_in},
    sam2::{ImageFeatures, Sam2, neck::Neck, trunk::Trunk},
    tsf,
};

/// The networks.
pub struct Sparrow {
    /// Sizes.
    pub config: SparrowConfig,
    /// Spatial tower.
    pub spatial: Clip,
    /// Temporal tower.
    pub temporal: InternVideo2,
    /// Projections.
    pub multimodal: Multimodal,
    /// Language model.
    pub language: Phi3,
    /// Masks.
    pub sam2: Sam2,
    /// Boxes.
    pub proposer: Proposer,
    /// Choice among boxes.
    pub filtration: FiltrationHead,
    /// The proposer's own image encoder, unless it shares SAM2's.
    own_encoder: Option<(Trunk, Neck)>,
}

/// A clip's visual part of the prompt, run once.
#[derive(Clone, Debug)]
pub struct VisualPrefix {
    cache: KvCache,
}

impl VisualPrefix {
    /// Tokens before the phrase.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}

/// What to say and when to stop.
#[derive(Clone, Debug)]
pub struct EmitOptions {
    /// Ids whose states become prompts.
    pub prompt_ids: PromptIds,
    /// Ids that end the answer.
    pub ends: Vec<u32>,
    /// Tokens of the answer at most.
    pub max_new_tokens: usize,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Emission {
    /// Its tokens, the end included.
    pub ids: Vec<u32>,
    /// Probability of each.
    pub probabilities: Vec<f32>,
    /// Prompt embeddings of the `[SEG]`s `(n, out)`.
    pub seg: Tensor,
    /// Prompt embeddings of the `[BOX]`es `(m, out)`.
    pub boxes: Tensor,
}

impl Sparrow {
    /// `vb` stands at the root of a SPARROW checkpoint, `detector` at that of the proposer's file.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(
        config: &SparrowConfig,
        vb: &VarBuilder<'_>,
        detector: &VarBuilder<'_>,
    ) -> Result<Self> {
        Self::build(config, vb, detector, Precision::F32)
    }

    /// [`Sparrow::new`] with weights stored as a precision says; tensors from the builders are taken as f32. What is
    /// placed goes into the thread's [`super::precision::inventory`].
    ///
    /// # Errors
    /// As [`Sparrow::new`].
    pub fn with_precision(
        config: &SparrowConfig,
        vb: &VarBuilder<'_>,
        detector: &VarBuilder<'_>,
        precision: Precision,
    ) -> Result<Self> {
        let (vb, detector) = (stored_in(vb, precision), stored_in(detector, precision));
        Self::build(config, &vb, &detector, precision)
    }

    fn build(
        config: &SparrowConfig,
        vb: &VarBuilder<'_>,
        detector: &VarBuilder<'_>,
        precision: Precision,
    ) -> Result<Self> {
        let model = vb.pp("model");
        let widths = Widths {
            spatial: config.clip.dim,
            temporal: config.internvideo2.dim,
            language: config.phi3.hidden_size,
            out: config.filtration.seg_dim,
        };
        let pools = (config.visual.spatial_pool, config.visual.video_pool);
        let sam2 = Sam2::new(&config.sam2, model.pp("visual_model"))?;
        let own_encoder = if config.proposer.shared_trunk {
            None
        } else if config.proposer.encoder_of_sam2 {
            // Clones of layers hold the same tensors.
            Some((sam2.trunk.clone(), sam2.neck.clone()))
        } else {
            let vb = detector.pp("vis_encoder");
            Some((
                Trunk::new(&config.sam2, vb.pp("trunk"))?,
                Neck::new(&config.sam2, vb.pp("neck"))?,
            ))
        };
        Ok(Self {
            spatial: Clip::new(&config.clip, model.pp("image_vision_tower.vision_tower"))?,
            temporal: InternVideo2::new(
                &config.internvideo2,
                model.pp("vision_tower.vision_encoder"),
            )?,
            multimodal: Multimodal::new(widths, pools, model.clone())?,
            language: Phi3::with_precision(&config.phi3, precision, vb.clone())?,
            sam2,
            proposer: Proposer::new(&config.proposer, detector.clone())?,
            filtration: FiltrationHead::new(&config.filtration, model)?,
            own_encoder,
            config: config.clone(),
        })
    }

    /// Encoder frames → visual block `(tokens, h)`: the spatial tower's frames `(f, 3, s, s)`, the temporal tower's
    /// chunks `(c, t, 3, s, s)`.
    ///
    /// # Errors
    /// If a size is not the configured one.
    pub fn encode_clip(&self, frames: &Tensor, chunks: &Tensor) -> Result<Tensor> {
        self.multimodal.video_block(
            &self.spatial.forward(frames)?,
            &self.temporal.forward(chunks)?,
        )
    }

    /// A single picture `(1, 3, s, s)` → visual block `(tokens, h)`: every token of the spatial tower, none of the temporal one.
    ///
    /// # Errors
    /// If a size is not the configured one.
    pub fn encode_picture(&self, picture: &Tensor) -> Result<Tensor> {
        self.multimodal.image_block(&self.spatial.forward(picture)?)
    }

    /// Runs the prompt up to and including its images.
    ///
    /// # Errors
    /// If the ids hold no image, or something stands behind it.
    pub fn prefix(&self, ids: &[i64], block: &Tensor, prompt: PromptIds) -> Result<VisualPrefix> {
        match multimodal::image_run(ids)? {
            Some(run) if run.end == ids.len() => {}
            _ => candle_core::bail!("a visual prefix ends with its images"),
        }
        let spliced = multimodal::splice(
            ids,
            None,
            Some(block),
            &TsfTokens::Zeros(0),
            prompt,
            |ids| self.language.embed(ids),
        )?;
        let mut cache = KvCache::new();
        self.language
            .forward_prefix(&spliced.embeds.unsqueeze(0)?, &mut cache)?;
        Ok(VisualPrefix { cache })
    }

    /// Crops of a target `(n, 3, s, s)` → the tokens that stand for it `(k, h)`, which crops they are, and the token of
    /// every crop.
    ///
    /// # Errors
    /// If a size is not the configured one.
    pub fn crop_tokens(&self, crops: &Tensor) -> Result<(Tensor, Vec<usize>, Tensor)> {
        let tokens = self.multimodal.crop_tokens(&self.spatial.forward(crops)?)?;
        let visual = &self.config.visual;
        let (chosen, which) = tsf::select(&tokens, visual.tsf_k, visual.tsf_kmeans_iters)?;
        Ok((chosen, which, tokens))
    }

    /// The answer to the rest of a prompt, behind its images. The embedding of a token is made from the state that
    /// predicted it.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn emit(
        &self,
        prefix: &VisualPrefix,
        ids: &[i64],
        tsf: &TsfTokens<'_>,
        options: &EmitOptions,
    ) -> Result<Emission> {
        self.emit_with(&self.language, prefix, ids, tsf, options)
    }

    /// [`Sparrow::emit`] by a language model of the same sizes.
    pub(crate) fn emit_with(
        &self,
        language: &Phi3,
        prefix: &VisualPrefix,
        ids: &[i64],
        tsf: &TsfTokens<'_>,
        options: &EmitOptions,
    ) -> Result<Emission> {
        let spliced = multimodal::splice(ids, None, None, tsf, options.prompt_ids, |ids| {
            language.embed(ids)
        })?;
        let mut cache = prefix.cache.clone();
        let mut next = spliced.embeds;
        let (mut out, mut probabilities) = (vec![], vec![]);
        let (mut seg, mut boxes) = (vec![], vec![]);
        while out.len() < options.max_new_tokens {
            let states = language.forward(&next.unsqueeze(0)?, &mut cache)?;
            let state = states.narrow(1, states.dim(1)? - 1, 1)?.squeeze(0)?;
            let id = language.greedy(&state.squeeze(0)?)?;
            let logits = language.logits(&state)?.to_dtype(DType::F32)?;
            let p = candle_nn::ops::softmax(&logits, D::Minus1)?;
            out.push(id);
            probabilities.push(p.get(0)?.get(id as usize)?.to_scalar()?);
            if options.ends.contains(&id) {
                break;
            }
            if id == options.prompt_ids.seg {
                seg.push(state);
            } else if id == options.prompt_ids.boxes {
                boxes.push(state);
            }
            next = language.embed(&[id])?;
        }
        let project = |states: &[Tensor]| -> Result<Tensor> {
            if states.is_empty() {
                let width = self.config.filtration.seg_dim;
                return Tensor::zeros((0, width), DType::F32, next.device());
            }
            self.multimodal.to_vision(&Tensor::cat(states, 0)?)
        };
        Ok(Emission {
            ids: out,
            probabilities,
            seg: project(&seg)?,
            boxes: project(&boxes)?,
        })
    }

    /// What regions are read from, and masks decoded on.
    ///
    /// # Errors
    /// If the features are not SAM2's.
    pub fn pyramid(&self, features: &ImageFeatures) -> Result<Pyramid> {
        let [high0, high1] = &features.high_res;
        Ok([
            high0.clone(),
            high1.clone(),
            self.sam2.add_no_mem(&features.embed)?,
        ])
    }

    /// What the proposer's own image encoder makes of its input `(1, 3, s, s)`.
    ///
    /// # Errors
    /// If it has none.
    pub fn proposer_maps(&self, input: &Tensor) -> Result<Vec<Tensor>> {
        match &self.own_encoder {
            Some((trunk, neck)) => neck.forward(&trunk.forward(input)?),
            None => candle_core::bail!("the proposer has no image encoder of its own"),
        }
    }

    /// Proposals of a frame: from the proposer's own input `(1, 3, s, s)`, or from SAM2's features and
    /// input where it shares them.
    ///
    /// # Errors
    /// If neither is there.
    pub fn propose(
        &self,
        own_input: Option<&Tensor>,
        shared: Option<(&ImageFeatures, &Tensor)>,
    ) -> Result<Proposals> {
        let output = match (&self.own_encoder, own_input, shared) {
            (Some(_), Some(input), _) => self.proposer.forward(&self.proposer_maps(input)?)?,
            (None, _, Some((features, _))) => self.proposer.forward(&features.fpn)?,
            _ => candle_core::bail!("the proposer was given no image"),
        };
        let config = &self.config.proposer;
        let found = output.proposals(0, config.topk, config.score_power)?;
        match shared {
            Some((features, image)) => {
                self.cut_out(found, 0, &self.pyramid(features)?, Some(image))
            }
            None => Ok(found),
        }
    }

    /// Proposals with what SAM2 paints in them and with their pixels, where the filtration head reads that, and drawn tight, where it
    /// asks for that; the last `drawn` are a person's, whose boxes stay. `input` is SAM2's, `(1, 3, h, w)`; heads that look at pixels
    /// need it.
    ///
    /// # Errors
    /// If `pyramid` is not SAM2's.
    pub fn cut_out(
        &self,
        proposals: Proposals,
        drawn: usize,
        pyramid: &Pyramid,
        input: Option<&Tensor>,
    ) -> Result<Proposals> {
        cut_out(
            (&self.config.filtration, &self.sam2),
            (proposals, drawn),
            pyramid,
            input,
        )
    }
}

/// [`Sparrow::cut_out`] for whoever has SAM2 alone.
///
/// # Errors
/// As there.
pub fn cut_out(
    (config, sam2): (&FiltrationConfig, &Sam2),
    (proposals, drawn): (Proposals, usize),
    pyramid: &Pyramid,
    input: Option<&Tensor>,
) -> Result<Proposals> {
    let masks = match config.reads_masks() {
        true => Some(sam2.paint(pyramid, &proposals.boxes)?),
        false => None,
    };
    let boxes = match (config.tight, &masks) {
        (Some(reach), Some(masks)) => tighten(&proposals.boxes, masks, reach, drawn)?,
        _ => proposals.boxes,
    };
    let crops = match (config.crop_side(), input) {
        (Some(side), Some(input)) => Some(filtration::crop(input, &boxes, side)?),
        (Some(_), None) => {
            candle_core::bail!("proposals whose pixels are looked at need the image")
        }
        (None, _) => None,
    };
    Ok(Proposals {
        boxes,
        masks,
        crops,
        ..proposals
    })
}
